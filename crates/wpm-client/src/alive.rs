//! Whether keeper and shims do their work, found out without the daemon.
//!
//! Owns looking for those that somebody has stopped (SIGSTOP, a debugger), and knocking at the keeper's
//! door. Changes nothing. Invariant: nobody is called stopped who is not a process of wpm.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{PidfdFlags, pidfd_open};
use wpm_proto::home::Home;
use wpm_proto::view::AppView;

/// Shims at which a list looks, each of which costs three system calls; it would take notably longer for
/// more.
const SOME: usize = 64;

/// Notes of every instance whether its shim is stopped. Where there are more than a list has time for, of
/// none, unless it must be known.
pub fn look_at_shims(apps: &mut [AppView], all: bool) {
    let running = || apps.iter().flat_map(|app| &app.instances).filter(|it| it.shim_pid > 0);
    if !all && running().count() > SOME {
        return;
    }
    for instance in apps.iter_mut().flat_map(|app| &mut app.instances) {
        instance.shim_stopped = instance.shim_pid > 0 && is_stopped(instance.shim_pid, "wpm:");
    }
}

/// Process id of the keeper, if it is stopped.
pub fn stopped_keeper(home: &Home) -> Option<i32> {
    let pid = std::fs::read_to_string(home.keeper_pid()).ok()?.trim().parse().ok()?;
    is_stopped(pid, "wpm-keeper").then_some(pid)
}

/// Whether the keeper opens its door within this time. It takes this for a complaint about the daemon, and
/// asks it whether it is there.
pub fn keeper_answers(home: &Home, patience: Duration) -> bool {
    let Ok(door) = knock(home) else { return false };
    let limit = Timespec::try_from(patience).unwrap_or_default();
    // It lets in and sends away at once.
    poll(&mut [PollFd::new(&door, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
}

/// Whether runs of this boot have left their sockets: who has brought them down takes those away.
pub fn is_left(home: &Home) -> bool {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let journal = std::fs::read_to_string(home.journal()).unwrap_or_default();
    // The first line names the boot.
    let of_this_boot = journal.lines().next().is_some_and(|line| line.contains(boot.trim()));
    let names = std::fs::read_dir(home.run()).into_iter().flatten().flatten().map(|entry| entry.file_name());
    of_this_boot
        && !boot.is_empty()
        && names.into_iter().any(|name| name.to_str().and_then(Home::parse_shim_socket).is_some())
}

/// Connects to the keeper, by which it hears that somebody waits for the daemon.
pub(crate) fn knock(home: &Home) -> std::io::Result<OwnedFd> {
    let (path, flags) = (home.keeper_socket(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    // Through its folder, so that a long home fits a socket address too.
    let folder = File::open(home.path())?;
    let name = path.file_name().unwrap_or_default();
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(short)?)?;
    Ok(socket)
}

/// A handle on the keeper, if there is one.
pub(crate) fn keeper(home: &Home) -> Option<OwnedFd> {
    peer(knock(home).ok()?)
}

/// A handle on the process at the other end of a connection, if it is there.
pub(crate) fn peer(connection: impl AsFd) -> Option<OwnedFd> {
    let pid = socket_peercred(connection).ok()?.pid;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Whether a process is stopped whose name begins so.
fn is_stopped(pid: i32, name: &str) -> bool {
    let mut text = [0; 512];
    let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text));
    read.is_ok_and(|length| is_stopped_by(&text[..length], name))
}

/// The same, by its `/proc/PID/stat`: `PID (NAME) STATE …`, where the name may hold anything.
fn is_stopped_by(stat: &[u8], name: &str) -> bool {
    let behind = stat.splitn(2, |byte| *byte == b'(').nth(1).unwrap_or_default();
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2));
    behind.starts_with(name.as_bytes()) && matches!(state, Some(b'T' | b't'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_behind_the_name() {
        assert!(is_stopped_by(b"7 (wpm:web) T 1 7", "wpm:"));
        assert!(is_stopped_by(b"7 (wpm:) S (x) t 1 7", "wpm:"));
        assert!(!is_stopped_by(b"7 (wpm:web) S 1 7", "wpm:"));
        assert!(!is_stopped_by(b"7 (wpm:) T (x) S 1 7", "wpm:"));
        assert!(!is_stopped_by(b"7 (sleep) T 1 7", "wpm:"), "a stranger with the same pid");
        for nothing in [&b""[..], b"7", b"7 (wpm:", b"7 (wpm:)"] {
            assert!(!is_stopped_by(nothing, "wpm:"));
        }
        assert!(!is_stopped(i32::MAX, "wpm:"));
    }

    #[test]
    fn no_keeper_is_none_that_is_stopped_and_answers_nobody() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        assert_eq!(stopped_keeper(&home), None);
        assert!(!keeper_answers(&home, Duration::from_secs(1)));
        std::fs::write(home.keeper_pid(), format!("{}\n", std::process::id())).expect("written");
        assert_eq!(stopped_keeper(&home), None);
    }
}
