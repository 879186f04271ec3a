//! Reads the entries of an app by the table of keys ([`super::table`]).
//!
//! Invariant: a name in snake_case and in camelCase means the same; one that is not in the table is an
//! error.

use serde_json::{Map, Value};

use super::locate::On;
use super::table::{KEPT, KEYS, MISSED};
use super::value;
use crate::failure::Code;
use crate::nearest::nearest;
use crate::options::AppOptions;

/// What is wrong with an entry.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// What of the entry is wrong.
    pub(super) on: On,
}

/// The name that wpm uses for a key, if it knows it.
pub(super) fn canonical(key: &str) -> Option<&'static str> {
    let name = snake_case(key);
    KEYS.iter().find(|(names, ..)| names.contains(&name.as_str())).map(|(names, ..)| names[0])
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
        if let Some((.., set)) = KEYS.iter().find(|(names, ..)| names.contains(&name.as_str())) {
            return set(&mut self.options, given).map_err(|why| invalid(key, &why));
        }
        if name == "watch_options" {
            let read = value::watch_options(given).map_err(|why| invalid(key, &why))?;
            self.options.ignore_watch.get_or_insert_default().extend(read.ignored);
            if let Some(delay) = read.delay_ms {
                self.options.watch_delay_ms.get_or_insert(delay);
            }
            self.notes.extend(read.unused.iter().map(|it| format!("`{key}.{it}` has no effect")));
        }
        if KEPT.contains(&name.as_str()) {
            if MISSED.contains(&name.as_str()) && *given != Value::Bool(false) {
                self.notes.push(format!("`{key}` is accepted and has no effect"));
            }
            self.options.extra.get_or_insert_default().insert(name, given.to_string());
            return Ok(());
        }
        let known = KEYS.iter().flat_map(|(names, ..)| names.iter()).chain(KEPT);
        let similar = nearest(&name, known.copied());
        Err(Wrong {
            code: Code::UnknownKey,
            message: format!("`{key}` means nothing in an app file"),
            help: similar.map(|similar| format!("did you mean `{similar}`?")),
            on: On::Key,
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
    let message = format!("invalid value for `{key}`: {why}");
    Wrong { code: Code::InvalidValue, message, help: None, on: On::Value }
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
            KEYS.iter().flat_map(|(names, ..)| names.iter()).chain(KEPT).copied().collect();
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
