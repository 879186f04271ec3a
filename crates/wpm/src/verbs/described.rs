//! The apps that targets describe, and where in their app files each of them stands.
//!
//! Asks no daemon. Invariant: an error about an app of a file is shown at the entry that is to blame, whoever
//! found it.

use wpm_proto::app::AppSpec;

use crate::appfile::{self, Choice, Document, is_app_file};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::options::AppOptions;
use crate::target::{Caller, resolve};

/// Apps, resolved.
#[derive(Default)]
pub(super) struct Described {
    /// The apps, in the order of the targets.
    pub(super) apps: Vec<AppSpec>,
    /// The last file, absolute; none for stdin.
    pub(super) source: Option<String>,
    files: Vec<Document>,
    /// Name, file and number in the file of each app that comes from one.
    places: Vec<(String, usize, usize)>,
}

impl Described {
    /// Adds what a target describes: the apps of a file, or one app.
    pub(super) fn add(
        &mut self,
        target: &str,
        flags: &AppOptions,
        choice: &Choice,
        caller: &Caller,
        context: &Context,
    ) -> Result<(), Failure> {
        if target != "-" && !is_app_file(target) {
            let options = AppOptions { script: Some(target.to_owned()), ..flags.clone() };
            self.apps.push(resolve(options, &caller.cwd, caller)?);
            return Ok(());
        }
        self.add_file(target, flags, choice, caller, context)
    }

    /// Adds the apps of a file, whatever its name is.
    pub(super) fn add_file(
        &mut self,
        target: &str,
        flags: &AppOptions,
        choice: &Choice,
        caller: &Caller,
        context: &Context,
    ) -> Result<(), Failure> {
        let mut examined = appfile::examine(target, caller, choice)?;
        let apps = examined.document.take_apps()?;
        for note in &examined.document.notes {
            context.warn(note);
        }
        for (number, app) in apps {
            let app = resolve(flags.clone().over(app), &examined.base, caller)
                .map_err(|failure| unresolved(&examined.document, failure, number))?;
            self.places.push((app.name.clone(), self.files.len(), number));
            self.apps.push(app);
        }
        self.source = examined.source;
        self.files.push(examined.document);
        Ok(())
    }

    /// Shows a failure at the entry of the file that is to blame, where there is one.
    pub(super) fn blame(&self, failure: Failure) -> Failure {
        let Some(entry) = failure.entry().cloned() else { return failure };
        match self.places.iter().find(|(name, ..)| *name == entry.app) {
            Some((_, file, number)) => self.files[*file].at_entry(failure, *number, &entry.key),
            None => failure,
        }
    }
}

/// The failure of an app of a file that could not be resolved, at the entry that is to blame.
pub(super) fn unresolved(document: &Document, failure: Failure, number: usize) -> Failure {
    let key = failure.entry().map(|entry| entry.key.clone());
    let key = key.unwrap_or_else(|| "script".to_owned());
    let failure = if failure.is(Code::NoTarget) && key == "script" {
        failure.help("relative paths of an app file are seen from its folder, or from the app's `cwd`")
    } else {
        failure
    };
    document.at_entry(failure, number, &key)
}
