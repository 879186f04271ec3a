//! Live completion: the shell asks this program (`COMPLETE=bash wpm`), and app names come from the
//! daemon.
//!
//! Invariant: a daemon that is slow or absent costs no more than a tenth of a second and no word.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use wpm_client::{Client, Options, Start, home};
use wpm_proto::request::Detail;
use wpm_proto::view::Status;

use crate::cli;
use crate::context;

/// Time for the daemon to answer.
const BUDGET: Duration = Duration::from_millis(100);

/// Answers a shell and ends, if it is a shell that asks.
pub(crate) fn answer() {
    if std::env::var_os("COMPLETE").is_some() {
        CompleteEnv::with_factory(cli::command).complete();
    }
}

/// Completes names of apps and namespaces, and `all`.
pub(crate) fn apps() -> ArgValueCompleter {
    ArgValueCompleter::new(candidates)
}

fn candidates(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names()
        .into_iter()
        .filter(|(name, _)| name.starts_with(&*typed))
        .map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into())))
        .collect()
}

fn names() -> Vec<(String, String)> {
    let options = Options { start: Start::Never, timeout: BUDGET, ..Options::default() };
    let apps = home::locate()
        .and_then(|home| Client::open(home, options))
        .ok()
        .and_then(|mut client| context::list(&mut client, Vec::new(), Detail::State).ok())
        .unwrap_or_default();
    let mut names: Vec<(String, String)> = apps
        .iter()
        .map(|app| {
            let online = app.instances.iter().filter(|instance| instance.status == Status::Online).count();
            (app.name.clone(), format!("{online}/{} online", app.instances.len()))
        })
        .collect();
    let mut namespaces: Vec<&str> = apps.iter().map(|app| app.namespace.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    names.extend(namespaces.into_iter().map(|name| (name.to_owned(), "namespace".to_owned())));
    if !names.is_empty() {
        names.push(("all".to_owned(), "every app".to_owned()));
    }
    names
}
