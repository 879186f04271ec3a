//! Connections of a listening socket, accepted for the primary to hand on.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use wpm_cluster::primary::BindTo;
use wpm_cluster::{Input, ListenerId};

use super::Fd;
use crate::daemon::{Daemon, Message};

/// Accepted connections that may wait for the loop.
const AHEAD: usize = 16;
/// Pause after a failed accept (no descriptor left): the clients wait in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

impl Daemon {
    /// A connection of a listening socket was accepted.
    pub(crate) fn accepted(&mut self, accepted: Accepted) {
        let Accepted { app, listener, connection, peer, .. } = accepted;
        if let Some(cluster) = self.clusters.apps.get_mut(&app) {
            cluster.primary.handle(Input::Accepted { listener, connection: Rc::new(connection), peer });
            self.carry_out_primary(&app);
        }
    }
}

/// A connection that was accepted, for the primary to hand on.
#[derive(Debug)]
pub(crate) struct Accepted {
    app: String,
    listener: ListenerId,
    connection: OwnedFd,
    peer: Option<IpAddr>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Accepts until it is aborted, never more than a few connections ahead of the loop.
pub(super) async fn accept(
    app: String,
    listener: ListenerId,
    socket: Listening,
    inbox: UnboundedSender<Message>,
) {
    let ahead = std::sync::Arc::new(tokio::sync::Semaphore::new(AHEAD));
    loop {
        let Ok(permit) = std::sync::Arc::clone(&ahead).acquire_owned().await else { return };
        match socket.accept().await {
            Ok((connection, peer)) => {
                let accepted = Accepted { app: app.clone(), listener, connection, peer, _permit: permit };
                let _gone = inbox.send(Message::Accepted(accepted));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for the moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A listening socket on the event loop.
pub(super) enum Listening {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listening {
    pub(super) fn new(fd: &Fd, to: &BindTo) -> io::Result<Self> {
        let own = fd.try_clone()?;
        rustix::io::ioctl_fionbio(&own, true)?;
        Ok(match to {
            BindTo::Path { .. } | BindTo::Abstract { .. } => {
                Self::Unix(tokio::net::UnixListener::from_std(own.into())?)
            }
            _ => Self::Tcp(tokio::net::TcpListener::from_std(own.into())?),
        })
    }

    pub(super) async fn accept(&self) -> io::Result<(OwnedFd, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((stream.into_std()?.into(), Some(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((stream.into_std()?.into(), None))
            }
        }
    }
}
