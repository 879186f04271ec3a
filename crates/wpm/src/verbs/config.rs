//! `wpm config`: the schema of app files, and what is wrong with one.
//!
//! Starts nothing and needs no daemon.

use serde_json::{Value, json};
use wpm_proto::ExitCode;

use super::Outcome;
use super::described::unresolved;
use super::start::or_default;
use crate::appfile::{self, Choice, Document};
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::target::{Caller, resolve};

pub(crate) const VERB: Verb = Verb {
    name: "config",
    aliases: &[],
    about: "Check an app file, or print the schema of app files",
    examples: "  wpm config check                 the app file of this folder\n  \
               wpm config check wpm.toml        everything that is wrong with it\n  \
               wpm config schema                the JSON Schema, for editors",
    args: <Config as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Config {
    /// What to do
    #[arg(value_name = "ACTION")]
    action: Action,
    /// App file; none = the one of this folder
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Also use the variables of this name
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// What is wrong as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// Say everything that is wrong with an app file
    Check,
    /// Print the JSON Schema of app files
    Schema,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let config: Config = arguments(matches)?;
    match config.action {
        Action::Schema => {
            let text = serde_json::to_string_pretty(&appfile::schema()).map_err(std::io::Error::from)?;
            output::line(&text)?;
            Ok(ExitCode::Ok)
        }
        Action::Check => check(config, context),
    }
}

fn check(config: Config, context: &Context) -> Outcome {
    let caller = Caller::of_this_process()?;
    let file = or_default(config.file.into_iter().collect(), &caller)?.remove(0);
    let choice = Choice { env: config.env, only: Vec::new() };
    let (failures, notes, count) = match appfile::examine(&file, &caller, &choice) {
        Ok(examined) => {
            let mut document = examined.document;
            let count = document.apps.len();
            let mut apps = std::mem::take(&mut document.apps);
            apps.append(&mut document.partial);
            apps.sort_by_key(|(number, _)| *number);
            let mut failures = std::mem::take(&mut document.failures);
            failures.extend(deeper(&document, apps, &examined.base, &caller));
            (failures, document.notes, count)
        }
        Err(failure) => (vec![failure], Vec::new(), 0),
    };
    if config.json {
        output::json(
            &json!({ "file": file, "errors": failures.iter().map(as_json).collect::<Vec<_>>(), "notes": notes }),
        )?;
    } else {
        failures.iter().for_each(|failure| output::say(&format!("{}\n", failure.render(&[]))));
        notes.iter().for_each(|note| context.warn(note));
    }
    match failures.len() {
        0 => {
            if !config.json {
                let apps = if count == 1 { "one app".to_owned() } else { format!("{count} apps") };
                context.note(&format!("{file}: {apps}, nothing is wrong"));
            }
            Ok(ExitCode::Ok)
        }
        number => {
            if !config.json {
                let errors = if number == 1 { "one error".to_owned() } else { format!("{number} errors") };
                context.note(&format!("{file}: {errors}"));
            }
            Err(Failure::silent(ExitCode::Configuration))
        }
    }
}

/// What is wrong beyond single entries: programs that are not there, what the daemon would refuse.
fn deeper(
    document: &Document,
    apps: Vec<(usize, crate::options::AppOptions)>,
    base: &std::path::Path,
    caller: &Caller,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut sound = Vec::new();
    let mut numbers = Vec::new();
    for (number, options) in apps {
        match resolve(options, base, caller) {
            Ok(app) => {
                numbers.push((app.name.clone(), number));
                sound.push(app);
            }
            Err(failure) => failures.push(unresolved(document, failure, number)),
        }
    }
    for unsound in wpm_daemon::check(sound) {
        let failure = Failure::new(Code::InvalidSpec, unsound.message);
        let number = numbers.iter().find(|(name, _)| *name == unsound.app).map(|(_, number)| *number);
        failures.push(match number {
            Some(number) => document.at_entry(failure, number, &unsound.field),
            None => failure,
        });
    }
    failures
}

fn as_json(failure: &Failure) -> Value {
    let (line, column) = failure.position().unzip();
    json!({ "code": failure.number(), "message": failure.message(), "line": line, "column": column, "help": failure.helps() })
}
