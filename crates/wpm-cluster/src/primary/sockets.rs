//! Sockets of the primary: who asks for them, who shares them, when they are closed.

use serde_json::Value;

use super::distribution::Distribution;
use super::io::{Bound, Output, Trouble};
use super::message::{self, Verdict};
use super::query::{BindTo, Query};
use super::state::{Asker, Binding, Course, Hold, Listener, address_of};
use super::{Balance, Primary};
use crate::{ListenerId, Run};

/// `EIO`, `ENOENT` and `EACCES`, the same numbers on every Unix.
const EIO: i32 = 5;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;

impl<F: Clone> Primary<F> {
    /// A worker listens and asks for the socket.
    pub(super) fn asked(&mut self, run: Run, seq: Value, query: Query) {
        // Node answers a worker that disconnects no more, and the worker does not wait for it.
        if self.workers.get(&run).is_none_or(|w| w.course == Course::Disconnecting) {
            return;
        }
        let share = query.share_key();
        let known = self.listeners.iter_mut().find(|(_, l)| l.share.as_deref() == Some(&share));
        let mut taken = false;
        if let Some((id, listener)) = known {
            let has_it = listener.holders.contains(&run)
                || matches!(&listener.state, Binding::Asked(askers) if askers.iter().any(|a| a.run == run));
            if !has_it {
                if listener.data.is_null() {
                    listener.data = query.data();
                }
                let id = *id;
                match &mut listener.state {
                    Binding::Asked(askers) => askers.push(Asker { run, seq, query }),
                    Binding::Bound { .. } => {
                        self.grant(id, Asker { run, seq, query });
                        self.distribute(id);
                    }
                }
                return;
            }
            // Who listens twice is to hear EADDRINUSE from the kernel, as it would alone.
            taken = true;
        }
        let to = match query.to_bind() {
            Ok(to) => to,
            Err(errno) => {
                self.refuse(&Asker { run, seq, query }, errno, &Value::Null);
                return;
            }
        };
        let listener = ListenerId(self.next_listener);
        self.next_listener += 1;
        let backlog = query.backlog();
        self.outputs.push_back(Output::Bind { listener, run, to: to.clone(), backlog });
        let new = Listener {
            share: (!taken).then_some(share),
            data: query.data(),
            query: query.clone(),
            to,
            state: Binding::Asked(vec![Asker { run, seq, query }]),
            holders: Vec::new(),
            distribution: None,
        };
        self.listeners.insert(listener, new);
    }

