//! Checks that are made from outside: of readiness until one succeeds, of health from then on for as long
//! as a run lives.
//!
//! Owns the timing; what a single look does is in [`look`]. Invariant: there is a task only for a run
//! whose spec asks for such a check, it ends with the run, and it speaks to the loop through the inbox
//! alone.

mod look;
mod ports;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wpm_core::{Check, Event, Millis, RunId, Spec};

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
    /// Begins to find out when a run that has been executed is ready.
    pub(crate) fn await_ready(&mut self, run: RunId) {
        let Some((spec, subject)) = self.subject(run) else { return };
        let Some(check) = spec.ready.clone().filter(is_outside) else { return };
        let (timeout, inbox) = (patience(spec.health_timeout), self.inbox.clone());
        self.probe(run, async move {
            until_well(&subject, &check, timeout).await;
            let _gone = inbox.send(Message::Event(run, Event::BecameReady));
        });
    }

    /// Begins to watch the health of a run that is up.
    pub(crate) fn watch_health(&mut self, run: RunId) {
        let Some((spec, subject)) = self.subject(run) else { return };
        let Some(check) = spec.health.clone() else { return };
        if !is_outside(&check) {
            if let Some(held) = self.runs.get_mut(&run) {
                held.watchdog = Some(watch(run, spec.health_interval.0, &self.inbox));
            }
            return;
        }
        let (timeout, interval) = (patience(spec.health_timeout), patience(spec.health_interval));
        let (allowed, inbox) = (spec.health_failures.max(1), self.inbox.clone());
        self.probe(run, async move {
            let mut illness = std::pin::pin!(await_illness(&subject, &check, interval, timeout, allowed));
            tokio::select! {
                () = &mut illness => {}
                () = until_well(&subject, &check, timeout) => {
                    let _gone = inbox.send(Message::Event(run, Event::BecameHealthy));
                    illness.await;
                }
            }
            let _gone = inbox.send(Message::Event(run, Event::BecameUnhealthy));
        });
    }

    /// A run, as checks from outside need to know it.
    fn subject(&self, run: RunId) -> Option<(Arc<Spec>, Subject)> {
        let (spec, instance) = (self.core.spec_of_run(run)?, self.core.instance_of(run)?);
        let held = self.runs.get(&run)?;
        let files = launch::files(&self.home, &spec, instance.index);
        let subject = Subject {
            process: held.process.unwrap_or_default(),
            shim: held.shim_pid,
            place: Place::of(&spec, instance.index, instance.id, &self.home),
            logs: [files.out, files.err],
            sizes: held.log_sizes,
            ports: Rc::clone(&held.ports),
        };
        Some((spec, subject))
    }

    /// Makes a check, in the place of the one before.
    fn probe(&mut self, run: RunId, check: impl Future<Output = ()> + 'static) {
        if let Some(held) = self.runs.get_mut(&run) {
            held.probing = Some(Probing(tokio::task::spawn_local(check)));
        }
    }

    /// The app has said that it is alive.
    pub(crate) fn feed_watchdog(&mut self, run: RunId) {
        let Some(spec) = self.core.spec_of_run(run) else { return };
        if let Some(held) = self.runs.get_mut(&run)
            && held.watchdog.is_some()
        {
            held.watchdog = Some(watch(run, spec.health_interval.0, &self.inbox));
            let _gone = self.inbox.send(Message::Event(run, Event::BecameHealthy));
        }
    }
}

const fn patience(span: Millis) -> Duration {
    Duration::from_millis(if span.0 == 0 { 1 } else { span.0 })
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

async fn until_well(subject: &Subject, check: &Check, timeout: Duration) {
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
