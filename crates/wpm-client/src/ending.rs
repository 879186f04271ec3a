//! Waits for the end of daemon and keeper after they were told to end.
//!
//! Invariant: when [`Ending::wait`] says that they are gone, nothing of them writes into the home any
//! more, and the next command starts new ones.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wpm_proto::request::Op;
use wpm_proto::response::Body;

use crate::Client;

/// Handles on the processes of a home, taken before they are told to end.
#[derive(Debug, Default)]
pub struct Ending {
    processes: Vec<OwnedFd>,
}

impl Ending {
    /// Asks a daemon which processes it and its keeper are. Without an answer there is nothing to
    /// wait for.
    pub fn of(client: &mut Client) -> Self {
        let Ok(Body::Daemon { daemon }) = client.call(Op::Status, |_| ()) else { return Self::default() };
        let handle = |pid| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok();
        Self { processes: [daemon.pid, daemon.keeper_pid].into_iter().filter_map(handle).collect() }
    }

    /// The daemon that has answered at last, too: it may be another one than was asked at first.
    #[must_use]
    pub fn with(mut self, client: &Client) -> Self {
        self.processes.extend(client.daemon());
        self
    }

    /// Waits until all of them have ended. `false`: they have not in this time.
    pub fn wait(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.processes.iter().all(|process| {
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let Ok(left) = Timespec::try_from(left) else { return false };
                match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left)) {
                    Ok(ready) => return ready > 0,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return false,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_process_ends_the_wait() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let handle = || pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a handle");
        let (early, late) = (handle(), handle());
        assert!(!Ending { processes: vec![early] }.wait(Duration::ZERO));
        drop(child.stdin.take());
        assert!(Ending { processes: vec![late] }.wait(Duration::from_secs(20)));
        child.wait().expect("ended");
        assert!(Ending::default().wait(Duration::ZERO));
    }
}
