//! The state file (`state.json`) and the dump (`dump.json`): one schema, versioned, read for ever.
//!
//! Unknown fields are kept out, missing ones have defaults, so that older and newer files both load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Configuration of one app on disk. Times are milliseconds, sizes bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedSpec {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Script or program (absolute), or a command line where `shell` is set.
    pub script: String,
    /// Whether `script` is a line for `interpreter -c`.
    pub shell: bool,
    /// Interpreter; none = execute directly.
    pub interpreter: Option<String>,
    /// Arguments of the interpreter.
    pub interpreter_args: Vec<String>,
    /// Arguments of the app.
    pub args: Vec<String>,
    /// Working directory (absolute).
    pub cwd: String,
    /// Whole environment.
    pub env: BTreeMap<String, String>,
    /// Names in `env` that were written for this app.
    pub own_env: Vec<String>,
    /// Those of them whose values come from `env_files`.
    pub file_env: Vec<String>,
    /// Inherited values that the app's own ones cover.
    pub covered_env: BTreeMap<String, String>,
    /// Files of variables (absolute).
    pub env_files: Vec<String>,
    /// Variables whose name contains one of these are not inherited.
    pub filter_env: Vec<String>,
    /// App file that it was described by (absolute).
    pub source: Option<String>,
    /// Name behind `env_` that was chosen there.
    pub source_env: Option<String>,
    /// Number of instances, already counted out (`max` is resolved by the client).
    pub instances: u32,
    /// Whether instances were asked for.
    pub instances_asked: bool,
    /// pm2's `exec_mode`: cluster rather than fork.
    pub cluster: bool,
    /// Variable that carries the index.
    pub instance_var: Option<String>,
    /// Variable that grows by the index.
    pub increment_var: Option<String>,
    /// Start when added or resurrected.
    pub autostart: bool,
    /// Time after exec during which a death is the outcome of the start.
    pub start_check_ms: Option<u64>,
    /// Wait for readiness.
    pub wait_ready: bool,
    /// How long.
    pub listen_timeout_ms: Option<u64>,
    /// Sockets bound once and handed to every instance.
    pub listen: Vec<String>,
    /// Who balances a port that instances share.
    pub balance: Option<String>,
    /// Base port of a Node program that grows by the index.
    pub port_step: Option<u16>,
    /// Check of readiness.
    pub ready: Option<String>,
    /// Check of health.
    pub health: Option<String>,
    /// Time between checks of health.
    pub health_interval_ms: Option<u64>,
    /// Time after which a check has failed.
    pub health_timeout_ms: Option<u64>,
    /// Failed checks in a row until it is restarted.
    pub health_failures: Option<u32>,
    /// How long an old run may finish what it is doing in a reload.
    pub drain_timeout_ms: Option<u64>,
    /// Whether two runs of one instance may overlap in a reload; absent = found out.
    pub overlap: Option<bool>,
    /// Restart by itself.
    pub autorestart: bool,
    /// Exit codes after which it is not restarted.
    pub stop_exit_codes: Vec<i32>,
    /// Uptime from which a run is stable.
    pub min_uptime_ms: Option<u64>,
    /// Unstable exits until it is given up.
    pub max_restarts: Option<u32>,
    /// Fixed restart delay.
    pub restart_delay_ms: Option<u64>,
    /// First delay of a growing one.
    pub exp_backoff_restart_delay_ms: Option<u64>,
    /// Memory limit of the tree.
    pub max_memory_restart: Option<u64>,
    /// First signal of a stop.
    pub kill_signal: Option<i32>,
    /// Time until SIGKILL.
    pub kill_timeout_ms: Option<u64>,
    /// Whether descendants belong to the app.
    pub treekill: bool,
    /// Ask by IPC message first.
    pub shutdown_with_message: bool,
    /// stdout file.
    pub out_file: Option<String>,
    /// stderr file.
    pub error_file: Option<String>,
    /// File of both; empty = default name.
    pub log_file: Option<String>,
    /// All instances into the same files.
    pub merge_logs: bool,
    /// Write nothing.
    pub disable_logs: bool,
    /// JSON lines.
    pub log_json: bool,
    /// Time prefix in day.js format.
    pub log_date_format: Option<String>,
    /// Rotation size.
    pub log_max_size: Option<u64>,
    /// Rotated files kept.
    pub log_retain: Option<u32>,
    /// gzip rotated files.
    pub log_compress: Option<bool>,
    /// Cron rule of rotation.
    pub log_rotate_interval: Option<String>,
    /// Pid file.
    pub pid_file: Option<String>,
    /// Cron rule of restarts.
    pub cron_restart: Option<String>,
    /// Cron rule of runs: it is a job.
    pub schedule: Option<String>,
    /// When it fires while the job still runs: `skip`, `queue` or `kill`.
    pub schedule_overlap: Option<String>,
    /// Files and folders whose changes restart it.
    pub watch: Vec<String>,
    /// What is not watched there.
    pub ignore_watch: Vec<String>,
    /// Quiet time after a change until it is restarted.
    pub watch_delay_ms: Option<u64>,
    /// Apps that must be up before it, each with its condition.
    pub depends_on: BTreeMap<String, String>,
    /// Commands or webhooks by the name of the moment at which they run.
    pub hooks: BTreeMap<String, String>,
    /// User.
    pub uid: Option<String>,
    /// Group.
    pub gid: Option<String>,
    /// umask.
    pub umask: Option<u32>,
    /// Nice value.
    pub nice: i32,
    /// Soft limit of open files.
    pub max_open_files: Option<u64>,
    /// Bytes that its control group may use.
    pub memory_max: Option<u64>,
    /// CPU time that its control group may use, in hundredths of one CPU.
    pub cpu_max: Option<u32>,
    /// Limits of the kernel by name.
    pub limits: BTreeMap<String, String>,
    /// Version of the app for display.
    pub version: Option<String>,
    /// Who started it.
    pub username: String,
    /// pm2 attributes kept for other tools; values are JSON text.
    pub extra: BTreeMap<String, String>,
}

