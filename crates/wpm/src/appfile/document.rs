//! A document as apps: which tables are apps, what is wrong with them, and where.
//!
//! Formats are behind it, paths and programs before it. Invariant: an app whose entries are not all
//! understood is never given out.

use serde_json::{Map, Value};

use super::locate::{self, On};
use super::{Choice, keys};
use crate::failure::{Code, Failure, Spot};
use crate::options::AppOptions;

/// A document that was read.
#[derive(Debug)]
pub(crate) struct Document {
    shown: String,
    text: String,
    tables: Vec<Map<String, Value>>,
    /// The chosen apps that are understood, each with its number in the file.
    pub(crate) apps: Vec<(usize, AppOptions)>,
    /// What is understood of apps of which something is not: to be checked further, never to be run.
    pub(crate) partial: Vec<(usize, AppOptions)>,
    /// Remarks for the user.
    pub(crate) notes: Vec<String>,
    /// What is wrong, in the order of the file.
    pub(crate) failures: Vec<Failure>,
}

impl Document {
    /// Reads every app of a document.
    pub(super) fn read(value: Value, text: &str, shown: &str, choice: &Choice) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let tables = tables(value, shown, &mut notes)?;
        let mut document = Self {
            shown: shown.to_owned(),
            text: text.to_owned(),
            tables,
            apps: Vec::new(),
            partial: Vec::new(),
            notes,
            failures: Vec::new(),
        };
        let mut env_seen = choice.env.is_none();
        for number in 0..document.tables.len() {
            env_seen |= document.read_app(number, choice);
        }
        if let Some(env) = choice.env.as_ref().filter(|_| !env_seen) {
            document.notes.push(format!("no app of {shown} has an `env_{env}`"));
        }
        document.notes.dedup();
        Ok(document)
    }

    /// Reads one app; whether it has the chosen variables.
    fn read_app(&mut self, number: usize, choice: &Choice) -> bool {
        let mut reader = keys::Reader::new(choice.env.as_deref());
        let mut failures = Vec::new();
        for (key, value) in &self.tables[number] {
            if let Err(wrong) = reader.take(key, value) {
                let failure = Failure::new(wrong.code, wrong.message);
                let failure = wrong.help.into_iter().fold(failure, Failure::help);
                failures.push(self.place(failure, number, key, wrong.on));
            }
        }
        let env_seen = reader.env_seen;
        let (options, remarks) = reader.finish();
        let name = options.name.as_deref();
        let chosen =
            choice.only.is_empty() || name.is_some_and(|name| choice.only.iter().any(|only| only == name));
        if failures.is_empty() && chosen {
            self.notes.extend(remarks);
            self.apps.push((number, options));
        } else if chosen && options.script.is_some() {
            self.partial.push((number, options));
        }
        self.failures.append(&mut failures);
        env_seen
    }

    /// The apps with their numbers in the file, if nothing is wrong.
    pub(crate) fn take_apps(&mut self) -> Result<Vec<(usize, AppOptions)>, Failure> {
        if let Some(first) = self.failures.first() {
            return Err(first.clone());
        }
        if self.apps.is_empty() {
            let names: Vec<&str> =
                self.tables.iter().filter_map(|table| table.get("name").and_then(Value::as_str)).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Failure::new(Code::NothingToDo, format!("no app of {} is chosen", self.shown))
                .help(format!("it has: {names}")));
        }
        Ok(std::mem::take(&mut self.apps))
    }

    /// Says where the failure of an app is: at the entry that wpm knows by this name, or at its name.
    pub(crate) fn at_entry(&self, failure: Failure, number: usize, name: &str) -> Failure {
        let table = &self.tables[number];
        let of_name = |wanted: &str| table.keys().find(|key| keys::canonical(key) == Some(wanted)).cloned();
        match of_name(name).or_else(|| of_name("name")).or_else(|| of_name("script")) {
            Some(key) => self.place(failure, number, &key, On::Value),
            None => failure.at(self.shown.clone()),
        }
    }

    fn place(&self, failure: Failure, number: usize, key: &str, on: On) -> Failure {
        let value = &self.tables[number][key];
        // A list or table is looked for by its key alone.
        let composite = matches!(value, Value::Array(_) | Value::Object(_) | Value::Null);
        let same =
            |table: &&Map<String, Value>| table.get(key).is_some_and(|other| composite || other == value);
        let earlier = self.tables[..number].iter().filter(same).count();
        match locate::find(&self.text, key, value, on, earlier) {
            Some(span) => failure.on(Spot::new(&self.shown, &self.text, span)),
            None => failure.at(self.shown.clone()),
        }
    }
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
pub(super) fn tables(
    document: Value,
    shown: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<Map<String, Value>>, Failure> {
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
