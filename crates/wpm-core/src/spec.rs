//! The desired configuration of an app: immutable, validated once, with a fingerprint.
//!
//! Sizes are bytes, times are [`Millis`]. Paths are absolute byte-free strings as the client
//! resolved them; the core never looks at a file.

mod argv;
mod check;
mod condition;
mod date;
mod diff;
mod differences;
mod env;
mod fingerprint;
mod hook;
mod limits;
mod names;
mod schedule;
mod sharing;
mod sources;
mod validate;

pub use check::{BadCheck, Check};
pub use condition::{BadCondition, Condition};
pub use date::strftime_of_dayjs;
pub use differences::{Difference, Effect};
pub use hook::{BadHook, Hook};
pub use limits::{BadLimit, Resource, ResourceLimit};
pub use names::{FileName, LogNames};
pub use schedule::ScheduleOverlap;
pub use sharing::Balance;
pub use sources::EnvSources;

use std::collections::BTreeMap;

use crate::Millis;

/// How an app is brought to an end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StopPolicy {
    /// First signal (default SIGINT, 2).
    pub signal: i32,
    /// Time until SIGKILL (default 1600 ms).
    pub kill_timeout: Millis,
    /// Whether descendants belong to the app (`--no-treekill`: no).
    pub tree: bool,
    /// Ask by an IPC message `shutdown` first instead of the signal.
    pub with_message: bool,
}

/// When an app is started again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RestartPolicy {
    /// Whether at all (default yes).
    pub autorestart: bool,
    /// Exit codes after which it is not.
    pub stop_exit_codes: Vec<i32>,
    /// Uptime from which a run counts as stable (default 1000 ms, at least 100).
    pub min_uptime: Millis,
    /// Unstable exits within the sliding window after which it is given up (default 16).
    pub max_restarts: u32,
    /// Fixed delay; excludes `backoff`.
    pub restart_delay: Option<Millis>,
    /// First delay of a growing one (×1.5, at most 15 s, forgiven after 30 s up); the user's wish.
    /// Without it and without `restart_delay`, the first restart after an unstable exit comes at
    /// once; later ones double from 100 ms to 5 s.
    pub backoff: Option<Millis>,
    /// Resident memory of the whole tree above which it is restarted.
    pub max_memory: Option<u64>,
}

/// Where output goes. Paths are without the instance suffix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LogSpec {
    /// stdout; `None` = the home's default.
    pub out: Option<String>,
    /// stderr; `None` = the home's default.
    pub err: Option<String>,
    /// Both (`--log`): `Some("")` means the default name.
    pub both: Option<String>,
    /// All instances into the same files.
    pub merge: bool,
    /// Nothing is written.
    pub disabled: bool,
    /// JSON lines.
    pub json: bool,
    /// Time prefix in day.js format.
    pub date_format: Option<String>,
    /// Rotation: size in bytes (0 = never); `None` = the home's default.
    pub max_size: Option<u64>,
    /// Rotated files kept; `None` = the home's default.
    pub retain: Option<u32>,
    /// gzip rotated files; `None` = the home's default.
    pub compress: Option<bool>,
    /// Cron rule of a rotation by time.
    pub rotate_interval: Option<String>,
}

/// Which changes of files restart an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct WatchSpec {
    /// Files and folders, absolute; none = nothing is watched.
    pub paths: Vec<String>,
    /// What is not watched there: patterns as in a `.gitignore`.
    pub ignore: Vec<String>,
    /// Quiet time after a change until the app is restarted; `None` = 200 ms.
    pub delay: Option<Millis>,
}

