//! `wpm resurrect`: starts what was saved and is not in the list.

use wpm_proto::ExitCode;
use wpm_proto::request::Op;

use super::Outcome;
use super::targets::Waiting;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::outcome::{Words, carry_out};
use crate::pm2;

pub(crate) const VERB: Verb = Verb {
    name: "resurrect",
    aliases: &[],
    about: "Start what was saved and is not in the list",
    examples: "  wpm resurrect       after a reboot",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    #[command(flatten)]
    waiting: Waiting,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { waiting } = arguments(matches)?;
    let words = Words { doing: "starting", noun: "start asked for", hints: false };
    if pm2::speaks()
        && let Some(apps) = pm2::dump::resurrect(context)?
    {
        if apps.is_empty() {
            return Ok(ExitCode::Ok);
        }
        let mut client = context.daemon()?;
        let op = Op::Start { apps, force: false, wait: !waiting.no_wait };
        return carry_out(context, &mut client, op, words, None, waiting.quiet);
    }
    let mut client = context.daemon()?;
    carry_out(context, &mut client, Op::Resurrect { wait: !waiting.no_wait }, words, None, waiting.quiet)
}
