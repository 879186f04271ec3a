//! `wpm resurrect`: starts what was saved and is not in the list.

use wpm_proto::request::Op;

use super::Outcome;
use super::start::worst;
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
    let words = Words::of_start(waiting.no_wait, false);
    if pm2::speaks()
        && let Some(dumped) = pm2::dump::resurrect(context)?
    {
        let mut client = context.daemon()?;
        let mut codes = Vec::new();
        // What was stopped stays so until somebody starts it, and is then as any other app.
        for (apps, rise) in [(dumped.down, Some(false)), (dumped.up, None)] {
            if !apps.is_empty() {
                let op = Op::Start { apps, force: false, rise, wait: !waiting.no_wait };
                codes.push(carry_out(context, &mut client, op, words, None, waiting.quiet)?);
            }
        }
        return Ok(worst(&codes));
    }
    let mut client = context.daemon()?;
    carry_out(context, &mut client, Op::Resurrect { wait: !waiting.no_wait }, words, None, waiting.quiet)
}
