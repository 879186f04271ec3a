//! What can be said about one app, from the command line or from an app file, before anything is
//! resolved: every field absent or as it was written.
//!
//! Reads no file and knows no default. Invariant: what the command line says wins over the file.

use std::collections::BTreeMap;

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// Settings of one app. Times are milliseconds, sizes bytes.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub(crate) struct AppOptions {
            $($(#[$doc])* pub(crate) $name: Option<$type>,)*
        }

        impl AppOptions {
            /// These settings, with those of `base` where these say nothing.
            pub(crate) fn over(self, base: Self) -> Self {
                Self { $($name: self.$name.or(base.$name),)* }
            }

            /// Names of the settings that say something.
            pub(crate) fn given(&self) -> Vec<&'static str> {
                [$((stringify!($name), self.$name.is_some()),)*]
                    .into_iter()
                    .filter_map(|(name, is_given)| is_given.then_some(name))
                    .collect()
            }
        }
    };
}

/// Which inherited variables an app does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EnvFilter {
    /// All.
    All,
    /// Those whose name contains one of these.
    Containing(Vec<String>),
}

options! {
    /// What to run.
    script: String,
    /// Name of the app.
    name: String,
    /// Namespace.
    namespace: String,
    /// Working directory.
    cwd: String,
    /// Arguments of the app.
    args: Vec<String>,
    /// Interpreter; `none` = execute directly.
    interpreter: String,
    /// Arguments of the interpreter.
    interpreter_args: Vec<String>,
    /// pm2's mode: cluster or fork.
    cluster: bool,
    /// As written: number or `max`.
    instances: String,
    /// Variables of the app.
    env: BTreeMap<String, String>,
    /// Files of variables; `env` wins over them.
    env_file: Vec<String>,
    /// Inherited variables that it does not get.
    filter_env: EnvFilter,
    /// Variable that carries the index.
    instance_var: String,
    /// Variable that grows by the index.
    increment_var: String,
    /// Start when added or resurrected.
    autostart: bool,
    /// Time after which a start counts as done.
    start_check_ms: u64,
    /// Wait for readiness.
    wait_ready: bool,
    /// Check of readiness.
    ready: String,
    /// Check of health.
    health: String,
    /// Time between checks of health.
    health_interval_ms: u64,
    /// Time after which a check has failed.
    health_timeout_ms: u64,
    /// Failed checks in a row until it is restarted.
    health_failures: u32,
    /// Time for an old run to finish in a reload.
    drain_timeout_ms: u64,
    /// How long.
    listen_timeout_ms: u64,
    /// Sockets that are bound once and handed to every instance.
    listen: Vec<String>,
    /// Who balances a port that instances share.
    balance: String,
    /// Port that every instance counts its own up from.
    port_step: u16,
    /// Restart by itself.
    autorestart: bool,
    /// Exit codes after which it is not restarted.
    stop_exit_codes: Vec<i32>,
    /// Uptime from which a run is stable.
    min_uptime_ms: u64,
    /// Unstable exits until it is given up.
    max_restarts: u32,
    /// Fixed restart delay.
    restart_delay_ms: u64,
    /// First delay of a growing one.
    exp_backoff_restart_delay_ms: u64,
    /// Memory limit of the tree.
    max_memory_restart: u64,
    /// First signal of a stop.
    kill_signal: i32,
    /// Time until SIGKILL.
    kill_timeout_ms: u64,
    /// Whether descendants belong to the app.
    treekill: bool,
    /// Ask by IPC message first.
    shutdown_with_message: bool,
    /// stdout file.
    out_file: String,
    /// stderr file.
    error_file: String,
    /// File of both; empty = default name.
    log_file: String,
    /// All instances into the same files.
    merge_logs: bool,
    /// Write nothing.
    disable_logs: bool,
    /// JSON lines.
    log_json: bool,
    /// Time prefix in day.js format.
    log_date_format: String,
    /// Rotation size.
    log_max_size: u64,
    /// Rotated files kept.
    log_retain: u32,
    /// gzip rotated files.
    log_compress: bool,
    /// Cron rule of rotation.
    log_rotate_interval: String,
    /// Pid file.
    pid_file: String,
    /// Cron rule of restarts.
    cron_restart: String,
    /// Cron rule of runs: it is a job.
    schedule: String,
    /// When it fires while the job still runs.
    schedule_overlap: String,
    /// What is watched; empty = the working directory.
    watch: Vec<String>,
    /// Whether anything is watched.
    watches: bool,
    /// What is not watched.
    ignore_watch: Vec<String>,
    /// Quiet time after a change.
    watch_delay_ms: u64,
    /// Apps that must be up before it, with their conditions.
    depends_on: BTreeMap<String, String>,
    /// Commands or webhooks by their moment.
    hooks: BTreeMap<String, String>,
    /// User.
    uid: String,
    /// Group.
    gid: String,
    /// umask.
    umask: u32,
    /// Nice value.
    nice: i32,
    /// Soft limit of open files.
    max_open_files: u64,
    /// Bytes of its control group.
    memory_max: u64,
    /// CPU time of its control group, in hundredths of one CPU.
    cpu_max: u32,
    /// Limits of the kernel by name.
    limits: BTreeMap<String, String>,
    /// App file that it is described by, absolute.
    source: String,
    /// Name behind `env_` that was chosen there.
    source_env: String,
    /// Put the name of the environment behind the app's name.
    append_env_to_name: bool,
    /// Node source maps.
    source_maps: bool,
    /// pm2 attributes kept for other tools; values are JSON text.
    extra: BTreeMap<String, String>,
}

/// Prefix that `--time` stands for.
pub(crate) const TIME_FORMAT: &str = "YYYY-MM-DDTHH:mm:ss";

/// Splits a string of arguments as a shell would.
pub(crate) fn split_words(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| format!("`{text}` has an open quotation mark"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = AppOptions { name: Some("file".into()), nice: Some(3), ..AppOptions::default() };
        let typed = AppOptions { name: Some("typed".into()), ..AppOptions::default() };
        let both = typed.over(file);
        assert_eq!((both.name.as_deref(), both.nice, both.uid), (Some("typed"), Some(3), None));
    }
}
