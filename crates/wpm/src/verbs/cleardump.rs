//! `wpm cleardump`: forgets what was saved.

use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "cleardump",
    aliases: &[],
    about: "Forget what was saved",
    examples: "  wpm cleardump",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments {} = arguments(matches)?;
    let mut client = context.daemon()?;
    let words = Words { doing: "clearing", noun: "cleared", hints: false };
    carry_out(context, &mut client, Op::Cleardump, words, None, false)
}
