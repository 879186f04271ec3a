//! What the core remembers of an instance beyond what it shows.
//!
//! It decides nothing. Invariant: `next` and `kills` only mean something while the instance is
//! stopping; `recycle` is set by a command or rule and taken when the instance is driven next.

use crate::backoff::{CrashWindow, Pace};
use crate::operation::Waiter;
use crate::{Cause, Exit, Instance, Millis};

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
}

/// The wish to replace the present run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recycle {
    /// Why.
    pub(crate) cause: Cause,
    /// What follows.
    pub(crate) next: Next,
}

/// An instance and the core's notes about it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// What everybody may see.
    pub(crate) it: Instance,
    /// What follows the end of the run.
    pub(crate) next: Next,
    /// Whether the run is to be replaced.
    pub(crate) recycle: Option<Recycle>,
    /// Whether the run said that it is ready, or was given up waiting for.
    pub(crate) ready: bool,
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
    /// Commands that wait here.
    pub(crate) waiters: Vec<Waiter>,
}

impl Slot {
    /// Nothing remembered yet.
    pub(crate) fn new(it: Instance) -> Self {
        Self {
            it,
            next: Next::default(),
            recycle: None,
            ready: false,
            kills: 0,
            false_starts: 0,
            pace: Pace::default(),
            spawn_pace: Pace::default(),
            window: CrashWindow::default(),
            waiters: Vec::new(),
        }
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
