//! Values of app files as what a key expects: text, number, size, duration, list.
//!
//! Each gives the value or says what was expected. Text that reads as the expected thing is taken, as
//! pm2 does.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::options::{EnvFilter, split_words};
use crate::quantity::{parse_cpus, parse_duration, parse_size};

type Read<T> = Result<T, String>;

pub(super) fn text(value: &Value) -> Read<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("{other} is not a text")),
    }
}

pub(super) fn flag(value: &Value) -> Read<bool> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        other => Err(format!("{other} is neither true nor false")),
    }
}

pub(super) fn no_flag(value: &Value) -> Read<bool> {
    flag(value).map(|flag| !flag)
}

pub(super) fn number<T: TryFrom<i64>>(value: &Value) -> Read<T> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{value} is not a number that fits"))
}

pub(super) fn duration(value: &Value) -> Read<u64> {
    parse_duration(&text(value).map_err(|_| format!("{value} is not a duration"))?)
}

pub(super) fn size(value: &Value) -> Read<u64> {
    parse_size(&text(value).map_err(|_| format!("{value} is not a size"))?)
}

pub(super) fn cpus(value: &Value) -> Read<u32> {
    parse_cpus(&text(value).map_err(|_| format!("{value} is not a number of CPUs"))?)
}

/// A list of texts, or one.
pub(super) fn texts(value: &Value) -> Read<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    }
}

/// Texts by name.
pub(super) fn table(value: &Value) -> Read<BTreeMap<String, String>> {
    let table = value.as_object().ok_or_else(|| format!("{value} is not a table of names and texts"))?;
    table.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect()
}

/// What wpm takes of the options of pm2's watcher.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WatchOptions {
    /// What is not watched.
    pub(super) ignored: Vec<String>,
    /// Quiet time after a change.
    pub(super) delay_ms: Option<u64>,
    /// Options that would change what is watched, and do not.
    pub(super) unused: Vec<String>,
}

/// Options of chokidar. Those about how it watches (`usePolling`, `interval`) are needed by nobody here.
pub(super) fn watch_options(value: &Value) -> Read<WatchOptions> {
    let options = value.as_object().ok_or_else(|| format!("{value} is not a table of options"))?;
    let mut read = WatchOptions::default();
    for (name, value) in options {
        match name.as_str() {
            "ignored" => read.ignored = texts(value)?,
            "awaitWriteFinish" => {
                read.delay_ms = value.get("stabilityThreshold").map(duration).transpose()?;
            }
            "depth" | "cwd" | "followSymlinks" => read.unused.push(name.clone()),
            _ => {}
        }
    }
    Ok(read)
}

/// Limits by name: a number, a size, `unlimited`, or `SOFT:HARD` of these.
pub(super) fn limits(value: &Value) -> Read<BTreeMap<String, String>> {
    let limits = table(value)?;
    limits.into_iter().map(|(name, limit)| Ok((name, crate::quantity::parse_limit(&limit)?))).collect()
}

/// Names of apps, each with its condition: a table, or a list of `NAME` or `NAME:CONDITION`. In a table,
/// `{ condition: … }` is understood, too.
pub(super) fn conditions(value: &Value) -> Read<BTreeMap<String, String>> {
    if let Value::Object(entries) = value {
        let condition = |value: &Value| match value.get("condition") {
            // As Compose files say it: `service_healthy`.
            Some(word) => text(word).map(|word| word.trim_start_matches("service_").to_owned()),
            None => text(value),
        };
        return entries.iter().map(|(name, value)| Ok((name.clone(), condition(value)?))).collect();
    }
    let entry = |word: &String| {
        let (name, condition) = word.rsplit_once(':').unwrap_or((word, "ready"));
        (name.to_owned(), condition.to_owned())
    };
    Ok(texts(value)?.iter().map(entry).collect())
}

/// A list of words, or one text that is split as a shell would.
pub(super) fn words(value: &Value) -> Read<Vec<String>> {
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        Value::String(text) => split_words(text),
        other => text(other).map(|word| vec![word]),
    }
}

pub(super) fn exit_codes(value: &Value) -> Read<Vec<i32>> {
    match value {
        Value::Array(list) => list.iter().map(number).collect(),
        Value::String(text) => {
            text.split([',', ' ']).filter(|it| !it.is_empty()).map(|it| number(&Value::from(it))).collect()
        }
        other => number(other).map(|code| vec![code]),
    }
}

