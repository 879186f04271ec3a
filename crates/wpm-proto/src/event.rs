//! Events: what happened to instances, as streamed to watchers (`wpm events`, `wpm logs`).

use serde::{Deserialize, Serialize};

use crate::state::SavedExit;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Counts up within one daemon.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// App name.
    pub app: String,
    /// Public id of the instance.
    pub id: u32,
    /// Index of the instance.
    pub index: u32,
    /// What.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A run is about to begin (what the hook before it is given).
    Starting,
    /// It runs.
    Online {
        /// Process id.
        pid: i32,
    },
    /// It said that it is ready.
    Ready,
    /// Its main process ended.
    Exited {
        /// How.
        exit: SavedExit,
        /// Milliseconds that it was up.
        uptime_ms: u64,
    },
    /// It will be restarted.
    RestartPlanned {
        /// In so many milliseconds.
        delay_ms: u64,
        /// Why.
        reason: String,
    },
    /// A stop began.
    Stopping {
        /// Why.
        reason: String,
    },
    /// It is down as wanted.
    Stopped,
    /// It was given up.
    Errored {
        /// Why.
        reason: String,
    },
    /// A reload put a new run in the place of the old one.
    Replaced {
        /// Process id of the new run.
        pid: i32,
    },
    /// A new run did not come up: the old one serves on.
    NotReplaced {
        /// Why.
        reason: String,
    },
    /// It left the list.
    Deleted,
    /// It is a job whose time came while its last run still ran, and this time is left out.
    Skipped,
    /// One of its hooks failed.
    HookFailed {
        /// Which.
        hook: String,
        /// Why.
        reason: String,
    },
    /// Its logs cannot be written (error number), or can again (0).
    LogTrouble {
        /// Kernel error number.
        errno: i32,
    },
}