impl Default for SavedSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            namespace: "default".to_owned(),
            script: String::new(),
            instances: 1,
            autostart: true,
            autorestart: true,
            treekill: true,
            shell: Default::default(),
            interpreter: Default::default(),
            interpreter_args: Default::default(),
            args: Default::default(),
            cwd: Default::default(),
            env: Default::default(),
            own_env: Default::default(),
            file_env: Default::default(),
            covered_env: Default::default(),
            env_files: Default::default(),
            filter_env: Default::default(),
            source: Default::default(),
            source_env: Default::default(),
            instances_asked: Default::default(),
            cluster: Default::default(),
            instance_var: Default::default(),
            increment_var: Default::default(),
            start_check_ms: Default::default(),
            wait_ready: Default::default(),
            listen_timeout_ms: Default::default(),
            listen: Default::default(),
            balance: Default::default(),
            port_step: Default::default(),
            ready: Default::default(),
            health: Default::default(),
            health_interval_ms: Default::default(),
            health_timeout_ms: Default::default(),
            health_failures: Default::default(),
            drain_timeout_ms: Default::default(),
            overlap: Default::default(),
            stop_exit_codes: Default::default(),
            min_uptime_ms: Default::default(),
            max_restarts: Default::default(),
            restart_delay_ms: Default::default(),
            exp_backoff_restart_delay_ms: Default::default(),
            max_memory_restart: Default::default(),
            kill_signal: Default::default(),
            kill_timeout_ms: Default::default(),
            shutdown_with_message: Default::default(),
            out_file: Default::default(),
            error_file: Default::default(),
            log_file: Default::default(),
            merge_logs: Default::default(),
            disable_logs: Default::default(),
            log_json: Default::default(),
            log_date_format: Default::default(),
            log_max_size: Default::default(),
            log_retain: Default::default(),
            log_compress: Default::default(),
            log_rotate_interval: Default::default(),
            pid_file: Default::default(),
            cron_restart: Default::default(),
            schedule: Default::default(),
            schedule_overlap: Default::default(),
            watch: Default::default(),
            ignore_watch: Default::default(),
            watch_delay_ms: Default::default(),
            depends_on: Default::default(),
            hooks: Default::default(),
            uid: Default::default(),
            gid: Default::default(),
            umask: Default::default(),
            nice: Default::default(),
            max_open_files: Default::default(),
            memory_max: Default::default(),
            cpu_max: Default::default(),
            limits: Default::default(),
            version: Default::default(),
            username: Default::default(),
            extra: Default::default(),
        }
    }
}

/// An end that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedExit {
    /// Exit code.
    Code(i32),
    /// Signal number.
    Signal(i32),
    /// The kernel killed it for lack of memory.
    OutOfMemory,
    /// Nobody could say.
    Unknown,
}

/// What was wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedDesire {
    /// Running.
    #[default]
    Up,
    /// Not running.
    Down,
    /// Ended by itself, and its policy lets it rest.
    Finished,
    /// Given up after a crash loop or a failed spawn; not started by itself.
    Errored,
    /// Deleted, and its run was not gone yet: kept until then, so that the next daemon brings it down.
    Gone,
}

/// One instance on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedInstance {
    /// Public id.
    pub id: u32,
    /// Index.
    pub index: u32,
    /// What was wanted.
    pub desire: SavedDesire,
    /// Restart counter.
    pub restarts: u32,
    /// Last end.
    pub last_exit: Option<SavedExit>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Number of the run that was to make room for the next one: a restart was under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renews: Option<u64>,
    /// Why it was given up, in words, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// One app on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedApp {
    /// Configuration.
    pub spec: SavedSpec,
    /// Its instances.
    pub instances: Vec<SavedInstance>,
    /// What a reload that was under way was to go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<SavedSpec>>,
}

/// Version of the schema that this release writes.
pub const VERSION: u32 = 1;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Schema version; a reader refuses a newer one, and says so.
    pub version: u32,
    /// Which program wrote it.
    #[serde(default)]
    pub written_by: String,
    /// Counts up with each write.
    #[serde(default)]
    pub generation: u64,
    /// Keys of the last changing requests: one that is sent again after a lost connection is not done
    /// twice, whichever daemon it reaches.
    #[serde(default)]
    pub recent_keys: Vec<String>,
    /// For each of them the first run that may follow from it: what runs with a lower number was there
    /// before.
    #[serde(default)]
    pub recent_runs: Vec<u64>,
    /// The apps.
    #[serde(default)]
    pub apps: Vec<SavedApp>,
}
