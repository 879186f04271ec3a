//! `wpm flush`: empties log files.

use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::failure::Code;
use crate::outcome::{Words, carry_out};

pub(crate) const VERB: Verb = Verb {
    name: "flush",
    aliases: &[],
    about: "Empty log files",
    examples: "  wpm flush           of every app\n  wpm flush web       of one app",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name, id, namespace or /regex/; none = every app
    #[arg(value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { targets } = arguments(matches)?;
    let mut client = context.daemon()?;
    let words = Words { doing: "emptying logs", noun: "logs emptied", hints: false };
    let outcome = carry_out(context, &mut client, Op::Flush { targets }, words, None, false);
    // As in pm2: a name that nobody has is nothing to empty, not an error.
    match outcome {
        Err(failure) if failure.is(Code::NoSuchApp) || failure.is(Code::NoApps) => {
            context.warn(failure.message());
            Ok(wpm_proto::ExitCode::Ok)
        }
        outcome => outcome,
    }
}
