//! An app, its instances, and where each of them stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{AppId, InstanceId, Millis, RunId, Spec};

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// The kernel killed it because the memory of its control group was used up.
    OutOfMemory,
    /// Nobody can say; counts as a failure.
    Unknown,
}

/// What the user wants of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Desired {
    /// Running.
    Up,
    /// In the list, not running.
    Down,
    /// Out of the list.
    Gone,
}

/// Why an instance is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A command said so.
    Asked,
    /// It ended by itself.
    Exited(Exit),
    /// It ended with one of its stop codes, or restarts are off.
    Finished(Exit),
    /// It ended too often in too short a time.
    CrashLoop {
        /// The last end.
        last: Exit,
        /// Unstable exits in the window.
        count: u32,
    },
    /// A stage of its preparation failed.
    SpawnFailed {
        /// Stage phrase.
        stage: &'static str,
        /// Kernel error number.
        errno: i32,
    },
    /// Its memory was above the limit.
    Memory {
        /// Bytes seen.
        bytes: u64,
    },
    /// Its cron rule fired.
    Cron,
    /// It is a job, which waits for the clock or was started by it.
    Scheduled,
    /// A watched file changed.
    Changed {
        /// Which.
        path: String,
    },
    /// An app that it depends on has not come so far.
    Waits {
        /// Its name.
        app: String,
    },
    /// It did not become ready in time.
    NotReady,
    /// Its checks of health failed.
    Unhealthy,
    /// It missed its watchdog.
    Watchdog,
    /// It said that it is about to end.
    Leaving,
    /// What an earlier daemon wrote down.
    Told(String),
}

/// What is known of the current run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunInfo {
    /// Its identity.
    pub id: RunId,
    /// Process id, 0 before it exists.
    pub pid: i32,
    /// Start time of the process in clock ticks since boot.
    pub start_time: u64,
    /// When exec succeeded.
    pub launched: Option<Millis>,
    /// The same for display, milliseconds since 1970.
    pub launched_wall_ms: u64,
}

/// Where an instance stands. States carry their data, so that illegal combinations cannot be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Down, no process.
    Stopped,
    /// A run was asked for and has not got past exec (or readiness) yet.
    Launching(RunInfo),
    /// Exec succeeded (and it is ready).
    Online(RunInfo),
    /// Being brought down; what follows is decided by `Instance::desired`.
    Stopping {
        /// The run.
        run: RunInfo,
        /// When SIGKILL is due.
        kill_at: Millis,
        /// Whether it was sent.
        killed: bool,
        /// The end of the main process, once seen (its tree may still live).
        exit: Option<Exit>,
    },
    /// Waiting for the next run.
    Backoff {
        /// When it comes.
        until: Millis,
    },
    /// Given up.
    Errored,
}

/// The states that pm2 has words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It runs, and is ready.
    Online,
    /// It is being brought up, or waits for another app.
    Launching,
    /// It is being brought down.
    Stopping,
    /// Down.
    Stopped,
    /// Down until the next try.
    WaitingRestart,
    /// Given up.
    Errored,
}

impl Status {
    /// pm2's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Launching => "launching",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::WaitingRestart => "waiting restart",
            Self::Errored => "errored",
        }
    }
}

/// One of the n processes of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Public id.
    pub id: InstanceId,
    /// Its app.
    pub app: AppId,
    /// Index within the app, stable.
    pub index: u32,
    /// What is wanted.
    pub desired: Desired,
    /// What is.
    pub state: State,
    /// Why.
    pub cause: Cause,
    /// Restarts that users see (pm2's `restart_time`).
    pub restarts: u32,
    /// Unstable exits in the present window.
    pub unstable: u32,
    /// The last end that was seen.
    pub last_exit: Option<Exit>,
    /// How long that run was up, where this daemon saw it.
    pub last_uptime: Option<Millis>,
    /// When the app was created or last started by hand, milliseconds since 1970.
    pub created_wall_ms: u64,
    /// Log trouble: kernel error number (0 = none) and bytes given up.
    pub log_errno: i32,
    /// Bytes of output given up on a full disk.
    pub log_dropped: u64,
}

/// An app and its instances by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Identity.
    pub id: AppId,
    /// Desired configuration, shared with those who read it.
    pub spec: Arc<Spec>,
    /// Public ids by index.
    pub instances: BTreeMap<u32, InstanceId>,
    /// What a reload that is under way goes back to, also one of an earlier daemon that nobody has gone on with yet.
    pub before: Option<Arc<Spec>>,
}

impl Instance {
    /// The run, where there is one.
    pub const fn run(&self) -> Option<&RunInfo> {
        match &self.state {
            State::Launching(run) | State::Online(run) | State::Stopping { run, .. } => Some(run),
            State::Stopped | State::Backoff { .. } | State::Errored => None,
        }
    }

    /// Whether it was given up (for the state file).
    pub const fn is_errored(&self) -> bool {
        matches!(self.state, State::Errored)
    }

    /// Whether it is down because it ended by itself and its policy lets it rest, or because it is a job
    /// whose time has not come (for the state file).
    pub const fn is_finished(&self) -> bool {
        matches!(
            (&self.state, self.desired, &self.cause),
            (State::Stopped, Desired::Down, Cause::Finished(_) | Cause::Scheduled)
        )
    }

    /// Its state as users are told it.
    pub const fn status(&self) -> Status {
        match self.state {
            State::Stopped if matches!((self.desired, &self.cause), (Desired::Up, Cause::Waits { .. })) => {
                Status::Launching
            }
            State::Stopped => Status::Stopped,
            State::Launching(_) => Status::Launching,
            State::Online(_) => Status::Online,
            State::Stopping { .. } => Status::Stopping,
            State::Backoff { .. } => Status::WaitingRestart,
            State::Errored => Status::Errored,
        }
    }
}
