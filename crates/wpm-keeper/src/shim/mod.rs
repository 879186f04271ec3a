//! The shim: parent and subreaper of one instance, mover of its output, keeper of its exit status.
//!
//! Owns the loop that ties together the app ([`app`]), the connection to the daemon ([`talk`]), the
//! killing of trees ([`tree`], [`census`]) and the output ([`crate::pump`]). Deliberately kills nothing by itself.
//! Invariant: it goes only when the daemon has taken note of the end, no descendant is left and all
//! output is written; with a daemon connected and nothing to do it makes no system call.

mod app;
mod census;
mod launching;
mod lonely;
mod talk;
mod tree;
mod upgrade;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use wpm_sys::cgroup::Group;
use wpm_sys::contract::{End, MAX_FDS, Phase, Usage};
use wpm_sys::launch::Launch;
use wpm_sys::poll::{self, Watch};
use wpm_sys::process::{self, SingleThread};
use wpm_sys::signals::SignalFd;
use wpm_sys::slot::RELEASED;
use wpm_sys::{child, clock, memfd, memory};

use crate::pump::Pump;
use crate::wires::Wires;
use app::App;
use lonely::Lonely;
use talk::Talk;

pub(crate) use upgrade::resume;

/// What a shim has from the keeper that forked it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) proof: SingleThread,
    /// Number of the signal descriptor.
    pub(crate) signals: RawFd,
    /// Soft limit of descriptors that the app gets back.
    pub(crate) descriptors_soft: u64,
    /// Process id of the keeper.
    pub(crate) keeper: i32,
}

/// What only a shim of a new run has.
#[derive(Debug)]
pub(crate) struct Fresh {
    /// Connection to the daemon.
    pub(crate) connection: OwnedFd,
    /// Descriptors that the app inherits.
    pub(crate) passed: Passed,
    /// The app's end of the IPC channel.
    pub(crate) ipc_app: Option<OwnedFd>,
}

/// Descriptors that rode beside a request, by value: a shim has nothing of the keeper's heap.
#[derive(Debug)]
pub(crate) struct Passed([Option<OwnedFd>; MAX_FDS]);

impl FromIterator<OwnedFd> for Passed {
    fn from_iter<I: IntoIterator<Item = OwnedFd>>(fds: I) -> Self {
        let mut places = [const { None }; MAX_FDS];
        for (place, fd) in places.iter_mut().zip(fds) {
            *place = Some(fd);
        }
        Self(places)
    }
}

impl Passed {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &OwnedFd> {
        self.0.iter().flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }
}

/// Why the shim was forked.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "what a shim is given must not be on the keeper's heap")]
pub(crate) enum Origin {
    /// To start a run.
    Fresh(Fresh),
    /// In place of one that was killed.
    Replacement {
        /// Whether no child had come as far as its gate.
        unborn: bool,
    },
    /// For an app that had lost keeper and shim; the connection to the daemon.
    Adopted(OwnedFd),
}

impl Origin {
    /// Adds the numbers of its descriptors.
    pub(crate) fn numbers(&self, to: &mut Vec<RawFd>) {
        match self {
            Self::Fresh(f) => {
                to.push(f.connection.as_raw_fd());
                to.extend(f.passed.iter().chain(&f.ipc_app).map(AsRawFd::as_raw_fd));
            }
            Self::Replacement { .. } => {}
            Self::Adopted(connection) => to.push(connection.as_raw_fd()),
        }
    }
}

/// All that a shim has from the keeper.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) context: Context,
    pub(crate) wires: Wires,
    pub(crate) origin: Origin,
}

/// The few facts of the launch that are needed to its end.
#[derive(Debug)]
struct Facts {
    home: Vec<u8>,
    socket: Vec<u8>,
    pid_file: Vec<u8>,
    /// Whether processes that outlive the main process are part of the run.
    tree: bool,
    /// The control group of the run, where there is one.
    group: Option<Group>,
    /// How many processes of that group had been killed for lack of memory when this shim came.
    starved: u64,
}

/// One shim.
#[derive(Debug)]
struct Shim {
    proof: SingleThread,
    signals: SignalFd,
    descriptors_soft: u64,
    wires: Wires,
    facts: Facts,
    app: App,
    talk: Talk,
    lonely: Lonely,
    pump: Pump,
    /// Whether the memory that the start took was given back.
    settled: bool,
}

/// Goes on as a shim after the fork, with what it was given; that is taken, so that it is not on the stack for as
/// long as the shim lives. A shim that panics ends as if it had been killed: the keeper replaces it.
pub(crate) fn run(born: &mut Option<Born>) -> ! {
    let ended = catch_unwind(AssertUnwindSafe(|| match born.take().map(start) {
        Some(Ok(mut shim)) => shim.serve(),
        None => {}
        Some(Err(e)) => crate::complain(&format!("a shim cannot start: {e}")),
    }));
    drop(ended);
    process::exit_now(crate::CANNOT_START)
}

