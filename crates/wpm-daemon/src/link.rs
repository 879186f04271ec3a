//! Connections of records (`SOCK_SEQPACKET`) to the keeper and to the shims, on the event loop.
//!
//! Owns the descriptors; decodes nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wpm_sys::contract::MAX_RECORD;
use wpm_sys::record;

/// One record and the descriptors beside it.
pub(crate) type Record = (Vec<u8>, Vec<OwnedFd>);

/// A connection, registered with the event loop.
///
/// The type says stream, the socket carries records: of tokio's type only the readiness is used.
#[derive(Debug)]
pub(crate) struct Link(UnixStream);

impl Link {
    /// Registers a connected socket.
    ///
    /// # Errors
    /// When it cannot be made non-blocking or not be registered.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(fd);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket).map(Self)
    }

    /// Waits for the next record; `None` at the end of the connection.
    pub(crate) async fn receive(&self) -> Option<Record> {
        loop {
            self.0.readable().await.ok()?;
            let mut bytes = [0; MAX_RECORD];
            match self.0.try_io(Interest::READABLE, || record::receive(self.0.as_fd(), &mut bytes)) {
                Ok(received) => return received.map(|r| (bytes[..r.len].to_vec(), r.fds)),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends a record without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the other side does not read, others when it is gone.
    pub(crate) fn try_send(&self, record: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        record::send(self.0.as_fd(), record, fds)
    }

    /// Sends a record, waiting until the other side has room.
    ///
    /// # Errors
    /// When the other side is gone.
    async fn send(&self, bytes: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        loop {
            match self.0.try_io(Interest::WRITABLE, || record::send(self.0.as_fd(), bytes, &borrowed)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.0.writable().await?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// The sending half of a connection with a queue: records leave in order, as fast as they are read.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(UnboundedSender<Record>);

impl Outbox {
    /// A queue and its end that [`pump`] empties.
    pub(crate) fn new() -> (Self, UnboundedReceiver<Record>) {
        let (to, from) = unbounded_channel();
        (Self(to), from)
    }

    /// Queues a record.
    pub(crate) fn send(&self, record: Vec<u8>, fds: Vec<OwnedFd>) {
        // The pump ends only with the connection, whose end is reported by the receiving half.
        drop(self.0.send((record, fds)));
    }
}

/// Sends what is queued until the connection ends.
pub(crate) async fn pump(link: &Link, mut queue: UnboundedReceiver<Record>) {
    while let Some((record, fds)) = queue.recv().await {
        if let Err(error) = link.send(&record, &fds).await {
            tracing::debug!(%error, "a record could not be sent");
            return;
        }
    }
}
