//! The socket that clients connect to.
//!
//! Bound under another name and renamed into place, so that whoever finds the name finds a listener.
//! Only the daemon that holds the home's lock comes here, so an old socket file is a dead one.

use std::io;
use std::path::Path;

use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use wpm_proto::home::Home;

/// Longest path that fits a socket address.
const MAX_SOCKET_PATH: usize = 100;

/// Opens the socket of a home, mode 0600.
///
/// # Errors
/// With the step and the path that failed.
pub(crate) fn open(home: &Home) -> io::Result<Listener> {
    let path = home.socket();
    let fresh = path.with_extension("sock.new");
    drop(std::fs::remove_file(&fresh));
    let told = |e: io::Error, what: &str| io::Error::new(e.kind(), format!("{what} {}: {e}", path.display()));
    // A long home is reached through its open folder.
    let folder = std::fs::File::open(home.path()).map_err(|e| told(e, "cannot open the folder of"))?;
    let short = |p: &Path| {
        if p.as_os_str().len() <= MAX_SOCKET_PATH {
            p.to_path_buf()
        } else {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&folder);
            Path::new("/proc/self/fd").join(fd.to_string()).join(p.file_name().unwrap_or_default())
        }
    };
    let name = short(&fresh).to_fs_name::<GenericFilePath>().map_err(|e| told(e, "cannot name"))?;
    let listener = ListenerOptions::new()
        .name(name)
        .mode(0o600)
        .reclaim_name(false)
        .create_tokio()
        .map_err(|e| told(e, "cannot listen on"))?;
    std::fs::rename(&fresh, &path).map_err(|e| told(e, "cannot rename the new socket to"))?;
    let link = home.socket_link();
    drop(std::fs::remove_file(&link));
    drop(std::os::unix::fs::symlink(path.file_name().unwrap_or_default(), &link));
    Ok(listener)
}

/// Takes the next client; `None` for one of another user.
///
/// # Errors
/// When the daemon is out of descriptors; the client waits in the queue.
pub(crate) async fn accept(listener: &Listener) -> io::Result<Option<Stream>> {
    let stream = listener.accept().await?;
    let me = rustix::process::geteuid().as_raw();
    let peer = stream.peer_creds()?.euid();
    if peer == Some(me) || peer == Some(0) {
        return Ok(Some(stream));
    }
    tracing::warn!(?peer, "a client of another user was refused");
    drop(stream);
    Ok(None)
}
