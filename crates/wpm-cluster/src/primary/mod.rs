//! The primary of one app's cluster workers, as a state machine.
//!
//! Speaks Node's protocol for a daemon that is not Node: answers what workers ask when they listen,
//! keeps the sockets while the app is meant to be up, hands connections out where the policy says so,
//! and tells what workers report. It spawns, binds, accepts, reads and writes nothing: the caller does
//! what [`Primary::poll_output`] says and reports with [`Primary::handle`]. When to stop or replace a
//! worker is not decided here either.
//!
//! Invariants: workers that ask for the same address get the same socket; a connection token that was
//! handed in leaves exactly once, accepted by a worker or as [`Output::Refused`]; what a stale or unknown
//! worker or listener is named in is ignored.

mod connections;
mod distribution;
mod io;
mod message;
mod query;
mod saved;
mod sockets;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use serde_json::{Map, Value};

pub use self::io::{Address, Bound, Input, Output, Trouble};
use self::message::FromWorker;
pub use self::query::BindTo;
pub use self::saved::{FromAnotherVersion, Saved};
use self::state::{Binding, Course, Listener, Worker};
pub use crate::balance::Balance;
use crate::channel::{HandleKind, Incoming};
use crate::{ListenerId, Run};

/// See the module.
#[derive(Debug)]
pub struct Primary<F> {
    balance: Balance,
    /// Connections that a worker may have been sent and not have answered.
    pipeline: usize,
    /// How many primaries have spoken to these workers before: keeps message numbers apart.
    epoch: u32,
    workers: BTreeMap<Run, Worker<F>>,
    listeners: BTreeMap<ListenerId, Listener<F>>,
    next_listener: u64,
    outputs: VecDeque<Output<F>>,
    changed: bool,
}

/// What is known of one listener, for display and for recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerView<'a> {
    /// Its name.
    pub id: ListenerId,
    /// What was bound.
    pub to: &'a BindTo,
    /// Its real address; `None` on Unix sockets and while it is not bound.
    pub local: Option<SocketAddr>,
    /// Workers that have it.
    pub holders: &'a [Run],
}

impl<F: Clone> Primary<F> {
    /// A primary without workers.
    pub const fn new(balance: Balance) -> Self {
        Self {
            balance,
            pipeline: 1,
            epoch: 0,
            workers: BTreeMap::new(),
            listeners: BTreeMap::new(),
            next_listener: 1,
            outputs: VecDeque::new(),
            changed: false,
        }
    }

    /// Lets a worker be sent so many connections ahead of its answers, where its runtime takes them: fewer
    /// wake-ups for both. 1 where nothing was said, as Node's own primaries have it.
    pub fn set_pipeline(&mut self, connections: usize) {
        self.pipeline = connections.max(1);
        self.workers.values_mut().for_each(|worker| worker.channel.set_window(self.pipeline));
    }

    /// The policy.
    pub const fn balance(&self) -> Balance {
        self.balance
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output<F>> {
        self.outputs.pop_front()
    }

    /// Where a worker listens, as far as it has said.
    pub fn addresses(&self, run: Run) -> Vec<Address> {
        let Some(worker) = self.workers.get(&run) else { return Vec::new() };
        let asked = worker.holds.values().filter_map(|hold| hold.address.clone());
        let mut all: Vec<Address> = asked.chain(worker.own.iter().cloned()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether a worker has a socket of this primary's.
    pub fn holds_any(&self, run: Run) -> bool {
        self.workers.get(&run).is_some_and(|worker| !worker.holds.is_empty())
    }

    /// Every worker.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.workers.keys().copied()
    }

    /// Every listener.
    pub fn listeners(&self) -> impl Iterator<Item = ListenerView<'_>> {
        self.listeners.iter().map(|(id, listener)| ListenerView {
            id: *id,
            to: &listener.to,
            local: match listener.state {
                Binding::Bound { local, .. } => local,
                Binding::Asked(_) => None,
            },
            holders: &listener.holders,
        })
    }

    /// Takes what happened.
    pub fn handle(&mut self, input: Input<'_, F>) {
        match input {
            Input::Joined { run, index } => {
                let seq = u64::from(self.epoch) << saved::EPOCH_BITS;
                self.workers.entry(run).or_insert_with(|| {
                    self.changed = true;
                    let mut worker = Worker::new(index, seq);
                    worker.channel.set_window(self.pipeline);
                    worker
                });
            }
            Input::Received { run, bytes, fds } => self.received(run, bytes, fds),
            Input::Closed { run } => self.closed(run),
            Input::Bound { listener, result } => self.bound(listener, result),
            Input::Accepted { listener, connection, peer } => self.accepted(listener, connection, peer),
            Input::Send { run, message } => {
                if let Some(worker) = self.workers.get_mut(&run) {
                    worker.channel.send(message, None);
                    self.flush(run);
                }
            }
            Input::Disconnect { run } => {
                if self.leave(run, Course::Disconnecting) {
                    self.say(run, message::act("disconnect"), None);
                }
            }
            Input::Retire { run } => {
                self.leave(run, Course::Retired);
            }
            Input::ReleaseUnused => self.release(|listener| {
                listener.holders.is_empty() && matches!(listener.state, Binding::Bound { .. })
            }),
            Input::ReleaseAll => self.release(|_| true),
        }
    }

    fn received(&mut self, run: Run, bytes: &[u8], fds: Vec<F>) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        worker.channel.receive(bytes, fds);
        // What one message leads to may end the worker: look it up each time.
        while let Some(incoming) = self.workers.get_mut(&run).and_then(|w| w.channel.poll_incoming()) {
            self.flush(run);
            match incoming {
                Incoming::Cluster(fields) => self.told(run, FromWorker::parse(fields)),
                Incoming::User(message) => self.outputs.push_back(Output::Message { run, message }),
                Incoming::Undelivered { message, .. } => self.undelivered(run, &message),
                Incoming::Malformed { excerpt } => self.trouble(run, Trouble::Malformed { excerpt }),
                Incoming::TooLong => self.trouble(run, Trouble::TooLong),
            }
        }
        self.flush(run);
    }

