//! `wpm delete`: stops apps and forgets them.

use wpm_proto::request::Op;

use super::Outcome;
use super::targets::{self, Targets, Waiting};
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "delete",
    aliases: &["del"],
    about: "Stop apps and forget them",
    examples: "  wpm delete web      one app\n  wpm delete all      every app",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    waiting: Waiting,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { targets, waiting } = arguments(matches)?;
    let targets = targets::expand(targets.targets, &targets.only)?;
    let op = Op::Delete { targets, wait: !waiting.no_wait };
    let words = Words { doing: "deleting", noun: "deletion asked for", hints: false };
    let mut client = context.daemon()?;
    carry_out(context, &mut client, op, words, None, waiting.quiet)
}
