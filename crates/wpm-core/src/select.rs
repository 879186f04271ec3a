//! Selectors: how users name instances.
//!
//! A selector is parsed once and matched against the apps as they are at that moment. Invariant:
//! selecting changes nothing, and the first selector that matches nothing refuses them all.

use std::collections::BTreeSet;
use std::fmt;

use regex::Regex;

use crate::similar::similar;
use crate::{App, CommandError, Core, InstanceId};

/// One selector as typed: name, id, `all`, namespace, script, `/regex/`, glob (`web-*`), or one
/// instance of an app (`name/1`, `name:1`).
#[derive(Debug, Clone)]
pub struct Selector {
    typed: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    All,
    Regex(Regex),
    Text {
        /// The typed text as a number, if it is one.
        number: Option<u32>,
        /// As `name/index`.
        single: Option<(String, u32)>,
        /// As a glob, if it has wildcards.
        glob: Option<Regex>,
    },
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.typed == other.typed
    }
}
impl Eq for Selector {}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

/// Why a selector is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorError(pub String);

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for SelectorError {}

impl Selector {
    /// Whether it means every app.
    pub const fn is_all(&self) -> bool {
        matches!(self.kind, Kind::All)
    }

    /// Parses what was typed.
    ///
    /// # Errors
    /// When it is empty, or a `/regex/` that does not compile.
    pub fn parse(typed: &str) -> Result<Self, SelectorError> {
        if typed.is_empty() {
            return Err(SelectorError("an empty name selects nothing; use `all` for every app".to_owned()));
        }
        Ok(Self { typed: typed.to_owned(), kind: kind(typed)? })
    }

    /// What was typed.
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    fn matches(&self, core: &Core) -> Vec<InstanceId> {
        let of = |pick: &dyn Fn(&App) -> bool| -> Vec<InstanceId> {
            core.apps().filter(|app| pick(app)).flat_map(|app| app.instances.values().copied()).collect()
        };
        let typed = &self.typed;
        match &self.kind {
            Kind::All => core.instances().map(|it| it.id).collect(),
            Kind::Regex(regex) => of(&|app| regex.is_match(&app.spec.name)),
            Kind::Text { number, single, glob } => {
                let named = of(&|app| app.spec.name == *typed);
                if !named.is_empty() {
                    return named;
                }
                let one =
                    single.as_ref().and_then(|(name, index)| core.app_named(name)?.instances.get(index));
                if let Some(id) = one {
                    return vec![*id];
                }
                let by_script = if number.is_some() { Vec::new() } else { of(&|app| is_script(app, typed)) };
                if !by_script.is_empty() {
                    return by_script;
                }
                let in_namespace = of(&|app| app.spec.namespace == *typed);
                if !in_namespace.is_empty() {
                    return in_namespace;
                }
                if let Some(it) = number.and_then(|number| core.instance(InstanceId(number))) {
                    return vec![it.id];
                }
                glob.as_ref().map_or_else(Vec::new, |glob| of(&|app| glob.is_match(&app.spec.name)))
            }
        }
    }
}

fn kind(typed: &str) -> Result<Kind, SelectorError> {
    if typed == "all" {
        return Ok(Kind::All);
    }
    if let Some(pattern) = typed.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'))
        && !pattern.is_empty()
    {
        let regex = Regex::new(pattern);
        return regex.map(Kind::Regex).map_err(|error| {
            let reason = error.to_string();
            let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            SelectorError(format!("`{typed}` is not a regular expression: {last}"))
        });
    }
    let single =
        typed.rsplit_once(['/', ':']).and_then(|(name, index)| Some((name.to_owned(), index.parse().ok()?)));
    let wild = typed.contains(['*', '?']);
    let glob = if wild { Regex::new(&glob_pattern(typed)).ok() } else { None };
    Ok(Kind::Text { number: typed.parse().ok(), single, glob })
}

fn glob_pattern(glob: &str) -> String {
    let mut pattern = "(?s)^".to_owned();
    for c in glob.chars() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push('$');
    pattern
}

fn is_script(app: &App, typed: &str) -> bool {
    let script = app.spec.script.as_str();
    script == typed || (!app.spec.shell && script.rsplit('/').next() == Some(typed))
}

/// The union of what the selectors name, in their order, each once.
pub(crate) fn select(core: &Core, selectors: &[Selector]) -> Result<Vec<InstanceId>, CommandError> {
    let mut seen = BTreeSet::new();
    let mut chosen = Vec::new();
    for selector in selectors {
        let found = selector.matches(core);
        if found.is_empty() && !matches!(selector.kind, Kind::All) {
            let names = core.apps().flat_map(|app| [app.spec.name.as_str(), app.spec.namespace.as_str()]);
            let similar = similar(&selector.typed, names.filter(|name| *name != "default"));
            return Err(CommandError::NoSuchApp { target: selector.typed.clone(), similar });
        }
        chosen.extend(found.into_iter().filter(|id| seen.insert(*id)));
    }
    Ok(chosen)
}
