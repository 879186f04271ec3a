//! What `apply` does, as text and as JSON. Pure.
//!
//! Invariant: no value of the environment is shown unless values were asked for.

use std::fmt::Write as _;

use serde_json::{Value, json};
use wpm_proto::response::{AppChange, Difference, Step};

use crate::render::escape::{self, MASK};
use crate::render::style::{self, paint};

/// A line for each app, and below it one for each difference.
pub(super) fn text(changes: &[AppChange], values: bool) -> String {
    let mut text = String::new();
    let width = changes.iter().map(|change| escape::clean(&change.app).chars().count()).max().unwrap_or(0);
    for change in changes {
        let (sign, colour, word) = match change.step {
            Step::Add => ("+", style::GOOD, "new"),
            Step::Keep => ("=", style::DIM, "unchanged"),
            Step::Start => ("~", style::HELP, "start: it is down"),
            Step::Adjust => ("~", style::HELP, "in force at once"),
            Step::Scale => ("~", style::HELP, "scale"),
            Step::Reload => ("~", style::HELP, "reload"),
            Step::Restart => ("~", style::HELP, "restart"),
            Step::Delete => ("-", style::BAD, "remove: the file has it no more"),
        };
        let word = match (change.step, change.instances) {
            (Step::Add, 1) => word.to_owned(),
            (Step::Add, count) => format!("{word}, {count} instances"),
            _ => word.to_owned(),
        };
        let name = escape::clean(&change.app);
        let _ = writeln!(text, "{}", paint(colour, &format!("{sign} {name:<width$}  {word}")));
        let keys = change.differences.iter().map(|difference| difference.key.chars().count()).max();
        for difference in &change.differences {
            let _ = writeln!(text, "    {}", line(difference, keys.unwrap_or(0), values));
        }
    }
    text
}

fn line(difference: &Difference, width: usize, values: bool) -> String {
    let shown = |value: &Option<String>| match value {
        Some(_) if difference.secret && !values => MASK.to_owned(),
        Some(value) => escape::clean(value),
        None => "none".to_owned(),
    };
    format!(
        "{:<width$}  {} → {}",
        escape::clean(&difference.key),
        shown(&difference.old),
        shown(&difference.new)
    )
}

/// `1 new, 2 to reload`.
pub(super) fn counts(changes: &[AppChange]) -> String {
    let kinds = [
        (Step::Add, "new"),
        (Step::Start, "to start"),
        (Step::Adjust, "to adjust"),
        (Step::Scale, "to scale"),
        (Step::Reload, "to reload"),
        (Step::Restart, "to restart"),
        (Step::Delete, "to remove"),
        (Step::Keep, "unchanged"),
    ];
    let count = |step| changes.iter().filter(|change| change.step == step).count();
    let parts = kinds.into_iter().map(|(step, word)| (count(step), word)).filter(|(count, _)| *count > 0);
    parts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// The same for programs.
pub(super) fn json(changes: &[AppChange], values: bool) -> Value {
    let of_app = |change: &AppChange| {
        let shown = |difference: &Difference, value: &Option<String>| {
            value
                .as_ref()
                .map(|value| if difference.secret && !values { MASK } else { value.as_str() }.to_owned())
        };
        let differences: Vec<Value> = change
            .differences
            .iter()
            .map(|it| json!({ "key": it.key, "old": shown(it, &it.old), "new": shown(it, &it.new) }))
            .collect();
        json!({ "app": change.app, "step": change.step, "instances": change.instances, "differences": differences })
    };
    changes.iter().map(of_app).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_app_and_difference() {
        let difference = |key: &str, old: Option<&str>, new: Option<&str>, secret| Difference {
            key: key.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            secret,
        };
        let change =
            |app: &str, step, differences| AppChange { app: app.to_owned(), step, instances: 2, differences };
        let changes = [
            change(
                "web",
                Step::Reload,
                vec![
                    difference("args", Some("--port 80"), Some("--port 81"), false),
                    difference("env.TOKEN", Some("s3cret"), None, true),
                ],
            ),
            change("worker", Step::Add, vec![]),
            change("old", Step::Delete, vec![]),
        ];
        let plain = anstream::adapter::strip_str(&text(&changes, false)).to_string();
        assert_eq!(
            plain,
            "~ web     reload\n    args       --port 80 → --port 81\n    env.TOKEN  •••••• → none\n\
             + worker  new, 2 instances\n- old     remove: the file has it no more\n"
        );
        assert!(text(&changes, true).contains("s3cret"));
        assert_eq!(counts(&changes), "1 new, 1 to reload, 1 to remove");
        assert!(!json(&changes, false).to_string().contains("s3cret"));
    }
}
