//! `wpm restart`: stops and starts again, with what changes.

use std::collections::BTreeMap;

use wpm_proto::request::{Change, Op};

use super::Outcome;
use super::flags::AppFlags;
use super::start::{of_target, worst};
use super::targets::{self, Targets, Waiting};
use crate::appfile::Choice;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::options::AppOptions;
use crate::outcome::{Words, carry_out};
use crate::target::Caller;

pub(crate) const VERB: Verb = Verb {
    name: "restart",
    aliases: &["startOrRestart"],
    about: "Stop apps and start them again",
    examples: "  wpm restart web                  one app\n  wpm restart all                  every app\n  \
               wpm restart web --update-env     with the environment of this shell\n  \
               wpm restart web -- --port 81     with other arguments\n  \
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
    let mut apps = Vec::new();
    for file in &files {
        apps.extend(of_target(file, &flags, &choice, &caller, context)?);
    }
    let wait = !restart.waiting.no_wait;
    let words = Words { doing: "restarting", noun: "restart asked for", hints: false };
    let mut client = context.daemon()?;
    let mut codes = Vec::new();
    if !known.is_empty() {
        let known = targets::expand(known, &[])?;
        let mut change = change(flags)?;
        change.file_env = targets::file_env(&mut client, &known)?;
        if restart.update_env {
            change.env = Some(caller.env);
        }
        let op = Op::Restart { targets: known, change: Box::new(change), wait };
        codes.push(carry_out(context, &mut client, op, words, None, restart.waiting.quiet)?);
    }
    if !apps.is_empty() {
        let expected = apps.iter().map(|app| app.instances as usize).sum();
        let op = Op::RestartWith { apps, wait };
        codes.push(carry_out(context, &mut client, op, words, Some(expected), restart.waiting.quiet)?);
    }
    Ok(worst(&codes))
}

/// What a command that names a known app can change of it; another option is refused rather than ignored.
pub(super) fn change(flags: AppOptions) -> Result<Change, Failure> {
    let change = Change {
        env: None,
        file_env: BTreeMap::new(),
        args: flags.args.clone(),
        interpreter_args: flags.interpreter_args.clone(),
        name: flags.name.clone(),
        kill_timeout_ms: flags.kill_timeout_ms,
        max_memory_restart: flags.max_memory_restart,
        restart_delay_ms: flags.restart_delay_ms,
        exp_backoff_restart_delay_ms: flags.exp_backoff_restart_delay_ms,
        max_restarts: flags.max_restarts,
        autorestart: flags.autorestart,
        stop_exit_codes: flags.stop_exit_codes.clone(),
        cron_restart: flags.cron_restart.clone(),
        log_date_format: flags.log_date_format.clone(),
        watch: flags.watches.map(|_| watched(flags.watch.as_deref().unwrap_or_default())).transpose()?,
    };
    let rest = AppOptions {
        args: None,
        interpreter_args: None,
        name: None,
        kill_timeout_ms: None,
        max_memory_restart: None,
        restart_delay_ms: None,
        exp_backoff_restart_delay_ms: None,
        max_restarts: None,
        autorestart: None,
        stop_exit_codes: None,
        cron_restart: None,
        log_date_format: None,
        watches: None,
        watch: None,
        ..flags
    };
    if rest.instances.is_some() {
        return Err(Failure::new(
            Code::Usage,
            "the number of instances of a known app is changed by `scale`",
        )
        .help("wpm scale APP N"));
    }
    let given: Vec<&str> = rest.given().into_iter().map(|name| name.trim_end_matches("_ms")).collect();
    if !given.is_empty() {
        let message = format!("by its name an app cannot be given another {}", given.join(", "));
        return Err(Failure::new(Code::Usage, message)
            .help("delete and start the app anew, or describe it in an app file and start that"));
    }
    Ok(change)
}

/// Paths that the daemon can use, whose working directory is another.
fn watched(paths: &[String]) -> Result<Vec<String>, Failure> {
    let absolute = |path: &String| match std::path::absolute(path) {
        Ok(path) => Ok(path.display().to_string()),
        Err(cause) => Err(Failure::new(Code::Usage, format!("cannot watch `{path}`: {cause}"))),
    };
    paths.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restart_cannot_change_is_refused() {
        let changed = change(AppOptions { kill_timeout_ms: Some(5), ..AppOptions::default() }).expect("can");
        assert_eq!(changed.kill_timeout_ms, Some(5));
        assert!(change(AppOptions { instances: Some("2".into()), ..AppOptions::default() }).is_err());
        assert!(change(AppOptions { cwd: Some("/".into()), ..AppOptions::default() }).is_err());
    }
}
