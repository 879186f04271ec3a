//! The keeper as the daemon knows it, and what it says.
//!
//! Invariant: a daemon whose keeper is gone starts another, which starts the next daemon, and leaves.

use std::os::fd::OwnedFd;

use wpm_core::{Event, Input, RunId};
use wpm_sys::contract::{FromKeeper, Stage, ToKeeper};

use crate::clock;
use crate::daemon::Daemon;
use crate::link::Outbox;
use crate::run::is_transient;

/// The keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    outbox: Outbox,
    /// Its process id; 0 before it has said so.
    pub(crate) pid: i32,
    /// How many daemons it has started.
    pub(crate) daemon_starts: u32,
    /// Whether their connection has ended.
    pub(crate) is_gone: bool,
}

impl Keeper {
    /// One that has said nothing yet, and hears what is put there.
    pub(crate) const fn new(outbox: Outbox) -> Self {
        Self { outbox, pid: 0, daemon_starts: 0, is_gone: false }
    }

    /// Queues a record for it.
    pub(crate) fn send(&self, record: Vec<u8>, fds: Vec<OwnedFd>) {
        self.outbox.send(record, fds);
    }
}

impl Daemon {
    /// Takes what the keeper has to tell.
    pub(crate) fn keeper_said(&mut self, report: &FromKeeper) {
        match *report {
            FromKeeper::Held { .. } => {}
            FromKeeper::Hello { pid, daemon_starts, .. } => {
                (self.keeper.pid, self.keeper.daemon_starts) = (pid, daemon_starts);
                self.prove_later();
            }
            FromKeeper::CandidateFailed { status } => self.update_failed(status),
            FromKeeper::AreYouThere => self.keeper.send(ToKeeper::Here.encode(), vec![]),
            FromKeeper::ForkFailed { run, errno } => {
                let run = RunId(run.0);
                self.runs.remove(&run);
                let (stage, transient) = (Stage::Fork.phrase(), is_transient(errno));
                let event = Event::SpawnFailed { stage, errno, transient };
                self.core.handle(clock::now(), Input::Event(run, event));
            }
        }
    }
}
