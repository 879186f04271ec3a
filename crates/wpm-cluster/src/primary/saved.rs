//! What a primary must know to go on with workers that another one has started.
//!
//! The caller keeps the text wherever it survives (the sockets themselves are its own affair) and
//! writes it when [`Primary::take_changed`] says so. Connections on their way are not part of it.
//!
//! Invariant: a restored primary answers each worker as the saved one would have done.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::distribution::Distribution;
use super::io::Address;
use super::query::{BindTo, Query};
use super::state::{Binding, Course, Hold, Listener, Worker};
use super::{Balance, Primary};
use crate::{ListenerId, Run};

const VERSION: u32 = 1;
/// Message numbers of two primaries must differ, and stay exact in JavaScript (53 bits).
pub(super) const EPOCH_BITS: u32 = 32;
const MOST_EPOCHS: u32 = 1 << (53 - EPOCH_BITS);

/// State of a primary, to be stored as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    epoch: u32,
    next_listener: u64,
    listeners: Vec<SavedListener>,
    workers: Vec<SavedWorker>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedListener {
    id: ListenerId,
    shared: bool,
    query: Map<String, Value>,
    data: Value,
    local: Option<SocketAddr>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedWorker {
    run: Run,
    index: u32,
    course: Course,
    online: bool,
    marked: bool,
    holds: Vec<SavedHold>,
    own: Vec<Address>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedHold {
    listener: ListenerId,
    query: Map<String, Value>,
    address: Option<Address>,
}

/// A saved state that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot go on with cluster workers: their state was saved in version {0}, not {VERSION}; restart the app"
)]
pub struct FromAnotherVersion(pub u32);

impl<F: Clone> Primary<F> {
    /// Whether [`Self::save`] would give something else than when this was last asked.
    pub const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// What another primary needs to go on.
    pub fn save(&self) -> Saved {
        let listener = |(id, listener): (&ListenerId, &Listener<F>)| match &listener.state {
            Binding::Asked(_) => None,
            Binding::Bound { local, .. } => Some(SavedListener {
                id: *id,
                shared: listener.share.is_some(),
                query: listener.query.fields.clone(),
                data: listener.data.clone(),
                local: *local,
            }),
        };
        let hold = |hold: &Hold| SavedHold {
            listener: hold.listener,
            query: hold.query.fields.clone(),
            address: hold.address.clone(),
        };
        let worker = |(run, worker): (&Run, &Worker<F>)| SavedWorker {
            run: *run,
            index: worker.index,
            course: worker.course,
            online: worker.online,
            marked: worker.channel.is_marked(),
            holds: worker.holds.values().map(hold).collect(),
            own: worker.own.clone(),
        };
        Saved {
            version: VERSION,
            epoch: self.epoch,
            next_listener: self.next_listener,
            listeners: self.listeners.iter().filter_map(listener).collect(),
            workers: self.workers.iter().map(worker).collect(),
        }
    }

    /// Goes on where another primary has left off. `socket` gives the token of a listener, if the
    /// socket still exists; a listener without one is forgotten. Workers that are gone are to be
    /// reported with [`super::Input::Closed`].
    ///
    /// # Errors
    /// When the state was saved by another version.
    pub fn restore(
        balance: Balance,
        saved: Saved,
        mut socket: impl FnMut(ListenerId, &BindTo) -> Option<F>,
    ) -> Result<Self, FromAnotherVersion> {
        if saved.version != VERSION {
            return Err(FromAnotherVersion(saved.version));
        }
        let mut primary = Self::new(balance);
        primary.epoch = saved.epoch.wrapping_add(1) % MOST_EPOCHS;
        primary.next_listener = saved.next_listener;
        primary.changed = true;
        for listener in saved.listeners {
            let query = Query { fields: listener.query };
            let Ok(to) = query.to_bind() else { continue };
            let Some(fd) = socket(listener.id, &to) else { continue };
            let distributed = balance != Balance::Shared && !to.is_datagram();
            let restored = Listener {
                share: listener.shared.then(|| query.share_key()),
                query,
                to,
                data: listener.data,
                state: Binding::Bound { fd, local: listener.local },
                holders: Vec::new(),
                distribution: distributed.then(Distribution::default),
            };
            primary.listeners.insert(listener.id, restored);
        }
        for worker in saved.workers {
            primary.restore_worker(worker);
        }
        let ids: Vec<ListenerId> = primary.listeners.keys().copied().collect();
        ids.into_iter().for_each(|id| primary.distribute(id));
        Ok(primary)
    }

    fn restore_worker(&mut self, saved: SavedWorker) {
        let mut worker = Worker::new(saved.index, u64::from(self.epoch) << EPOCH_BITS);
        worker.course = saved.course;
        worker.online = saved.online;
        worker.own = saved.own;
        worker.channel.set_marked(saved.marked);
        for hold in saved.holds {
            if let Some(listener) = self.listeners.get_mut(&hold.listener) {
                listener.holders.push(saved.run);
                if let Some(distribution) =
                    listener.distribution.as_mut().filter(|_| saved.course == Course::Serving)
                {
                    distribution.join(saved.run);
                }
            }
            let query = Query { fields: hold.query };
            let restored = Hold { listener: hold.listener, query, address: hold.address };
            worker.holds.insert(restored.query.key(), restored);
        }
        self.workers.insert(saved.run, worker);
    }
}
