//! Targets of commands: names, ids, `all`, namespaces, `/regex/`, and app files, which stand for the
//! apps that they describe.

use std::collections::BTreeMap;
use std::path::Path;

use wpm_client::Client;
use wpm_proto::request::Detail;

use crate::appfile::{self, Choice};
use crate::complete;
use crate::context::list;
use crate::failure::Failure;
use crate::target::{Caller, file_variables};

// The apps that a command is about. (No doc comment: clap would take it for the help of the verb.)
#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    /// Name, id, `all`, namespace, /regex/ or app file; several are taken in turn
    #[arg(required = true, value_name = "APP", add = complete::apps())]
    pub(crate) targets: Vec<String>,
    /// Of an app file, only the apps of these names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

/// Puts the names of its apps in the place of each app file.
pub(crate) fn expand(targets: Vec<String>, only: &[String]) -> Result<Vec<String>, Failure> {
    let mut expanded = Vec::with_capacity(targets.len());
    for target in targets {
        if !is_file(&target) {
            expanded.push(absolute_script(target));
            continue;
        }
        let choice = Choice { env: None, only: only.to_vec() };
        let file = appfile::read(&target, &Caller::of_this_process()?, &choice)?;
        for app in file.apps {
            expanded.extend(app.name.or_else(|| {
                let script = app.script?;
                Some(Path::new(&script).file_stem()?.to_string_lossy().into_owned())
            }));
        }
    }
    Ok(expanded)
}

/// Whether a target is an app file: named like one, and there.
pub(crate) fn is_file(target: &str) -> bool {
    target == "-" || (appfile::is_app_file(target) && Path::new(target).is_file())
}

/// A script is known by its absolute path: `wpm stop ./app.js`.
fn absolute_script(target: String) -> String {
    let path = Path::new(&target);
    let named_as_path = target.contains('/') && !(target.starts_with('/') && target.ends_with('/'));
    if !named_as_path || path.is_absolute() || !path.is_file() {
        return target;
    }
    match std::path::absolute(path) {
        Ok(path) => path.components().collect::<std::path::PathBuf>().display().to_string(),
        Err(_) => target,
    }
}

/// What the files of variables of known apps hold now, by app.
pub(crate) fn file_env(
    client: &mut Client,
    known: &[String],
) -> Result<BTreeMap<String, BTreeMap<String, String>>, Failure> {
    let apps = list(client, known.to_vec(), Detail::State)?;
    let with_files = apps.into_iter().filter(|app| !app.env_files.is_empty());
    with_files.map(|app| Ok((app.name, file_variables(&app.env_files)?))).collect()
}

// For commands that ask for outcomes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Waiting {
    /// Return as soon as the daemon has taken the command
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Print only the ids of the instances concerned
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
