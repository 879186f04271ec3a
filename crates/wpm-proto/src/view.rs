//! What reading commands show: apps and instances as the daemon sees them at one moment.
//!
//! CPU and memory are not here: the client reads them from the kernel itself, so that looking costs
//! the daemon nothing.

use serde::{Deserialize, Serialize};

use crate::app::AppSpec;
use crate::state::SavedExit;

/// An end, on the wire.
pub type ExitView = SavedExit;

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Public id (pm2's `pm_id`).
    pub id: u32,
    /// Index within the app.
    pub index: u32,
    /// Process id of the app's main process, 0 where there is none.
    pub pid: i32,
    /// Its start time in clock ticks since boot: a pid with another one is a stranger.
    pub start_time: u64,
    /// Process id of its shim, 0 where there is none: all its descendants are the app's tree.
    pub shim_pid: i32,
    /// Whether the shim is stopped, which the client finds out: the app runs, but its output and its end wait.
    #[serde(default)]
    pub shim_stopped: bool,
    /// pm2's word: `online stopping stopped launching errored` or `waiting restart`.
    pub status: String,
    /// Why, in a few words, where the state alone does not tell (`exit 1`, `crash loop`, `memory`).
    pub reason: Option<String>,
    /// Restarts since it was created or reset.
    pub restarts: u32,
    /// Unstable exits in the present window.
    pub unstable: u32,
    /// When exec succeeded, milliseconds since 1970; 0 before.
    pub started_ms: u64,
    /// When it was created or last started by hand, milliseconds since 1970.
    pub created_ms: u64,
    /// Last end that was seen.
    pub last_exit: Option<ExitView>,
    /// How long the run was up that ended so, where the present daemon saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ran_ms: Option<u64>,
    /// Whether it is a job that waits for the clock.
    #[serde(default)]
    pub on_clock: bool,
    /// Milliseconds until the next restart, while one is waited for.
    pub restart_in_ms: Option<u64>,
    /// Addresses that it was handed (`--listen`), and those on which it says that it listens (cluster workers):
    /// `PORT`, `HOST:PORT`, `udp:…` or `unix:PATH`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// What it says of itself at `NOTIFY_SOCKET`: `reloading`, or its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Kernel error number of the last failed log write, 0 while logs work.
    pub log_errno: i32,
    /// Bytes of output given up on a full disk.
    pub log_dropped: u64,
    /// File of stdout; empty = discarded.
    pub out_file: String,
    /// File of stderr; empty = discarded.
    pub error_file: String,
    /// File of both, where asked for.
    pub log_file: Option<String>,
    /// Pid file.
    pub pid_file: String,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppView {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Version of the app, where known.
    pub version: Option<String>,
    /// Whether it runs as pm2's cluster mode.
    pub cluster: bool,
    /// Wanted number of instances.
    pub wanted: u32,
    /// User that it runs as.
    pub username: String,
    /// Whether its output is prefixed or JSON (`logs` does not add a time then).
    pub stamped: bool,
    /// Whether it is a job, which runs by its schedule.
    #[serde(default)]
    pub job: bool,
    /// When its cron rule or schedule fires next, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_ms: Option<u64>,
    /// The file that changed so often that the app is not watched any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_paused: Option<String>,
    /// Files of variables that a start by name reads anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// Configuration; only where detail was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<AppSpec>>,
    /// Instances in the order of their index.
    pub instances: Vec<InstanceView>,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonView {
    /// Process id of the daemon.
    pub pid: i32,
    /// Process id of the keeper.
    pub keeper_pid: i32,
    /// How often the keeper has started the daemon.
    pub starts: u32,
    /// Version.
    pub version: String,
    /// When it started, milliseconds since 1970.
    pub started_ms: u64,
    /// Why the last update was taken back, where it was.
    #[serde(default)]
    pub update_failed: Option<String>,
    /// Whether this daemon still has to hand its program on to keeper and shims.
    #[serde(default)]
    pub updating: bool,
    /// Number of the form in which keeper and shims hand over to another program.
    #[serde(default = "first_handover")]
    pub handover: u32,
    /// The control group that was delegated to wpm, where there is one.
    #[serde(default)]
    pub control_group: Option<String>,
    /// Controllers of the control groups of runs.
    #[serde(default)]
    pub controllers: Vec<String>,
    /// Trouble with writing the state, where there is any.
    pub storage_trouble: Option<String>,
    /// Open clients.
    pub clients: u32,
    /// Open descriptors and their limit.
    pub descriptors: (u64, u64),
}

/// Of programs that do not say it.
const fn first_handover() -> u32 {
    1
}
