//! App files: the apps that a file describes, in whatever format.
//!
//! Formats ([`parse`]), keys ([`keys`]) and their values ([`value`]) are separate; this module puts them
//! together. Resolves no path and starts nothing. Invariant: a key that is not understood is an error,
//! never silently ignored.

mod carry;
mod keys;
mod locate;
mod parse;
mod procfile;
mod script;
mod value;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::failure::{Code, Failure};
use crate::options::AppOptions;
use crate::target::{Caller, absolute};
pub(crate) use carry::carry;
use parse::{Data, Format};

/// Which apps of a file are meant, and with which environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// Name behind `env_`.
    pub(crate) env: Option<String>,
    /// Only apps of these names; empty = all.
    pub(crate) only: Vec<String>,
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct AppFile {
    /// The file itself, absolute; none for stdin.
    pub(crate) source: Option<String>,
    /// Folder that relative paths are seen from.
    pub(crate) base: PathBuf,
    /// The chosen apps.
    pub(crate) apps: Vec<AppOptions>,
    /// Remarks for the user.
    pub(crate) notes: Vec<String>,
}

/// Whether a word names an app file rather than a script.
pub(crate) fn is_app_file(word: &str) -> bool {
    if word.contains(char::is_whitespace) && !Path::new(word).is_file() {
        return false;
    }
    Format::of(word).is_some()
}

/// Names of app files that are looked for, in this order.
pub(crate) const DEFAULT_FILES: [&str; 13] = [
    "wpm.toml",
    "wpm.yaml",
    "wpm.yml",
    "wpm.json",
    "wpm.json5",
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.config.json",
    "ecosystem.json",
    "process.yml",
    "process.json",
    "Procfile",
];

/// The app file of a folder that `wpm start` without a target takes.
pub(crate) fn default_file(folder: &Path) -> Option<PathBuf> {
    DEFAULT_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Reads a file; `-` is JSON on stdin.
pub(crate) fn read(word: &str, caller: &Caller, choice: &Choice) -> Result<AppFile, Failure> {
    let (document, text, base) = document(word, caller)?;
    if word == "-" {
        return of_document(document, &text, "stdin", base, choice);
    }
    let path = absolute(word, &caller.cwd, &caller.env);
    let mut file = of_document(document, &text, word, base, choice)?;
    file.source = Some(path.display().to_string());
    for app in &mut file.apps {
        app.source.clone_from(&file.source);
        app.source_env.clone_from(&choice.env);
    }
    Ok(file)
}

/// What a file holds, its text, and the folder that its relative paths are seen from.
fn document(word: &str, caller: &Caller) -> Result<(Value, String, PathBuf), Failure> {
    let path = absolute(word, &caller.cwd, &caller.env);
    let unreadable = |cause: std::io::Error| {
        Failure::new(Code::AppFile, format!("cannot read the app file {}: {cause}", path.display()))
    };
    if word == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
        return Ok((parse::data(&text, Data::Json, "stdin")?, text, caller.cwd.clone()));
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    let base = path.parent().unwrap_or(&caller.cwd).to_owned();
    let document = match Format::of(word).unwrap_or(Format::Data(Data::Json)) {
        Format::Data(notation) => parse::data(&text, notation, word)?,
        Format::Procfile => procfile::parse(&text, &base, word)?,
        Format::Script => script::read(&text, &path, word, &caller.env)?,
    };
    Ok((document, text, base))
}

fn of_document(
    document: Value,
    text: &str,
    shown: &str,
    base: PathBuf,
    choice: &Choice,
) -> Result<AppFile, Failure> {
    let mut notes = Vec::new();
    let tables = tables(document, shown, &mut notes)?;
    let mut apps = Vec::new();
    let mut env_seen = choice.env.is_none();
    for table in &tables {
        let mut reader = keys::Reader::new(choice.env.as_deref());
        for (key, value) in table {
            reader.take(key, value).map_err(|wrong| {
                let mut failure = Failure::new(wrong.code, wrong.message);
                if let Some((line, excerpt)) = locate::find(text, key, value) {
                    failure = failure.at(format!("{shown}:{line}")).excerpt(excerpt);
                } else {
                    failure = failure.at(shown);
                }
                wrong.help.into_iter().fold(failure, Failure::help)
            })?;
        }
        env_seen |= reader.env_seen;
        let (options, remarks) = reader.finish();
        let name = options.name.as_deref();
        if choice.only.is_empty() || name.is_some_and(|name| choice.only.iter().any(|only| only == name)) {
            notes.extend(remarks);
            apps.push(options);
        }
    }
    if let Some(env) = choice.env.as_ref().filter(|_| !env_seen) {
        notes.push(format!("no app of {shown} has an `env_{env}`"));
    }
    if apps.is_empty() {
        let names: Vec<&str> =
            tables.iter().filter_map(|table| table.get("name").and_then(Value::as_str)).collect();
        return Err(Failure::new(Code::NothingToDo, format!("no app of {shown} is chosen")).help(format!(
            "it has: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        )));
    }
    notes.dedup();
    Ok(AppFile { source: None, base, apps, notes })
}

/// The settings of one app that stands in a table already, with remarks.
pub(crate) fn options_of(
    table: &Map<String, Value>,
    shown: &str,
) -> Result<(AppOptions, Vec<String>), Failure> {
    let mut reader = keys::Reader::new(None);
    for (key, value) in table {
        reader.take(key, value).map_err(|wrong| Failure::new(wrong.code, wrong.message).at(shown))?;
    }
    Ok(reader.finish())
}

/// The apps of a document: `apps` as a list, one app, or tables by name; a bare list; a bare app.
fn tables(document: Value, shown: &str, notes: &mut Vec<String>) -> Result<Vec<Map<String, Value>>, Failure> {
    let wrong = |message: String| Failure::new(Code::Syntax, message).at(shown);
    let list = match document {
        Value::Array(list) => list,
        Value::Object(mut table) => {
            let apps = table.shift_remove("apps").or_else(|| table.shift_remove("pm2"));
            match apps {
                Some(apps) => {
                    for key in table.keys().filter(|key| *key != "$schema") {
                        if matches!(key.as_str(), "deploy" | "static" | "module") {
                            notes.push(format!("`{key}` of {shown} is not used by wpm"));
                        } else if !key.starts_with("x-") {
                            return Err(wrong(format!("`{key}` beside `apps` means nothing"))
                                .help("settings of an app stand within its entry of `apps`")
                                .help("what several share may stand beside it under a name with `x-`"));
                        }
                    }
                    match apps {
                        Value::Array(list) => list,
                        Value::Object(table) if keys::is_app(&table) => vec![Value::Object(table)],
                        Value::Object(by_name) => by_name.into_iter().map(named).collect(),
                        _ => return Err(wrong("`apps` must be a list of apps".to_owned())),
                    }
                }
                None if keys::is_app(&table) => vec![Value::Object(table)],
                None => {
                    return Err(wrong("neither `apps` nor a `script`".to_owned())
                        .help("an app file is { \"apps\": [ { \"name\": …, \"script\": … } ] }"));
                }
            }
        }
        _ => return Err(wrong("an app file is an object with `apps`, or a list of apps".to_owned())),
    };
    list.into_iter()
        .map(|app| match app {
            Value::Object(table) => Ok(table),
            other => Err(wrong(format!("an app must be an object, this is {other}"))),
        })
        .collect()
}

fn named((name, app): (String, Value)) -> Value {
    match app {
        Value::Object(mut table) => {
            table.entry("name").or_insert(Value::String(name));
            Value::Object(table)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