    /// The caller has bound a socket, or could not.
    pub(super) fn bound(&mut self, id: ListenerId, result: Result<Bound<F>, i32>) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            // Released meanwhile.
            if result.is_ok() {
                self.outputs.push_back(Output::Close { listener: id });
            }
            return;
        };
        let Binding::Asked(askers) = &mut listener.state else { return };
        let askers = std::mem::take(askers);
        match result {
            Ok(Bound { fd, local }) => {
                listener.state = Binding::Bound { fd, local };
                if self.balance != Balance::Shared && !listener.to.is_datagram() {
                    listener.distribution = Some(Distribution::default());
                }
                self.changed = true;
                for asker in askers {
                    self.grant(id, asker);
                }
                self.close_if_nobody_can_find(id);
                self.distribute(id);
            }
            Err(errno) => {
                // As libuv has it: a missing folder of a Unix socket is told as EACCES.
                let local = matches!(listener.to, BindTo::Path { .. });
                let errno = if local && errno == ENOENT { EACCES } else { errno };
                let data = listener.data.clone();
                // Forgotten, so that a later try binds again.
                self.listeners.remove(&id);
                for asker in askers {
                    self.refuse(&asker, errno, &data);
                }
            }
        }
    }

    /// Gives a bound listener to a worker.
    fn grant(&mut self, id: ListenerId, asker: Asker) {
        let Asker { run, seq, query } = asker;
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        let Binding::Bound { fd, local } = &listener.state else { return };
        let Some(worker) = self.workers.get_mut(&run) else { return };
        if worker.course == Course::Disconnecting {
            return;
        }
        let (verdict, handle) = match &mut listener.distribution {
            None => (Verdict::Handed, Some((listener.handle_kind(), fd.clone()))),
            Some(distribution) => {
                if worker.course == Course::Serving {
                    distribution.join(run);
                }
                (Verdict::Accepted(*local), None)
            }
        };
        listener.holders.push(run);
        let key = query.key();
        let answer = message::answer(verdict, &key, &seq, &listener.data);
        let replaced = worker.holds.insert(key, Hold { listener: id, query, address: None });
        self.changed = true;
        self.say(run, answer, handle);
        // A runtime that does not number its listens: the older socket cannot be named any more.
        if let Some(old) = replaced.filter(|old| old.listener != id) {
            self.release_holder(old.listener, run, true);
        }
    }

    fn refuse(&mut self, asker: &Asker, errno: i32, data: &Value) {
        let answer = message::answer(Verdict::Failed(errno), &asker.query.key(), &asker.seq, data);
        self.say(asker.run, answer, None);
    }

    /// A worker says where it listens.
    pub(super) fn listening(&mut self, run: Run, says: &Query) {
        let Some(address) = address_of(says) else { return };
        let Some(worker) = self.workers.get_mut(&run) else { return };
        match worker.holds.values_mut().find(|hold| hold.query.is_meant_by(says)) {
            Some(hold) => hold.address = Some(address.clone()),
            None if worker.own.contains(&address) => {}
            None => worker.own.push(address.clone()),
        }
        self.changed = true;
        self.outputs.push_back(Output::Listening { run, address });
    }

    /// A worker has closed a server.
    pub(super) fn close(&mut self, run: Run, key: &str) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        // A worker that goes closes everything; its successor will ask for the same again.
        let deliberate = worker.course == Course::Serving;
        if let Some(hold) = worker.holds.remove(key) {
            self.changed = true;
            self.release_holder(hold.listener, run, deliberate);
        }
    }

    /// A worker has a listener no more. The last one that closes it on purpose closes it for good.
    pub(super) fn release_holder(&mut self, id: ListenerId, run: Run, deliberate: bool) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        listener.holders.retain(|holder| *holder != run);
        if let Some(distribution) = &mut listener.distribution {
            distribution.remove(run);
        }
        if deliberate && listener.holders.is_empty() {
            self.close_listener(id);
        } else {
            self.close_if_nobody_can_find(id);
        }
        self.distribute(id);
    }

    /// A socket that cannot be shared is of no use without its worker.
    fn close_if_nobody_can_find(&mut self, id: ListenerId) {
        if self.listeners.get(&id).is_some_and(|l| l.share.is_none() && l.holders.is_empty()) {
            self.close_listener(id);
        }
    }

    /// Closes every listener that the question is answered with yes for.
    pub(super) fn release(&mut self, which: impl Fn(&Listener<F>) -> bool) {
        let ids: Vec<ListenerId> =
            self.listeners.iter().filter(|(_, l)| which(l)).map(|(id, _)| *id).collect();
        for id in ids {
            self.close_listener(id);
        }
    }

    fn close_listener(&mut self, id: ListenerId) {
        let Some(mut listener) = self.listeners.remove(&id) else { return };
        self.changed = true;
        for connection in listener.distribution.iter_mut().flat_map(Distribution::drain) {
            self.outputs.push_back(Output::Refused { listener: id, connection: connection.fd });
        }
        // One that is still asked for is closed when it comes.
        if matches!(listener.state, Binding::Bound { .. }) {
            self.outputs.push_back(Output::Close { listener: id });
        }
    }

    /// A worker has refused a message with a descriptor for good.
    pub(super) fn undelivered(&mut self, run: Run, message: &Value) {
        self.trouble(run, Trouble::RefusedHandle);
        let number = |name| message.get(name).and_then(Value::as_u64);
        if let Some(ack) = message.get("ack") {
            let key = message.get("key").and_then(Value::as_str).unwrap_or_default();
            let answer = message::answer(Verdict::Failed(EIO), key, ack, &Value::Null);
            self.say(run, answer, None);
            let hold = self.workers.get_mut(&run).and_then(|w| w.holds.remove(key));
            if let Some(hold) = hold {
                self.release_holder(hold.listener, run, false);
            }
        } else if let Some(seq) = number("seq") {
            self.answered(run, seq, false);
        }
    }
}
