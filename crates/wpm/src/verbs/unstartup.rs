//! `wpm unstartup`: takes back what `wpm startup` wrote. What runs goes on.

use wpm_proto::ExitCode;

use super::Outcome;
use super::startup::Whose;
use crate::cli::{Verb, arguments};
use crate::context::Context;

pub(crate) const VERB: Verb = Verb {
    name: "unstartup",
    aliases: &[],
    about: "Start nothing with the machine any more",
    examples: "  wpm unstartup\n  sudo wpm unstartup -u web",
    args: <Whose as clap::Args>::augment_args,
    run,
};

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let found = arguments::<Whose>(matches)?.find(false, false)?;
    if found.needs_root {
        return found.ask_root("unstartup");
    }
    let path = found.placed.path.display();
    if found.placed.remove()? {
        found.reload(context);
        context.note(&format!("removed {path}; what runs goes on"));
    } else {
        context.note(&format!("nothing to remove: {path} is not there"));
    }
    Ok(ExitCode::Ok)
}
