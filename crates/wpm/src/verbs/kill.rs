//! `wpm kill`: stops every app, then ends daemon and keeper.

use std::time::Duration;

use wpm_client::{Ending, alive};
use wpm_proto::ExitCode;
use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::Verb;
use crate::context::Context;
use crate::outcome::{Words, carry_out};
use crate::pm2;

pub(crate) const VERB: Verb = Verb {
    name: "kill",
    aliases: &[],
    about: "Stop every app and end the daemon",
    examples: "  wpm kill            the list is empty afterwards; `wpm save` keeps it",
    args: |command| command,
    run,
};

/// Longest time that daemon and keeper may take to end once no app is left.
const PATIENCE: Duration = Duration::from_secs(5);

fn run(_: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let home = context.home()?;
    let mut client = match context.running_daemon()? {
        Some(client) => client,
        // Everything of wpm was killed, and its apps live on: only a daemon can bring them down.
        None if alive::is_left(&home) => context.daemon()?,
        None => {
            context.note("no daemon is running");
            return Ok(ExitCode::Ok);
        }
    };
    let ending = Ending::of(&mut client);
    let words = Words { doing: "stopping every app", noun: "no app was in the list", hints: false };
    let code = carry_out(context, &mut client, Op::Kill { keep_list: false }, words, None, false)?;
    // Whoever comes next must not meet a daemon or keeper that is about to end.
    if ending.with(&client).wait(PATIENCE) {
        context.note(if pm2::speaks() { "[v] PM2 Daemon Stopped" } else { "the daemon has ended" });
    } else {
        context.warn("the daemon was told to end and has not done so yet");
    }
    Ok(code)
}
