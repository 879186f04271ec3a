//! `wpm set`: writes settings of the home, or shows them all.

use wpm_proto::ExitCode;

use super::Outcome;
use super::get::show_all;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::settings;

pub(crate) const VERB: Verb = Verb {
    name: "set",
    aliases: &["conf"],
    about: "Change a setting, or show all of them",
    examples: "  wpm set                               every setting, its value and what it says\n  \
               wpm set log_max_size 50M\n  wpm set pm2-logrotate:retain 7        pm2's names mean the same",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Setting
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Value
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    match arguments(matches)? {
        Arguments { name: None, .. } => show_all(context),
        Arguments { name: Some(name), value: None } => super::get::show(context, &name),
        Arguments { name: Some(name), value: Some(value) } => set(context, &[(name, value)]),
    }
}

/// Writes several settings at once; all are checked first.
pub(super) fn set(context: &mut Context, pairs: &[(String, String)]) -> Outcome {
    let mut checked = Vec::new();
    for (name, value) in pairs {
        let (name, setting) = settings::canonical(name)?;
        let value = match setting {
            Some(setting) => settings::checked(setting, value)?,
            None => {
                context.warn(&format!("`{name}` is kept, and has no effect in wpm"));
                value.clone()
            }
        };
        checked.push((name, value));
    }
    if checked.is_empty() {
        return Err(Failure::new(Code::Usage, "nothing to set: settings come in pairs, NAME VALUE"));
    }
    let said: Vec<String> = checked.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    settings::change(context, |values| values.extend(checked))?;
    context.note(&said.join("\n"));
    Ok(ExitCode::Ok)
}