/// The desired configuration of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Name of the app.
    pub name: String,
    /// Namespace (default `default`).
    pub namespace: String,
    /// Script or program, an absolute path; for a shell line, the line itself.
    pub script: String,
    /// Whether `script` is a command line for `interpreter -c`.
    pub shell: bool,
    /// Interpreter (a path, or a name to look up in the app's PATH); `None` = execute directly.
    pub interpreter: Option<String>,
    /// Its arguments, before the script.
    pub interpreter_args: Vec<String>,
    /// Arguments of the app.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// Environment that the app was given: the caller's, with the app's own values over it.
    pub env: BTreeMap<String, String>,
    /// Names in `env` that the user wrote for this app (as against inherited).
    pub own_env: Vec<String>,
    /// Those of them whose values come from `env_files`.
    pub file_env: Vec<String>,
    /// Inherited values of names that the app has a value of its own for: they show again without it.
    pub covered_env: BTreeMap<String, String>,
    /// Files of variables, absolute, the later over the earlier; who asks reads them.
    pub env_files: Vec<String>,
    /// Variables whose name contains one of these are not inherited; an empty one is in every name.
    pub filter_env: Vec<String>,
    /// App file that it was described by, absolute.
    pub source: Option<String>,
    /// Name behind `env_` that was chosen there.
    pub source_env: Option<String>,
    /// Wanted number of instances, 1 or more.
    pub instances: u32,
    /// Whether instances were asked for (`-i`), which gives each its number.
    pub instances_asked: bool,
    /// pm2's word for it, shown in `jlist`: cluster or fork.
    pub cluster: bool,
    /// Variable that carries the index (default `NODE_APP_INSTANCE`).
    pub instance_var: String,
    /// Variable whose value grows by the index (`PORT`).
    pub increment_var: Option<String>,
    /// Start when the app is added or resurrected.
    pub autostart: bool,
    /// Time after exec during which a death is the outcome of the start (default 400 ms).
    pub start_check: Millis,
    /// Wait for the app to say that it is ready.
    pub wait_ready: bool,
    /// How long (default 3000 ms).
    pub listen_timeout: Millis,
    /// Sockets that are bound once and handed to every instance: `[NAME=][HOST:]PORT` or
    /// `[NAME=]unix:PATH`.
    pub listen: Vec<String>,
    /// Who balances the ports that cluster workers share; `None` = the kernel.
    pub balance: Option<Balance>,
    /// Base port that a Node program carries as a literal and that grows by the index.
    pub port_step: Option<u16>,
    /// How it is found out that a run is ready, beside what it says by itself.
    pub ready: Option<Check>,
    /// How it is found out that a run is still well.
    pub health: Option<Check>,
    /// Time between two checks of health (default 10 s).
    pub health_interval: Millis,
    /// Time after which a check has failed (default 3 s).
    pub health_timeout: Millis,
    /// Failed checks in a row after which the run is replaced (default 3).
    pub health_failures: u32,
    /// How long an old run may finish what it is doing in a reload (default 5000 ms).
    pub drain_timeout: Millis,
    /// Whether two runs of one instance may overlap in a reload; `None` = as [`Spec::overlaps`] finds.
    pub overlap: Option<bool>,
    /// Restart policy.
    pub restart: RestartPolicy,
    /// Stop policy.
    pub stop: StopPolicy,
    /// Output.
    pub log: LogSpec,
    /// Pid file without instance suffix; `None` = the home's default.
    pub pid_file: Option<String>,
    /// Cron rule of restarts.
    pub cron_restart: Option<String>,
    /// Cron rule of runs: it is a job, which ends by itself.
    pub schedule: Option<String>,
    /// What happens when the rule fires while the job still runs.
    pub schedule_overlap: ScheduleOverlap,
    /// Watched files.
    pub watch: WatchSpec,
    /// Apps that must have come so far before this one starts, and that stop after it.
    pub depends_on: BTreeMap<String, Condition>,
    /// What is run at which moment: a command line, or the address of a webhook.
    pub hooks: BTreeMap<Hook, String>,
    /// User name or number.
    pub uid: Option<String>,
    /// Group name or number.
    pub gid: Option<String>,
    /// umask; `None` = 0o022.
    pub umask: Option<u32>,
    /// Nice value.
    pub nice: i32,
    /// Limit of open files, soft; `None` = what wpm was started with.
    pub max_open_files: Option<u64>,
    /// Bytes that its control group may use; the kernel ends what takes more.
    pub memory_max: Option<u64>,
    /// CPU time that its control group may use, in hundredths of one CPU.
    pub cpu_max: Option<u32>,
    /// Further limits of the kernel.
    pub limits: BTreeMap<Resource, ResourceLimit>,
    /// Version that the app's package file names, for display.
    pub version: Option<String>,
    /// Name of the user who started it, for display.
    pub username: String,
    /// Attributes that wpm keeps for others (pm2 keys without meaning here), as JSON text.
    pub extra: BTreeMap<String, String>,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self { signal: 2, kill_timeout: Millis(1600), tree: true, with_message: false }
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            autorestart: true,
            stop_exit_codes: Vec::new(),
            min_uptime: Millis(1000),
            max_restarts: 16,
            restart_delay: None,
            backoff: None,
            max_memory: None,
        }
    }
}

