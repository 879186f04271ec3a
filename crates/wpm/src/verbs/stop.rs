//! `wpm stop`: stops apps and keeps them in the list.

use wpm_proto::request::Op;

use super::Outcome;
use super::targets::{self, Targets, Waiting};
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "stop",
    aliases: &[],
    about: "Stop apps and keep them in the list",
    examples: "  wpm stop web        one app\n  wpm stop 3          one instance, by its id\n  wpm stop all        every app",
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
    let op = Op::Stop { targets, wait: !waiting.no_wait };
    let words = Words { doing: "stopping", noun: "stop asked for", hints: false };
    let mut client = context.daemon()?;
    carry_out(context, &mut client, op, words, None, waiting.quiet)
}
