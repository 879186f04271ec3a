//! An app as a client describes it to the daemon: resolved, absolute, complete.
//!
//! Where a field is absent the daemon fills in the home's default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const fn yes() -> bool {
    true
}

/// Configuration of one app on the wire. Times are milliseconds, sizes bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Script or program (absolute), or a command line where `shell` is set.
    pub script: String,
    /// Whether `script` is a line for `interpreter -c`.
    #[serde(default)]
    pub shell: bool,
    /// Interpreter; none = execute directly.
    #[serde(default)]
    pub interpreter: Option<String>,
    /// Arguments of the interpreter.
    #[serde(default)]
    pub interpreter_args: Vec<String>,
    /// Arguments of the app.
    #[serde(default)]
    pub args: Vec<String>,
    /// Working directory (absolute).
    pub cwd: String,
    /// Whole environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names in `env` that were written for this app.
    #[serde(default)]
    pub own_env: Vec<String>,
    /// Those of them whose values come from `env_files`.
    #[serde(default)]
    pub file_env: Vec<String>,
    /// Inherited values that the app's own ones cover.
    #[serde(default)]
    pub covered_env: BTreeMap<String, String>,
    /// Files of variables (absolute), which the client reads.
    #[serde(default)]
    pub env_files: Vec<String>,
    /// Variables whose name contains one of these are not inherited; an empty one is in every name.
    #[serde(default)]
    pub filter_env: Vec<String>,
    /// App file that it was described by (absolute).
    #[serde(default)]
    pub source: Option<String>,
    /// Name behind `env_` that was chosen there.
    #[serde(default)]
    pub source_env: Option<String>,
    /// Number of instances, already counted out (`max` is resolved by the client).
    #[serde(default = "one")]
    pub instances: u32,
    /// Whether instances were asked for.
    #[serde(default)]
    pub instances_asked: bool,
    /// pm2's `exec_mode`: cluster rather than fork.
    #[serde(default)]
    pub cluster: bool,
    /// Variable that carries the index.
    #[serde(default)]
    pub instance_var: Option<String>,
    /// Variable that grows by the index.
    #[serde(default)]
    pub increment_var: Option<String>,
    /// Start when added or resurrected.
    #[serde(default = "yes")]
    pub autostart: bool,
    /// Time after exec during which a death is the outcome of the start.
    #[serde(default)]
    pub start_check_ms: Option<u64>,
    /// Wait for readiness.
    #[serde(default)]
    pub wait_ready: bool,
    /// How long.
    #[serde(default)]
    pub listen_timeout_ms: Option<u64>,
    /// Sockets bound once and handed to every instance: `[NAME=][HOST:]PORT` or `[NAME=]unix:PATH`.
    #[serde(default)]
    pub listen: Vec<String>,
    /// Who balances a port that instances share: `shared`, `round-robin` or `sticky`.
    #[serde(default)]
    pub balance: Option<String>,
    /// Base port of a Node program that grows by the index.
    #[serde(default)]
    pub port_step: Option<u16>,
    /// Check of readiness: `message`, `notify`, `port[:N]`, `tcp:HOST:PORT`, `http://…`, `exec:COMMAND`
    /// or `log:REGEX`.
    #[serde(default)]
    pub ready: Option<String>,
    /// Check of health, in the same words without `message` and `log`.
    #[serde(default)]
    pub health: Option<String>,
    /// Time between checks of health.
    #[serde(default)]
    pub health_interval_ms: Option<u64>,
    /// Time after which a check has failed.
    #[serde(default)]
    pub health_timeout_ms: Option<u64>,
    /// Failed checks in a row until it is restarted.
    #[serde(default)]
    pub health_failures: Option<u32>,
    /// How long an old run may finish what it is doing in a reload.
    #[serde(default)]
    pub drain_timeout_ms: Option<u64>,
    /// Whether two runs of one instance may overlap in a reload; absent = found out.
    #[serde(default)]
    pub overlap: Option<bool>,
    /// Restart by itself.
    #[serde(default = "yes")]
    pub autorestart: bool,
    /// Exit codes after which it is not restarted.
    #[serde(default)]
    pub stop_exit_codes: Vec<i32>,
    /// Uptime from which a run is stable.
    #[serde(default)]
    pub min_uptime_ms: Option<u64>,
    /// Unstable exits until it is given up.
    #[serde(default)]
    pub max_restarts: Option<u32>,
    /// Fixed restart delay.
    #[serde(default)]
    pub restart_delay_ms: Option<u64>,
    /// First delay of a growing one.
    #[serde(default)]
    pub exp_backoff_restart_delay_ms: Option<u64>,
    /// Memory limit of the tree.
    #[serde(default)]
    pub max_memory_restart: Option<u64>,
    /// First signal of a stop.
    #[serde(default)]
    pub kill_signal: Option<i32>,
    /// Time until SIGKILL.
    #[serde(default)]
    pub kill_timeout_ms: Option<u64>,
    /// Whether descendants belong to the app.
    #[serde(default = "yes")]
    pub treekill: bool,
    /// Ask by IPC message first.
    #[serde(default)]
    pub shutdown_with_message: bool,
    /// stdout file.
    #[serde(default)]
    pub out_file: Option<String>,
    /// stderr file.
    #[serde(default)]
    pub error_file: Option<String>,
    /// File of both; empty = default name.
    #[serde(default)]
    pub log_file: Option<String>,
    /// All instances into the same files.
    #[serde(default)]
    pub merge_logs: bool,
    /// Write nothing.
    #[serde(default)]
    pub disable_logs: bool,
    /// JSON lines.
    #[serde(default)]
    pub log_json: bool,
    /// Time prefix in day.js format.
    #[serde(default)]
    pub log_date_format: Option<String>,
    /// Rotation size.
    #[serde(default)]
    pub log_max_size: Option<u64>,
    /// Rotated files kept.
    #[serde(default)]
    pub log_retain: Option<u32>,
    /// gzip rotated files.
    #[serde(default)]
    pub log_compress: Option<bool>,
    /// Cron rule of rotation.
    #[serde(default)]
    pub log_rotate_interval: Option<String>,
    /// Pid file.
    #[serde(default)]
    pub pid_file: Option<String>,
    /// Cron rule of restarts.
    #[serde(default)]
    pub cron_restart: Option<String>,
    /// Cron rule of runs: it is a job.
    #[serde(default)]
    pub schedule: Option<String>,
    /// When it fires while the job still runs: `skip`, `queue` or `kill`.
    #[serde(default)]
    pub schedule_overlap: Option<String>,
    /// Files and folders (absolute) whose changes restart it.
    #[serde(default)]
    pub watch: Vec<String>,
    /// What is not watched there: patterns as in a `.gitignore`.
    #[serde(default)]
    pub ignore_watch: Vec<String>,
    /// Quiet time after a change until it is restarted.
    #[serde(default)]
    pub watch_delay_ms: Option<u64>,
    /// Apps that must be up before it, each with its condition: `started`, `ready`, `healthy` or `completed`.
    #[serde(default)]
    pub depends_on: BTreeMap<String, String>,
    /// Commands or webhooks by the name of the moment at which they run.
    #[serde(default)]
    pub hooks: BTreeMap<String, String>,
    /// User.
    #[serde(default)]
    pub uid: Option<String>,
    /// Group.
    #[serde(default)]
    pub gid: Option<String>,
    /// umask.
    #[serde(default)]
    pub umask: Option<u32>,
    /// Nice value.
    #[serde(default)]
    pub nice: i32,
    /// Soft limit of open files.
    #[serde(default)]
    pub max_open_files: Option<u64>,
    /// Bytes that its control group may use.
    #[serde(default)]
    pub memory_max: Option<u64>,
    /// CPU time that its control group may use, in hundredths of one CPU.
    #[serde(default)]
    pub cpu_max: Option<u32>,
    /// Limits of the kernel by name: `SOFT[:HARD]`, numbers or `unlimited`.
    #[serde(default)]
    pub limits: BTreeMap<String, String>,
    /// Version of the app for display.
    #[serde(default)]
    pub version: Option<String>,
    /// Who started it.
    #[serde(default)]
    pub username: String,
    /// pm2 attributes kept for other tools; values are JSON text.
    #[serde(default)]
    pub extra: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

const fn one() -> u32 {
    1
}
