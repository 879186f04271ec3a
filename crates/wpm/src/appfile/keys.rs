//! The keys of an app in a file: one table of names, aliases and what they set.
//!
//! Invariant: pm2's names in snake_case and camelCase mean the same, and what wpm has no use for is
//! accepted by name, not by chance.

use serde_json::{Map, Value};

use super::value;
use crate::failure::Code;
use crate::nearest::nearest;
use crate::options::{AppOptions, TIME_FORMAT};

/// Sets a field from a value.
type Set = fn(&mut AppOptions, &Value) -> Result<(), String>;

macro_rules! set {
    ($field:ident, $read:path) => {
        |options, given| {
            options.$field = Some($read(given)?);
            Ok(())
        }
    };
}

/// Names (the first is the one that wpm uses) and what they set.
const KEYS: &[(&[&str], Set)] = &[
    (&["script", "exec", "cmd", "command"], set!(script, value::text)),
    (&["name"], set!(name, value::text)),
    (&["namespace"], set!(namespace, value::text)),
    (&["cwd"], set!(cwd, value::text)),
    (&["args"], set!(args, value::words)),
    (&["interpreter", "exec_interpreter"], set!(interpreter, value::text)),
    (&["interpreter_args", "node_args"], set!(interpreter_args, value::words)),
    (&["exec_mode"], set!(cluster, value::cluster)),
    (&["instances"], set!(instances, value::text)),
    (&["env"], |options, given| {
        options.env.get_or_insert_default().extend(value::env(given)?);
        Ok(())
    }),
    (&["port"], |options, given| {
        let port = value::number::<u16>(given)?.to_string();
        options.env.get_or_insert_default().entry("PORT".to_owned()).or_insert(port);
        Ok(())
    }),
    (&["env_file", "env_files"], set!(env_file, value::texts)),
    (&["filter_env"], set!(filter_env, value::env_filter)),
    (&["instance_var"], set!(instance_var, value::text)),
    (&["increment_var"], set!(increment_var, value::text)),
    (&["append_env_to_name"], set!(append_env_to_name, value::flag)),
    (&["autostart"], set!(autostart, value::flag)),
    (&["start_check"], set!(start_check_ms, value::duration)),
    (&["wait_ready"], set!(wait_ready, value::flag)),
    (&["ready"], set!(ready, value::text)),
    (&["health"], set!(health, value::text)),
    (&["health_interval"], set!(health_interval_ms, value::duration)),
    (&["health_timeout"], set!(health_timeout_ms, value::duration)),
    (&["health_failures"], set!(health_failures, value::number)),
    (&["drain_timeout"], set!(drain_timeout_ms, value::duration)),
    (&["listen_timeout"], set!(listen_timeout_ms, value::duration)),
    (&["listen"], set!(listen, value::words)),
    (&["balance"], set!(balance, value::text)),
    (&["port_step"], set!(port_step, value::number)),
    (&["autorestart"], set!(autorestart, value::flag)),
    (&["stop_exit_codes"], set!(stop_exit_codes, value::exit_codes)),
    (&["min_uptime"], set!(min_uptime_ms, value::duration)),
    (&["max_restarts"], set!(max_restarts, value::number)),
    (&["restart_delay"], set!(restart_delay_ms, value::duration)),
    (&["exp_backoff_restart_delay"], set!(exp_backoff_restart_delay_ms, value::duration)),
    (&["max_memory_restart"], set!(max_memory_restart, value::size)),
    (&["kill_signal"], set!(kill_signal, value::signal)),
    (&["kill_timeout"], set!(kill_timeout_ms, value::duration)),
    (&["treekill"], set!(treekill, value::flag)),
    (&["shutdown_with_message"], set!(shutdown_with_message, value::flag)),
    (&["out_file", "out", "output", "out_log"], set!(out_file, value::text)),
    (&["error_file", "error", "err", "err_file", "err_log"], set!(error_file, value::text)),
    (&["log_file", "log"], set!(log_file, value::log_file)),
    (&["merge_logs", "combine_logs"], set!(merge_logs, value::flag)),
    (&["disable_logs"], set!(disable_logs, value::flag)),
    (&["log_type"], |options, given| {
        options.log_json = Some(value::text(given)? == "json");
        Ok(())
    }),
    (&["log_date_format"], set!(log_date_format, value::text)),
    (&["time"], |options, given| {
        if value::flag(given)? {
            options.log_date_format.get_or_insert_with(|| TIME_FORMAT.to_owned());
        }
        Ok(())
    }),
    (&["log_max_size", "max_size"], set!(log_max_size, value::size)),
    (&["log_retain", "retain"], set!(log_retain, value::number)),
    (&["log_compress"], set!(log_compress, value::flag)),
    (&["log_rotate_interval", "rotate_interval"], set!(log_rotate_interval, value::text)),
    (&["pid_file", "pid"], set!(pid_file, value::text)),
    (&["cron_restart", "cron"], set!(cron_restart, value::cron)),
    (&["schedule"], set!(schedule, value::text)),
    (&["schedule_overlap"], set!(schedule_overlap, value::text)),
    (&["watch"], |options, given| {
        match value::flag(given) {
            Ok(watches) => options.watches = Some(watches),
            Err(_) => options.watch = Some(value::texts(given)?),
        }
        Ok(())
    }),
    (&["ignore_watch"], set!(ignore_watch, value::texts)),
    (&["watch_delay"], set!(watch_delay_ms, value::duration)),
    (&["depends_on"], set!(depends_on, value::conditions)),
    (&["hooks"], set!(hooks, value::table)),
    (&["uid", "user"], set!(uid, value::text)),
    (&["gid", "group"], set!(gid, value::text)),
    (&["umask"], set!(umask, value::umask)),
    (&["nice"], set!(nice, value::number)),
    (&["max_open_files"], set!(max_open_files, value::number)),
    (&["limits"], set!(limits, value::limits)),
    (&["source_map_support"], set!(source_maps, value::flag)),
    (&["disable_source_map_support"], set!(source_maps, value::no_flag)),
];

