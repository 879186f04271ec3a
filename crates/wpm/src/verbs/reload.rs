//! `wpm reload`: replaces instances without a gap, new before old, and goes back if the new do not come
//! up.

use wpm_proto::request::Op;

use super::Outcome;
use super::changed::{self, Changed};
use super::described::Described;
use super::flags::AppFlags;
use super::start::worst;
use super::targets::{self, Targets, Waiting};
use crate::appfile::Choice;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::outcome::{Words, carry_out};
use crate::target::Caller;

pub(crate) const VERB: Verb = Verb {
    name: "reload",
    aliases: &["gracefulReload", "startOrReload", "startOrGracefulReload"],
    about: "Replace instances one by one, new before old, and go back if the new do not come up",
    examples: "  wpm reload web                   no request is lost\n  wpm reload web --parallel 4      four instances at once\n  \
               wpm reload web --update-env      with the environment of this shell\n  \
               wpm reload wpm.toml              as the file says now",
    args: <Reload as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Reload {
    #[command(flatten)]
    targets: Targets,
    /// Give the apps the environment of this command
    #[arg(short = 'a', long)]
    update_env: bool,
    /// Of an app file, also use its variables of this name
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Give up a reload of the app that is under way
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    app: AppFlags,
    #[command(flatten)]
    waiting: Waiting,
    /// New arguments of the app
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let reload: Reload = arguments(matches)?;
    let (parallel, force) = (reload.app.parallel(), reload.force);
    let caller = Caller::of_this_process()?;
    let flags = reload.app.into_options(reload.args).map_err(|why| Failure::new(Code::Usage, why))?;
    let (files, known): (Vec<String>, Vec<String>) =
        reload.targets.targets.into_iter().partition(|target| targets::is_file(target));
    let choice = Choice { env: reload.env, only: reload.targets.only };
    let mut described = Described::default();
    for file in &files {
        described.add(file, &flags, &choice, &caller, context)?;
    }
    let apps = std::mem::take(&mut described.apps);
    let wait = !reload.waiting.no_wait;
    let words = Words { doing: "reloading", noun: "reload asked for", hints: false };
    let mut client = context.daemon()?;
    let mut codes = Vec::new();
    if !known.is_empty() {
        let known = targets::expand(known, &[])?;
        let op = match changed::of(&mut client, &known, &flags, reload.update_env, &caller)? {
            Changed::Little(change) => Op::Reload { targets: known, change, parallel, force, wait },
            Changed::Much(apps) => Op::ReloadWith { apps, parallel, rise: Some(true), wait },
        };
        codes.push(carry_out(context, &mut client, op, words, None, reload.waiting.quiet)?);
    }
    if !apps.is_empty() {
        let expected = apps.iter().map(|app| app.instances as usize).sum();
        let op = Op::ReloadWith { apps, parallel, rise: None, wait };
        let code = carry_out(context, &mut client, op, words, Some(expected), reload.waiting.quiet);
        codes.push(code.map_err(|failure| described.blame(failure))?);
    }
    Ok(worst(&codes))
}
