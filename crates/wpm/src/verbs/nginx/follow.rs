//! Keeps the file true: looks again when the daemon tells that something has happened to the app.
//!
//! Polls nothing: between two events it sleeps. Only while an instance is up that does not listen yet, for
//! which the kernel has no notice, is it looked for again, ever more seldom and not for ever.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wpm_client::subscribe::Subscription;
use wpm_client::{Client, Error};
use wpm_proto::event::EventKind;
use wpm_proto::home::Home;

use super::file::Kept;
use super::{Outcome, Wanted, update};
use crate::context::{Context, next_daemon, next_events};
use crate::failure::{Code, Failure};
use crate::output;
use crate::reach::one_app;

/// Quiet time after an event: what happens together is written once.
const QUIET: Duration = Duration::from_millis(100);
/// First pause before an instance that does not listen is looked for again; each is twice the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long it is looked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the next daemon may take to come.
const NEXT_DAEMON: Duration = Duration::from_secs(10);

/// Until a signal ends this process, or there is no daemon any more.
pub(super) fn follow(context: &mut Context, kept: &Kept, wanted: &Wanted, target: &str) -> Outcome {
    crate::interrupt::end_on_interrupt(None);
    let home = context.home()?;
    let mut client = context.daemon()?;
    // A wrong name is a mistake now; an app that is deleted later may come back.
    let name = one_app(&mut client, target)?.name;
    let mut events = Subscription::open(context.daemon()?, None)?;
    loop {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let missing = match one_app(&mut client, target) {
                Ok(app) => update(context, kept, wanted, &app),
                Err(failure) => Err(failure),
            };
            let left = match missing {
                Ok((missing, _)) => missing > 0 && began.elapsed() < PATIENCE,
                // Without an instance that can be reached nothing better can be written.
                Err(failure) if failure.is(Code::NoSuchApp) || failure.is(Code::NoApps) => false,
                Err(failure) if failure.is(Code::NotRunning) => began.elapsed() < PATIENCE,
                Err(failure) if failure.is(Code::Unreachable) => {
                    (client, events) = next(&home)?;
                    break;
                }
                Err(failure) => {
                    output::say(&failure.render(&[]));
                    false
                }
            };
            let waited = match wait(&mut events, &name, left.then_some(pause)) {
                Ok(waited) => waited,
                Err(Error::Lost) => {
                    (client, events) = next(&home)?;
                    true
                }
                Err(error) => return Err(Failure::from(error)),
            };
            if waited {
                break;
            }
            pause *= 2;
        }
    }
}

/// Connections to the next daemon, after one has ended.
fn next(home: &Home) -> Result<(Client, Subscription), Error> {
    // The events first: what happens meanwhile is in the list, or comes.
    let events = next_events(home, None, NEXT_DAEMON)?;
    Ok((next_daemon(home, NEXT_DAEMON)?, events))
}

/// Waits for an event of the app and until it is quiet again; `false`: the pause is over first.
fn wait(events: &mut Subscription, name: &str, pause: Option<Duration>) -> Result<bool, Error> {
    let mut until = pause.map(|pause| Instant::now() + pause);
    let mut happened = false;
    loop {
        while let Some(event) = events.next_ready()? {
            let matters = !matches!(event.what, EventKind::LogTrouble { .. } | EventKind::HookFailed { .. });
            if event.app == name && matters {
                happened = true;
                until = Some(Instant::now() + QUIET);
            }
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(happened);
        }
        let limit = left.map(|left| Timespec::try_from(left).unwrap_or_default());
        let ready = {
            let fd = events.fd();
            let mut set = [PollFd::new(&fd, PollFlags::IN)];
            poll(&mut set, limit.as_ref()).unwrap_or(0) > 0
        };
        if ready {
            events.fill()?;
        }
    }
}
