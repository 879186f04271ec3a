//! `wpm pick`: the address of a lightly loaded instance.

use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::output;
use crate::reach::pick;

pub(crate) const VERB: Verb = Verb {
    name: "pick",
    aliases: &[],
    about: "Print the address of a lightly loaded instance",
    examples: "  wpm pick chat           127.0.0.1:3002\n  wpm pick chat --json    with what the choice was made by",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name or id of an app
    #[arg(value_name = "APP", add = complete::apps())]
    target: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, json } = arguments(matches)?;
    let picked = pick(&mut context.daemon()?, &target, |_, _| 0)?;
    if json {
        output::json(&picked.json())?;
    } else {
        output::line(&picked.of.at.to_string())?;
    }
    Ok(ExitCode::Ok)
}
