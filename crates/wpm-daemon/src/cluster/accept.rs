//! Connections of listening sockets, taken for the primary to hand on.
//!
//! Taken one by one, and only while the primary wants them: the others stay in the kernel's queue, where
//! they outlive this daemon. Invariant: nothing is asked of a socket that has nothing, and no connection
//! waits for anything but the primary.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use wpm_cluster::{Input, ListenerId};

use super::Fd;
use crate::daemon::Daemon;
use crate::message::Message;

/// Pause after a failed accept (no descriptor left): the clients wait in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// One listening socket on the event loop.
pub(super) struct Acceptor {
    socket: Rc<UnixStream>,
    /// Whether the primary wants connections.
    pub(super) wanted: bool,
    /// Whether there may be some.
    readable: bool,
    /// Has the task wait for the next one.
    emptied: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Acceptor {
    fn new(app: &str, listener: ListenerId, fd: &Fd, inbox: &UnboundedSender<Message>) -> io::Result<Self> {
        let own = fd.try_clone()?;
        rustix::io::ioctl_fionbio(&own, true)?;
        // Of whatever family it is: nothing but whether it is readable is asked of this type.
        let socket = Rc::new(UnixStream::from_std(own.into())?);
        let emptied = Rc::new(Notify::new());
        let (watched, next) = (Rc::clone(&socket), Rc::clone(&emptied));
        let (app, inbox) = (app.to_owned(), inbox.clone());
        let task = tokio::task::spawn_local(async move {
            while watched.readable().await.is_ok() {
                let _gone = inbox.send(Message::Connections { app: app.clone(), listener });
                next.notified().await;
            }
        });
        Ok(Self { socket, wanted: true, readable: false, emptied, task })
    }

    /// The next connection and its client; `None` when there is none for now.
    fn next(&mut self) -> Option<io::Result<(OwnedFd, Option<IpAddr>)>> {
        if !(self.wanted && self.readable) {
            return None;
        }
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let accepted =
                self.socket.try_io(Interest::READABLE, || Ok(acceptfrom_with(self.socket.as_fd(), flags)?));
            match accepted {
                Ok((connection, peer)) => {
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    return Some(Ok((connection, peer.map(|peer| peer.ip()))));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.emptied.notify_one();
                    return None;
                }
                // The client has gone again.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    self.readable = false;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Daemon {
    /// The primary wants the connections of a listener.
    pub(super) fn want_connections(&mut self, app: &str, listener: ListenerId) {
        let socket = self.clusters.apps.get_mut(app).and_then(|cluster| cluster.sockets.get_mut(&listener));
        let Some(socket) = socket else { return };
        match &mut socket.acceptor {
            Some(acceptor) => acceptor.wanted = true,
            None => match Acceptor::new(app, listener, &socket.fd, &self.inbox) {
                Ok(acceptor) => socket.acceptor = Some(acceptor),
                Err(error) => tracing::error!(%error, "cannot accept connections for {app:?}"),
            },
        }
    }

    /// There are connections at a listener.
    pub(crate) fn connections_came(&mut self, app: &str, listener: ListenerId) {
        let socket = self.clusters.apps.get_mut(app).and_then(|cluster| cluster.sockets.get_mut(&listener));
        if let Some(acceptor) = socket.and_then(|socket| socket.acceptor.as_mut()) {
            acceptor.readable = true;
            self.carry_out_primary(app);
        }
    }

    /// Takes one connection that is wanted; whether there was one.
    pub(super) fn accept_one(&mut self, app: &str) -> bool {
        let Some(cluster) = self.clusters.apps.get_mut(app) else { return false };
        for (listener, socket) in &mut cluster.sockets {
            match socket.acceptor.as_mut().and_then(Acceptor::next) {
                None => {}
                Some(Ok((connection, peer))) => {
                    let connection = Rc::new(connection);
                    cluster.primary.handle(Input::Accepted { listener: *listener, connection, peer });
                    return true;
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot accept connections for the moment");
                    let (app, listener, inbox) = (app.to_owned(), *listener, self.inbox.clone());
                    let _detached = tokio::task::spawn_local(async move {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        let _gone = inbox.send(Message::Connections { app, listener });
                    });
                }
            }
        }
        false
    }
}
