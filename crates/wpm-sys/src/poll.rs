//! Waiting for several descriptors at once.
//!
//! Owns the call only; who is waited for, and how long, is the caller's affair. Invariant: without a
//! timeout it makes no system call until something happens.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Most descriptors that one wait takes.
pub const MAX: usize = 12;

/// What became true of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// Something can be read.
    pub read: bool,
    /// Something can be written.
    pub write: bool,
    /// The other side is gone, or the descriptor is broken.
    pub gone: bool,
}

impl Ready {
    /// Whether anything became true.
    pub const fn any(self) -> bool {
        self.read || self.write || self.gone
    }
}

/// One descriptor to wait for; `None` takes a place and is never ready.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'fd> {
    /// The descriptor.
    pub fd: Option<BorrowedFd<'fd>>,
    /// Whether room to write is waited for too.
    pub write: bool,
}

impl<'fd> Watch<'fd> {
    /// Waits for something to read.
    pub const fn read(fd: Option<BorrowedFd<'fd>>) -> Self {
        Self { fd, write: false }
    }
}

/// Waits until one of at most [`MAX`] descriptors is ready or `timeout_ms` has passed (`None`: for
/// ever). A signal ends the wait early with nothing ready.
///
/// # Errors
/// When the kernel is out of memory.
pub fn wait<const N: usize>(set: [Watch<'_>; N], timeout_ms: Option<u64>) -> io::Result<[Ready; N]> {
    wait_for(set, timeout_ms.map(Duration::from_millis))
}

/// The same with a time that need not be whole milliseconds.
///
/// # Errors
/// As [`wait`].
pub fn wait_for<const N: usize>(set: [Watch<'_>; N], timeout: Option<Duration>) -> io::Result<[Ready; N]> {
    const { assert!(N <= MAX) };
    let mut place = [usize::MAX; N];
    let mut used = 0;
    let Some(any) = set.iter().find_map(|w| w.fd) else { return Ok([Ready::default(); N]) };
    let mut fds =
        [const { None::<PollFd<'_>> }; N].map(|_| PollFd::from_borrowed_fd(any, PollFlags::empty()));
    for (i, watch) in set.iter().enumerate() {
        if let Some(fd) = watch.fd {
            let flags = if watch.write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds[used] = PollFd::from_borrowed_fd(fd, flags);
            place[i] = used;
            used += 1;
        }
    }
    let timeout = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    let mut ready = [Ready::default(); N];
    match rustix::event::poll(&mut fds[..used], timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(ready),
        Err(e) => return Err(e.into()),
    }
    for (slot, at) in ready.iter_mut().zip(place) {
        if let Some(fd) = fds[..used].get(at) {
            let got = fd.revents();
            slot.read = got.contains(PollFlags::IN);
            slot.write = got.contains(PollFlags::OUT);
            slot.gone = got.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        }
    }
    Ok(ready)
}
