//! The keys of an app in a file: names, aliases, what a value looks like, and what it sets.
//!
//! The one table from which files are read, the schema is made and the documentation is checked.
//! Invariant: pm2's names mean here what they mean there, and what wpm has no use for is accepted by
//! name, not by chance.

use serde_json::Value;

use super::value;
use crate::options::{AppOptions, TIME_FORMAT};

/// What a value looks like, for the schema.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// A text or a number.
    TextOrNumber,
    /// A text or true.
    TextOrFlag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of words, or a text that is split.
    Words,
    /// A text or a list of texts.
    Texts,
    /// Milliseconds, or a number with a unit.
    Duration,
    /// Bytes, or a number with a unit.
    Size,
    /// A number or a list of numbers.
    Codes,
    /// A cron rule, or 0 or false for none.
    Cron,
    /// True, false, a path or a list of paths.
    Watch,
    /// Parts of names, or true for all.
    Filter,
    /// Variables by name, or a text of them.
    Env,
    /// Apps with their conditions.
    Conditions,
    /// Limits by name.
    Limits,
    /// Commands by moment.
    Hooks,
}

/// pm2's modes.
const MODES: &[&str] = &["fork", "cluster", "fork_mode", "cluster_mode"];
/// Who balances.
const BALANCES: &[&str] = &["shared", "round-robin", "sticky"];
/// What happens when a job is still running.
const OVERLAPS: &[&str] = &["skip", "queue", "kill"];

/// Sets a field from a value.
pub(super) type Set = fn(&mut AppOptions, &Value) -> Result<(), String>;

macro_rules! set {
    ($field:ident, $read:path) => {
        |options, given| {
            options.$field = Some($read(given)?);
            Ok(())
        }
    };
}

