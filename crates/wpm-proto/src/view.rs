//! What reading commands show: apps and instances as the daemon sees them at one moment.
//!
//! CPU and memory are not here: the client reads them from the kernel itself, so that looking costs
//! the daemon nothing.

use serde::{Deserialize, Serialize};

use crate::app::AppSpec;
use crate::state::SavedExit;

/// An end, on the wire.
pub type ExitView = SavedExit;

/// How an instance stands, in pm2's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It runs, and is ready.
    #[serde(rename = "online")]
    Online,
    /// It is being brought up, or waits for another app.
    #[serde(rename = "launching")]
    Launching,
    /// It is being brought down.
    #[serde(rename = "stopping")]
    Stopping,
    /// Down.
    #[serde(rename = "stopped")]
    Stopped,
    /// Down until the next try.
    #[serde(rename = "waiting restart")]
    WaitingRestart,
    /// Given up.
    #[serde(rename = "errored")]
    Errored,
}

impl Status {
    /// The word.
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

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// Of hundreds of instances most have nothing to say in most fields, so what is not there is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Public id (pm2's `pm_id`).
    pub id: u32,
    /// Index within the app.
    pub index: u32,
    /// Process id of the app's main process, 0 where there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pid: i32,
    /// Its start time in clock ticks since boot: a pid with another one is a stranger.
    #[serde(default, skip_serializing_if = "is_default")]
    pub start_time: u64,
    /// Process id of its shim, 0 where there is none: all its descendants are the app's tree.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shim_pid: i32,
    /// Whether the shim is stopped, which the client finds out: the app runs, but its output and its end wait.
    #[serde(skip)]
    pub shim_stopped: bool,
    /// How it stands.
    pub status: Status,
    /// Why, in a few words, where the state alone does not tell (`exit 1`, `crash loop`, `memory`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: Option<String>,
    /// Restarts since it was created or reset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restarts: u32,
    /// Unstable exits in the present window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unstable: u32,
    /// When exec succeeded, milliseconds since 1970; 0 before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub started_ms: u64,
    /// When it was created or last started by hand, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "is_default")]
    pub created_ms: u64,
    /// Last end that was seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_exit: Option<ExitView>,
    /// How long the run was up that ended so, where the present daemon saw it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_ran_ms: Option<u64>,
    /// Whether it is a job that waits for the clock.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_clock: bool,
    /// Milliseconds until the next restart, while one is waited for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart_in_ms: Option<u64>,
    /// Addresses that it was handed (`--listen`), and those on which it says that it listens (cluster workers):
    /// `PORT`, `HOST:PORT`, `udp:…` or `unix:PATH`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ports: Vec<String>,
    /// What it says of itself at `NOTIFY_SOCKET`: `reloading`, or its status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub said: Option<String>,
    /// Kernel error number of the last failed log write, 0 while logs work.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log_errno: i32,
    /// Bytes of output given up on a full disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log_dropped: u64,
}

/// Name of a file that each instance of an app has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileName {
    /// What is before the number.
    pub head: String,
    /// What is behind it.
    pub tail: String,
    /// The index from which it is numbered; none: all instances have the same file.
    pub numbered_from: Option<u32>,
}

impl FileName {
    /// That of the instance with this index.
    pub fn of(&self, index: u32) -> String {
        let Self { head, tail, numbered_from } = self;
        if numbered_from.is_some_and(|from| index >= from) {
            format!("{head}-{index}{tail}")
        } else {
            format!("{head}{tail}")
        }
    }
}

/// Files of an app's instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNames {
    /// stdout; none = discarded.
    pub out: Option<FileName>,
    /// stderr; none = discarded.
    pub error: Option<FileName>,
    /// Both, where asked for.
    pub both: Option<FileName>,
    /// Pid file.
    pub pid: FileName,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppView {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Version of the app, where known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: Option<String>,
    /// Whether it runs as pm2's cluster mode.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster: bool,
    /// Wanted number of instances.
    pub wanted: u32,
    /// User that it runs as.
    pub username: String,
    /// Whether its output is prefixed or JSON (`logs` does not add a time then).
    #[serde(default, skip_serializing_if = "is_default")]
    pub stamped: bool,
    /// Whether it is a job, which runs by its schedule.
    #[serde(default, skip_serializing_if = "is_default")]
    pub job: bool,
    /// When its cron rule or schedule fires next, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next_run_ms: Option<u64>,
    /// The file that changed so often that the app is not watched any more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub watch_paused: Option<String>,
    /// Files of variables that a start by name reads anew.
    #[serde(default, skip_serializing_if = "is_default")]
    pub env_files: Vec<String>,
    /// Files of its instances; only where they were asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub files: Option<FileNames>,
    /// Configuration; only where it was asked for.
    #[serde(default, skip_serializing_if = "is_default")]
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
