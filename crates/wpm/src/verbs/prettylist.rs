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
    let list = serde_json::from_str(&jlist::text(context)?).map_err(std::io::Error::from)?;
    output::line(&inspect(&list))?;
    Ok(ExitCode::Ok)
}
