//! The JSON Schema of app files, made from the table of keys ([`super::table`]). Pure.
//!
//! It describes what is written in TOML, YAML and JSON alike. Invariant: every name that is read is in
//! it, and no other.

use serde_json::{Map, Value, json};

use super::table::{KEPT, KEYS, Kind};

/// The whole schema.
pub(crate) fn schema() -> Value {
    let mut properties = Map::new();
    for (names, kind, about, _) in KEYS {
        for name in *names {
            let about =
                if *name == names[0] { (*about).to_owned() } else { format!("The same as `{}`", names[0]) };
            let mut form = form(*kind);
            form["description"] = json!(about);
            for spelling in spellings(name) {
                properties.insert(spelling, form.clone());
            }
        }
    }
    for name in KEPT {
        for spelling in spellings(name) {
            properties.insert(spelling, json!({ "description": "Of pm2; accepted, and has no effect" }));
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "App file of wpm",
        "anyOf": [{ "$ref": "#/$defs/file" }, { "$ref": "#/$defs/app" }, { "$ref": "#/$defs/apps" }],
        "$defs": {
            "file": {
                "type": "object",
                "properties": {
                    "$schema": { "type": "string" },
                    "apps": { "anyOf": [{ "$ref": "#/$defs/apps" }, { "$ref": "#/$defs/apps_by_name" }, { "$ref": "#/$defs/app" }] },
                    "pm2": { "$ref": "#/$defs/apps" },
                    "deploy": {},
                    "static": {},
                    "module": {}
                },
                "patternProperties": { "^x-": {} },
                "anyOf": [{ "required": ["apps"] }, { "required": ["pm2"] }],
                "additionalProperties": false
            },
            "apps": { "type": "array", "items": { "$ref": "#/$defs/app" } },
            "apps_by_name": { "type": "object", "additionalProperties": { "$ref": "#/$defs/app" } },
            "app": {
                "type": "object",
                "properties": properties,
                "patternProperties": { "^env_": { "$ref": "#/$defs/env" }, "^(\\$|//)": {} },
                "anyOf": KEYS[0].0.iter().map(|name| json!({ "required": [name] })).collect::<Vec<_>>(),
                "additionalProperties": false
            },
            "env": {
                "description": "Variables by name, or a text such as A=1 B=2",
                "anyOf": [{ "type": "object" }, { "type": "string" }]
            },
            "duration": {
                "description": "Milliseconds, or a number with ms, s, m, h or d",
                "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^\\s*[0-9.]+\\s*(ms|s|m|h|d)?\\s*$" }]
            },
            "size": {
                "description": "Bytes, or a number with K, M or G: powers of 1024",
                "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^\\s*[0-9.]+\\s*([KkMmGgTt]([Ii]?[Bb])?|[Bb])?\\s*$" }]
            },
            "texts": { "anyOf": [{ "type": ["string", "number"] }, { "type": "array", "items": { "type": ["string", "number"] } }] }
        }
    })
}

/// What a value of this kind looks like. An absent value may be written as null.
fn form(kind: Kind) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    match kind {
        Kind::Text | Kind::TextOrNumber => json!({ "type": ["string", "number", "null"] }),
        Kind::TextOrFlag => json!({ "type": ["string", "number", "boolean", "null"] }),
        Kind::Flag => json!({ "anyOf": [{ "type": ["boolean", "null"] }, { "enum": ["true", "false"] }] }),
        Kind::Number => {
            json!({ "anyOf": [{ "type": ["integer", "null"] }, { "type": "string", "pattern": "^\\s*-?[0-9]+\\s*$" }] })
        }
        Kind::OneOf(words) => {
            let words: Vec<Value> = words.iter().map(|word| json!(word)).chain([Value::Null]).collect();
            json!({ "enum": words })
        }
        Kind::Words | Kind::Texts => reference("texts"),
        Kind::Duration => reference("duration"),
        Kind::Size => reference("size"),
        Kind::Codes => {
            json!({ "anyOf": [{ "type": ["integer", "string"] }, { "type": "array", "items": { "type": ["integer", "string"] } }] })
        }
        Kind::Cron => json!({ "anyOf": [{ "type": "string" }, { "enum": [0, false, null] }] }),
        Kind::Watch => json!({ "anyOf": [{ "type": ["boolean", "null"] }, reference("texts")] }),
        Kind::Filter => json!({ "anyOf": [{ "type": ["boolean", "null"] }, reference("texts")] }),
        Kind::Env => reference("env"),
        Kind::Conditions => json!({ "anyOf": [reference("texts"), { "type": "object" }] }),
        Kind::Limits => json!({ "type": "object", "additionalProperties": { "type": ["string", "number"] } }),
        Kind::Hooks => json!({
            "type": "object",
            "properties": {
                "pre_start": { "type": "string" },
                "post_ready": { "type": "string" },
                "pre_stop": { "type": "string" },
                "on_exit": { "type": "string" },
                "on_errored": { "type": "string" }
            },
            "additionalProperties": false
        }),
    }
}

/// A name as it is, and as pm2's files may spell it.
fn spellings(name: &str) -> Vec<String> {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    let mut all = vec![name.to_owned()];
    if camel != name {
        all.push(camel);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wpm.schema.json");
        let published: Value =
            serde_json::from_str(&std::fs::read_to_string(path).expect("docs/wpm.schema.json"))
                .expect("JSON");
        assert!(published == schema(), "wpm config schema > docs/wpm.schema.json");
    }

    #[test]
    fn every_name_is_there_in_both_spellings() {
        let schema = schema();
        let properties = schema["$defs"]["app"]["properties"].as_object().expect("properties");
        for name in ["script", "max_memory_restart", "maxMemoryRestart", "node_args", "vizion", "depends_on"]
        {
            assert!(properties.contains_key(name), "{name}");
        }
        assert_eq!(spellings("exp_backoff_restart_delay")[1], "expBackoffRestartDelay");
    }
}
