//! `wpm get`: prints the value of a setting, or all that were set.

use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::settings::{self, SETTINGS};

pub(crate) const VERB: Verb = Verb {
    name: "get",
    aliases: &[],
    about: "Print the value of a setting",
    examples: "  wpm get log_max_size\n  wpm get                  all of them",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Setting
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    match arguments(matches)? {
        Arguments { name: Some(name) } => show(context, &name),
        Arguments { name: None } => show_all(context),
    }
}

/// Prints one; that it is not set is a failure, as in pm2.
pub(super) fn show(context: &mut Context, name: &str) -> Outcome {
    let (name, setting) = settings::canonical(name)?;
    let values = settings::read(&context.home()?)?;
    let Some(value) = values.get(&name) else {
        let failure = Failure::new(Code::NothingToDo, format!("`{name}` is not set"));
        return Err(match setting {
            Some(setting) => failure.help(setting.about),
            None => failure,
        });
    };
    output::line(value)?;
    Ok(ExitCode::Ok)
}

/// Prints all that wpm uses, and what is set beside them.
pub(super) fn show_all(context: &mut Context) -> Outcome {
    let values = settings::read(&context.home()?)?;
    for setting in &SETTINGS {
        let value = values.get(setting.name).map_or("-", String::as_str);
        output::line(&format!("{:<14} {value:<10} {}", setting.name, setting.about))?;
    }
    for (name, value) in
        values.iter().filter(|(name, _)| SETTINGS.iter().all(|own| own.name != name.as_str()))
    {
        output::line(&format!("{name:<14} {value:<10} no effect in wpm"))?;
    }
    Ok(ExitCode::Ok)
}
