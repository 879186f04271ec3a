//! How a run becomes ready, stays well, and is asked to leave: the daemon's part of it.
//!
//! Decides nothing: the core says when checks begin and when a run is to drain; what is found out goes
//! back to it as events, always through the inbox, since the core is not called while its actions are
//! being done.

use wpm_core::{Event, RunId};
use wpm_sys::contract::{Scope, ToShim};

use crate::daemon::{Daemon, Message};

impl Daemon {
    /// Begins the checks of readiness and health of a run that has just come up or was taken back.
    ///
    /// What an app says by itself through its channel needs no check: the driver of the channel tells.
    pub(crate) fn start_checks(&mut self, run: RunId) {
        let Some(spec) = self.core.spec_of_run(run) else { return };
        for (what, check) in [("readiness", &spec.ready), ("health", &spec.health)] {
            if let Some(check) = check {
                tracing::debug!(run = run.0, %check, "no prober for this check of {what} yet");
            }
        }
    }

    /// Has an old run finish what it has begun; a run that cannot be asked has nothing to finish.
    pub(crate) fn drain(&mut self, run: RunId) {
        self.worker_retires(run);
        if !self.worker_drains(run) {
            let _gone = self.inbox.send(Message::Event(run, Event::Drained));
        }
    }

    /// Asks a run to end by a message; one without a channel by its stop signal.
    pub(crate) fn send_message(&mut self, run: RunId, text: &str) {
        if self.clusters.has_channel(run) {
            return self.message_to(run, text);
        }
        let Some(stop) = self.core.spec_of_run(run).map(|spec| spec.stop.clone()) else { return };
        let scope = if stop.tree { Scope::Tree } else { Scope::Main };
        self.send(run, &ToShim::Signal { signal: stop.signal, scope });
    }

    /// Whether a run shares its log files with another one of its instance. Files that are shared among
    /// instances stay so.
    pub(crate) fn share(&mut self, run: RunId, on: bool) {
        let always = self.core.spec_of_run(run).is_some_and(|spec| crate::launch::shares_always(&spec));
        if on || !always {
            self.send(run, &ToShim::Share { on });
        }
    }
}
