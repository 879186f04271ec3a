//! How a run is asked to leave: the daemon's part of it.
//!
//! Decides nothing: the core says when a run is to drain; what is found out goes
//! back to it as events, always through the inbox, since the core is not called while its actions are
//! being done.

use std::time::Duration;

use wpm_core::{Event, RunId};
use wpm_sys::contract::{Scope, ToShim};

use crate::daemon::{Daemon, Message};

/// Time in which the first request comes on a connection that was handed to a worker.
const REQUEST_COMES: Duration = Duration::from_millis(200);

impl Daemon {
    /// Has an old run finish what it has begun; a run that cannot be asked has nothing to finish.
    pub(crate) fn drain(&mut self, run: RunId) {
        self.worker_retires(run);
        if !self.hands_connections_to(run) {
            return self.disconnect(run);
        }
        // It gets no more connections. Those that it has got may not have brought their request yet, and
        // Node (from 26 on) closes such a one with its server.
        let inbox = self.inbox.clone();
        let _detached = tokio::task::spawn_local(async move {
            tokio::time::sleep(REQUEST_COMES).await;
            let _gone = inbox.send(Message::Disconnect(run));
        });
    }

    /// Asks a run to end its connections.
    pub(crate) fn disconnect(&mut self, run: RunId) {
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
