//! What was decided, on its way to the disk, and what waits for it to be there.
//!
//! Owns the tokens of writes and what follows each. Invariant: a run is asked for, and its gate opened, only after its
//! line is in the journal; what could not be saved is better not begun.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use wpm_core::{InstanceId, RunId, Ticket};
use wpm_proto::request::Request;
use wpm_proto::response::Response;
use wpm_sys::contract::{RunKey, ToKeeper, ToShim};

use crate::daemon::Daemon;
use crate::journal::{self, Fact, Needed};
use crate::recover::Recovered;
use crate::requests::Taken;
use crate::saved::{self, Kept, Saved};
use crate::session::SessionId;
use crate::store::{Job, Store, Target, Written};

/// Until a state that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(2);

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
    /// Go on with what is decided of this instance.
    Continue(InstanceId),
    /// The state.
    State,
    /// A dump, for this asker.
    Dump(Ticket),
}

/// Writes that are under way, and what is known of the disk.
pub(crate) struct Persistence {
    pub(crate) store: Store,
    last_token: u64,
    /// What is to be done when the token of a write comes back.
    after: HashMap<u64, After>,
    /// Token of the last state that was handed to the store, and of the last that is durable.
    pub(crate) state_token: u64,
    pub(crate) durable_token: u64,
    /// Counts the states.
    pub(crate) generation: u64,
    pub(crate) saved: Saved,
    /// Answers that wait for a state to be durable.
    pub(crate) waiting_answers: VecDeque<(u64, SessionId, Response)>,
    /// Changes that wait for a sign that they could be written.
    waiting_requests: VecDeque<(SessionId, Request)>,
    /// Why the last write failed, for those who look.
    pub(crate) trouble: Option<String>,
    /// Why the last state could not be written, until one is.
    pub(crate) unsaved: Option<String>,
    /// When it is tried again.
    pub(crate) again_at: Option<Instant>,
    /// Whether there is room for the next state, however full the disk is.
    reserved: bool,
    /// Whether the list on disk stays as it was before everything was stopped.
    pub(crate) keep_list: bool,
    /// Changing requests that were taken: one that is sent again is not done twice.
    pub(crate) recent_keys: VecDeque<Taken>,
}

impl Persistence {
    /// Goes on where the last daemon was.
    pub(crate) fn new(store: Store, recovered: &Recovered) -> Self {
        Self {
            store,
            last_token: 0,
            after: HashMap::new(),
            state_token: 0,
            durable_token: 0,
            generation: recovered.generation,
            saved: Saved::default(),
            waiting_answers: VecDeque::new(),
            waiting_requests: VecDeque::new(),
            trouble: None,
            unsaved: None,
            again_at: None,
            reserved: recovered.reserved,
            keep_list: false,
            recent_keys: recovered.recent_keys.clone().into(),
        }
    }

    /// Hands the writes of this turn to the thread that does them.
    pub(crate) fn send(&mut self) {
        self.store.send();
    }

    /// Whether nothing waits for the disk any more.
    pub(crate) fn is_all_done(&self) -> bool {
        self.waiting_answers.is_empty() && self.after.is_empty()
    }

    /// Whether everything that was decided so far is durable.
    pub(crate) const fn is_durable(&self) -> bool {
        self.state_token <= self.durable_token
    }

    /// Whether a change of the list may have to be refused: the last state could not be written, or
    /// there is no room held for the next.
    pub(crate) const fn is_short_of_room(&self) -> bool {
        self.unsaved.is_some() || !self.reserved
    }

    /// A token for a write, and what follows it.
    fn token(&mut self, after: After) -> u64 {
        self.last_token += 1;
        self.after.insert(self.last_token, after);
        self.last_token
    }

    /// Hands a whole file to the store.
    pub(crate) fn write_file(&mut self, target: Target, content: Vec<u8>, after: After) {
        let token = self.token(after);
        if target == Target::State {
            self.state_token = token;
        }
        self.store.write(Job::File { target, content, token });
    }
}

impl Daemon {
    /// A write has come back from the store.
    pub(crate) fn written(&mut self, done: Written) {
        if done.durable || done.error.is_some() {
            if let Some(error) = &done.error {
                if self.persistence.trouble.as_ref() != Some(error) {
                    tracing::error!("{error}");
                }
            } else if self.persistence.trouble.is_some() {
                tracing::info!("the state can be written again");
            }
            self.persistence.trouble.clone_from(&done.error);
        }
        if done.durable {
            self.persistence.reserved = done.reserved;
        }
        for token in done.tokens {
            match self.persistence.after.remove(&token) {
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
                    self.send(run, &ToShim::Go);
                }
                Some(After::Release(run)) => {
                    let Some(held) = self.runs.get_mut(&run) else { continue };
                    held.released = true;
                    if held.link.is_none() {
                        // Lost with its shim: nobody is left to be told.
                        self.runs.remove(&run);
                    }
                    self.send(run, &ToShim::Release);
                }
                Some(After::Continue(instance)) => {
                    for action in self.held_back.remove(&instance).unwrap_or_default() {
                        self.carry_out(action);
                    }
                }
                Some(After::State) => {
                    self.persistence.durable_token = self.persistence.durable_token.max(token);
                    self.persistence.unsaved.clone_from(&done.error);
                    self.persistence.again_at = done.error.is_some().then(|| Instant::now() + AGAIN);
                    self.send_answers();
                    self.take_up_waiting();
                }
                Some(After::Dump(ticket)) => self.dumped(ticket, done.error.as_deref()),
                Some(After::Nothing) | None => {}
            }
        }
    }

    /// Has a change of the list wait until the state as it is was written: what could not be saved is
    /// better not begun.
    pub(crate) fn wait_for_room(&mut self, session: SessionId, request: Request) {
        if self.persistence.waiting_requests.is_empty() {
            self.persist();
        }
        self.persistence.waiting_requests.push_back((session, request));
    }

    /// Takes up, or refuses, the changes that waited.
    fn take_up_waiting(&mut self) {
        if !self.persistence.is_durable() {
            return;
        }
        for (session, request) in std::mem::take(&mut self.persistence.waiting_requests) {
            match &self.persistence.unsaved {
                Some(error) => {
                    let body = crate::refusals::not_begun(error);
                    self.respond(session, &Response { id: request.id, body });
                }
                None => self.request_now(session, request),
            }
        }
    }

    /// Writes a fact; `after` follows.
    pub(crate) fn journal(&mut self, fact: &Fact, after: After) {
        let persistence = &mut self.persistence;
        let token = persistence.token(after);
        persistence.store.write(Job::Journal { lines: journal::line(fact), token });
        let (core, runs) = (&self.core, &self.runs);
        persistence.store.shorten_journal(|| Needed {
            runs: runs.keys().map(|run| run.0).collect(),
            instances: core.instances().map(|instance| instance.id.0).collect(),
        });
    }

    /// Writes the desired state.
    pub(crate) fn persist(&mut self) {
        if self.persistence.keep_list {
            return;
        }
        self.follow_specs();
        let persistence = &mut self.persistence;
        persistence.generation += 1;
        let (generation, keys) = (persistence.generation, persistence.recent_keys.make_contiguous());
        let content = if self.quitting {
            saved::empty(generation, keys)
        } else {
            persistence.saved.state(&self.core, generation, keys, Kept::List)
        };
        persistence.write_file(Target::State, content, After::State);
    }
}
