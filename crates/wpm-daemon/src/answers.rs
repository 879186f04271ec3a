//! What follows a write, and what clients are told of it.
//!
//! Invariant: nobody hears of a change before it is durable; a run is asked for, and its gate opened, only after its
//! line is in the journal. A client that does not read loses its connection; nobody waits for it.

use std::time::Duration;

use wpm_core::{Input, RunId, Ticket};
use wpm_proto::request::Request;
use wpm_proto::response::{Body, Response};
use wpm_sys::contract::{RunKey, ToKeeper};

use crate::clock;
use crate::daemon::Daemon;
use crate::session::SessionId;
use crate::store::{Job, Target, Written};

/// Until a state that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(2);

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

/// What waits for a write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    /// Nothing: a fact for the record.
    Nothing,
    /// Ask the keeper for this run.
    Spawn(RunId),
    /// Open the gate of this run.
    Go(RunId),
    /// Let the shim of this run go.
    Release(RunId),
    /// The state.
    State,
    /// A dump, for this asker.
    Dump(Ticket),
}

impl Daemon {
    /// A write has come back from the store.
    pub(crate) fn written(&mut self, done: Written) {
        if done.durable || done.error.is_some() {
            if let Some(error) = &done.error {
                if self.storage_trouble.as_ref() != Some(error) {
                    tracing::error!("{error}");
                }
            } else if self.storage_trouble.is_some() {
                tracing::info!("the state can be written again");
            }
            self.storage_trouble.clone_from(&done.error);
        }
        if done.durable {
            self.reserved = done.reserved;
        }
        for token in done.tokens {
            match self.after.remove(&token) {
                Some(After::Spawn(run)) => {
                    if let Some(beside) = self.to_spawn.remove(&run) {
                        let spawn = ToKeeper::Spawn { run: RunKey(run.0) };
                        self.keeper.send(spawn.encode(), beside);
                    }
                }
                Some(After::Go(run)) => {
                    if let Some(held) = self.runs.get_mut(&run) {
                        held.opened = true;
                    }
                    self.send(run, &wpm_sys::contract::ToShim::Go);
                }
                Some(After::Release(run)) => {
                    let Some(held) = self.runs.get_mut(&run) else { continue };
                    held.released = true;
                    if held.link.is_none() {
                        // Lost with its shim: nobody is left to be told.
                        self.runs.remove(&run);
                    }
                    self.send(run, &wpm_sys::contract::ToShim::Release);
                }
                Some(After::State) => {
                    self.durable_token = self.durable_token.max(token);
                    self.unsaved.clone_from(&done.error);
                    self.save_again_at = done.error.is_some().then(|| tokio::time::Instant::now() + AGAIN);
                    self.send_answers();
                    self.take_up_waiting();
                }
                Some(After::Dump(ticket)) => self.dumped(ticket, done.error.as_deref()),
                Some(After::Nothing) | None => {}
            }
        }
    }

    /// Sends the answers whose state is written.
    fn send_answers(&mut self) {
        while let Some((token, session, response)) = self.waiting_answers.pop_front() {
            if token > self.durable_token {
                self.waiting_answers.push_front((token, session, response));
                break;
            }
            self.answer_saved(session, response);
        }
    }

    /// Answers a change of which the state was written, or could not be.
    fn answer_saved(&mut self, session: SessionId, mut response: Response) {
        if let (Some(error), Body::Outcomes { .. }) = (&self.unsaved, &response.body) {
            response.body = crate::refusals::not_durable(error);
        }
        self.respond(session, &response);
    }

    /// Whether a change of the list may have to be refused: the last state could not be written, or
    /// there is no room held for the next.
    pub(crate) const fn is_short_of_room(&self) -> bool {
        self.unsaved.is_some() || !self.reserved
    }

    /// Has a change of the list wait until the state as it is was written: what could not be saved is
    /// better not begun.
    pub(crate) fn wait_for_room(&mut self, session: SessionId, request: Request) {
        if self.waiting_requests.is_empty() {
            self.persist();
        }
        self.waiting_requests.push_back((session, request));
    }

    /// Takes up, or refuses, the changes that waited.
    fn take_up_waiting(&mut self) {
        if self.state_token > self.durable_token {
            return;
        }
        for (session, request) in std::mem::take(&mut self.waiting_requests) {
            match &self.unsaved {
                Some(error) => {
                    let body = crate::refusals::not_begun(error);
                    self.respond(session, &Response { id: request.id, body });
                }
                None => self.request_now(session, request),
            }
        }
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
        if self.state_token > self.durable_token {
            self.waiting_answers.push_back((self.state_token, session, response));
        } else {
            self.answer_saved(session, response);
        }
    }

    /// Forgets a client and what it waited for.
    pub(crate) fn leave(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.subscribers.retain(|(s, _)| *s != session);
        let gone: Vec<Ticket> =
            self.askers.iter().filter(|(_, a)| a.session == session).map(|(t, _)| *t).collect();
        for ticket in gone {
            self.askers.remove(&ticket);
            self.failed_offsets.retain(|(of, _), _| *of != ticket);
            self.core.handle(clock::now(), Input::Forget(ticket));
        }
    }

    /// A token for a write, and what follows it.
    pub(crate) fn token(&mut self, after: After) -> u64 {
        self.next_token += 1;
        self.after.insert(self.next_token, after);
        self.next_token
    }

    /// Writes a fact; `after` follows.
    pub(crate) fn journal(&mut self, fact: &crate::journal::Fact, after: After) {
        let token = self.token(after);
        self.store.write(Job::Journal { lines: crate::journal::line(fact), token });
        let (core, runs) = (&self.core, &self.runs);
        self.store.shorten_journal(|| crate::journal::Needed {
            runs: runs.keys().map(|run| run.0).collect(),
            instances: core.instances().map(|instance| instance.id.0).collect(),
        });
    }

    /// Hands a whole state to the store.
    pub(crate) fn write_file(&mut self, target: Target, content: Vec<u8>, after: After) {
        let token = self.token(after);
        if target == Target::State {
            self.state_token = token;
        }
        self.store.write(Job::File { target, content, token });
    }

    /// A new ticket.
    pub(crate) fn ticket(&mut self, asker: Asker) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.askers.insert(ticket, asker);
        ticket
    }
}
