//! The state machine as a whole: its entry points.

use std::collections::BTreeMap;

use crate::{Action, App, AppId, Desired, Exit, Input, Instance, InstanceId, Millis, Now, RunId, Spec};

/// A run that was alive when the last daemon looked, as the journal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredRun {
    /// Its identity.
    pub run: RunId,
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks.
    pub start_time: u64,
    /// When exec succeeded on the monotonic clock, if it had.
    pub launched: Option<Millis>,
    /// The same in milliseconds since 1970.
    pub launched_wall_ms: u64,
}

/// An instance as state file and journal tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredInstance {
    /// Public id.
    pub id: InstanceId,
    /// Index.
    pub index: u32,
    /// What was wanted.
    pub desired: Desired,
    /// Whether it had been given up.
    pub errored: bool,
    /// Whether it is down because it ended by itself ([`Instance::is_finished`]): a cron rule may
    /// start it again, which it does not do to what the user stopped.
    pub finished: bool,
    /// Restart counter.
    pub restarts: u32,
    /// Last end.
    pub last_exit: Option<Exit>,
    /// Creation time.
    pub created_wall_ms: u64,
    /// Its run, if the daemon found one alive (re-adopted: events of it will follow).
    pub run: Option<RestoredRun>,
}

/// An app as the state file tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredApp {
    /// Configuration.
    pub spec: Spec,
    /// Instances.
    pub instances: Vec<RestoredInstance>,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    _todo: (),
}

impl Core {
    /// An empty core whose first run gets the id `first_run`.
    pub fn new(first_run: RunId) -> Self {
        let _ = first_run;
        Self { _todo: () }
    }

    /// Puts back what an earlier daemon knew. Wanted instances without a run are started
    /// (their end was not seen: it counts as an exit of unknown kind), unless errored.
    pub fn restore(&mut self, now: Now, apps: Vec<RestoredApp>) {
        let _ = (now, apps);
    }

    /// Takes one input and queues the actions that follow from it.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input);
    }

    /// Takes the next action, in the order in which they must be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// When [`Input::Tick`] is due, if ever.
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }

    /// All apps, in the order of their names.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        std::iter::empty()
    }

    /// An app.
    pub fn app(&self, id: AppId) -> Option<&App> {
        let _ = id;
        None
    }

    /// An instance.
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        let _ = id;
        None
    }

    /// Instances in the order of their ids.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        std::iter::empty()
    }

    /// The instance whose current run this is.
    pub fn instance_of(&self, run: RunId) -> Option<&Instance> {
        let _ = run;
        None
    }

    /// Runs whose memory the daemon should sample (those of apps with a limit), and their limits.
    pub fn sampled(&self) -> BTreeMap<RunId, u64> {
        BTreeMap::new()
    }
}
