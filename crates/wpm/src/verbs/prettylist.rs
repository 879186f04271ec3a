//! `wpm prettylist`: the array of `jlist`, as Node prints it.

use wpm_proto::ExitCode;

use super::Outcome;
use super::jlist;
use crate::cli::Verb;
use crate::context::Context;
use crate::output;
use crate::render::inspect::inspect;

pub(crate) const VERB: Verb = Verb {
    name: "prettylist",
    aliases: &[],
    about: "Print the list in the shape of pm2, for reading",
    examples: "  wpm prettylist",
    args: |command| command,
    run,
};

fn run(_: &clap::ArgMatches, context: &mut Context) -> Outcome {
    output::line(&inspect(&jlist::value(context)?))?;
    Ok(ExitCode::Ok)
}
