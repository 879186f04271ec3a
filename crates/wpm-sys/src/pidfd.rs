//! Process descriptors: a process that cannot be mistaken for a later one with the same pid.
//!
//! Owns opening, signalling and asking them. Invariant: [`PidFd::open_checked`] yields a descriptor
//! only of the process that started at the time named.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags};

use crate::contract::End;
use crate::procfs;

/// A descriptor of one process.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for PidFd {
    /// Takes a descriptor that somebody else has opened, as one of a process.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// `struct pidfd_info` of Linux 6.15.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
    rest: [u32; 2],
}

const INFO_EXIT: u64 = 1 << 3;

impl PidFd {
    /// Opens a process, zombie or alive.
    ///
    /// # Errors
    /// When there is none, or on kernels before 5.3.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Opens a process if it is the one that started at `start_time` (clock ticks since boot).
    ///
    /// # Errors
    /// `NotFound` when it is gone or is another one.
    pub fn open_checked(pid: i32, start_time: u64) -> io::Result<Self> {
        let fd = Self::open(pid)?;
        // Checked after opening: from here on the descriptor cannot change its process.
        if procfs::start_time(pid) == Some(start_time) { Ok(fd) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone or belongs to another user.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: the descriptor is open; a null siginfo is allowed.
        let done = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// How the process ended, once it has been reaped by its parent (Linux 6.15 and later).
    pub fn end_after_reaping(&self) -> Option<End> {
        let mut info = Info { mask: INFO_EXIT, ..Info::default() };
        let size = u64::try_from(size_of::<Info>()).unwrap_or(64);
        let request = 0xC000_FF0B_u64 | (size << 16);
        // SAFETY: the structure has the size that the request number names and is writable.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, &raw mut info) };
        (done == 0 && info.mask & INFO_EXIT != 0).then(|| end_of_status(info.exit_code))
    }
}

/// Takes a raw wait status apart.
pub const fn end_of_status(status: i32) -> End {
    match status & 0x7f {
        0 => End::Code((status >> 8) & 0xff),
        signal => End::Signal { signal, core: status & 0x80 != 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_start_time_is_another_process() {
        let pid = crate::process::own_pid();
        let start = procfs::start_time(pid).unwrap();
        assert!(PidFd::open_checked(pid, start).is_ok());
        assert!(PidFd::open_checked(pid, start + 1).is_err());
        assert_eq!(end_of_status(7 << 8), End::Code(7));
        assert_eq!(end_of_status(0x8b), End::Signal { signal: 11, core: true });
    }
}
