//! Sockets that carry whole records with descriptors beside them (`SOCK_SEQPACKET`).
//!
//! Owns how such a socket is made, found by a path of any length, written and read. Knows nothing of
//! what a record says. Invariant: nothing here blocks, nothing raises `SIGPIPE`, and every descriptor
//! that arrives is closed on exec.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::contract::MAX_FDS;

/// Longest path that fits into a socket address.
const ADDRESS_MAX: usize = 107;
/// Connections that may wait to be accepted. As many as the system allows: each daemon that dies leaves
/// one behind, and a shim that is busy must not look like one that is gone.
const BACKLOG: i32 = 4096;
/// Room for [`MAX_FDS`] descriptors beside a record.
const CONTROL: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// One record as it arrived.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the record, at the start of the buffer that was given.
    pub len: usize,
    /// Descriptors that rode beside it; none if this process had no room for all of them.
    pub fds: Vec<OwnedFd>,
}

/// Makes two connected sockets, both non-blocking.
///
/// # Errors
/// When the process is out of descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Makes two connected byte-stream sockets, blocking, as programs expect of an inherited channel.
///
/// # Errors
/// When the process is out of descriptors.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A path in a form that fits a socket address, and the folder that it may lean on.
fn address(path: &Path) -> io::Result<(SocketAddrUnix, Option<OwnedFd>)> {
    if path.as_os_str().len() <= ADDRESS_MAX {
        return Ok((SocketAddrUnix::new(path)?, None));
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let dir =
        rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    short.push(OsStr::from_bytes(name.as_bytes()));
    Ok((SocketAddrUnix::new(&short)?, Some(dir)))
}

/// Binds a listening socket to `path` with mode 0600, in place of whatever socket was left there.
///
/// # Errors
/// When the folder cannot be written.
pub fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // The mode of the socket before bind is the mode of the file: no moment with a wider one.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let (address, _folder) = address(path)?;
    if let Err(e) = rustix::net::bind(&socket, &address) {
        if e != rustix::io::Errno::ADDRINUSE {
            return Err(e.into());
        }
        std::fs::remove_file(path)?;
        rustix::net::bind(&socket, &address)?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to the socket at `path`; the connection is non-blocking.
///
/// # Errors
/// Those that [`is_deserted`] knows prove that nobody listens there; any other says nothing of that.
pub fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let (address, _folder) = address(path)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

/// Whether a failed connection proves that nobody holds the socket. A full backlog (`WouldBlock`) or a
/// lack of descriptors does not.
pub fn is_deserted(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// Takes the next waiting connection.
///
/// # Errors
/// `WouldBlock` when none waits.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
}

/// Sends one record with descriptors beside it.
///
/// # Errors
/// `WouldBlock` when the peer does not read; `BrokenPipe` when it is gone.
pub fn send(socket: impl AsFd, record: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::<u8>::uninit(); CONTROL];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::sendmsg(&socket, &[IoSlice::new(record)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

/// Receives one record into `buf`. `None` means that the peer has closed the connection.
///
/// # Errors
/// `WouldBlock` when nothing is there; `InvalidData` when the record did not fit.
pub fn receive(socket: impl AsFd, buf: &mut [u8]) -> io::Result<Option<Received>> {
    let mut space = [MaybeUninit::<u8>::uninit(); CONTROL];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(buf)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = part {
            fds.extend(list);
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        // This process is out of descriptors: half of what belongs together is of no use.
        fds.clear();
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    Ok(Some(Received { len: message.bytes, fds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_carries_descriptors() {
        let (a, b) = pair().unwrap();
        let (r, w) = pair().unwrap();
        send(&a, b"hello", &[w.as_fd()]).unwrap();
        drop(w);
        let mut buf = [0; 16];
        let got = receive(&b, &mut buf).unwrap().unwrap();
        assert_eq!(&buf[..got.len], b"hello");
        send(&got.fds[0], b"x", &[]).unwrap();
        assert_eq!(receive(&r, &mut buf).unwrap().unwrap().len, 1);
        drop(a);
        assert!(receive(&b, &mut buf).unwrap().is_none());
    }

    #[test]
    fn a_long_path_is_reached_and_a_dead_one_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(150));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("x.sock");
        let listener = listen_at(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let client = connect_to(&path).unwrap();
        let server = accept(listener.as_fd()).unwrap();
        send(&client, b"1", &[]).unwrap();
        assert_eq!(receive(&server, &mut [0; 4]).unwrap().unwrap().len, 1);
        drop(listener);
        // A test beside this one may have forked a moment ago, and so hold a copy of it for another.
        let refused = loop {
            match connect_to(&path) {
                Ok(_) => std::thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        listen_at(&path).unwrap();
    }
}
