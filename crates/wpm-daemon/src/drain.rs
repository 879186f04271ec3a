//! How a run is asked to leave: the daemon's part of it.
//!
//! Decides nothing: the core says when a run is to drain; what is found out goes
//! back to it as events, always through the inbox, since the core is not called while its actions are
//! being done.

use std::time::Duration;

use wpm_core::{Event, Input, RunId};
use wpm_sys::contract::{Scope, ToShim};
use wpm_sys::procfs;

use crate::clock;
use crate::daemon::Daemon;
use crate::message::Message;

/// Time in which the first request comes on a connection that a worker has got.
const REQUEST_COMES: Duration = Duration::from_millis(200);
/// Times that it is looked whether a worker has nothing in hand, and the pause between two.
const LOOKS: u32 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Daemon {
    /// Has an old run finish what it has begun; a run that cannot be asked has nothing to finish.
    pub(crate) fn drain(&mut self, run: RunId) {
        self.worker_retires(run);
        if !self.hold_silent_connections_back(run) {
            return self.disconnect(run, 0);
        }
        // It gets no more connections on which nothing has come. Those that it has may not have brought
        // their request yet, and many a server closes such a one as it leaves.
        let looks = if self.hands_connections_to(run) { 0 } else { LOOKS };
        self.disconnect_after(REQUEST_COMES, run, looks);
    }

    fn disconnect_after(&self, pause: Duration, run: RunId, looks: u32) {
        let inbox = self.inbox.clone();
        let _detached = tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            let _gone = inbox.send(Message::Disconnect(run, looks));
        });
    }

    /// Asks a run to end its connections, at a moment at which it waits: then it has read what it has
    /// accepted. One that is always busy is looked at no more than so many times.
    pub(crate) fn disconnect(&mut self, run: RunId, looks: u32) {
        let process = self.runs.get(&run).and_then(|run| run.process);
        let busy = process.and_then(|(pid, _)| procfs::stat(pid)).is_some_and(|stat| !stat.is_waiting());
        if busy && let Some(looks) = looks.checked_sub(1) {
            return self.disconnect_after(LOOK_AGAIN, run, looks);
        }
        // One that ends on a message or on a signal is told by that.
        let spec = self.core.spec_of_run(run);
        let asked = spec.is_some_and(|spec| spec.is_clustered() && !spec.stop.with_message);
        if !asked || !self.worker_drains(run) {
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

    /// A worker that was asked to has ended its connections.
    pub(crate) fn drained(&mut self, run: RunId) {
        self.core.handle(clock::now(), Input::Event(run, Event::Drained));
        self.channel_ends(run);
    }
}
