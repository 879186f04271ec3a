//! `wpm ping`: asks the daemon whether it is there, starting it if not.

use wpm_proto::ExitCode;
use wpm_proto::request::Op;
use wpm_proto::response::Body;

use super::Outcome;
use crate::cli::Verb;
use crate::context::{Context, unexpected};
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "ping",
    aliases: &[],
    about: "Ask the daemon whether it is there, starting it if not",
    examples: "  wpm ping",
    args: |command| command,
    run,
};

fn run(_: &clap::ArgMatches, context: &mut Context) -> Outcome {
    match context.daemon()?.call(Op::Ping, |_| ())? {
        Body::Pong => output::line("{ msg: 'pong' }").map(|()| ExitCode::Ok),
        other => Err(unexpected(&other)),
    }
}
