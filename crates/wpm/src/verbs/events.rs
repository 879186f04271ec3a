//! `wpm events`: what happens to apps, as it happens.
//!
//! Shows the daemon's stream, nothing of its own. Goes on with the next daemon when one ends.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wpm_client::subscribe::Subscription;
use wpm_client::{Client, Error};
use wpm_proto::ExitCode;
use wpm_proto::event::{EventKind, EventView};

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, next_events};
use crate::failure::{Code, Failure};
use crate::output;
use crate::quantity::show_elapsed;
use crate::render::escape;
use crate::render::rows::exit_word;
use crate::render::style::{self, paint};

pub(crate) const VERB: Verb = Verb {
    name: "events",
    aliases: &[],
    about: "Show what happens to apps, as it happens",
    examples: "  wpm events                               everything\n  \
               wpm events web --event exited,errored    of one app, and only this\n  \
               wpm events --since 10m --nostream        what was\n  \
               wpm events --json | jq .app              a JSON object for each line",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

/// How long the next daemon may take to come.
const NEXT_DAEMON: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Names of apps [default: all]
    #[arg(value_name = "APP", add = complete::apps())]
    apps: Vec<String>,
    /// Only events of these kinds, such as `online`, `exited`, `errored`
    #[arg(long = "event", value_name = "KINDS", value_delimiter = ',')]
    kinds: Vec<String>,
    /// First those since a time: `5m`, `2h`, `2026-01-31T10:00:00`; as far as the daemon remembers
    #[arg(long, value_name = "TIME", value_parser = clap::builder::ValueParser::new(super::logs::since))]
    since: Option<i64>,
    /// End after those that were
    #[arg(long)]
    nostream: bool,
    /// A JSON object for each line
    #[arg(long)]
    json: bool,
}

/// Every kind, by the name that it has in JSON.
const KINDS: [&str; 14] = [
    "starting",
    "online",
    "ready",
    "exited",
    "restart_planned",
    "stopping",
    "stopped",
    "errored",
    "replaced",
    "not_replaced",
    "deleted",
    "skipped",
    "hook_failed",
    "log_trouble",
];

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let arguments: Arguments = arguments(matches)?;
    if let Some(unknown) = arguments.kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(Failure::new(Code::Usage, format!("there is no event `{unknown}`"))
            .help(format!("there are: {}", KINDS.join(", "))));
    }
    let since = arguments.since.and_then(|since| u64::try_from(since).ok());
    let client = context.daemon()?;
    let home = client.home().clone();
    let mut last = since;
    if arguments.nostream {
        return remembered(client, since.unwrap_or(0), &arguments);
    }
    let mut subscription = Some(Subscription::open(client, since)?);
    while let Some(events) = &mut subscription {
        match follow(events, &arguments, &mut last) {
            Err(Failed::Daemon(Error::Lost)) => {
                subscription = Some(next_events(&home, last, NEXT_DAEMON)?);
            }
            Err(Failed::Daemon(error)) => return Err(error.into()),
            Err(Failed::Output(failure)) => return Err(failure),
            Ok(()) => {}
        }
    }
    Ok(ExitCode::Ok)
}

enum Failed {
    Daemon(Error),
    Output(Failure),
}

/// Shows what has come, or waits for more.
fn follow(events: &mut Subscription, arguments: &Arguments, last: &mut Option<u64>) -> Result<(), Failed> {
    while let Some(event) = events.next_ready().map_err(Failed::Daemon)? {
        *last = Some(event.at_ms + 1);
        show(&event, arguments).map_err(Failed::Output)?;
    }
    events.fill().map_err(Failed::Daemon)
}

/// What the daemon remembers, up to now.
fn remembered(client: Client, since: u64, arguments: &Arguments) -> Outcome {
    for event in client.past_events(since)? {
        show(&event, arguments)?;
    }
    Ok(ExitCode::Ok)
}

fn show(event: &EventView, arguments: &Arguments) -> Result<(), Failure> {
    let object =
        serde_json::to_value(event).map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let kind = object["event"].as_str().unwrap_or_default();
    let of_app = arguments.apps.is_empty()
        || arguments.apps.iter().any(|app| *app == event.app || *app == event.id.to_string());
    if !of_app || !(arguments.kinds.is_empty() || arguments.kinds.iter().any(|one| one == kind)) {
        return Ok(());
    }
    if arguments.json {
        return output::line(&object.to_string());
    }
    let at = i64::try_from(event.at_ms).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    let at = at.unwrap_or_default().to_zoned(TimeZone::system());
    let name = format!("{}/{}", escape::clean(&event.app), event.index);
    output::line(&format!(
        "{} {} {}",
        paint(style::DIM, &at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()),
        paint(style::BOLD, &name),
        words(&event.what)
    ))
}

/// An event in a few words.
fn words(event: &EventKind) -> String {
    let took = |ms| show_elapsed(Duration::from_millis(ms));
    let because = |reason: &str| escape::clean(reason);
    match event {
        EventKind::Starting => "starting".to_owned(),
        EventKind::Online { pid } => format!("online, pid {pid}"),
        EventKind::Ready => "ready".to_owned(),
        EventKind::Exited { exit, uptime_ms } => {
            format!("ended after {}, {}", took(*uptime_ms), exit_word(*exit))
        }
        EventKind::RestartPlanned { delay_ms: 0, reason } => format!("starts again: {}", because(reason)),
        EventKind::RestartPlanned { delay_ms, reason } => {
            format!("starts again in {}: {}", took(*delay_ms), because(reason))
        }
        EventKind::Stopping { reason } => format!("stopping: {}", because(reason)),
        EventKind::Stopped => "stopped".to_owned(),
        EventKind::Errored { reason } => format!("given up: {}", because(reason)),
        EventKind::Replaced { pid } => format!("replaced, pid {pid}"),
        EventKind::NotReplaced { reason } => format!("not replaced: {}", because(reason)),
        EventKind::Deleted => "deleted".to_owned(),
        EventKind::Skipped => "not run: its last run still runs".to_owned(),
        EventKind::HookFailed { hook, reason } => format!("hook {hook} failed: {}", because(reason)),
        EventKind::LogTrouble { errno: 0 } => "its logs can be written again".to_owned(),
        EventKind::LogTrouble { errno } => {
            format!("its logs cannot be written: {}", std::io::Error::from_raw_os_error(*errno))
        }
    }
}
