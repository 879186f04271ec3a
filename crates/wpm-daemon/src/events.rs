//! What has happened: the numbers of events, those that are remembered, and who hears of the next.
//!
//! Owns no event's meaning: [`notes`] puts them into words. Invariant: numbers rise by one, and who subscribes with the
//! last number that it has seen misses none that is remembered.

use std::collections::VecDeque;

use wpm_proto::event::EventView;
use wpm_proto::response::{Body, Response};

use crate::daemon::Daemon;
use crate::notes;
use crate::session::SessionId;

/// Events that are remembered.
const HISTORY: usize = 500;

/// The events of this daemon.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Number of the last one.
    last: u64,
    history: VecDeque<EventView>,
    /// Watchers, and the requests by which they asked.
    subscribers: Vec<(SessionId, u64)>,
}

impl Events {
    /// Number of the last one.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// The number of the next one.
    pub(crate) const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Those that are remembered, the oldest first.
    pub(crate) fn history(&self) -> impl Iterator<Item = &EventView> {
        self.history.iter()
    }

    /// Tells this client of every one from now on.
    pub(crate) fn subscribe(&mut self, session: SessionId, request: u64) {
        self.subscribers.push((session, request));
    }

    /// Forgets a client.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.subscribers.retain(|(of, _)| *of != session);
    }
}

impl Daemon {
    /// Tells watchers of an event, now and later.
    pub(crate) fn publish(&mut self, event: EventView) {
        notes::log(&event);
        for (session, request) in self.events.subscribers.clone() {
            let body = Body::Event { event: event.clone() };
            self.respond(session, &Response { id: request, body });
        }
        let history = &mut self.events.history;
        if history.len() >= HISTORY {
            history.pop_front();
        }
        history.push_back(event);
    }
}
