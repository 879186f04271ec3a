//! Pipes, and moving their bytes inside the kernel.
//!
//! Owns splice, tee and the re-opening of descriptors. Invariant: a splice moves bytes and grows the
//! file in one step that no signal divides, so pipe and file always agree.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::procfs::PathBuf;

/// How a descriptor is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading, without blocking.
    Read,
    /// For writing, without blocking.
    Write,
    /// For both, blocking: the side of an app.
    Both,
}

/// Makes a pipe; both ends are non-blocking.
///
/// # Errors
/// When descriptors run out.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// Makes a pipe whose ends block.
///
/// # Errors
/// When descriptors run out.
pub fn blocking_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Reads what is there, at most the buffer. 0 = every writer is gone.
///
/// # Errors
/// `WouldBlock` when nothing is there.
pub fn read(fd: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(&fd, &mut *buf) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Capacity of a pipe in bytes.
///
/// # Errors
/// When it is not a pipe.
pub fn pipe_size(pipe: impl AsFd) -> io::Result<u64> {
    Ok(rustix::pipe::fcntl_getpipe_size(pipe)? as u64)
}

/// Sets the capacity of a pipe in bytes (rounded up to pages).
///
/// # Errors
/// When a limit refuses it.
pub fn set_pipe_size(pipe: impl AsFd, bytes: usize) -> io::Result<()> {
    Ok(rustix::pipe::fcntl_setpipe_size(pipe, bytes).map(drop)?)
}

fn open(path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?)
}

fn reopen_at(path: &str, access: Access) -> io::Result<OwnedFd> {
    open(
        path,
        match access {
            Access::Read => OFlags::RDONLY | OFlags::NONBLOCK,
            Access::Write => OFlags::WRONLY | OFlags::NONBLOCK,
            Access::Both => OFlags::RDWR,
        },
    )
}

/// Opens the pipe behind a descriptor of this process again.
///
/// # Errors
/// When descriptors run out or `/proc` is not mounted.
pub fn reopen(fd: impl AsFd, access: Access) -> io::Result<OwnedFd> {
    let mut path = PathBuf::<40>::default();
    path.push(b"/proc/self/fd/").number(std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd()));
    reopen_at(path.as_str().unwrap_or_default(), access)
}

/// Opens the pipe behind descriptor `fd` of another process, if it is a pipe.
///
/// # Errors
/// When it is something else, or may not be looked at.
pub fn reopen_pipe_of(pid: i32, fd: i32, access: Access) -> io::Result<OwnedFd> {
    let mut path = PathBuf::<48>::default();
    path.push(b"/proc/").number(pid).push(b"/fd/").number(fd);
    let path = path.as_str().unwrap_or_default();
    // Look first without opening: opening a device or a terminal would have effects.
    let there = open(path, OFlags::PATH)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&there)?.st_mode) != FileType::Fifo {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    reopen(&there, access)
}

/// Identity of the object behind a descriptor: device and inode.
///
/// # Errors
/// When the file system cannot say.
pub fn identity(fd: impl AsFd) -> io::Result<(u64, u64)> {
    let s = rustix::fs::fstat(fd)?;
    Ok((s.st_dev, s.st_ino))
}

/// Bytes that wait in a pipe.
///
/// # Errors
/// When it is not a pipe.
pub fn waiting(pipe: impl AsFd) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(pipe)?)
}

/// Moves at most `len` bytes from a pipe to `offset` of a file. 0 = every writer is gone.
///
/// # Errors
/// `WouldBlock` when the pipe is empty; `InvalidInput` when the target refuses splice; what the disk says.
pub fn to_file(pipe: impl AsFd, file: impl AsFd, offset: u64, len: usize) -> io::Result<usize> {
    let mut offset = offset;
    loop {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match rustix::pipe::splice(&pipe, None, &file, Some(&mut offset), len, flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Moves at most `len` bytes from a pipe to something without offsets. 0 = every writer is gone.
///
/// # Errors
/// As [`to_file`].
pub fn to_stream(pipe: impl AsFd, target: impl AsFd, len: usize) -> io::Result<usize> {
    loop {
        match rustix::pipe::splice(&pipe, None, &target, None, len, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
        {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Copies what waits in one pipe to another without consuming it. 0 = every writer is gone.
///
/// # Errors
/// `WouldBlock` when there is nothing, or no room.
pub fn tee(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    loop {
        match rustix::pipe::tee(&from, &to, len, SpliceFlags::NONBLOCK) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Gives pages of a file back to the system, leaving a hole.
///
/// # Errors
/// Where the file system has no holes.
pub fn punch(file: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let mode = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(file, mode, offset, len)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_side_opened_both_ways_keeps_the_pipe_alive() {
        let (r, w) = pipe().unwrap();
        drop(w);
        let mut app = std::fs::File::from(reopen(&r, Access::Both).unwrap());
        app.write_all(b"one\ntwo").unwrap();
        assert_eq!(waiting(&r).unwrap(), 7);
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(to_file(&r, &file, 0, 4).unwrap(), 4);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\n");
        assert_eq!(to_file(&r, &file, 4, 100).unwrap(), 3);
        assert_eq!(to_file(&r, &file, 7, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(app);
        assert_eq!(to_file(&r, &file, 7, 100).unwrap(), 0);
    }
}
