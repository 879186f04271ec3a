//! `wpm apply`: makes apps what a file says, touching only what differs, and shows it first.

mod show;

use std::time::Instant;

use serde_json::json;
use wpm_client::Client;
use wpm_proto::ExitCode;
use wpm_proto::app::AppSpec;
use wpm_proto::request::Op;
use wpm_proto::response::{AppChange, Body, Step};

use super::Outcome;
use super::described::Described;
use super::start::or_default;
use super::targets::Waiting;
use crate::appfile::Choice;
use crate::cli::{Verb, arguments};
use crate::context::{Context, unexpected};
use crate::failure::{Code, Failure};
use crate::options::AppOptions;
use crate::outcome::{Words, report, wait_for};
use crate::output;
use crate::target::Caller;

pub(crate) const VERB: Verb = Verb {
    name: "apply",
    aliases: &[],
    about: "Make apps what a file says, touching only what differs",
    examples: "  wpm apply                        the app file of this folder\n  \
               wpm apply wpm.toml --dry-run     show what would be done\n  \
               wpm apply wpm.toml --prune       also remove apps that the file has no more\n  \
               wpm apply wpm.toml --env production",
    args: <Apply as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Apply {
    /// App file; none = the one of this folder
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Also remove apps that came from this file and that it has no more
    #[arg(long)]
    prune: bool,
    /// Also use the variables of this name
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Only the apps of these names
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "prune")]
    only: Vec<String>,
    /// Also give known apps the environment of this command
    #[arg(short = 'a', long)]
    update_env: bool,
    /// How many instances of an app are replaced at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    parallel: u32,
    /// Show the values of variables
    #[arg(long)]
    values: bool,
    /// As JSON, with the outcomes
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// What is asked of the daemon, twice.
#[derive(Debug, Clone)]
struct Asked {
    apps: Vec<AppSpec>,
    prune: Option<String>,
    update_env: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let apply: Apply = arguments(matches)?;
    let caller = Caller::of_this_process()?;
    let file = or_default(apply.file.into_iter().collect(), &caller)?.remove(0);
    let choice = Choice { env: apply.env, only: apply.only };
    let mut described = Described::default();
    described.add_file(&file, &AppOptions::default(), &choice, &caller, context)?;
    if apply.prune && described.source.is_none() {
        return Err(Failure::new(
            Code::Usage,
            "--prune needs a file: apps are known by the one they came from",
        ));
    }
    let prune = described.source.clone().filter(|_| apply.prune);
    let apps = std::mem::take(&mut described.apps);
    let asked = Asked { apps, prune, update_env: apply.update_env };

    let mut client = context.daemon()?;
    let changes = compare(&mut client, asked.clone()).map_err(|failure| described.blame(failure))?;
    let nothing = changes.iter().all(|change| change.step == Step::Keep);
    if !apply.json && !apply.waiting.quiet {
        output::data(&show::text(&changes, apply.values))?;
    }
    if apply.dry_run || nothing {
        if apply.json {
            output::json(&json!({ "dry_run": apply.dry_run, "apps": show::json(&changes, apply.values) }))?;
        } else if nothing {
            context.note("nothing to change: all is as the file says");
        } else {
            context.note(&format!("would be done: {}", show::counts(&changes)));
        }
        return Ok(ExitCode::Ok);
    }
    let begun = Instant::now();
    let expected = changes.iter().filter(|change| change.step != Step::Keep);
    let expected = expected.map(|change| change.instances as usize).sum();
    let words = Words { doing: "applying", noun: "applied", hints: false };
    let Asked { apps, prune, update_env } = asked;
    let (parallel, wait) = (apply.parallel, !apply.waiting.no_wait);
    let op = Op::Apply { apps, prune, update_env, parallel, wait };
    let (outcomes, remarks) = wait_for(context, &mut client, op, words, Some(expected))?;
    for remark in &remarks {
        context.warn(remark);
    }
    if outcomes.is_empty() && !apply.json {
        context.note(if wait { "in force" } else { "asked for: `wpm list` shows how far it is" });
    }
    if apply.json {
        let apps = show::json(&changes, apply.values);
        output::json(&json!({ "dry_run": false, "apps": apps, "outcomes": outcomes }))?;
    }
    if apply.waiting.quiet {
        let ids: String = outcomes.iter().map(|outcome| format!("{}\n", outcome.id)).collect();
        output::data(&ids)?;
    }
    report(context, &outcomes, words, begun, apply.waiting.quiet)
}

fn compare(client: &mut Client, asked: Asked) -> Result<Vec<AppChange>, Failure> {
    let Asked { apps, prune, update_env } = asked;
    match client.call(Op::Compare { apps, prune, update_env }, |_| ())? {
        Body::Changes { changes } => Ok(changes),
        other => Err(unexpected(&other)),
    }
}
