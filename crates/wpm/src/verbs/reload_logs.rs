//! `wpm reloadLogs`: opens log files again, after something else has moved them.

use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "reloadLogs",
    aliases: &["reload-logs"],
    about: "Open log files again, after something else has moved them",
    examples: "  wpm reloadLogs      in the postrotate script of logrotate",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments {} = arguments(matches)?;
    let mut client = context.daemon()?;
    let words = Words { doing: "opening logs", noun: "logs opened again", hints: false };
    carry_out(context, &mut client, Op::ReloadLogs, words, None, false)
}
