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
    loop {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) if is_still(&file, path) => return Ok(Some(file)),
            // Its holder has taken it away meanwhile: the name is free for another.
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(e)) => return Err(e),
        }
    }
}

/// Waits until nobody has the lock file at `path`, however long that takes, and takes it for the life of
/// the returned file. `None`: its holder has taken the file away, because its work is done.
///
/// # Errors
/// When the file cannot be made or the system refuses to wait.
pub fn wait_for_life(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    file.lock()?;
    Ok(is_still(&file, path).then_some(file))
}

/// Takes the lock's file away while it is held: whoever waits for it learns that it is not wanted.
pub fn take_away(held: &File, path: &Path) {
    if is_still(held, path) {
        // A file that stays only lets the next one wait in vain.
        drop(std::fs::remove_file(path));
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

/// Whether the name still means this file.
fn is_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
        _ => false,
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
    fn whoever_waits_learns_whether_the_lock_was_left_or_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        for taken_away in [false, true] {
            let held = for_life(&path).unwrap().unwrap();
            let waiting = std::thread::spawn({
                let path = path.clone();
                move || wait_for_life(&path).unwrap().is_some()
            });
            if taken_away {
                std::fs::remove_file(&path).unwrap();
            }
            drop(held);
            // Where it was taken away before the other had opened it, the other holds a new one.
            assert!(waiting.join().unwrap() || taken_away);
        }
        let held = for_life(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(for_life(&path).unwrap().is_some(), "the name is free");
        drop(held);
    }

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