/// Names (the first is the one that wpm uses), the form of the value, what it is for, and what it sets.
pub(super) const KEYS: &[(&[&str], Kind, &str, Set)] = &[
    (
        &["script", "exec", "cmd", "command"],
        Kind::Text,
        "What to run: a file, a folder, a command, or a command line",
        set!(script, value::text),
    ),
    (&["name"], Kind::Text, "Name of the app", set!(name, value::text)),
    (&["namespace"], Kind::Text, "A name for several apps", set!(namespace, value::text)),
    (&["cwd"], Kind::Text, "Working directory", set!(cwd, value::text)),
    (&["args"], Kind::Words, "Arguments of the app", set!(args, value::words)),
    (
        &["interpreter", "exec_interpreter"],
        Kind::Text,
        "Program that runs the file; none executes it",
        set!(interpreter, value::text),
    ),
    (
        &["interpreter_args", "node_args"],
        Kind::Words,
        "Arguments before the file",
        set!(interpreter_args, value::words),
    ),
    (&["exec_mode"], Kind::OneOf(MODES), "fork or cluster, as pm2 calls them", set!(cluster, value::cluster)),
    (
        &["instances"],
        Kind::TextOrNumber,
        "How many: a number, or max for one per CPU",
        set!(instances, value::text),
    ),
    (&["env"], Kind::Env, "Variables of the app", |options, given| {
        options.env.get_or_insert_default().extend(value::env(given)?);
        Ok(())
    }),
    (&["port"], Kind::Number, "Sets PORT", |options, given| {
        let port = value::number::<u16>(given)?.to_string();
        options.env.get_or_insert_default().entry("PORT".to_owned()).or_insert(port);
        Ok(())
    }),
    (
        &["env_file", "env_files"],
        Kind::Texts,
        "Files with variables, such as .env",
        set!(env_file, value::texts),
    ),
    (
        &["filter_env"],
        Kind::Filter,
        "Do not inherit variables whose name contains one of these; true: inherit none",
        set!(filter_env, value::env_filter),
    ),
    (
        &["instance_var"],
        Kind::Text,
        "Variable that carries the index of the instance",
        set!(instance_var, value::text),
    ),
    (
        &["increment_var"],
        Kind::Text,
        "Variable that grows by the index of the instance",
        set!(increment_var, value::text),
    ),
    (
        &["append_env_to_name"],
        Kind::Flag,
        "Put NODE_ENV behind the name",
        set!(append_env_to_name, value::flag),
    ),
    (&["autostart"], Kind::Flag, "Start it when it is added", set!(autostart, value::flag)),
    (
        &["start_check"],
        Kind::Duration,
        "A start has succeeded when the app has lived so long",
        set!(start_check_ms, value::duration),
    ),
    (&["wait_ready"], Kind::Flag, "Wait until the app says that it is ready", set!(wait_ready, value::flag)),
    (&["ready"], Kind::Text, "How it is found out that it is ready", set!(ready, value::text)),
    (&["health"], Kind::Text, "How it is found out that it is still well", set!(health, value::text)),
    (
        &["health_interval"],
        Kind::Duration,
        "Time between two checks of health",
        set!(health_interval_ms, value::duration),
    ),
    (
        &["health_timeout"],
        Kind::Duration,
        "Time after which a check has failed",
        set!(health_timeout_ms, value::duration),
    ),
    (
        &["health_failures"],
        Kind::Number,
        "Failed checks in a row until it is restarted",
        set!(health_failures, value::number),
    ),
    (
        &["drain_timeout"],
        Kind::Duration,
        "How long an old run may finish its work in a reload",
        set!(drain_timeout_ms, value::duration),
    ),
    (
        &["listen_timeout"],
        Kind::Duration,
        "How long to wait until it is ready",
        set!(listen_timeout_ms, value::duration),
    ),
    (
        &["listen"],
        Kind::Words,
        "Sockets that are bound once and handed to every instance",
        set!(listen, value::words),
    ),
    (
        &["balance"],
        Kind::OneOf(BALANCES),
        "Who balances a port that Node instances share",
        set!(balance, value::text),
    ),
    (
        &["port_step"],
        Kind::Number,
        "Port from which each Node instance counts its own",
        set!(port_step, value::number),
    ),
    (&["autorestart"], Kind::Flag, "Start it again when it ends", set!(autorestart, value::flag)),
    (
        &["stop_exit_codes"],
        Kind::Codes,
        "Exit codes after which it rests",
        set!(stop_exit_codes, value::exit_codes),
    ),
    (
        &["min_uptime"],
        Kind::Duration,
        "An end before this is an unstable one",
        set!(min_uptime_ms, value::duration),
    ),
    (
        &["max_restarts"],
        Kind::Number,
        "Unstable ends until it is given up",
        set!(max_restarts, value::number),
    ),
    (
        &["restart_delay"],
        Kind::Duration,
        "Fixed delay before each restart",
        set!(restart_delay_ms, value::duration),
    ),
    (
        &["exp_backoff_restart_delay"],
        Kind::Duration,
        "First delay of one that grows",
        set!(exp_backoff_restart_delay_ms, value::duration),
    ),
    (
        &["max_memory_restart"],
        Kind::Size,
        "Restart it when its processes use more memory",
        set!(max_memory_restart, value::size),
    ),
    (&["kill_signal"], Kind::TextOrNumber, "First signal of a stop", set!(kill_signal, value::signal)),
    (&["kill_timeout"], Kind::Duration, "Time until SIGKILL", set!(kill_timeout_ms, value::duration)),
    (&["treekill"], Kind::Flag, "Whether descendants belong to the app", set!(treekill, value::flag)),
    (
        &["shutdown_with_message"],
        Kind::Flag,
        "Stop by the message shutdown instead of a signal",
        set!(shutdown_with_message, value::flag),
    ),
    (&["out_file", "out", "output", "out_log"], Kind::Text, "File of stdout", set!(out_file, value::text)),
    (
        &["error_file", "error", "err", "err_file", "err_log"],
        Kind::Text,
        "File of stderr",
        set!(error_file, value::text),
    ),
    (&["log_file", "log"], Kind::TextOrFlag, "One file for both besides", set!(log_file, value::log_file)),
    (
        &["merge_logs", "combine_logs"],
        Kind::Flag,
        "All instances into the same files",
        set!(merge_logs, value::flag),
    ),
    (&["disable_logs"], Kind::Flag, "Keep no logs", set!(disable_logs, value::flag)),
    (&["log_type"], Kind::Text, "json writes each line as JSON", |options, given| {
        options.log_json = Some(value::text(given)? == "json");
        Ok(())
    }),
    (
        &["log_date_format"],
        Kind::Text,
        "Time before each line, in the signs of day.js",
        set!(log_date_format, value::text),
    ),
    (&["time"], Kind::Flag, "Put the time before each line", |options, given| {
        if value::flag(given)? {
            options.log_date_format.get_or_insert_with(|| TIME_FORMAT.to_owned());
        }
        Ok(())
    }),
    (
        &["log_max_size", "max_size"],
        Kind::Size,
        "Rotate a log of this size; 0: never",
        set!(log_max_size, value::size),
    ),
    (&["log_retain", "retain"], Kind::Number, "Rotated files kept", set!(log_retain, value::number)),
    (&["log_compress"], Kind::Flag, "Compress rotated files", set!(log_compress, value::flag)),
    (
        &["log_rotate_interval", "rotate_interval"],
        Kind::Text,
        "Rotate by a cron rule",
        set!(log_rotate_interval, value::text),
    ),
    (&["pid_file", "pid"], Kind::Text, "File for the process id", set!(pid_file, value::text)),
    (&["cron_restart", "cron"], Kind::Cron, "Restart it by a cron rule", set!(cron_restart, value::cron)),
    (&["schedule"], Kind::Text, "Run it as a job by a cron rule", set!(schedule, value::text)),
    (
        &["schedule_overlap"],
        Kind::OneOf(OVERLAPS),
        "When the rule fires while the job still runs",
        set!(schedule_overlap, value::text),
    ),
    (&["watch"], Kind::Watch, "Restart it when files change", |options, given| {
        match value::flag(given) {
            Ok(watches) => options.watches = Some(watches),
            Err(_) => options.watch = Some(value::texts(given)?),
        }
        Ok(())
    }),
    (&["ignore_watch"], Kind::Texts, "What is not watched: patterns as in a .gitignore", |options, given| {
        options.ignore_watch.get_or_insert_default().extend(value::texts(given)?);
        Ok(())
    }),
    (
        &["watch_delay"],
        Kind::Duration,
        "Quiet time after a change until the restart",
        set!(watch_delay_ms, value::duration),
    ),
    (
        &["depends_on"],
        Kind::Conditions,
        "Apps that must be there before it starts",
        set!(depends_on, value::conditions),
    ),
    (&["hooks"], Kind::Hooks, "Commands or webhooks at moments in its life", set!(hooks, value::table)),
    (&["uid", "user"], Kind::TextOrNumber, "User that it runs as", set!(uid, value::text)),
    (&["gid", "group"], Kind::TextOrNumber, "Group that it runs as", set!(gid, value::text)),
    (&["umask"], Kind::TextOrNumber, "File mode mask, octal", set!(umask, value::umask)),
    (&["nice"], Kind::Number, "Nice value", set!(nice, value::number)),
    (&["max_open_files"], Kind::Number, "Limit of open files", set!(max_open_files, value::number)),
    (&["memory_max"], Kind::Size, "What its control group may use", set!(memory_max, value::size)),
    (
        &["cpu_max"],
        Kind::TextOrNumber,
        "CPUs that its control group may use, such as 1.5 or 50%",
        set!(cpu_max, value::cpus),
    ),
    (&["limits"], Kind::Limits, "Limits of the kernel by name", set!(limits, value::limits)),
    (&["source_map_support"], Kind::Flag, "Node source maps", set!(source_maps, value::flag)),
    (&["disable_source_map_support"], Kind::Flag, "No source maps", set!(source_maps, value::no_flag)),
];

/// Keys that wpm knows and has nothing to do for; they are kept for `jlist`.
pub(super) const KEPT: &[&str] = &[
    "vizion",
    "pmx",
    "automation",
    "trace",
    "disable_trace",
    "v8",
    "event_loop_inspector",
    "deep_monitoring",
    "post_update",
    "io",
    "windows_hide",
    "kill_retry_time",
    "force",
    "write",
    "execute_command",
    "name_prefix",
    "install_url",
    "username",
    "watch_options",
    "ext",
    "max",
];

/// Keys of [`KEPT`] whose absence a user would notice.
pub(super) const MISSED: &[&str] = &["post_update"];
