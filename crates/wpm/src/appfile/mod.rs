//! App files: the apps that a file describes, in whatever format.
//!
//! Formats ([`parse`]), keys ([`keys`]) and their values ([`value`]) are separate; this module puts them
//! together. Resolves no path and starts nothing. Invariant: a key that is not understood is an error,
//! never silently ignored.

mod carry;
mod document;
mod keys;
mod locate;
mod parse;
mod procfile;
mod schema;
mod script;
mod table;
mod value;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::options::AppOptions;
use crate::target::{Caller, absolute};
pub(crate) use carry::carry;
pub(crate) use document::{Document, options_of};
use parse::{Data, Format};
pub(crate) use schema::schema;

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
    /// Folder that relative paths are seen from.
    pub(crate) base: PathBuf,
    /// The chosen apps.
    pub(crate) apps: Vec<AppOptions>,
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
    let mut examined = examine(word, caller, choice)?;
    let apps = examined.document.take_apps()?.into_iter().map(|(_, app)| app).collect();
    Ok(AppFile { base: examined.base, apps })
}

/// A file that was read, with all that is wrong in it.
#[derive(Debug)]
pub(crate) struct Examined {
    /// The file itself, absolute; none for stdin.
    pub(crate) source: Option<String>,
    /// Folder that relative paths are seen from.
    pub(crate) base: PathBuf,
    /// What it says.
    pub(crate) document: Document,
}

/// Reads a file whatever is wrong with its apps.
pub(crate) fn examine(word: &str, caller: &Caller, choice: &Choice) -> Result<Examined, Failure> {
    let (value, text, base) = load(word, caller)?;
    if word == "-" {
        let document = Document::read(value, &text, "stdin", choice)?;
        return Ok(Examined { source: None, base, document });
    }
    let mut document = Document::read(value, &text, word, choice)?;
    let source = Some(absolute(word, &caller.cwd, &caller.env).display().to_string());
    for (_, app) in &mut document.apps {
        app.source.clone_from(&source);
        app.source_env.clone_from(&choice.env);
    }
    Ok(Examined { source, base, document })
}

/// What a file holds, its text, and the folder that its relative paths are seen from.
fn load(word: &str, caller: &Caller) -> Result<(Value, String, PathBuf), Failure> {
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
    let value = match Format::of(word).unwrap_or(Format::Data(Data::Json)) {
        Format::Data(notation) => parse::data(&text, notation, word)?,
        Format::Procfile => procfile::parse(&text, &base, word)?,
        Format::Script => script::read(&text, &path, word, &caller.env)?,
    };
    Ok((value, text, base))
}

#[cfg(test)]
mod tests;
