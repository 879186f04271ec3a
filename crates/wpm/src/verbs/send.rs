//! `wpm send`: writes a line to the standard input of an app.

use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "send",
    aliases: &[],
    about: "Write a line to the standard input of an app",
    examples: "  wpm send 0 'reload config'",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name or id of one instance
    #[arg(value_name = "APP", add = complete::apps())]
    target: String,
    /// The line
    #[arg(required = true, value_name = "LINE", allow_hyphen_values = true, trailing_var_arg = true)]
    line: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, line } = arguments(matches)?;
    let mut client = context.daemon()?;
    let words = Words { doing: "sending", noun: "line sent", hints: false };
    carry_out(context, &mut client, Op::Send { target, line: line.join(" ") }, words, None, false)
}
