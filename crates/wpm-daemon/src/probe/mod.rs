//! Checks that are made from outside: of readiness until one succeeds, of health for as long as a run
//! lives.
//!
//! Owns the timing; what a single look does is in [`look`]. Invariant: there is a task only for a run
//! whose spec asks for such a check, it ends with the run, and it speaks to the loop through the inbox
//! alone.

mod look;
mod ports;

use std::rc::Rc;
use std::time::Duration;

use wpm_core::{Check, Event, RunId};

use crate::daemon::Daemon;
use crate::launch;
use crate::message::Message;
use crate::shell::Place;
pub(crate) use look::LogSizes;
use look::Subject;
pub(crate) use ports::Ports;

/// First and longest pause between two looks whether a run is ready. It grows by half: a fast app is not
/// kept waiting, a slow one not disturbed.
const READY_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Checks in progress; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Probing(tokio::task::JoinHandle<()>);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a check is made from outside; what an app says by itself is heard elsewhere.
const fn is_outside(check: &Check) -> bool {
    !matches!(check, Check::Message | Check::Notify)
}

impl Daemon {
    /// Begins the checks of readiness and health of a run that has just come up or was taken back.
    pub(crate) fn start_checks(&mut self, run: RunId) {
        let (Some(spec), Some(instance)) = (self.core.spec_of_run(run), self.core.instance_of(run)) else {
            return;
        };
        let (id, index) = (instance.id, instance.index);
        let Some(held) = self.runs.get_mut(&run) else { return };
        let watchdog = spec.health == Some(Check::Notify);
        if watchdog {
            held.watchdog = Some(watch(run, spec.health_interval.0, &self.inbox));
        }
        let ready = spec.ready.clone().filter(is_outside);
        let health = spec.health.clone().filter(is_outside);
        if ready.is_none() && health.is_none() {
            return;
        }
        let files = launch::files(&self.home, &spec, index);
        let subject = Subject {
            process: held.process.unwrap_or_default(),
            shim: held.shim_pid,
            place: Place::of(&spec, index, id, &self.home),
            logs: [files.out, files.err],
            sizes: held.log_sizes,
            ports: Rc::clone(&held.ports),
        };
        let [timeout, interval] =
            [spec.health_timeout, spec.health_interval].map(|ms| Duration::from_millis(ms.0.max(1)));
        let allowed = spec.health_failures.max(1);
        let inbox = self.inbox.clone();
        held.probing = Some(Probing(tokio::task::spawn_local(async move {
            if let Some(check) = ready {
                await_ready(&subject, &check, timeout).await;
                let _gone = inbox.send(Message::Event(run, Event::BecameReady));
            }
            if let Some(check) = health {
                let mut illness = std::pin::pin!(await_illness(&subject, &check, interval, timeout, allowed));
                tokio::select! {
                    () = &mut illness => {}
                    () = await_ready(&subject, &check, timeout) => {
                        let _gone = inbox.send(Message::Event(run, Event::BecameHealthy));
                        illness.await;
                    }
                }
                let _gone = inbox.send(Message::Event(run, Event::BecameUnhealthy));
            }
        })));
    }

    /// The app has said that it is alive.
    pub(crate) fn feed_watchdog(&mut self, run: RunId) {
        let Some(spec) = self.core.spec_of_run(run) else { return };
        if let Some(held) = self.runs.get_mut(&run)
            && held.watchdog.is_some()
        {
            held.watchdog = Some(watch(run, spec.health_interval.0, &self.inbox));
        }
    }
}

/// Says so when nobody has stopped it in time.
fn watch(run: RunId, ms: u64, inbox: &tokio::sync::mpsc::UnboundedSender<Message>) -> Probing {
    let inbox = inbox.clone();
    Probing(tokio::task::spawn_local(async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let _gone = inbox.send(Message::Event(run, Event::WatchdogMissed));
    }))
}

async fn look(subject: &Subject, check: &Check, timeout: Duration) -> bool {
    tokio::time::timeout(timeout, look::look(subject, check)).await.unwrap_or(false)
}

async fn await_ready(subject: &Subject, check: &Check, timeout: Duration) {
    let (mut pause, longest) = READY_PAUSE;
    while !look(subject, check, timeout).await {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 3 / 2).min(longest),
            // What it says itself needs no waiting.
            () = subject.ports.changed() => {}
        }
    }
}

/// Returns when so many looks in a row have failed.
async fn await_illness(
    subject: &Subject,
    check: &Check,
    interval: Duration,
    timeout: Duration,
    allowed: u32,
) {
    let mut failed = 0;
    while failed < allowed {
        tokio::time::sleep(interval).await;
        failed = if look(subject, check, timeout).await { 0 } else { failed + 1 };
    }
}
