//! `wpm reset`: zeroes restart counters.

use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::failure::Code;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "reset",
    aliases: &[],
    about: "Set restart counters to zero",
    examples: "  wpm reset web       of one app\n  wpm reset all       of every app",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name, id, `all`, namespace or /regex/
    #[arg(required = true, value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { targets } = arguments(matches)?;
    let by_id = targets.iter().all(|target| target.parse::<u32>().is_ok());
    let mut client = context.daemon()?;
    let words = Words { doing: "resetting", noun: "counters reset", hints: false };
    let outcome = carry_out(context, &mut client, Op::Reset { targets }, words, None, false);
    // As in pm2: an id that nobody has is no error here, a name is.
    match outcome {
        Err(failure) if by_id && failure.is(Code::NoSuchApp) => {
            context.warn(failure.message());
            Ok(wpm_proto::ExitCode::Ok)
        }
        outcome => outcome,
    }
}
