//! What a spec must fulfil before anything is done with it.
//!
//! It does not look at files, users or PATH: those fail at the spawn, with the name of the stage.
//! Invariant: what passes here cannot break a file name, an argument vector or a line of output.

use crate::start::MOST_INSTANCES;
use crate::{CommandError, Millis, Spec};

/// Longest name of an app or namespace in bytes.
const LONGEST_NAME: usize = 256;
/// Shortest time that tells a stable run.
const SHORTEST_UPTIME: Millis = Millis(100);
/// Longest span that may be asked for: a year.
const LONGEST_SPAN: Millis = Millis(366 * 24 * 3600 * 1000);

impl Spec {
    /// Whether the spec can be run at all.
    ///
    /// # Errors
    /// [`CommandError::InvalidSpec`] with the first field that is wrong.
    pub fn validate(&self) -> Result<(), CommandError> {
        let wrong = |field: &'static str, reason: String| {
            Err(CommandError::InvalidSpec { name: self.name.clone(), field, reason })
        };
        for (field, text) in [("name", &self.name), ("namespace", &self.namespace)] {
            if let Some(reason) = wrong_label(text) {
                return wrong(field, reason);
            }
        }
        if self.script.is_empty() {
            return wrong("script", "must not be empty".to_owned());
        }
        if !self.cwd.starts_with('/') {
            return wrong("cwd", format!("must be an absolute path, not `{}`", self.cwd));
        }
        if self.instances == 0 || self.instances > MOST_INSTANCES {
            return wrong(
                "instances",
                format!("must be between 1 and {MOST_INSTANCES}, not {}", self.instances),
            );
        }
        if let Some(field) = self.field_with_nul() {
            return wrong(field, "must not contain a NUL byte".to_owned());
        }
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains('=')) {
            return wrong("env", format!("`{name}` cannot be the name of a variable"));
        }
        if self.shell && self.interpreter.is_none() {
            return wrong("interpreter", "must name the shell of a command line".to_owned());
        }
        for (field, name) in
            [("instance_var", Some(&self.instance_var)), ("increment_var", self.increment_var.as_ref())]
        {
            if name.is_some_and(|name| name.is_empty() || name.contains('=')) {
                return wrong(field, "must be the name of a variable".to_owned());
            }
        }
        if let Some(name) = &self.increment_var {
            let base = self.env.get(name).map(String::as_str);
            match base.map(|base| base.trim().parse::<u32>()) {
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    let base = base.unwrap_or_default();
                    return wrong(
                        "increment_var",
                        format!("needs a number to count from, and {name} is `{base}`"),
                    );
                }
                None => {
                    return wrong(
                        "increment_var",
                        format!("needs a number to count from, and {name} is not set"),
                    );
                }
            }
        }
        self.validate_numbers()
            .or_else(|| self.validate_sharing())
            .map_or(Ok(()), |(field, reason)| wrong(field, reason))
    }

    fn validate_numbers(&self) -> Option<(&'static str, String)> {
        if self.restart.min_uptime < SHORTEST_UPTIME {
            return Some(("min_uptime", format!("must be at least {} ms", SHORTEST_UPTIME.0)));
        }
        let zero = Some(Millis(0));
        let spans = [
            ("min_uptime", Some(self.restart.min_uptime)),
            ("kill_timeout", Some(self.stop.kill_timeout)),
            ("listen_timeout", Some(self.listen_timeout)),
            ("start_check", Some(self.start_check)),
            ("drain_timeout", Some(self.drain_timeout)),
            ("health_interval", Some(self.health_interval)),
            ("health_timeout", Some(self.health_timeout)),
            ("restart_delay", self.restart.restart_delay.or(zero)),
            ("exp_backoff_restart_delay", self.restart.backoff.or(zero)),
        ];
        if let Some((field, _)) =
            spans.into_iter().find(|(_, span)| span.is_some_and(|span| span > LONGEST_SPAN))
        {
            return Some((field, "must be less than a year".to_owned()));
        }
        if self.restart.max_memory == Some(0) {
            return Some(("max_memory_restart", "must be more than 0 bytes".to_owned()));
        }
        if !(1..=64).contains(&self.stop.signal) {
            return Some((
                "kill_signal",
                format!("must be a signal number from 1 to 64, not {}", self.stop.signal),
            ));
        }
        if !(-20..=19).contains(&self.nice) {
            return Some(("nice", format!("must be from -20 to 19, not {}", self.nice)));
        }
        if self.umask.is_some_and(|mask| mask > 0o777) {
            return Some(("umask", "must be at most 0777".to_owned()));
        }
        if self.schedule.is_some() && self.cron_restart.is_some() {
            return Some((
                "schedule",
                "excludes `cron_restart`: an app is a job, or it is restarted".to_owned(),
            ));
        }
        if self.schedule.is_some() && self.restart.autorestart && !self.restart.stop_exit_codes.contains(&0) {
            let reason = "is for jobs, which end: with `autorestart` it needs `stop_exit_codes` with 0";
            return Some(("schedule", reason.to_owned()));
        }
        if self.memory_max == Some(0) {
            return Some(("memory_max", "must be more than 0 bytes".to_owned()));
        }
        if self.cpu_max == Some(0) {
            return Some(("cpu_max", "must be 1% of a CPU or more".to_owned()));
        }
        if self.max_open_files == Some(0) {
            return Some(("max_open_files", "must be more than 0".to_owned()));
        }
        None
    }

    fn field_with_nul(&self) -> Option<&'static str> {
        let or_none = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains('\0'));
        let texts = [("script", &self.script), ("cwd", &self.cwd), ("instance_var", &self.instance_var)];
        let options = [
            ("interpreter", &self.interpreter),
            ("increment_var", &self.increment_var),
            ("out_file", &self.log.out),
            ("error_file", &self.log.err),
            ("log_file", &self.log.both),
            ("pid_file", &self.pid_file),
            ("uid", &self.uid),
            ("gid", &self.gid),
        ];
        let lists = [("args", &self.args), ("interpreter_args", &self.interpreter_args)];
        let in_texts = texts.into_iter().find(|(_, text)| text.contains('\0')).map(|(field, _)| field);
        in_texts
            .or_else(|| options.into_iter().find(|(_, text)| or_none(text)).map(|(field, _)| field))
            .or_else(|| {
                lists
                    .into_iter()
                    .find(|(_, all)| all.iter().any(|one| one.contains('\0')))
                    .map(|(field, _)| field)
            })
            .or_else(|| self.env.iter().any(|(k, v)| k.contains('\0') || v.contains('\0')).then_some("env"))
    }
}

fn wrong_label(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("must not be empty".to_owned());
    }
    if text.len() > LONGEST_NAME {
        return Some(format!("must be at most {LONGEST_NAME} bytes long, not {}", text.len()));
    }
    if text == "all" || (text.len() > 2 && text.starts_with('/') && text.ends_with('/')) {
        return Some("must not be `all` or stand between slashes, which mean other apps too".to_owned());
    }
    text.chars().any(char::is_control).then(|| "must not contain control characters".to_owned())
}
