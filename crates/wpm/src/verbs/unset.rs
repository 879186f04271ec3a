//! `wpm unset`: gives a setting its default again.

use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::settings;

pub(crate) const VERB: Verb = Verb {
    name: "unset",
    aliases: &[],
    about: "Give a setting its default again",
    examples: "  wpm unset log_max_size",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Setting
    #[arg(value_name = "NAME")]
    name: String,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { name } = arguments(matches)?;
    let (name, _) = settings::canonical(&name)?;
    settings::change(context, |values| drop(values.remove(&name)))?;
    context.note(&format!("{name} has its default again"));
    Ok(ExitCode::Ok)
}
