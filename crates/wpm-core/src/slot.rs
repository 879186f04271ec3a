//! What the core remembers of an instance beyond what it shows.
//!
//! It decides nothing. Invariant: `next` and `kills` only mean something while the instance is
//! stopping; `recycle` is set by a command or rule and taken when the instance is driven next;
//! `keeps` is only set during a reload of its app.

use crate::backoff::{CrashWindow, Pace};
use std::sync::Arc;

use crate::operation::{Waiter, Want};
use crate::{Cause, Exit, Instance, Millis, RunInfo, Spec};

/// What follows the end of a run where the instance is wanted up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Next {
    /// The next run, at once.
    #[default]
    Now,
    /// The next run, later.
    Later(Millis),
    /// Rest: it ended by itself as its policy allows.
    Finish(Exit),
    /// Giving up.
    GiveUp(Cause),
    /// What the policy says once the end is seen.
    Judge,
}

/// The wish to replace the present run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recycle {
    /// Why.
    pub(crate) cause: Cause,
    /// What follows.
    pub(crate) next: Next,
}

/// What the run beside an instance's own is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The new run, on its way up.
    Rising {
        /// Whether it has said that it is ready.
        ready: bool,
        /// Whether it must say so.
        must: bool,
    },
    /// The old run, finishing what it has begun.
    Draining,
    /// Either, being brought down.
    Stopping {
        /// When SIGKILL is due.
        kill_at: Millis,
        /// How often the tree was killed.
        kills: u32,
        /// The end of the main process, once seen.
        exit: Option<Exit>,
    },
}

/// A run beside the instance's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beside {
    /// The run.
    pub(crate) run: RunInfo,
    /// What it is doing.
    pub(crate) phase: Phase,
}

/// An instance and the core's notes about it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// What everybody may see.
    pub(crate) it: Instance,
    /// The second run, during a reload.
    pub(crate) beside: Option<Beside>,
    /// The spec that it was started with, while a reload tries another.
    pub(crate) keeps: Option<Arc<Spec>>,
    /// What follows the end of the run.
    pub(crate) next: Next,
    /// Whether the run is to be replaced.
    pub(crate) recycle: Option<Recycle>,
    /// What has changed since a new run began to come up beside the old one, which may have been too early for it.
    pub(crate) stale: Option<Cause>,
    /// Whether the run said that it is ready, or was given up waiting for.
    pub(crate) ready: bool,
    /// Whether a check of its health has succeeded.
    pub(crate) healthy: bool,
    /// Whether its next run waits for what its app depends on: a command wants it up.
    pub(crate) awaits: bool,
    /// Whether nothing is under way that could end this waiting.
    pub(crate) waits_in_vain: bool,
    /// How often the tree was killed.
    pub(crate) kills: u32,
    /// Spawns in a row that did not get as far as exec.
    pub(crate) false_starts: u32,
    /// Delays between runs.
    pub(crate) pace: Pace,
    /// Delays between spawns that fail for want of resources.
    pub(crate) spawn_pace: Pace,
    /// Unstable exits.
    pub(crate) window: CrashWindow,
    /// Whether the run was started as a job.
    pub(crate) job: bool,
    /// Whether the job runs once more when it has ended.
    pub(crate) queued: bool,
    /// Commands that wait here.
    pub(crate) waiters: Vec<Waiter>,
}

impl Slot {
    /// Nothing remembered yet.
    pub(crate) fn new(it: Instance) -> Self {
        Self {
            it,
            beside: None,
            keeps: None,
            next: Next::default(),
            recycle: None,
            stale: None,
            ready: false,
            healthy: false,
            awaits: true,
            waits_in_vain: false,
            kills: 0,
            false_starts: 0,
            pace: Pace::default(),
            spawn_pace: Pace::default(),
            window: CrashWindow::default(),
            job: false,
            queued: false,
            waiters: Vec::new(),
        }
    }

    /// Whether a new run is on its way up beside the old one.
    pub(crate) const fn is_rising(&self) -> bool {
        matches!(self.beside, Some(Beside { phase: Phase::Rising { .. }, .. }))
    }

    /// Whether a command waits here for this.
    pub(crate) fn waits(&self, want: Want) -> bool {
        self.waiters.iter().any(|waiter| waiter.want == want)
    }

    /// Has those that wait for one thing wait for another.
    pub(crate) fn turn(&mut self, from: Want, to: Want) {
        self.waiters.iter_mut().filter(|waiter| waiter.want == from).for_each(|waiter| waiter.want = to);
    }

    /// Forgets past crashes: a command starts it anew.
    pub(crate) fn forgive(&mut self) {
        self.it.unstable = 0;
        self.false_starts = 0;
        self.pace.forgive();
        self.spawn_pace.forgive();
        self.window.clear();
    }
}
