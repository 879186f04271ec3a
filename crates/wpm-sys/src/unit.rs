//! Telling the service manager how the service stands (`sd_notify(3)`).
//!
//! Owns the variable and the datagram. The manager's own variable is taken out of the environment at
//! once and kept under a name of ours, so that no other program that runs below believes that it is
//! asked. Invariant: whatever becomes of a message, nothing waits for longer than a second and nothing
//! fails.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::exec;
use crate::process::SingleThread;

/// Variable by which a service manager names its socket.
const THEIRS: &str = "NOTIFY_SOCKET";
/// The same for keepers and daemons of this home, which start each other.
pub const SOCKET: &str = "WPM_UNIT_SOCKET";
/// Longest wait for a manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes the service manager's socket ours: for the process that the manager has started.
pub fn adopt(proof: SingleThread) {
    if let Some(socket) = std::env::var_os(THEIRS) {
        exec::set_env(proof, SOCKET, &socket);
        exec::remove_env(proof, THEIRS);
    }
}

/// Tells the manager, if there is one, one or more assignments, each on a line of its own.
pub fn tell(assignments: &str) {
    if let Some(socket) = std::env::var_os(SOCKET) {
        // A manager that is not there any more needs to know nothing.
        let _ = send(&socket, assignments);
    }
}

fn send(socket: &OsStr, assignments: &str) -> rustix::io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        path => SocketAddrUnix::new(path)?,
    };
    let from = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&from, Timeout::Send, Some(PATIENCE))?;
    rustix::net::sendto(&from, assignments.as_bytes(), SendFlags::NOSIGNAL, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_message_is_one_datagram() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1\nMAINPID=7").unwrap();
        let mut buf = [0; 64];
        let n = manager.recv(&mut buf).unwrap();
        assert_eq!(&buf[..n], b"READY=1\nMAINPID=7");
        drop(manager);
        // A test beside this one may have forked a moment ago, and so hold a copy of it for another.
        while send(path.as_os_str(), "X=1").is_ok() {
            std::thread::yield_now();
        }
        assert!(send(OsStr::new("@wpm-test-nobody-listens"), "X=1").is_err());
    }
}
