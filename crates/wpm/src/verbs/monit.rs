//! `wpm monit`: a dashboard on the terminal: the list, the log of the app that is selected, and keys to act.
//!
//! Reads what `list` and `logs` read, once a second and at every event, while it is open and not longer.
//! Where stdout is no terminal it is `list --watch`.

mod board;
mod keys;
mod page;
mod screen;
mod task;

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use wpm_client::subscribe::Subscription;
use wpm_client::{Client, Error};
use wpm_proto::ExitCode;

use super::logs::Gathering;
use super::{Outcome, list};
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, next_events};
use crate::failure::{Code, Failure};
use crate::render::rows::Row;
use board::{Board, Wish};
use screen::{Screen, Signals};
use task::Tasks;

pub(crate) const VERB: Verb = Verb {
    name: "monit",
    aliases: &["imonit", "dashboard", "dash"],
    about: "Watch the apps and what they print, and act on them by keys",
    examples: "  wpm monit           every app; `q` leaves\n  \
               wpm monit web       this one\n\n\
               Keys: up and down (or k and j) select an app, whose log is shown below. r restarts it, R reloads,\n\
               s stops, d deletes after a question. / shows only the apps whose name contains a text.",
    args: <Monit as clap::Args>::augment_args,
    run,
};

/// Time between two looks at CPU and memory.
const TICK: Duration = Duration::from_secs(1);
/// How long the next daemon may take to come after one that has ended.
const NEXT_DAEMON: Duration = Duration::from_secs(10);
/// Lines of its log that are shown of an app from before it was selected.
const BEFORE: usize = 200;

/// Numbers of descriptors in the set; signals count on from the last.
const EVENTS: u64 = 0;
const KEYS: u64 = 1;
const TASKS: u64 = 2;
const SIGNALS: u64 = 3;

#[derive(Debug, clap::Args)]
struct Monit {
    /// Name, id, namespace or /regex/; none = every app
    #[arg(value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Monit { targets } = arguments(matches)?;
    if !screen::is_possible() {
        return list::watch_these(targets, context);
    }
    let mut client = context.daemon()?;
    // A wrong name is told on a terminal as it was.
    let rows = list::rows_of(&mut client, &targets)?;
    let mut dashboard = Dashboard::open(context, client, targets, rows)?;
    dashboard.run()
}

struct Dashboard {
    client: Client,
    targets: Vec<String>,
    rows: Vec<Row>,
    board: Board,
    /// Of the app that is selected.
    log: Option<(String, Gathering)>,
    events: Subscription,
    tasks: Tasks,
    signals: Signals,
    set: OwnedFd,
    screen: Screen,
}

impl Dashboard {
    fn open(
        context: &mut Context,
        client: Client,
        targets: Vec<String>,
        rows: Vec<Row>,
    ) -> Result<Self, Failure> {
        let events = Subscription::open(context.daemon()?, None)?;
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
        let tasks = Tasks::new(client.home().clone())?;
        let signals = Signals::take()?;
        let screen = Screen::enter()?;
        add(&set, &events.fd(), EVENTS)?;
        add(&set, &tasks, TASKS)?;
        for (number, signal) in (SIGNALS..).zip(signals.all()) {
            add(&set, signal, number)?;
        }
        if screen.has_keys() {
            add(&set, &std::io::stdin(), KEYS)?;
        }
        let mut board = Board::default();
        board.see(&rows);
        Ok(Self { client, targets, rows, board, log: None, events, tasks, signals, set, screen })
    }

    fn run(&mut self) -> Outcome {
        let mut looked = Instant::now();
        loop {
            self.follow_selected()?;
            let lines = self.log.as_mut().map(|(_, log)| log.last(BEFORE)).unwrap_or_default();
            self.screen.draw(&page::page(&self.rows, &self.board, &lines, self.screen.size()))?;
            let left = TICK.saturating_sub(looked.elapsed());
            let mut look = !self.wait(left)?;
            for number in self.ready()? {
                match number {
                    EVENTS => {
                        self.take_events()?;
                        look = true;
                    }
                    TASKS => {
                        self.board.said = self.tasks.answer();
                        look = true;
                    }
                    KEYS => {
                        for key in self.screen.keys()? {
                            match self.board.press(key) {
                                Some(Wish::Leave) => return Ok(ExitCode::Ok),
                                Some(wish) => self.board.said = self.tasks.begin(wish),
                                None => {}
                            }
                        }
                    }
                    number => {
                        if let Some(signal) = self.signals.read(number - SIGNALS) {
                            self.screen.leave();
                            screen::end_by(signal);
                        }
                    }
                }
            }
            if look || looked.elapsed() >= TICK {
                looked = Instant::now();
                self.rows = match list::rows_of(&mut self.client, &self.targets) {
                    // All that it was opened for has been deleted.
                    Err(failure) if failure.is(Code::NoSuchApp) => Vec::new(),
                    rows => rows?,
                };
                self.board.see(&self.rows);
            }
        }
    }

    /// Follows the log of the app that is selected now, and of no other.
    fn follow_selected(&mut self) -> Result<(), Failure> {
        let selected = self.board.selected();
        if self.log.as_ref().map(|(name, _)| name.as_str()) == selected {
            return Ok(());
        }
        self.log = match selected {
            Some(name) => Some((
                name.to_owned(),
                Gathering::of(self.client.home().clone(), &[name.to_owned()], BEFORE)?,
            )),
            None => None,
        };
        Ok(())
    }

    /// Waits for whatever comes; whether something did in this time.
    fn wait(&self, limit: Duration) -> Result<bool, Failure> {
        if let Some((_, log)) = &self.log {
            let wake = log.wait(self.set.as_fd(), limit)?;
            return Ok(wake.files || wake.other);
        }
        let limit = Timespec::try_from(limit).unwrap_or_default();
        let mut set = [PollFd::new(&self.set, PollFlags::IN)];
        // Interrupted is as good as nothing: the signal comes by its pipe.
        Ok(poll(&mut set, Some(&limit)).unwrap_or(0) > 0)
    }

    /// Numbers of the descriptors that have something.
    fn ready(&self) -> Result<Vec<u64>, Failure> {
        let mut events = Vec::with_capacity(8);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }

    /// Takes the events, whose contents do not matter; after a daemon that has gone, those of the next.
    fn take_events(&mut self) -> Result<(), Failure> {
        let mut lost = self.events.fill().is_err();
        while !lost {
            match self.events.next_ready() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Error::Lost) => lost = true,
                Err(error) => return Err(error.into()),
            }
        }
        if lost {
            // The kernel forgets it with the connection as well.
            let _gone = epoll::delete(&self.set, self.events.fd());
            self.events = next_events(self.client.home(), None, NEXT_DAEMON)?;
            add(&self.set, &self.events.fd(), EVENTS)?;
        }
        if let Some((_, log)) = &mut self.log {
            log.look();
        }
        Ok(())
    }
}

fn add(set: &OwnedFd, fd: &impl std::os::fd::AsFd, number: u64) -> Result<(), Failure> {
    epoll::add(set, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)
        .map_err(|errno| std::io::Error::from(errno).into())
}
