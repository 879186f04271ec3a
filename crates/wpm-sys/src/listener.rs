//! Which connections of a listening TCP socket its holders get to see.
//!
//! Owns one option of the kernel, which belongs to the socket and so to all who hold it. Invariant: no
//! connection is lost by it, it only comes later.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Seconds after which a connection is given out although nothing has come on it.
const SILENCE: libc::c_int = 1;

/// Has a listening socket give out connections only once something has come on them, or a second has
/// passed; with `false`, at once again.
///
/// # Errors
/// When it is no TCP socket.
pub fn defer_silent(socket: impl AsFd, on: bool) -> io::Result<()> {
    let seconds = if on { SILENCE } else { 0 };
    let size = libc::socklen_t::try_from(size_of_val(&seconds)).map_err(io::Error::other)?;
    // SAFETY: the value lives over the call, and the size is its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn silent_connections_wait_until_something_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        defer_silent(&listener, true).unwrap();
        let mut first = TcpStream::connect(at).unwrap();
        assert_eq!(listener.accept().map(drop).unwrap_err().kind(), ErrorKind::WouldBlock);
        first.write_all(b"hello").unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let mut said = [0; 5];
        accepted.read_exact(&mut said).unwrap();

        // One that was held back is not forgotten.
        let second = TcpStream::connect(at).unwrap();
        defer_silent(&listener, false).unwrap();
        let _third = TcpStream::connect(at).unwrap();
        listener.set_nonblocking(false).unwrap();
        let of = [(); 2].map(|()| listener.accept().unwrap().1);
        assert!(of.contains(&second.local_addr().unwrap()), "{of:?}");
    }

    #[test]
    fn what_is_not_tcp_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("s")).unwrap();
        assert!(defer_silent(&unix, true).is_err());
    }
}
