//! `wpm save`: keeps the list of apps for `wpm resurrect`.

use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "save",
    aliases: &["dump"],
    about: "Keep the list of apps for `wpm resurrect`",
    examples: "  wpm save            after the apps are as wanted\n  wpm save --force    even an empty list",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Keep it even if it is empty
    #[arg(short, long)]
    force: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { force } = arguments(matches)?;
    let mut client = context.daemon()?;
    let words = Words { doing: "saving", noun: "saved", hints: false };
    carry_out(context, &mut client, Op::Save { force }, words, None, false)
}