pub(super) fn cluster(value: &Value) -> Read<bool> {
    match value.as_str() {
        Some("cluster" | "cluster_mode") => Ok(true),
        Some("fork" | "fork_mode") => Ok(false),
        _ => Err(format!("{value} is neither \"fork\" nor \"cluster\"")),
    }
}

pub(super) fn signal(value: &Value) -> Read<i32> {
    crate::signals::parse(&text(value)?)
}

/// `true` or empty stands for the default name.
pub(super) fn log_file(value: &Value) -> Read<String> {
    match value {
        Value::Bool(true) => Ok(String::new()),
        other => text(other),
    }
}

/// Octal digits as text, or the number itself.
pub(super) fn umask(value: &Value) -> Read<u32> {
    let mask = match value {
        Value::String(digits) => u32::from_str_radix(digits.trim().trim_start_matches("0o"), 8).ok(),
        other => number(other).ok(),
    };
    mask.filter(|mask| *mask <= 0o777).ok_or_else(|| format!("{value} is not a umask such as \"027\""))
}

/// A cron rule; 0 and false stand for none.
pub(super) fn cron(value: &Value) -> Read<String> {
    match value {
        Value::Bool(false) => Ok("0".to_owned()),
        other => text(other),
    }
}

pub(super) fn env_filter(value: &Value) -> Read<EnvFilter> {
    match value {
        Value::Bool(true) => Ok(EnvFilter::All),
        Value::Bool(false) => Ok(EnvFilter::Containing(Vec::new())),
        other => words(other).map(EnvFilter::Containing),
    }
}

/// Variables: an object, or `A=1 B=2`. Objects and lists become JSON, null is left out.
pub(super) fn env(value: &Value) -> Read<BTreeMap<String, String>> {
    match value {
        Value::Object(table) => {
            let entries = table.iter().filter(|(_, value)| !value.is_null());
            Ok(entries
                .map(|(name, value)| match value {
                    Value::String(text) => (name.clone(), text.clone()),
                    other => (name.clone(), other.to_string()),
                })
                .collect())
        }
        Value::String(line) => split_words(line)?
            .iter()
            .map(|word| {
                let pair = word.split_once('=').ok_or_else(|| format!("`{word}` is not NAME=VALUE"))?;
                Ok((pair.0.to_owned(), pair.1.to_owned()))
            })
            .collect(),
        other => Err(format!("{other} is not a table of variables")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_that_reads_as_the_thing_is_taken() {
        assert_eq!(number::<u32>(&json!("5")), Ok(5));
        assert!(number::<u32>(&json!(-5)).is_err() && number::<u32>(&json!(1.5)).is_err());
        assert_eq!(flag(&json!("false")), Ok(false));
        assert_eq!(duration(&json!(1600)), Ok(1600));
        assert_eq!(duration(&json!("2s")), Ok(2000));
        assert_eq!(size(&json!("300M")), Ok(300 << 20));
        assert_eq!(words(&json!("--a 'b c'")), Ok(vec!["--a".into(), "b c".into()]));
        assert_eq!(words(&json!(["--a", 1])), Ok(vec!["--a".into(), "1".into()]));
        assert_eq!(exit_codes(&json!(0)), Ok(vec![0]));
        assert_eq!(exit_codes(&json!("0, 143")), Ok(vec![0, 143]));
        assert_eq!((umask(&json!("027")), umask(&json!(23))), (Ok(0o27), Ok(0o27)));
        assert_eq!(cron(&json!(0)), Ok("0".to_owned()));
    }

    #[test]
    fn options_of_pm2s_watcher() {
        let given = json!({ "ignored": ["dist", "*.log"], "usePolling": true, "depth": 2,
            "awaitWriteFinish": { "stabilityThreshold": 500 } });
        let read = watch_options(&given).expect("a table");
        assert_eq!((read.ignored, read.delay_ms), (vec!["dist".to_owned(), "*.log".to_owned()], Some(500)));
        assert_eq!(read.unused, ["depth"]);
    }

    #[test]
    fn variables_are_text() {
        let read = env(&json!({"A": 1, "B": {"c": true}, "C": null})).expect("a table");
        assert_eq!(read, BTreeMap::from([("A".into(), "1".into()), ("B".into(), "{\"c\":true}".into())]));
        assert_eq!(env(&json!("A=1 B='x y'")).expect("pairs")["B"], "x y");
        assert!(env(&json!("A")).is_err());
    }
}
