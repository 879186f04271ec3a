//! The loop of a foreground run: prints, hands signals on, reaps, and ends with the apps.
//!
//! Waits on everything at once and is woken by nothing else. Invariant: the last line of every app is
//! printed before the end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use wpm_client::subscribe::Subscription;
use wpm_client::{Client, Ending};
use wpm_proto::ExitCode;
use wpm_proto::app::AppSpec;
use wpm_proto::request::{Detail, Op};

use super::guard::Guard;
use super::init::{self, Asked, Signals};
use super::verdict::verdict;
use crate::context::{Context, list, next_events};
use crate::failure::{Code, Failure};
use crate::verbs::Outcome;
use crate::verbs::logs::{Following, Format};

/// How long daemon and keeper may take to end when no app is left.
const LEAVING: Duration = Duration::from_secs(5);

/// How long the next daemon may take to come, until one is started.
const NEXT_DAEMON: Duration = Duration::from_secs(3);

/// Requests in a row that find no daemon which lives to answer, each after several tries, until the run is given up.
const LOST: u32 = 10;

/// Numbers of descriptors in the set: the events, the end of the stop, then the signals.
const EVENTS: u64 = 0;
const STOPPED: u64 = 1;
const SIGNALS: u64 = 2;

/// What is to be run.
pub(crate) struct Plan {
    /// The apps.
    pub(crate) apps: Vec<AppSpec>,
    /// Names of those whose end is the end.
    pub(crate) essential: Vec<String>,
    /// How their output is printed.
    pub(crate) format: Format,
    /// Whether the end of the apps is the end of the run.
    pub(crate) ends: bool,
}

/// Runs the apps until they have ended or a signal asks for the end, then stops what is left.
pub(super) fn run(context: &mut Context, plan: Plan) -> Outcome {
    let signals = Signals::take()?;
    let home = context.home()?;
    let guard = Guard::set(&home, context);
    let mut client = context.daemon()?;
    let mut run = Run {
        set: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| waiting(&errno.into()))?,
        events: Subscription::open(context.daemon()?, None)?,
        following: Following::of_all(home, plan.format, &plan.apps)?,
        signals,
        stopping: None,
        code: None,
    };
    run.signals.watch(&run.set, SIGNALS)?;
    watch(&run.set, run.events.fd(), EVENTS)?;
    let started = client.call(Op::Start { apps: plan.apps, force: false, rise: None, wait: false }, |_| ());
    let outcome = match started {
        Ok(_) => run.until_the_end(context, client, &plan.essential, plan.ends),
        Err(error) => {
            end(client);
            Err(error.into())
        }
    };
    if let Some(guard) = guard {
        guard.dismiss();
    }
    init::reap();
    run.following.print_rest();
    context.exit_of_app = outcome?;
    Ok(ExitCode::Ok)
}

/// Stops everything and waits until daemon and keeper have ended. They may be others than at the beginning.
fn end(mut client: Client) {
    let ending = Ending::of(&mut client);
    // Whatever is answered: their end is waited for.
    drop(client.call(Op::Kill { keep_list: false }, |_| ()));
    ending.with(&client).wait(LEAVING);
}

fn waiting(cause: &std::io::Error) -> Failure {
    Failure::new(Code::Storage, format!("cannot wait for the apps: {cause}"))
}

fn watch(set: &OwnedFd, fd: impl AsFd, number: u64) -> Result<(), Failure> {
    epoll::add(set, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)
        .map_err(|errno| waiting(&errno.into()))
}

struct Run {
    set: OwnedFd,
    events: Subscription,
    following: Following,
    signals: Signals,
    /// Closed when every app has been stopped, and wpm itself.
    stopping: Option<std::io::PipeReader>,
    /// The exit code of the apps, once it is known.
    code: Option<u8>,
}

impl Run {
    /// The loop. Gives the exit code of the apps; none where the end was asked for.
    fn until_the_end(
        &mut self,
        context: &mut Context,
        client: Client,
        essential: &[String],
        ends: bool,
    ) -> Result<Option<u8>, Failure> {
        let mut client = Some(client);
        let (mut look, mut lost) = (true, 0);
        loop {
            if look && let Some(client) = &mut client {
                look = false;
                self.following.look();
                let apps = match list(client, Vec::new(), Detail::Spec) {
                    Err(failure) if failure.is(Code::NoApps) => Vec::new(),
                    // Daemons that are killed one after the other end no app.
                    Err(failure) if failure.is(Code::Unreachable) && lost < LOST => {
                        (lost, look) = (lost + 1, true);
                        continue;
                    }
                    apps => apps?,
                };
                lost = 0;
                self.code = verdict(&apps, essential).filter(|_| ends);
            }
            if self.code.is_some()
                && let Some(client) = client.take()
            {
                self.stop(client)?;
            }
            let wake = self.following.wait(self.set.as_fd())?;
            if wake.files {
                self.following.print();
            }
            if !wake.other {
                continue;
            }
            for number in self.ready()? {
                match number {
                    STOPPED => return Ok(self.code),
                    EVENTS => {
                        look |= self.take_events(context, client.is_some())?;
                    }
                    _ => match self.signals.read(number - SIGNALS) {
                        Some(Asked::End) => {
                            if let Some(client) = client.take() {
                                if !context.silent {
                                    crate::output::say("wpm: stopping every app");
                                }
                                self.stop(client)?;
                            }
                        }
                        Some(Asked::Forward(signal)) => {
                            if let Some(client) = &mut client {
                                // Where no app runs there is nobody to hand it to.
                                let targets = vec!["all".to_owned()];
                                drop(client.call(Op::Signal { targets, signal }, |_| ()));
                            }
                        }
                        Some(Asked::Reap) => init::reap(),
                        None => {}
                    },
                }
            }
        }
    }

    /// Numbers of the descriptors that have something.
    fn ready(&self) -> Result<Vec<u64>, Failure> {
        let mut events = Vec::with_capacity(16);
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(waiting(&errno.into())),
        }
        Ok(events.iter().map(|event| event.data.u64()).collect())
    }

    /// Takes the events; whether there were some. After a daemon that has gone the next one is asked, which
    /// its keeper starts.
    fn take_events(&mut self, context: &mut Context, runs: bool) -> Result<bool, Failure> {
        let mut some = false;
        let lost = self.events.fill().is_err();
        while !lost && self.events.next_ready().ok().flatten().is_some() {
            some = true;
        }
        if lost {
            // The kernel forgets it with the connection as well.
            let _gone = epoll::delete(&self.set, self.events.fd());
            if runs {
                self.events = match next_events(&context.home()?, None, NEXT_DAEMON) {
                    // Nobody is left who would start it again.
                    Err(wpm_client::Error::NoDaemon { .. }) => Subscription::open(context.daemon()?, None)?,
                    events => events?,
                };
                watch(&self.set, self.events.fd(), EVENTS)?;
            }
        }
        Ok(some || lost)
    }

    /// Stops everything, while this process goes on to print.
    fn stop(&mut self, client: Client) -> Result<(), Failure> {
        let (reader, writer) = std::io::pipe().map_err(|cause| waiting(&cause))?;
        watch(&self.set, &reader, STOPPED)?;
        self.stopping = Some(reader);
        std::thread::spawn(move || {
            end(client);
            drop(writer);
        });
        Ok(())
    }
}
