//! Apps of a file in whatever format as tables with wpm's own names for every key, for `wpm import`.
//!
//! Values stay as they are written. Invariant: a key that is left out is named.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::document::tables;
use super::{keys, load};
use crate::failure::Failure;
use crate::target::Caller;

/// What a file says, in wpm's words.
#[derive(Debug)]
pub(crate) struct Carried {
    /// Folder that relative paths are seen from.
    pub(crate) base: PathBuf,
    /// The apps.
    pub(crate) apps: Vec<Map<String, Value>>,
    /// What was left out, and why.
    pub(crate) notes: Vec<String>,
}

/// Reads a file and renames its keys.
pub(crate) fn carry(word: &str, caller: &Caller) -> Result<Carried, Failure> {
    let (value, _, base) = load(word, caller)?;
    let mut notes = Vec::new();
    let tables = tables(value, word, &mut notes)?;
    let apps = tables.into_iter().map(|table| rename(table, &mut notes)).collect();
    Ok(Carried { base, apps, notes })
}

fn rename(table: Map<String, Value>, notes: &mut Vec<String>) -> Map<String, Value> {
    let name =
        ["name", "script"].iter().find_map(|key| table.get(*key)?.as_str()).unwrap_or("an app").to_owned();
    let mut renamed = Map::new();
    let mut without_use = Vec::new();
    for (key, value) in table {
        if value.is_null() {
            continue;
        }
        let env = key.starts_with("env_") && (value.is_object() || value.is_string());
        match keys::canonical(&key) {
            Some(own) => {
                renamed.insert(own.to_owned(), without_nulls(value));
            }
            None if env => {
                renamed.insert(key, without_nulls(value));
            }
            None if keys::is_kept(&key) => without_use.push(format!("`{key}`")),
            None => notes.push(format!("{name}: `{key}` means nothing to wpm and was left out")),
        }
    }
    if !without_use.is_empty() {
        notes.push(format!("{name}: {} has no use in wpm and was left out", without_use.join(", ")));
    }
    renamed
}

/// TOML has no null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(table) => {
            let kept = table.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => {
            Value::Array(list.into_iter().filter(|value| !value.is_null()).map(without_nulls).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_get_wpms_names_and_what_is_left_out_is_told() {
        let Value::Object(table) = json!({
            "name": "web", "exec": "a.js", "maxMemoryRestart": "300M", "out": null, "pmx": false,
            "env_production": {"A": null, "B": 1}, "colour": "red"
        }) else {
            unreachable!()
        };
        let mut notes = Vec::new();
        let renamed = rename(table, &mut notes);
        assert_eq!(
            Value::Object(renamed),
            json!({"name": "web", "script": "a.js", "max_memory_restart": "300M", "env_production": {"B": 1}})
        );
        assert_eq!(
            notes,
            [
                "web: `colour` means nothing to wpm and was left out",
                "web: `pmx` has no use in wpm and was left out"
            ]
        );
    }
}
