//! Who is at the other end of a local socket.
//!
//! Owns the question, not the answer's consequence. Invariant: the credentials are those that the
//! peer had when it connected, as the kernel recorded them.

use std::io;
use std::os::fd::AsFd;

/// Credentials of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id, as seen from here.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Peer {
    /// Whether it is this user or root.
    pub fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Asks the kernel who is connected to `socket`.
///
/// # Errors
/// When it is not a connected local socket.
pub fn credentials(socket: impl AsFd) -> io::Result<Peer> {
    let c = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Peer { pid: c.pid.as_raw_nonzero().get(), uid: c.uid.as_raw(), gid: c.gid.as_raw() })
}
