//! `wpm kill`: stops every app, then ends daemon and keeper.

use wpm_proto::ExitCode;
use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::Verb;
use crate::context::Context;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "kill",
    aliases: &[],
    about: "Stop every app and end the daemon",
    examples: "  wpm kill            the list is empty afterwards; `wpm save` keeps it",
    args: |command| command,
    run,
};

fn run(_: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Some(mut client) = context.running_daemon()? else {
        context.note("no daemon is running");
        return Ok(ExitCode::Ok);
    };
    let words = Words { doing: "stopping every app", noun: "stopped", hints: false };
    let code = carry_out(context, &mut client, Op::Kill, words, None, false)?;
    // Whoever comes next must not meet a daemon that is about to end.
    client.await_end();
    context.note("the daemon has ended");
    Ok(code)
}
