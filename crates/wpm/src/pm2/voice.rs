//! What is printed under pm2's name: its prefixes, its sentences, its list after what changes it.
//!
//! Results go to stdout and errors to stderr, as pm2 has it. Invariant: an app that dies at once is told
//! of although the exit code is pm2's.

use wpm_proto::ExitCode;
use wpm_proto::app::AppSpec;
use wpm_proto::response::{InstanceOutcome, Outcome};

use super::{dump, tables};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::render::style::{self, paint};

/// Verbs after which pm2 prints its list.
const LISTED: [&str; 9] =
    ["start", "restart", "stop", "delete", "del", "scale", "reset", "resurrect", "sendSignal"];

/// Says what was done.
pub(crate) fn say(text: &str) {
    // A reader that has gone misses nothing.
    drop(output::line(&format!("{} {text}", paint(style::GOOD, "[PM2]"))));
}

/// Warns.
pub(crate) fn warn(text: &str) {
    output::say(&format!("{} {text}", paint(style::WARNING, "[PM2][WARN]")));
}

/// Says what went wrong.
pub(crate) fn error(text: &str) {
    output::say(&format!("{} {text}", paint(style::ERROR, "[PM2][ERROR]")));
}

/// A failure in pm2's words, where pm2 has words for it.
pub(crate) fn fail(failure: &Failure) {
    let message = failure.message();
    let name = message.split('`').nth(1).unwrap_or_default();
    if failure.is(Code::NoApps) {
        warn("No process found");
    } else if failure.is(Code::NoSuchApp) {
        error(&format!("Process or Namespace {name} not found"));
    } else if failure.is(Code::AlreadyRunning) {
        error("Script already launched, add -f option to force re-execution");
    } else if failure.is(Code::NothingToDo) {
        error("Nothing to do");
    } else if failure.is(Code::NoTarget) && !name.is_empty() {
        error(&format!("Script not found: {name}"));
    } else {
        error(message);
        for help in failure.helps() {
            output::say(&format!("  {help}"));
        }
    }
}

/// Says that apps are about to be started.
pub(crate) fn starting(context: &Context, apps: &[AppSpec]) {
    for app in apps.iter().filter(|_| !context.silent) {
        let mode = if app.cluster { "cluster_mode" } else { "fork_mode" };
        let several = if app.instances == 1 { "" } else { "s" };
        say(&format!("Starting {} in {mode} ({} instance{several})", app.script, app.instances));
    }
}

/// Says what came of a changing command; the exit code is pm2's, which does not look after a start.
pub(crate) fn report(context: &Context, doing: &str, outcomes: &[InstanceOutcome]) -> ExitCode {
    let action = match doing {
        "stopping" => "stopProcessId",
        "restarting" => "restartProcessId",
        "reloading" => "reloadProcessId",
        "deleting" | "stopping every app" => "deleteProcessId",
        _ => "",
    };
    let mut apps: Vec<&str> = outcomes.iter().map(|outcome| outcome.app.as_str()).collect();
    apps.dedup();
    for app in apps.iter().filter(|_| !context.silent && !action.is_empty()) {
        let own = || outcomes.iter().filter(|outcome| outcome.app == **app);
        let ids: Vec<String> = own().map(|outcome| outcome.id.to_string()).collect();
        say(&format!("Applying action {action} on app [{app}](ids: [ {} ])", ids.join(", ")));
        for outcome in own().filter(|outcome| !is_bad(&outcome.outcome)) {
            say(&format!("[{app}]({}) ✓", outcome.id));
        }
    }
    let failed = outcomes.iter().filter(|outcome| is_bad(&outcome.outcome)).count();
    if doing == "starting" && failed == 0 && !context.silent {
        say("Done.");
    }
    // A reload that failed has left the old version running: a deployment has to know.
    let fatal = matches!(doing, "reloading" | "stopping" | "deleting" | "stopping every app");
    if failed > 0 && fatal { ExitCode::Failed } else { ExitCode::Ok }
}

const fn is_bad(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Died { .. }
            | Outcome::SpawnFailed { .. }
            | Outcome::NotReady { .. }
            | Outcome::RolledBack
            | Outcome::NotTried
            | Outcome::StillAlive
    )
}

/// What follows a command that went well: the list, the dump.
pub(super) fn afterwards(words: &[String], context: &mut Context) {
    let Some(verb) = words.first().map(String::as_str) else { return };
    let done = match verb {
        "save" | "dump" => dump::save(context, words),
        "cleardump" => dump::clear(context),
        _ if LISTED.contains(&verb) && !context.silent => tables::print(context),
        _ => Ok(()),
    };
    if let Err(failure) = done
        && failure.speaks()
    {
        fail(&failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(outcome: Outcome) -> InstanceOutcome {
        InstanceOutcome { id: 3, app: "web".into(), index: 0, outcome }
    }

    #[test]
    fn the_exit_code_does_not_look_after_a_start_but_after_a_reload() {
        let context = Context::new(true);
        let bad = || [outcome(Outcome::SpawnFailed { stage: "executing".into(), subject: None, errno: 2 })];
        assert_eq!(report(&context, "starting", &bad()), ExitCode::Ok);
        assert_eq!(report(&context, "restarting", &bad()), ExitCode::Ok);
        assert_eq!(report(&context, "reloading", &[outcome(Outcome::RolledBack)]), ExitCode::Failed);
        assert_eq!(report(&context, "stopping", &[outcome(Outcome::Down)]), ExitCode::Ok);
    }
}
