//! Connects to the daemon's socket.
//!
//! Starts nothing. A path that is too long for a socket address is reached through a descriptor of its
//! folder.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interprocess::ConnectWaitMode;
use interprocess::local_socket::{ConnectOptions, GenericFilePath, Stream, ToFsName};

/// Longest path that fits a socket address with its closing NUL.
const MAX_PATH: usize = 107;
/// Pause before the next attempt while more clients wait than the daemon's queue holds.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// Connects; a full queue of waiting clients is waited for until `patience` is over.
pub(crate) fn connect(path: &Path, patience: Duration) -> io::Result<Stream> {
    if path.as_os_str().len() <= MAX_PATH {
        return open(path.to_owned(), patience);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = File::open(parent)?;
    open(PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name), patience)
}

fn open(path: PathBuf, patience: Duration) -> io::Result<Stream> {
    let name = path.to_fs_name::<GenericFilePath>()?;
    let started = std::time::Instant::now();
    // A non-blocking connect to a Unix socket whose queue is full fails at once and tells nobody when
    // there is room, so this rare case is tried again.
    loop {
        let options = ConnectOptions::new().name(name.borrow());
        match options.wait_mode(ConnectWaitMode::Timeout(patience)).connect_sync() {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock && started.elapsed() < patience => {
                std::thread::sleep(FULL_QUEUE_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Whether an error of [`connect`] means that nobody is there.
pub(crate) fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_path_longer_than_an_address_is_reached() {
        let dir = tempfile::tempdir().expect("temp dir");
        let long = dir.path().join("x".repeat(120));
        std::fs::create_dir(&long).expect("created");
        let folder = File::open(&long).expect("opened");
        let listener =
            UnixListener::bind(format!("/proc/self/fd/{}/wpm.sock", folder.as_raw_fd())).expect("bound");
        connect(&long.join("wpm.sock"), Duration::from_secs(1)).expect("connected");
        drop(listener);
        let refused = connect(&long.join("wpm.sock"), Duration::from_secs(1)).expect_err("gone");
        assert!(is_absent(&refused));
    }
}
