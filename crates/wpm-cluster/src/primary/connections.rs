//! Connections that the primary accepts for its workers: offered, answered, offered to another.

use std::net::IpAddr;

use super::Primary;
use super::distribution::{Candidate, Connection, Step};
use super::io::Output;
use super::message;
use super::state::{Course, Listener};
use crate::channel::HandleKind;
use crate::{ListenerId, Run};

impl<F: Clone> Primary<F> {
    /// The caller has accepted a connection.
    pub(super) fn accepted(&mut self, id: ListenerId, fd: F, peer: Option<IpAddr>) {
        let connection = Connection { fd, peer, refused_by: Vec::new() };
        match self.listeners.get_mut(&id).and_then(|l| l.distribution.as_mut()) {
            Some(distribution) => {
                distribution.push(connection, false);
                self.distribute(id);
            }
            None => self.outputs.push_back(Output::Refused { listener: id, connection: connection.fd }),
        }
    }

    /// A worker has answered an offer.
    pub(super) fn answered(&mut self, run: Run, seq: u64, accepted: bool) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let Some((id, mut connection)) = worker.offered.remove(&seq) else { return };
        let serves = worker.course == Course::Serving && worker.key_of(id).is_some();
        if serves && let Some(d) = self.listeners.get_mut(&id).and_then(|l| l.distribution.as_mut()) {
            d.answered(run);
        }
        if accepted {
            self.distribute(id);
        } else {
            if serves {
                // It has the server and does not want more (`maxConnections`).
                connection.refused_by.push(run);
            }
            self.return_connection(id, connection);
        }
    }

    /// A connection that nobody has read from goes to another worker, before the others.
    pub(super) fn return_connection(&mut self, id: ListenerId, connection: Connection<F>) {
        match self.listeners.get_mut(&id).and_then(|l| l.distribution.as_mut()) {
            Some(distribution) => {
                distribution.push(connection, true);
                self.distribute(id);
            }
            None => self.outputs.push_back(Output::Refused { listener: id, connection: connection.fd }),
        }
    }

    /// Hands out what can be handed out.
    pub(super) fn distribute(&mut self, id: ListenerId) {
        let (balance, most) = (self.balance, self.pipeline);
        loop {
            let Some(listener) = self.listeners.get(&id) else { return };
            let candidates = self.candidates(listener);
            let Some(distribution) = self.listeners.get_mut(&id).and_then(|l| l.distribution.as_mut()) else {
                return;
            };
            match distribution.step(balance, most, &candidates) {
                Some(Step::Assign(run, connection)) => self.offer(id, run, connection),
                Some(Step::Reject(connection)) => {
                    self.outputs.push_back(Output::Refused { listener: id, connection: connection.fd });
                }
                None => {
                    if let Some(start) = distribution.accepting(balance, most) {
                        self.outputs.push_back(if start {
                            Output::StartAccepting { listener: id }
                        } else {
                            Output::StopAccepting { listener: id }
                        });
                    }
                    return;
                }
            }
        }
    }

    fn offer(&mut self, id: ListenerId, run: Run, connection: Connection<F>) {
        let key = self.workers.get(&run).and_then(|w| w.key_of(id)).cloned().unwrap_or_default();
        let handle = (HandleKind::Stream, connection.fd.clone());
        if let Some(seq) = self.say(run, message::new_connection(&key), Some(handle))
            && let Some(worker) = self.workers.get_mut(&run)
        {
            worker.offered.insert(seq, (id, connection));
        }
    }

    fn candidates(&self, listener: &Listener<F>) -> Vec<Candidate> {
        let serving = |run: &Run| {
            let worker = self.workers.get(run).filter(|w| w.course == Course::Serving)?;
            Some(Candidate { run: *run, index: worker.index })
        };
        listener.holders.iter().filter_map(serving).collect()
    }
}
