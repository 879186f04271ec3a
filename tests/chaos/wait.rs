//! Waiting on the kernel, with a limit.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until one of these can be read or has ended, at most so many milliseconds; gives for each
/// whether it is so.
pub(crate) fn readable<const N: usize>(what: [Option<BorrowedFd<'_>>; N], milliseconds: u64) -> [bool; N] {
    let mut set: Vec<PollFd<'_>> = what.iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let limit = Timespec {
        tv_sec: i64::try_from(milliseconds / 1000).expect("short"),
        tv_nsec: i64::try_from(milliseconds % 1000 * 1_000_000).expect("short"),
    };
    let _ = poll(&mut set, Some(&limit)).expect("poll");
    let mut told = set.iter().map(|fd| !fd.revents().is_empty());
    what.map(|fd| fd.is_some() && told.next().unwrap_or(false))
}