    fn told(&mut self, run: Run, message: FromWorker) {
        match message {
            FromWorker::Online => {
                if let Some(worker) = self.workers.get_mut(&run) {
                    (worker.online, self.changed) = (true, true);
                    self.outputs.push_back(Output::Online { run });
                }
            }
            FromWorker::Query { seq, query } => self.asked(run, seq, query),
            FromWorker::Listening(query) => self.listening(run, &query),
            FromWorker::Close { key } => self.close(run, &key),
            FromWorker::Leaving { seq } => {
                self.leave(run, Course::Disconnecting);
                self.say(run, message::receipt(&seq), None);
                self.outputs.push_back(Output::Leaving { run });
            }
            FromWorker::Answer { ack, accepted } => self.answered(run, ack, accepted),
            FromWorker::Other => {}
        }
    }

    fn trouble(&mut self, run: Run, trouble: Trouble) {
        self.outputs.push_back(Output::Trouble { run, trouble });
    }

    /// Takes note that a worker goes; whether that was news.
    fn leave(&mut self, run: Run, course: Course) -> bool {
        let Some(worker) = self.workers.get_mut(&run) else { return false };
        if worker.course == course || worker.course == Course::Disconnecting {
            return false;
        }
        worker.course = course;
        self.changed = true;
        let held: Vec<ListenerId> = worker.holds.values().map(|hold| hold.listener).collect();
        for id in held {
            if let Some(distribution) = self.listeners.get_mut(&id).and_then(|l| l.distribution.as_mut()) {
                distribution.remove(run);
            }
            self.distribute(id);
        }
        true
    }

    /// The worker or its channel is gone.
    fn closed(&mut self, run: Run) {
        let Some(worker) = self.workers.remove(&run) else { return };
        self.changed = true;
        for listener in self.listeners.values_mut() {
            if let Binding::Asked(askers) = &mut listener.state {
                askers.retain(|asker| asker.run != run);
            }
        }
        for hold in worker.holds.into_values() {
            self.release_holder(hold.listener, run, false);
        }
        // Without an answer it has not read anything: another worker can serve them.
        let mut offered: Vec<_> = worker.offered.into_iter().collect();
        offered.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        for (_, (listener, connection)) in offered {
            self.return_connection(listener, connection);
        }
        let expected = worker.course != Course::Serving;
        self.outputs.push_back(Output::Disconnected { run, expected });
    }

    /// Sends a cluster message; gives its number.
    fn say(&mut self, run: Run, fields: Map<String, Value>, handle: Option<(HandleKind, F)>) -> Option<u64> {
        let worker = self.workers.get_mut(&run)?;
        let seq = worker.seq;
        worker.seq += 1;
        let mut message = Map::new();
        message.insert("cmd".into(), "NODE_CLUSTER".into());
        message.extend(fields);
        message.insert("seq".into(), seq.into());
        worker.channel.send(message.into(), handle);
        self.flush(run);
        Some(seq)
    }

    fn flush(&mut self, run: Run) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        while let Some(frame) = worker.channel.poll_frame() {
            self.outputs.push_back(Output::Write { run, bytes: frame.bytes, fd: frame.fd });
        }
    }
}

#[cfg(test)]
mod tests;
