//! Hooks: what a user runs at a moment in the life of an instance.
//!
//! A hook is a shell command, which finds the event as JSON on its stdin, or the address of a webhook,
//! to which the event is posted. `pre_start` holds its run back until it has succeeded; the others hold
//! up nothing. Invariant: a hook that fails is told of as an event, and changes nothing else.

use std::collections::HashMap;
use std::time::Duration;

use wpm_core::{Event, Hook, InstanceId, RunId};
use wpm_proto::event::{EventKind, EventView};

use crate::clock;
use crate::daemon::Daemon;
use crate::message::Message;
use crate::shell::Place;

/// Time that a hook has; below the time that a start may take.
const PATIENCE: Duration = Duration::from_secs(50);
/// Hooks that run at once; more wait.
const AT_ONCE: usize = 8;
/// What posts to a webhook. An HTTP client with TLS would be the largest part of the daemon.
const POST: &str = r#"exec curl --silent --show-error --fail --max-time 30 \
--header 'Content-Type: application/json' --data-binary @- -- "$WPM_WEBHOOK""#;

/// Counts hooks that run at once.
#[derive(Debug, Clone)]
pub(crate) struct Turns(std::rc::Rc<tokio::sync::Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(std::rc::Rc::new(tokio::sync::Semaphore::new(AT_ONCE)))
    }
}

/// A hook that a run waits for; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Preparing {
    task: tokio::task::JoinHandle<()>,
    pub(crate) shared: bool,
    pub(crate) instance: InstanceId,
}

impl Drop for Preparing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The hook that an event is the moment of.
const fn moment(event: &EventKind, has_readiness_rule: bool) -> Option<Hook> {
    match event {
        EventKind::Ready => Some(Hook::PostReady),
        EventKind::Online { .. } if !has_readiness_rule => Some(Hook::PostReady),
        EventKind::Stopping { .. } => Some(Hook::PreStop),
        EventKind::Exited { .. } => Some(Hook::OnExit),
        EventKind::Errored { .. } => Some(Hook::OnErrored),
        _ => None,
    }
}

/// Hooks that run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    turns: Turns,
    /// Runs that wait for the hook before them.
    pub(crate) preparing: HashMap<RunId, Preparing>,
}

impl Daemon {
    /// Runs what an event is the moment of, beside everything else.
    pub(crate) fn run_hooks(&self, id: InstanceId, event: &EventView) {
        let Some((instance, app)) =
            self.core.instance(id).and_then(|instance| Some((instance, self.core.app(instance.app)?)))
        else {
            return;
        };
        let spec = &app.spec;
        let Some(hook) = moment(&event.what, spec.has_readiness_rule()) else { return };
        let Some(what) = spec.hooks.get(&hook).cloned() else { return };
        let place = Place::of(spec, instance.index, id, &self.home);
        let (inbox, turns, event) = (self.inbox.clone(), self.hooks.turns.clone(), event.clone());
        let _detached = tokio::task::spawn_local(async move {
            let _turn = turns.0.acquire().await;
            if let Err(why) = carry_out(place, hook, &what, &event).await {
                let _gone = inbox.send(Message::HookFailed { id, hook, why });
            }
        });
    }

    /// Begins the hook before a run, if its app has one; the run is spawned when it has succeeded.
    pub(crate) fn prepare(&mut self, run: RunId, id: InstanceId, shared: bool) -> bool {
        let Some(spec) = self.core.spec_of_run(run) else { return false };
        let Some(instance) = self.core.instance(id) else { return false };
        let Some(what) = spec.hooks.get(&Hook::PreStart).cloned() else { return false };
        let place = Place::of(&spec, instance.index, id, &self.home);
        let event = EventView {
            seq: self.events.last(),
            at_ms: clock::wall_ms(),
            app: spec.name.clone(),
            id: id.0,
            index: instance.index,
            what: EventKind::Starting,
        };
        let inbox = self.inbox.clone();
        let task = tokio::task::spawn_local(async move {
            let failed = carry_out(place, Hook::PreStart, &what, &event).await.err();
            let _gone = inbox.send(Message::Prepared { run, failed });
        });
        self.hooks.preparing.insert(run, Preparing { task, shared, instance: id });
        true
    }

    /// The hook before a run has ended.
    pub(crate) fn prepared(&mut self, run: RunId, failed: Option<String>) {
        let Some(preparing) = self.hooks.preparing.remove(&run) else { return };
        match failed {
            None => self.spawn_or_fail(run, preparing.instance, preparing.shared),
            Some(why) => {
                self.hook_failed(preparing.instance, Hook::PreStart, &why);
                let event = Event::SpawnFailed {
                    stage: "running its pre_start hook",
                    errno: rustix::io::Errno::CANCELED.raw_os_error(),
                    transient: false,
                };
                self.core.handle(clock::now(), wpm_core::Input::Event(run, event));
            }
        }
    }

    /// Tells of a hook that has failed.
    pub(crate) fn hook_failed(&mut self, id: InstanceId, hook: Hook, why: &str) {
        let Some((instance, app)) =
            self.core.instance(id).and_then(|instance| Some((instance, self.core.app(instance.app)?)))
        else {
            return;
        };
        let (app, index) = (app.spec.name.clone(), instance.index);
        let what = EventKind::HookFailed { hook: hook.as_str().to_owned(), reason: why.to_owned() };
        let seq = self.events.number();
        let event = EventView { seq, at_ms: clock::wall_ms(), app, id: id.0, index, what };
        self.publish(event);
    }
}

/// Runs one hook to its end.
async fn carry_out(mut place: Place, hook: Hook, what: &str, event: &EventView) -> Result<(), String> {
    let command = if what.starts_with("http://") || what.starts_with("https://") {
        place.env.insert("WPM_WEBHOOK".to_owned(), what.to_owned());
        POST
    } else {
        what
    };
    place.env.insert("WPM_HOOK".to_owned(), hook.as_str().to_owned());
    let input = serde_json::to_vec(event).map_err(|why| why.to_string())?;
    match tokio::time::timeout(PATIENCE, place.run(command, &input)).await {
        Err(_) => Err(format!("it took longer than {} s and was ended", PATIENCE.as_secs())),
        Ok(Err(why)) => Err(why.to_string()),
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, said))) => {
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            let colon = if last.is_empty() { "" } else { ": " };
            Err(format!("{status}{colon}{last}"))
        }
    }
}
