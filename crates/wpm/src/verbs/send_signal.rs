//! `wpm sendSignal`: sends a signal to main processes.

use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::outcome::{Words, carry_out};
use crate::{complete, signals};

pub(crate) const VERB: Verb = Verb {
    name: "sendSignal",
    aliases: &["send-signal"],
    about: "Send a signal to the main processes of apps",
    examples: "  wpm sendSignal SIGUSR2 web",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", value_parser = clap::builder::ValueParser::new(signals::parse))]
    signal: i32,
    /// Name, id, `all`, namespace or /regex/
    #[arg(required = true, value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { signal, targets } = arguments(matches)?;
    let mut client = context.daemon()?;
    let words = Words { doing: "sending", noun: "signal sent", hints: false };
    carry_out(context, &mut client, Op::Signal { targets, signal }, words, None, false)
}
