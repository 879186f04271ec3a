//! Locks on files: for life, and for one append.
//!
//! Owns taking and giving back. Invariant: a lock belongs to the open file, so it ends with its
//! holder, however that ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Takes the lock file at `path` for the life of the returned file. `None`: another process has it.
///
/// # Errors
/// When the file cannot be made.
pub fn for_life(path: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(e),
    }
}

fn ofd(fd: impl AsFd, kind: i32) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid flock structure.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    // SAFETY: the descriptor is open and the structure valid for the call.
    if unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Tries to lock the whole file against every other open file description.
///
/// # Errors
/// When the file system has no locks.
pub fn try_exclusive(file: impl AsFd) -> io::Result<bool> {
    match ofd(file, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::EACCES) => {
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// Gives the lock back.
///
/// # Errors
/// Never in practice: the descriptor was lockable before.
pub fn release(file: impl AsFd) -> io::Result<()> {
    ofd(file, libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let held = for_life(&path).unwrap().unwrap();
        assert!(for_life(&path).unwrap().is_none());
        drop(held);
        let a = for_life(&path).unwrap().unwrap();
        let b = File::options().write(true).open(&path).unwrap();
        assert!(try_exclusive(&a).unwrap());
        assert!(!try_exclusive(&b).unwrap());
        release(&a).unwrap();
        assert!(try_exclusive(&b).unwrap());
    }
}
