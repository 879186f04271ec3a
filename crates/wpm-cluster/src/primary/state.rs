//! What the primary knows of each worker and each listener.
//!
//! Data and small questions to it; the rules are in the modules beside this one.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use serde_json::Value;

use super::distribution::{Connection, Distribution};
use super::io::Address;
use super::query::{BindTo, Query};
use crate::channel::{Channel, HandleKind};
use crate::{ListenerId, Run};

/// How far a worker is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Course {
    /// It serves.
    Serving,
    /// It is being stopped by other means than the channel.
    Retired,
    /// It was told to disconnect, or has said that it does.
    Disconnecting,
}

/// A socket that a worker has, by the key under which it knows it.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) listener: ListenerId,
    pub(crate) query: Query,
    /// Where it listens, once it says so.
    pub(crate) address: Option<Address>,
}

/// One worker process.
#[derive(Debug)]
pub(crate) struct Worker<F> {
    pub(crate) index: u32,
    pub(crate) channel: Channel<F>,
    /// Number of our next message.
    pub(crate) seq: u64,
    pub(crate) course: Course,
    pub(crate) online: bool,
    pub(crate) holds: BTreeMap<String, Hold>,
    /// Where it listens without having asked (Bun binds for itself).
    pub(crate) own: Vec<Address>,
    /// Connections that it has not answered, by the number of the message.
    pub(crate) offered: HashMap<u64, (ListenerId, Connection<F>)>,
}

impl<F> Worker<F> {
    pub(crate) fn new(index: u32, seq: u64) -> Self {
        Self {
            index,
            channel: Channel::default(),
            seq,
            course: Course::Serving,
            online: false,
            holds: BTreeMap::new(),
            own: Vec::new(),
            offered: HashMap::new(),
        }
    }

    /// The key under which it holds a listener.
    pub(crate) fn key_of(&self, listener: ListenerId) -> Option<&String> {
        self.holds.iter().find(|(_, hold)| hold.listener == listener).map(|(key, _)| key)
    }
}

/// A worker that waits for a listener to be bound.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) run: Run,
    pub(crate) seq: Value,
    pub(crate) query: Query,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Listener<F> {
    /// Name by which workers share it; `None` = a second socket of a worker that has the shared one.
    pub(crate) share: Option<String>,
    /// The first query.
    pub(crate) query: Query,
    pub(crate) to: BindTo,
    /// Data of the first worker that gave any, for all.
    pub(crate) data: Value,
    pub(crate) state: Binding<F>,
    /// Who has it, in the order in which they got it.
    pub(crate) holders: Vec<Run>,
    /// How its connections are handed out; `None` = each holder accepts for itself.
    pub(crate) distribution: Option<Distribution<F>>,
}

/// Whether the socket exists.
#[derive(Debug)]
pub(crate) enum Binding<F> {
    /// The caller was asked for it; these workers wait.
    Asked(Vec<Asker>),
    /// It exists.
    Bound { fd: F, local: Option<SocketAddr> },
}

impl<F> Listener<F> {
    pub(crate) const fn handle_kind(&self) -> HandleKind {
        if self.to.is_datagram() { HandleKind::Datagram } else { HandleKind::Stream }
    }
}

/// Where a worker listens, from its own message.
pub(crate) fn address_of(listening: &Query) -> Option<Address> {
    match listening.to_bind().ok()? {
        BindTo::Path { path, .. } => return Some(Address::Unix(path)),
        BindTo::Abstract { name } => return Some(Address::Unix(format!("@{name}"))),
        BindTo::Inherited { fd, .. } => {
            // Node adds the real port to the query's fields.
            let port = listening.port().and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
            return Some(
                port.map_or(Address::Inherited(fd.into()), |port| Address::Tcp { host: None, port }),
            );
        }
        BindTo::Tcp { .. } | BindTo::Udp { .. } => {}
    }
    let host = listening.address().map(str::to_owned);
    let port = u16::try_from(listening.port()?).ok()?;
    let datagram = listening.fields.get("addressType").and_then(Value::as_str).is_some();
    Some(if datagram { Address::Udp { host, port } } else { Address::Tcp { host, port } })
}
