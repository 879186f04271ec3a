//! Waits for the outcome of a changing request and says what came of it.
//!
//! Invariant: the exit code says whether all, some or none did as asked.

mod failures;

use std::collections::BTreeMap;
use std::time::Instant;

use wpm_client::Client;
use wpm_proto::ExitCode;
use wpm_proto::request::Op;
use wpm_proto::response::{Body, InstanceOutcome, Outcome};

use crate::context::{Context, unexpected};
use crate::failure::Failure;
use crate::output;
use crate::pm2;
use crate::progress::Progress;
use crate::quantity::{show_duration, show_elapsed};
use crate::render::escape;
use crate::render::style::{self, paint};
use crate::{interrupt, verbs};
pub(crate) use failures::ended;
use failures::failures;

/// How a verb speaks of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    /// While it waits: `starting`.
    pub(crate) doing: &'static str,
    /// When it has not waited: `start of web asked for`.
    pub(crate) noun: &'static str,
    /// Whether the hints for a new user follow.
    pub(crate) hints: bool,
}

impl Words {
    /// Of what starts apps: whoever waits learns which of them were only to be listed.
    pub(crate) const fn of_start(no_wait: bool, hints: bool) -> Self {
        let noun = if no_wait { "start asked for" } else { "in the list, not started" };
        Self { doing: "starting", noun, hints }
    }
}

/// Makes a changing request, waits with progress, reports, and gives the exit code.
pub(crate) fn carry_out(
    context: &Context,
    client: &mut Client,
    op: Op,
    words: Words,
    expected: Option<usize>,
    quiet: bool,
) -> verbs::Outcome {
    let begun = Instant::now();
    let (outcomes, remarks) = wait_for(context, client, op, words, expected)?;
    // pm2 has other words for what it keeps.
    let said = !remarks.is_empty() || (pm2::speaks() && outcomes.is_empty());
    for remark in remarks.into_iter().filter(|_| !pm2::speaks()) {
        context.note(&remark);
    }
    if quiet {
        let ids: String = outcomes.iter().map(|outcome| format!("{}\n", outcome.id)).collect();
        output::data(&ids)?;
    }
    if outcomes.is_empty() && !said {
        context.note(words.noun);
    }
    report(context, &outcomes, words, begun, quiet)
}

/// Makes a changing request and waits with progress; gives outcomes and remarks.
pub(crate) fn wait_for(
    context: &Context,
    client: &mut Client,
    op: Op,
    words: Words,
    expected: Option<usize>,
) -> Result<(Vec<InstanceOutcome>, Vec<String>), Failure> {
    interrupt::end_on_interrupt(Some("interrupted: the daemon goes on with it, `wpm list` shows how far"));
    let mut progress = Progress::new(words.doing, expected, context.silent);
    let answer = client.call(op, |_| progress.advance());
    drop(progress);
    match answer? {
        Body::Outcomes { outcomes, remarks } => Ok((outcomes, remarks)),
        other => Err(unexpected(&other)),
    }
}

/// Says what came of each app, and gives the exit code; `quiet`: says nothing of what went well.
pub(crate) fn report(
    context: &Context,
    outcomes: &[InstanceOutcome],
    words: Words,
    begun: Instant,
    quiet: bool,
) -> verbs::Outcome {
    let mut by_app: BTreeMap<&str, Vec<&InstanceOutcome>> = BTreeMap::new();
    for outcome in outcomes {
        by_app.entry(&outcome.app).or_default().push(outcome);
    }
    let took = show_elapsed(begun.elapsed());
    if pm2::speaks() {
        for (app, outcomes) in &by_app {
            for failure in failures(app, outcomes) {
                pm2::voice::fail(&failure);
            }
        }
        return Ok(pm2::voice::report(context, words.doing, outcomes));
    }
    for (app, outcomes) in &by_app {
        let line = summary(app, outcomes, words, &took);
        let failed = outcomes.iter().any(|outcome| !is_good(&outcome.outcome));
        if failed || !(context.silent || quiet) {
            output::say(&line);
        }
        for failure in failures(app, outcomes) {
            output::say(&failure.render(&[]));
        }
    }
    let good = outcomes.iter().filter(|outcome| is_good(&outcome.outcome)).count();
    if good == outcomes.len()
        && words.hints
        && !quiet
        && output::stderr_is_terminal()
        && let Some(app) = by_app.keys().next().filter(|_| by_app.len() == 1)
    {
        context.note(&hints(app));
    }
    Ok(match (good, outcomes.len() - good) {
        (_, 0) => ExitCode::Ok,
        (0, _) => ExitCode::Failed,
        _ => ExitCode::PartlyFailed,
    })
}