impl Spec {
    /// A spec with wpm's defaults; `script` and `cwd` are absolute paths.
    pub fn new(name: impl Into<String>, script: impl Into<String>, cwd: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: "default".to_owned(),
            script: script.into(),
            shell: false,
            interpreter: None,
            interpreter_args: Vec::new(),
            args: Vec::new(),
            cwd: cwd.into(),
            env: BTreeMap::new(),
            own_env: Vec::new(),
            file_env: Vec::new(),
            covered_env: BTreeMap::new(),
            env_files: Vec::new(),
            filter_env: Vec::new(),
            source: None,
            source_env: None,
            instances: 1,
            instances_asked: false,
            cluster: false,
            instance_var: "NODE_APP_INSTANCE".to_owned(),
            increment_var: None,
            autostart: true,
            start_check: Millis(400),
            wait_ready: false,
            listen_timeout: Millis(3000),
            listen: Vec::new(),
            balance: None,
            port_step: None,
            ready: None,
            health: None,
            health_interval: Millis(10_000),
            health_timeout: Millis(3000),
            health_failures: 3,
            drain_timeout: Millis(5000),
            overlap: None,
            restart: RestartPolicy::default(),
            stop: StopPolicy::default(),
            log: LogSpec::default(),
            pid_file: None,
            cron_restart: None,
            schedule: None,
            schedule_overlap: ScheduleOverlap::default(),
            watch: WatchSpec::default(),
            depends_on: BTreeMap::new(),
            hooks: BTreeMap::new(),
            uid: None,
            gid: None,
            umask: None,
            nice: 0,
            max_open_files: None,
            memory_max: None,
            cpu_max: None,
            limits: BTreeMap::new(),
            version: None,
            username: String::new(),
            extra: BTreeMap::new(),
        }
    }
}

/// What `restart` may change without a file. `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecChange {
    /// `--update-env`: the caller's environment replaces the inherited part.
    pub env: Option<BTreeMap<String, String>>,
    /// What the `env_files` of apps hold now, by the app's name.
    pub file_env: BTreeMap<String, BTreeMap<String, String>>,
    /// New arguments after `--`.
    pub args: Option<Vec<String>>,
    /// New interpreter arguments.
    pub interpreter_args: Option<Vec<String>>,
    /// New name.
    pub name: Option<String>,
    /// New kill timeout.
    pub kill_timeout: Option<Millis>,
    /// New memory limit (`Some(None)` removes it).
    pub max_memory: Option<Option<u64>>,
    /// New restart delay.
    pub restart_delay: Option<Option<Millis>>,
    /// New backoff.
    pub backoff: Option<Option<Millis>>,
    /// New restart limit.
    pub max_restarts: Option<u32>,
    /// New autorestart.
    pub autorestart: Option<bool>,
    /// New stop codes.
    pub stop_exit_codes: Option<Vec<i32>>,
    /// New cron rule (`Some(None)` removes it).
    pub cron_restart: Option<Option<String>>,
    /// New date format.
    pub date_format: Option<Option<String>>,
    /// What is watched; empty: the other way round (the working directory, or nothing more).
    pub watch: Option<Vec<String>>,
}
