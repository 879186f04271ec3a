//! Follows files and tells of what happens to their apps, until the reader goes away.
//!
//! Waits on the files, on the daemon's events and on the reader at once. Without a daemon it looks for
//! new files, and for a daemon, once a second.

use std::os::fd::AsFd;
use std::time::Instant;

use jiff::Timestamp;
use wpm_client::logs::{Follower, From, Source};
use wpm_client::subscribe::Subscription;
use wpm_client::{Client, Options, Start};
use wpm_proto::ExitCode;
use wpm_proto::event::{EventKind, EventView};

use super::collect::Known;
use super::format::Printer;
use super::{Logs, TICK, wanted, watch_failed};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::quantity::show_duration;
use crate::render::escape;
use crate::render::rows::exit_word;
use crate::render::style::{self, paint};
use crate::verbs::Outcome;

pub(super) fn follow(
    context: &Context,
    logs: &Logs,
    mut known: Known,
    mut sources: Vec<Source>,
    starts: &[u64],
    mut printer: Printer,
) -> Outcome {
    let mut follower = Follower::new().map_err(|cause| watch_failed(&cause))?;
    for (source, start) in sources.iter().zip(starts) {
        follower.add(&source.path, From::Offset(*start));
    }
    let mut events = subscribe(&known);
    let tell = !context.silent && !logs.json && !logs.raw && !logs.format && output::stderr_is_terminal();
    // What began between the first look and the subscription.
    add_new(logs, &mut known, &mut sources, &mut follower, &mut printer)?;
    let mut looked = Instant::now();
    loop {
        let limit = events.is_none().then_some(TICK);
        let fd = events.as_ref().map(Subscription::fd);
        let stdout = std::io::stdout();
        let wake = follower.wait(fd, Some(stdout.as_fd()), limit).map_err(|cause| watch_failed(&cause))?;
        if wake.closed {
            return Ok(ExitCode::Ok);
        }
        if wake.files {
            print(logs, &sources, &mut follower, &printer)?;
        }
        let Some(subscription) = &mut events else {
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                events = subscribe(&known);
                add_new(logs, &mut known, &mut sources, &mut follower, &mut printer)?;
            }
            continue;
        };
        if !wake.other {
            continue;
        }
        let arrived = read_events(subscription);
        for event in arrived.iter().flatten() {
            if sources.iter().any(|source| source.app == event.app) && tell {
                tell_of(event);
            }
            if matches!(event.what, EventKind::Online { .. }) {
                add_new(logs, &mut known, &mut sources, &mut follower, &mut printer)?;
            }
        }
        if arrived.is_none() {
            events = None;
        }
    }
}

/// The events that have come; none when the daemon has gone.
fn read_events(subscription: &mut Subscription) -> Option<Vec<EventView>> {
    subscription.fill().ok()?;
    let mut events = Vec::new();
    while let Some(event) = subscription.next_ready().ok()? {
        events.push(event);
    }
    Some(events)
}

fn subscribe(known: &Known) -> Option<Subscription> {
    let options = Options { start: Start::Never, ..Options::default() };
    let client = Client::open(known.home().clone(), options).ok()?;
    Subscription::open(client, None).ok()
}

/// Follows files that have come; what is in them already is new too.
fn add_new(
    logs: &Logs,
    known: &mut Known,
    sources: &mut Vec<Source>,
    follower: &mut Follower,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let new = known.refresh(sources, |source| wanted(logs, source))?;
    for position in &new {
        follower.add(&sources[*position].path, From::Offset(0));
    }
    if known.online() {
        printer.stamped = known.stamped().to_vec();
    }
    if !new.is_empty() {
        printer.fit(sources);
    }
    Ok(())
}

fn print(logs: &Logs, sources: &[Source], follower: &mut Follower, printer: &Printer) -> Result<(), Failure> {
    let mut lines = follower.lines();
    if let Some(pattern) = &logs.grep {
        lines.retain(|line| pattern.is_match(&line.bytes));
    }
    printer.print(sources, &lines, Some(Timestamp::now()))
}

/// `── web/1 exited (exit 137), restarting in 2s ──`.
fn tell_of(event: &EventView) {
    let what = match &event.what {
        EventKind::Exited { exit, uptime_ms } => {
            format!("ended ({}) after {}", exit_word(*exit), show_duration(*uptime_ms))
        }
        EventKind::Online { pid } => format!("online, pid {pid}"),
        EventKind::RestartPlanned { delay_ms, reason } if *delay_ms > 0 => {
            format!("restarts in {} ({})", show_duration(*delay_ms), escape::clean(reason))
        }
        EventKind::Errored { reason } => format!("given up ({})", escape::clean(reason)),
        EventKind::Stopped => "stopped".to_owned(),
        EventKind::Deleted => "deleted".to_owned(),
        _ => return,
    };
    let rule = if output::is_utf8() { "──" } else { "--" };
    let text = format!("{rule} {}/{} {what} {rule}", escape::clean(&event.app), event.index);
    output::say(&paint(style::DIM, &text));
}