/// Keys that wpm knows and has nothing to do for; they are kept for `jlist`.
const KEPT: &[&str] = &[
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
const MISSED: &[&str] = &["watch_options", "post_update"];

/// What is wrong with an entry.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// wpm's own name of a key.
pub(super) fn canonical(key: &str) -> Option<&'static str> {
    let name = snake_case(key);
    KEYS.iter()
        .find(|(names, _)| names.contains(&name.as_str()))
        .and_then(|(names, _)| names.first().copied())
}

/// Whether wpm knows a key and has no use for it.
pub(super) fn is_kept(key: &str) -> bool {
    KEPT.contains(&snake_case(key).as_str())
}

/// Whether a table describes an app.
pub(super) fn is_app(table: &Map<String, Value>) -> bool {
    table.keys().any(|key| KEYS[0].0.contains(&key.as_str()))
}

/// Reads the entries of one app.
pub(super) struct Reader<'a> {
    env_name: Option<&'a str>,
    options: AppOptions,
    notes: Vec<String>,
    chosen_env: Option<Value>,
    /// Whether the app has variables of the chosen name.
    pub(super) env_seen: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(env_name: Option<&'a str>) -> Self {
        Self {
            env_name,
            options: AppOptions::default(),
            notes: Vec::new(),
            chosen_env: None,
            env_seen: false,
        }
    }

    /// Takes one entry.
    pub(super) fn take(&mut self, key: &str, given: &Value) -> Result<(), Wrong> {
        if given.is_null() || key.starts_with('$') || key.starts_with("//") {
            return Ok(());
        }
        let name = snake_case(key);
        let names_file = matches!(name.as_str(), "env_file" | "env_files");
        if let Some(name) =
            key.strip_prefix("env_").filter(|_| !names_file && (given.is_object() || given.is_string()))
        {
            if self.env_name == Some(name) {
                self.env_seen = true;
                self.chosen_env = Some(given.clone());
            }
            return value::env(given).map(drop).map_err(|why| invalid(key, &why));
        }
        if let Some((_, set)) = KEYS.iter().find(|(names, _)| names.contains(&name.as_str())) {
            return set(&mut self.options, given).map_err(|why| invalid(key, &why));
        }
        if KEPT.contains(&name.as_str()) {
            if MISSED.contains(&name.as_str()) && *given != Value::Bool(false) {
                self.notes.push(format!("`{key}` is not supported yet and has no effect"));
            }
            self.options.extra.get_or_insert_default().insert(name, given.to_string());
            return Ok(());
        }
        let known = KEYS.iter().flat_map(|(names, _)| names.iter()).chain(KEPT);
        let similar = nearest(&name, known.copied());
        Err(Wrong {
            code: Code::UnknownKey,
            message: format!("`{key}` means nothing in an app file"),
            help: similar.map(|similar| format!("did you mean `{similar}`?")),
        })
    }

    /// The settings, with the chosen variables over the others.
    pub(super) fn finish(mut self) -> (AppOptions, Vec<String>) {
        if let Some(Ok(chosen)) = self.chosen_env.as_ref().map(value::env) {
            self.options.env.get_or_insert_default().extend(chosen);
        }
        (self.options, self.notes)
    }
}

fn invalid(key: &str, why: &str) -> Wrong {
    Wrong { code: Code::InvalidValue, message: format!("invalid value for `{key}`: {why}"), help: None }
}

/// pm2 takes `maxMemoryRestart` for `max_memory_restart`.
fn snake_case(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<&str> =
            KEYS.iter().flat_map(|(names, _)| names.iter()).chain(KEPT).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn camel_case_is_the_same_key() {
        assert_eq!(snake_case("maxMemoryRestart"), "max_memory_restart");
        assert_eq!(snake_case("out_file"), "out_file");
    }
}
