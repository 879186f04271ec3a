//! `wpm restart`: stops and starts again, with what changes.

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
    name: "restart",
    aliases: &["startOrRestart"],
    about: "Stop apps and start them again",
    examples: "  wpm restart web                  one app\n  wpm restart all                  every app\n  \
               wpm restart web --update-env     with the environment of this shell\n  \
               wpm restart web -- --port 81     with other arguments\n  \
               wpm restart web --cwd /srv/v2    with any option of `start`, which stays in force\n  \
               wpm restart web --watch          watched from now on, or no more\n  \
               wpm restart wpm.toml             as the file says now",
    args: <Restart as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Restart {
    #[command(flatten)]
    targets: Targets,
    /// Give the apps the environment of this command
    #[arg(short = 'a', long)]
    update_env: bool,
    /// Of an app file, also use its variables of this name
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    #[command(flatten)]
    app: AppFlags,
    #[arg(short, long, hide = true)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
    /// New arguments of the app
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let restart: Restart = arguments(matches)?;
    let caller = Caller::of_this_process()?;
    let flags = restart.app.into_options(restart.args).map_err(|why| Failure::new(Code::Usage, why))?;
    let (files, known): (Vec<String>, Vec<String>) =
        restart.targets.targets.into_iter().partition(|target| targets::is_file(target));
    if restart.env.is_some() && files.is_empty() {
        return Err(Failure::new(Code::Usage, "--env needs an app file, whose variables it chooses")
            .exiting(wpm_proto::ExitCode::Failed)
            .help("--update-env takes the environment of this shell"));
    }
    let choice = Choice { env: restart.env, only: restart.targets.only };
    let mut described = Described::default();
    for file in &files {
        described.add(file, &flags, &choice, &caller, context)?;
    }
    let apps = std::mem::take(&mut described.apps);
    let wait = !restart.waiting.no_wait;
    let words = Words { doing: "restarting", noun: "restart asked for", hints: false };
    let mut client = context.daemon()?;
    let mut codes = Vec::new();
    if !known.is_empty() {
        let known = targets::expand(known, &[])?;
        let op = match changed::of(&mut client, &known, &flags, restart.update_env, &caller)? {
            Changed::Little(change) => Op::Restart { targets: known, change, wait },
            Changed::Much(apps) => Op::RestartWith { apps, rise: Some(true), wait },
        };
        codes.push(carry_out(context, &mut client, op, words, None, restart.waiting.quiet)?);
    }
    if !apps.is_empty() {
        let expected = apps.iter().map(|app| app.instances as usize).sum();
        let op = Op::RestartWith { apps, rise: None, wait };
        let code = carry_out(context, &mut client, op, words, Some(expected), restart.waiting.quiet);
        codes.push(code.map_err(|failure| described.blame(failure))?);
    }
    Ok(worst(&codes))
}
