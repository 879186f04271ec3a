//! What goes into the primary and what comes out.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::query::BindTo;
use crate::{ListenerId, Run};

/// What happened, or what is wanted.
#[derive(Debug)]
pub enum Input<'a, F> {
    /// A worker was spawned with a channel. Repeating it changes nothing.
    Joined {
        /// The worker.
        run: Run,
        /// Its instance number. During a reload two workers have the same.
        index: u32,
    },
    /// One read of a worker's channel.
    Received {
        /// The worker.
        run: Run,
        /// What was read.
        bytes: &'a [u8],
        /// Descriptors that came beside it.
        fds: Vec<F>,
    },
    /// A worker's channel has ended, or the worker has. Repeating it changes nothing.
    Closed {
        /// The worker.
        run: Run,
    },
    /// Answer to [`Output::Bind`].
    Bound {
        /// The listener that was to be bound.
        listener: ListenerId,
        /// The socket, or the kernel's error number (positive).
        result: Result<Bound<F>, i32>,
    },
    /// A connection of a listener for which accepting was started.
    Accepted {
        /// The listener.
        listener: ListenerId,
        /// The connection.
        connection: F,
        /// The client; `None` on Unix sockets.
        peer: Option<IpAddr>,
    },
    /// Sends a message to the app (`'shutdown'`).
    Send {
        /// The worker.
        run: Run,
        /// Any JSON.
        message: Value,
    },
    /// Asks a worker to close its servers, to end its connections, and then its channel.
    Disconnect {
        /// The worker.
        run: Run,
    },
    /// A worker is being stopped by other means (a signal, a message): it gets no more connections,
    /// and what it closes is held for its successor.
    Retire {
        /// The worker.
        run: Run,
    },
    /// The app is up as it should be: close what no worker has asked for again.
    ReleaseUnused,
    /// The app is not meant to be up: close every listener.
    ReleaseAll,
}

/// A socket that the caller has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<F> {
    /// Token of the socket.
    pub fd: F,
    /// Its own address; `None` on Unix sockets.
    pub local: Option<SocketAddr>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output<F> {
    /// Write to a worker's channel, after everything that was written before; the descriptor goes with
    /// the first byte. Dropped where the worker is gone.
    Write {
        /// The worker.
        run: Run,
        /// The bytes.
        bytes: Vec<u8>,
        /// Descriptor beside the first byte.
        fd: Option<F>,
    },
    /// Make a socket and answer with [`Input::Bound`].
    Bind {
        /// Name of the new listener.
        listener: ListenerId,
        /// For whom.
        run: Run,
        /// What to bind.
        to: BindTo,
        /// Length of the queue for `listen`.
        backlog: u32,
    },
    /// Accept connections of this listener, until told otherwise.
    StartAccepting {
        /// The listener.
        listener: ListenerId,
    },
    /// Leave connections in the kernel's queue.
    StopAccepting {
        /// The listener.
        listener: ListenerId,
    },
    /// The primary holds this listener no more: forget it, unlink its path.
    Close {
        /// The listener.
        listener: ListenerId,
    },
    /// No worker took this connection: close it.
    Refused {
        /// Its listener.
        listener: ListenerId,
        /// The connection.
        connection: F,
    },
    /// The runtime of a worker is up; user code comes next.
    Online {
        /// The worker.
        run: Run,
    },
    /// A worker listens.
    Listening {
        /// The worker.
        run: Run,
        /// Where.
        address: Address,
    },
    /// The app has sent a message (`'ready'`).
    Message {
        /// The worker.
        run: Run,
        /// Any JSON.
        message: Value,
    },
    /// A worker has said that it leaves of its own accord.
    Leaving {
        /// The worker.
        run: Run,
    },
    /// A worker has left; it holds nothing any more.
    Disconnected {
        /// The worker.
        run: Run,
        /// Whether it was asked to, or has said so before.
        expected: bool,
    },
    /// A worker breaks the protocol; it goes on.
    Trouble {
        /// The worker.
        run: Run,
        /// What it did.
        trouble: Trouble,
    },
}

/// A breach of the protocol by a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Not JSON.
    #[error("sent a line that is not JSON, which begins with {excerpt:?}; it was ignored")]
    Malformed {
        /// How the line begins.
        excerpt: String,
    },
    /// Too long.
    #[error("sent a message above {} MiB, which was ignored", crate::channel::MAX_LINE / (1024 * 1024))]
    TooLong,
    /// It did not take a descriptor.
    #[error("refused a descriptor four times")]
    RefusedHandle,
}

/// Where a worker listens, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// TCP.
    Tcp {
        /// Host as the app gave it; `None` = every address.
        host: Option<String>,
        /// Real port.
        port: u16,
    },
    /// UDP.
    Udp {
        /// Host as the app gave it; `None` = every address.
        host: Option<String>,
        /// Real port.
        port: u16,
    },
    /// A Unix socket; abstract ones begin with `@`.
    Unix(String),
    /// A descriptor that the worker was given.
    Inherited(i64),
}

impl Address {
    /// The port, of TCP and UDP.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } | Self::Udp { port, .. } => Some(*port),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => socket(f, host.as_deref(), *port),
            Self::Udp { host, port } => {
                f.write_str("udp:")?;
                socket(f, host.as_deref(), *port)
            }
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Inherited(fd) => write!(f, "fd:{fd}"),
        }
    }
}

fn socket(f: &mut fmt::Formatter<'_>, host: Option<&str>, port: u16) -> fmt::Result {
    match host {
        None => write!(f, "{port}"),
        Some(host) if host.contains(':') => write!(f, "[{host}]:{port}"),
        Some(host) => write!(f, "{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_users_write_them() {
        let tcp = |host: Option<&str>| Address::Tcp { host: host.map(str::to_owned), port: 80 };
        assert_eq!(tcp(None).to_string(), "80");
        assert_eq!(tcp(Some("::1")).to_string(), "[::1]:80");
        assert_eq!(Address::Udp { host: Some("10.0.0.1".into()), port: 53 }.to_string(), "udp:10.0.0.1:53");
        assert_eq!(Address::Unix("/s".into()).to_string(), "unix:/s");
        assert_eq!((Address::Inherited(3).to_string(), Address::Inherited(3).port()), ("fd:3".into(), None));
        assert_eq!(tcp(None).port(), Some(80));
    }
}