/// What came of a command in one line: the first failure, or how many are up or down.
pub(crate) fn in_a_line(outcomes: &[InstanceOutcome], words: Words, begun: Instant) -> String {
    let mut by_app: BTreeMap<&str, Vec<&InstanceOutcome>> = BTreeMap::new();
    for outcome in outcomes {
        by_app.entry(&outcome.app).or_default().push(outcome);
    }
    let took = show_elapsed(begun.elapsed());
    let failed = by_app.iter().find_map(|(app, outcomes)| failures(app, outcomes).into_iter().next());
    match failed {
        Some(failure) => paint(style::ERROR, failure.message()),
        None => {
            let lines = by_app.iter().map(|(app, outcomes)| summary(app, outcomes, words, &took));
            lines.collect::<Vec<_>>().join(", ")
        }
    }
}

fn hints(app: &str) -> String {
    let app = shlex::try_quote(app).map_or_else(|_| app.to_owned(), std::borrow::Cow::into_owned);
    let hint = |word: &str, command: String| {
        format!("{} {}", paint(style::DIM, word), paint(style::COMMAND, &command))
    };
    format!(
        "  {}   {}   {}",
        hint("logs", format!("wpm logs {app}")),
        hint("stop", format!("wpm stop {app}")),
        hint("keep", "wpm save".to_owned())
    )
}

const fn is_good(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Up { .. }
            | Outcome::Restarted { .. }
            | Outcome::Finished { .. }
            | Outcome::Down
            | Outcome::Deleted
            | Outcome::Scheduled { .. }
            | Outcome::Done
    )
}

/// `web: 4/4 up in 0.4s`.
fn summary(app: &str, outcomes: &[&InstanceOutcome], words: Words, took: &str) -> String {
    let count =
        |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(&outcome.outcome)).count();
    let total = outcomes.len();
    let up = count(|outcome| matches!(outcome, Outcome::Up { .. } | Outcome::Restarted { .. }));
    let unready = count(|outcome| matches!(outcome, Outcome::NotReady { .. }));
    let rolled_back = count(|outcome| matches!(outcome, Outcome::RolledBack));
    let untried = count(|outcome| matches!(outcome, Outcome::NotTried));
    let down = count(|outcome| matches!(outcome, Outcome::Down));
    let deleted = count(|outcome| matches!(outcome, Outcome::Deleted));
    let died = count(|outcome| matches!(outcome, Outcome::Died { .. }));
    let unspawned = count(|outcome| matches!(outcome, Outcome::SpawnFailed { .. }));
    let alive = count(|outcome| matches!(outcome, Outcome::StillAlive));
    let superseded = count(|outcome| matches!(outcome, Outcome::Superseded));
    let waiting = count(|outcome| matches!(outcome, Outcome::Waits { .. }));
    let done = count(|outcome| matches!(outcome, Outcome::Done));
    let on_clock = outcomes.iter().find_map(|outcome| match &outcome.outcome {
        Outcome::Scheduled { in_ms } => Some(*in_ms),
        _ => None,
    });
    let of_total = |number: usize, word: &str| format!("{number}/{total} {word}");
    let mut parts = Vec::new();
    if up > 0 || died + unspawned + unready > 0 {
        parts.push(of_total(up, "up"));
    }
    let finished = count(|outcome| matches!(outcome, Outcome::Finished { .. }));
    if finished > 0 {
        parts.push(of_total(finished, "finished"));
    }
    if down > 0 || alive > 0 {
        parts.push(of_total(down, "stopped"));
    }
    if deleted > 0 {
        parts.push(of_total(deleted, "deleted"));
    }
    match on_clock {
        Some(Some(wait)) => parts.push(format!("runs next in {}", show_duration(wait))),
        Some(None) => parts.push("its schedule never comes".to_owned()),
        None => {}
    }
    if done > 0 {
        parts.push(format!(
            "{}{}",
            words.noun,
            if done > 1 { format!(" ({done} instances)") } else { String::new() }
        ));
    }
    for (number, word) in [
        (died, "died"),
        (unspawned, "not started"),
        (unready, "not ready in time"),
        (rolled_back, "rolled back"),
        (untried, "left as they were"),
        (alive, "still alive"),
        (waiting, "waiting for another app"),
        (superseded, "left to another command"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    let good = outcomes.iter().all(|outcome| is_good(&outcome.outcome));
    let name = paint(style::BOLD, &escape::clean(app));
    let text = parts.join(", ");
    let time = if done == total || on_clock.is_some() { String::new() } else { format!(" in {took}") };
    let gaps = match count(|outcome| matches!(outcome, Outcome::Restarted { .. })) {
        0 => String::new(),
        gaps => format!("; {gaps} with a gap, as two runs of it cannot overlap"),
    };
    if good {
        format!("{name}: {}{time}{gaps}", paint(style::GOOD, &text))
    } else {
        format!("{name}: {text}{time}{gaps}")
    }
}

#[cfg(test)]
mod tests;
