//! The `NODE_CLUSTER` messages: what workers say, and how they are answered.
//!
//! Holds no state. Invariant: a message that is not understood is [`FromWorker::Other`], never an error,
//! because runtimes add messages of their own.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::query::Query;

/// What a worker says.
#[derive(Debug, PartialEq)]
pub(crate) enum FromWorker {
    /// The runtime is up; user code comes next.
    Online,
    /// It listens and asks for a socket; `seq` is to be answered.
    Query { seq: Value, query: Query },
    /// It listens: the query again, with the real port.
    Listening(Query),
    /// It has closed the server of this key.
    Close { key: String },
    /// It is about to leave by itself; `seq` is to be answered.
    Leaving { seq: Value },
    /// An answer to our message number `ack`.
    Answer { ack: u64, accepted: bool },
    /// Something else.
    Other,
}

impl FromWorker {
    pub(crate) fn parse(fields: Map<String, Value>) -> Self {
        let seq = || fields.get("seq").cloned().unwrap_or_default();
        if let Some(ack) = fields.get("ack").and_then(Value::as_u64) {
            let accepted = fields.get("accepted").and_then(Value::as_bool).unwrap_or(false);
            return Self::Answer { ack, accepted };
        }
        match fields.get("act").and_then(Value::as_str) {
            Some("online") => Self::Online,
            Some("queryServer") => Self::Query { seq: seq(), query: Query { fields } },
            Some("listening") => Self::Listening(Query { fields }),
            Some("close") => match fields.get("key") {
                Some(Value::String(key)) => Self::Close { key: key.clone() },
                _ => Self::Other,
            },
            Some("exitedAfterDisconnect") => Self::Leaving { seq: seq() },
            _ => Self::Other,
        }
    }
}

/// What to say of a socket that a worker asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// It comes beside the message.
    Handed,
    /// The primary accepts for it. Unix sockets have no address.
    Accepted(Option<SocketAddr>),
    /// It cannot be had: a kernel error number.
    Failed(i32),
}

/// The answer to a query, with its fields in the order in which Node writes them.
pub(crate) fn answer(verdict: Verdict, key: &str, seq: &Value, data: &Value) -> Map<String, Value> {
    let errno = match verdict {
        Verdict::Handed => json!(0),
        Verdict::Accepted(_) => Value::Null,
        Verdict::Failed(errno) => json!(-i64::from(errno)),
    };
    let mut message = Map::new();
    message.insert("errno".into(), errno);
    message.insert("key".into(), key.into());
    message.insert("ack".into(), seq.clone());
    message.insert("data".into(), data.clone());
    if let Verdict::Accepted(Some(at)) = verdict {
        let family = if at.is_ipv4() { "IPv4" } else { "IPv6" };
        let name = json!({ "address": at.ip().to_string(), "family": family, "port": at.port() });
        message.insert("sockname".into(), name);
    }
    message
}

/// A message of one of our own acts.
pub(crate) fn act(name: &str) -> Map<String, Value> {
    Map::from_iter([("act".to_owned(), name.into())])
}

/// Receipt of a message that asked for no more.
pub(crate) fn receipt(seq: &Value) -> Map<String, Value> {
    Map::from_iter([("ack".to_owned(), seq.clone())])
}

/// A connection for the server of this key.
pub(crate) fn new_connection(key: &str) -> Map<String, Value> {
    let mut message = act("newconn");
    message.insert("key".into(), key.into());
    message
}
