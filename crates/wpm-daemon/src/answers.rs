//! What clients are told, and when.
//!
//! Owns who waits for what. Invariant: nobody hears of a change before it is durable. A client that does not read
//! loses its connection; nobody waits for it.

use std::collections::HashMap;

use wpm_core::{Input, Ticket};
use wpm_proto::response::{Body, Response};

use crate::clock;
use crate::daemon::Daemon;
use crate::session::SessionId;

/// Who waits for a ticket.
#[derive(Debug)]
pub(crate) struct Asker {
    /// Client.
    pub(crate) session: SessionId,
    /// Its number of the request.
    pub(crate) request: u64,
    /// Whether it wants to know the outcome.
    pub(crate) wait: bool,
    /// Remarks to add to the answer.
    pub(crate) remarks: Vec<String>,
}

/// Everybody who waits for a ticket.
#[derive(Debug, Default)]
pub(crate) struct Askers {
    waiting: HashMap<Ticket, Asker>,
    last: u64,
}

impl Askers {
    /// A new ticket.
    pub(crate) fn ticket(&mut self, asker: Asker) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.waiting.insert(ticket, asker);
        ticket
    }

    /// Who waits for it.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Asker> {
        self.waiting.get(&ticket)
    }

    /// Who waited for it, and does not any more.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Asker> {
        self.waiting.remove(&ticket)
    }

    /// Tickets that a client waits for.
    fn of(&self, session: SessionId) -> Vec<Ticket> {
        let own = self.waiting.iter().filter(|(_, asker)| asker.session == session);
        own.map(|(ticket, _)| *ticket).collect()
    }
}

impl Daemon {
    /// Sends the answers whose state is written.
    pub(crate) fn send_answers(&mut self) {
        while let Some((token, session, response)) = self.persistence.waiting_answers.pop_front() {
            if token > self.persistence.durable_token {
                self.persistence.waiting_answers.push_front((token, session, response));
                break;
            }
            self.answer_saved(session, response);
        }
    }

    /// Answers a change of which the state was written, or could not be.
    fn answer_saved(&mut self, session: SessionId, mut response: Response) {
        if let (Some(error), Body::Outcomes { .. }) = (&self.persistence.unsaved, &response.body) {
            response.body = crate::refusals::not_durable(error);
        }
        self.respond(session, &response);
    }

    /// Answers a client, dropping it if it does not read.
    pub(crate) fn respond(&mut self, session: SessionId, response: &Response) {
        if self.sessions.get(&session).is_some_and(|s| !s.send(response)) {
            tracing::warn!(session = session.0, "a client that does not read is dropped");
            self.leave(session);
        }
    }

    /// Answers once everything that was decided so far is durable.
    pub(crate) fn respond_durably(&mut self, session: SessionId, request: u64, body: Body) {
        let response = Response { id: request, body };
        if !self.persistence.is_durable() {
            self.persistence.waiting_answers.push_back((self.persistence.state_token, session, response));
        } else {
            self.answer_saved(session, response);
        }
    }

    /// Forgets a client and what it waited for.
    pub(crate) fn leave(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.events.forget(session);
        for ticket in self.askers.of(session) {
            self.askers.remove(ticket);
            self.stderr.forget(ticket);
            self.core.handle(clock::now(), Input::Forget(ticket));
        }
    }
}
