//! What an app has in its environment against what a start would give it now.
//!
//! Where the app came from a file, that is what a restart from the file gives; else what `--update-env`
//! gives. Invariant: no value is shown unless values were asked for.

use std::collections::BTreeMap;

use serde_json::json;
use wpm_proto::app::AppSpec;

use crate::appfile::{self, Choice};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::render::escape::{self, MASK};
use crate::render::style::{self, paint};
use crate::target::{Caller, file_variables, resolve};

type Variables = BTreeMap<String, String>;

/// Prints the differences of one app.
pub(super) fn show(context: &Context, spec: &AppSpec, values: bool, as_json: bool) -> Result<(), Failure> {
    let caller = Caller::of_this_process()?;
    let new = environment_now(spec, &caller)?;
    let shown = |value: &str| if values { value.to_owned() } else { MASK.to_owned() };
    let changes = changes(&spec.env, &new);
    if as_json {
        let all: serde_json::Map<_, _> = changes
            .iter()
            .map(|(name, old, new)| {
                let pair = json!({ "has": old.map(&shown), "would_get": new.map(&shown) });
                ((*name).to_owned(), pair)
            })
            .collect();
        return output::json(&json!({ "app": spec.name, "differences": all }));
    }
    let command = match (&spec.source, &spec.source_env) {
        (Some(file), Some(env)) => format!("wpm restart {file} --env {env}"),
        (Some(file), None) => format!("wpm restart {file}"),
        (None, _) => format!("wpm restart {} --update-env", spec.name),
    };
    if changes.is_empty() {
        context.note(&format!("{}: `{command}` would change nothing in its environment", spec.name));
        return Ok(());
    }
    context.note(&format!("{}: `{command}` would change its environment:", spec.name));
    let lines: String = changes.iter().map(|change| line(change, shown)).collect();
    output::data(&lines)
}

/// What a start from its sources gives it now.
fn environment_now(spec: &AppSpec, caller: &Caller) -> Result<Variables, Failure> {
    let Some(source) = &spec.source else { return by_name(spec, caller) };
    let choice = Choice { env: spec.source_env.clone(), only: Vec::new() };
    let file = appfile::read(source, caller, &choice)?;
    for app in file.apps {
        let app = resolve(app, &file.base, caller)?;
        if app.name == spec.name {
            return Ok(app.env);
        }
    }
    Err(Failure::new(
        Code::AppFile,
        format!("{source}, from which `{}` was started, has it no more", spec.name),
    )
    .help("`wpm apply FILE --prune` removes apps that their file has no more"))
}

fn by_name(spec: &AppSpec, caller: &Caller) -> Result<Variables, Failure> {
    let mut env = caller.env.clone();
    env.retain(|name, _| !spec.filter_env.iter().any(|part| name.contains(part.as_str())));
    env.insert("PWD".to_owned(), spec.cwd.clone());
    if let Some(unbuffered) = spec.env.get("PYTHONUNBUFFERED") {
        env.entry("PYTHONUNBUFFERED".to_owned()).or_insert_with(|| unbuffered.clone());
    }
    env.extend(file_variables(&spec.env_files)?);
    let own = spec.own_env.iter().filter(|name| !spec.file_env.contains(name));
    env.extend(own.filter_map(|name| Some((name.clone(), spec.env.get(name)?.clone()))));
    Ok(env)
}

type Change<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// Names with what they have and what they would get, where that differs.
fn changes<'a>(old: &'a Variables, new: &'a Variables) -> Vec<Change<'a>> {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let pair = |name: &'a String| {
        (name.as_str(), old.get(name).map(String::as_str), new.get(name).map(String::as_str))
    };
    names.into_iter().map(pair).filter(|(_, old, new)| old != new).collect()
}

fn line((name, old, new): &Change<'_>, shown: impl Fn(&str) -> String) -> String {
    let text = |value: &str| escape::clean(&shown(value));
    let name = escape::clean(name);
    match (old, new) {
        (None, Some(new)) => format!("{}\n", paint(style::GOOD, &format!("+ {name}={}", text(new)))),
        (Some(old), None) => format!("{}\n", paint(style::BAD, &format!("- {name}={}", text(old)))),
        (Some(old), Some(new)) => format!("~ {name}={} → {}\n", text(old), text(new)),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_and_values_hidden() {
        let map = |pairs: &[(&str, &str)]| -> Variables {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let (old, new) =
            (map(&[("A", "1"), ("B", "1"), ("C", "1")]), map(&[("A", "1"), ("B", "2"), ("D", "1")]));
        let changes = changes(&old, &new);
        let lines: String = changes.iter().map(|change| line(change, |_| MASK.to_owned())).collect();
        let plain = anstream::adapter::strip_str(&lines).to_string();
        assert_eq!(plain, format!("~ B={MASK} → {MASK}\n- C={MASK}\n+ D={MASK}\n"));
    }
}
