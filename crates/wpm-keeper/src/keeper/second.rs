//! The keeper that a service manager has started, where the home has one already or is about to.
//!
//! Owns which of them the manager watches. Deliberately starts and ends nothing. Invariant: whoever is
//! found at work goes on, and a unit is never told to have ended while its home is kept.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use wpm_sys::{clock, lock, peer, record, unit};

use super::{LOCK_NAME, SOCKET_NAME};

/// Lock of a daemon that lives.
const DAEMON_LOCK: &str = "daemon.lock";
/// How long a daemon may take to notice that its keeper is gone and to start another, in milliseconds.
const PATIENCE_MS: u64 = 2000;
/// Between two looks; no event tells that somebody else has taken a lock.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock, once this process shall be the keeper; `None` when it is not needed.
pub(super) fn take_place(home: &Path) -> io::Result<Option<File>> {
    let path = home.join(LOCK_NAME);
    let mut until = clock::monotonic_ms() + PATIENCE_MS;
    let mut waited = false;
    loop {
        let Some(lock) = lock::for_life(&path)? else {
            if let Some(pid) = holder(home).filter(|pid| belongs_here(*pid)) {
                // Both belong to one unit: the manager is to watch the one that works.
                unit::tell(&format!("MAINPID={pid}\nREADY=1"));
                return Ok(None);
            }
            unit::tell("READY=1\nSTATUS=wpm was started outside this unit; waiting to take over from it");
            if lock::wait_for_life(&path)?.is_none() {
                return Ok(None);
            }
            waited = true;
            until = clock::monotonic_ms() + PATIENCE_MS;
            continue;
        };
        // A daemon without a keeper starts one that inherits what the old one held.
        if !daemon_lives(home) || clock::monotonic_ms() > until {
            if waited {
                unit::tell("STATUS=");
            }
            return Ok(Some(lock));
        }
        drop(lock);
        std::thread::sleep(PAUSE);
    }
}

/// Process id of the keeper at work, as the kernel knows it.
fn holder(home: &Path) -> Option<i32> {
    let connection = record::connect_to(&home.join(SOCKET_NAME)).ok()?;
    peer::credentials(&connection).ok().filter(|peer| peer.is_trusted()).map(|peer| peer.pid)
}

fn daemon_lives(home: &Path) -> bool {
    let opened = File::options().write(true).open(home.join(DAEMON_LOCK));
    opened.is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Whether a process stands in the control group of this one or below: a manager accepts no other.
fn belongs_here(pid: i32) -> bool {
    let groups = |of: &str| std::fs::read_to_string(format!("/proc/{of}/cgroup")).unwrap_or_default();
    is_below(&groups(&pid.to_string()), &groups("self"))
}

fn is_below(theirs: &str, ours: &str) -> bool {
    match (group(theirs), group(ours)) {
        (Some(theirs), Some(ours)) => {
            let ours = ours.trim_end_matches('/');
            theirs.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        _ => false,
    }
}

/// The path in the hierarchy that the manager uses: its own on older systems, else the only one.
fn group(text: &str) -> Option<&str> {
    let of = |name: &str| {
        text.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(name)?.strip_prefix(':'))
    };
    of("name=systemd").or_else(|| of(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_belongs_to_those_above_it() {
        let unit = "0::/system.slice/wpm-web.service\n";
        assert!(is_below(unit, unit));
        assert!(is_below("0::/system.slice/wpm-web.service/apps\n", unit));
        assert!(!is_below("0::/system.slice/wpm-web.service2\n", unit));
        assert!(!is_below("0::/user.slice/session-1.scope\n", unit));
        assert!(is_below("0::/\n", "0::/\n"));
        assert!(!is_below("", unit));
        let old = "4:memory:/x\n1:name=systemd:/system.slice/a.service\n0::/\n";
        assert!(!is_below(old, "1:name=systemd:/system.slice/b.service\n0::/\n"));
        assert!(is_below(old, "4:memory:/y\n1:name=systemd:/system.slice/a.service\n0::/\n"));
    }
}