/// Makes the shim. Not inlined: what only this needs of the stack is given back for as long as the app runs.
#[inline(never)]
fn start(Born { context, wires, origin }: Born) -> io::Result<Shim> {
    let signals = SignalFd::inherited(context.signals)?;
    let mut buffer = [const { MaybeUninit::uninit() }; memfd::USUAL];
    let description = memfd::contents(&wires.launch, &mut buffer)?;
    let (mut launch, words) = Launch::decode_parts(&description).map_err(io::Error::other)?;
    process::set_name(&launch.title);
    if launch.tree {
        process::become_subreaper()?;
    }
    let fresh = matches!(origin, Origin::Fresh(_));
    let log = std::mem::take(&mut launch.log);
    let mut pump = Pump::new(log, &launch.home, &wires, fresh, context.proof);
    let (app, connection) = match origin {
        Origin::Fresh(fresh) => {
            let app = launching::launch(&context, &wires, &mut pump, &fresh, (&launch, words));
            (app, Some(fresh.connection))
        }
        Origin::Replacement { unborn } => {
            if unborn {
                // Whatever the dead shim forked, it finds its gate closed: it never runs.
                wires.slot.record_end(End::Unknown, Usage::default(), clock::boottime_ms());
            }
            (App::foreign(&wires.slot), None)
        }
        Origin::Adopted(connection) => (App::foreign(&wires.slot), Some(connection)),
    };
    let (home, group) = (launch.home, launch.group);
    let (group, starved) = if fresh {
        (Group::made(&group.path), 0)
    } else {
        let group = Group::of_run(&group.path, &wires.slot, (&home, wires.run.0));
        let starved = group.as_ref().map_or(0, Group::out_of_memory);
        (group, starved)
    };
    let (socket, pid_file) = (launch.socket, launch.pid_file);
    let facts = Facts { home, socket, pid_file, tree: launch.tree, group, starved };
    Ok(Shim {
        proof: context.proof,
        signals,
        descriptors_soft: context.descriptors_soft,
        lonely: Lonely::new(wires.run, context.keeper),
        wires,
        facts,
        app,
        talk: Talk::new(connection),
        pump,
        settled: false,
    })
}

impl Shim {
    #[inline(never)]
    fn serve(&mut self) -> ! {
        loop {
            let now = clock::monotonic_ms();
            self.look_after_app(now);
            let tree_gone = self.is_tree_gone();
            self.pump.turn(&self.wires, now, tree_gone);
            if self.wires.slot.has(RELEASED) && tree_gone && self.pump.is_done(self.facts.tree) {
                self.leave();
            }
            self.talk.report(&self.wires, &self.facts, tree_gone, self.pump.health(&self.wires.slot));
            self.wait(now);
        }
    }

    /// Sleeps until something happens, and notes what.
    fn wait(&mut self, now: u64) {
        let mut due = [self.app.due(), self.pump.due(), self.lonely.due(self.talk.is_connected(), now)]
            .into_iter()
            .flatten()
            .min();
        let pipes =
            [0, 1].map(|i| self.wires.pipes[i].as_ref().filter(|_| self.pump.wants(i)).map(AsFd::as_fd));
        let watches = [
            Watch::read(Some(self.signals.as_fd())),
            Watch::read(Some(self.wires.listener.as_fd())),
            Watch { fd: self.talk.connection(), write: self.talk.has_news() },
            Watch::read(self.app.watched()),
            Watch::read(pipes[0]),
            Watch::read(pipes[1]),
        ];
        let pause = self.pump.pause();
        if due.is_none() && pause.is_none() {
            due = self.pump.rest(now);
            if due.is_none() && !self.settled && self.wires.slot.phase() == Phase::Running {
                self.settled = true;
                memory::trim_stack();
            }
        }
        let due = due.map(|at| Duration::from_millis(at.saturating_sub(now)));
        let timeout = due.into_iter().chain(pause).min();
        let Ok(ready) = poll::wait_for(watches, timeout) else { return };
        let [signalled, arrived, spoken, app, out, err] = ready;
        if signalled.any() {
            self.signals.drain();
        }
        if arrived.any() {
            self.talk.accept(&self.wires);
        }
        self.app.ready = app.any();
        for (i, pipe) in [out, err].into_iter().enumerate() {
            if pipe.any() {
                self.pump.note_ready(i);
            }
        }
        if spoken.read || spoken.gone {
            self.listen();
        }
        if !self.talk.is_connected() {
            self.lonely.revive_if_due(self.proof, &self.facts.home, self.descriptors_soft);
        }
    }

    /// Everything is done: takes its files away and ends.
    #[cold]
    #[inline(never)]
    fn leave(&mut self) -> ! {
        use std::os::unix::ffi::OsStrExt;
        let path = |bytes| std::path::Path::new(std::ffi::OsStr::from_bytes(bytes));
        drop(std::fs::remove_file(path(&self.facts.socket)));
        launching::remove_pid_file(path(&self.facts.pid_file), self.wires.slot.pid());
        if self.wires.slot.end() == Some(End::Cancelled) {
            drop(std::fs::remove_file(child::unrun_mark(&self.facts.socket)));
        }
        self.pump.forget(&self.wires);
        if let Some(group) = &self.facts.group {
            group.remove();
        }
        process::exit_now(0)
    }
}
