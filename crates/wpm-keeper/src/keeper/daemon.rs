//! The daemon's process, as its parent sees it.
//!
//! Owns starting it again at once, and more slowly only when it dies young again and again. Invariant:
//! there is at most one, and the first record that it gets is the keeper's greeting.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use wpm_sys::contract::{CONTRACT, End, FromKeeper};
use wpm_sys::process::{self, SingleThread};
use wpm_sys::{record, start};

/// A daemon that lived shorter than this many milliseconds died young.
const YOUNG_MS: u64 = 1000;
/// Young deaths in a row before the next start is held back.
const PATIENCE: u32 = 3;
/// First and greatest delay of a start that is held back, in milliseconds.
const DELAY_MS: (u64, u64) = (100, 5000);
/// Greatest delay after a SIGKILL, in milliseconds: whoever was killed did nothing wrong. Not none, since
/// where memory is short it comes again at once.
const KILLED_DELAY_MS: u64 = 100;
/// How long shims may outlive a daemon that has quit before there is a new one, in milliseconds.
const LEFT_BEHIND_MS: u64 = 5000;
/// How long a daemon that somebody got no answer from may take to answer the keeper, in milliseconds.
const ANSWER_MS: u64 = 2000;

/// `SIGKILL`.
const KILL: i32 = 9;

/// The daemon, running or not.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    pid: i32,
    socket: Option<OwnedFd>,
    starts: u32,
    since: u64,
    /// Young deaths in a row by SIGKILL, and of its own doing.
    young_deaths: [u32; 2],
    due_at: u64,
    /// When it must have answered, while it is asked.
    answer_by: Option<u64>,
    /// A program that the next daemon executes, or the present one does without having proved itself.
    candidate: Option<OwnedFd>,
    /// Whether the present daemon is that candidate.
    on_trial: bool,
    /// How the last candidate ended, until the next daemon has been told.
    failed: Option<u32>,
    /// What is held for it and was not sent yet.
    to_hand_over: VecDeque<u64>,
}

impl Daemon {
    /// Takes over a running one after exec.
    pub(super) fn inherit(pid: i32, socket: Option<OwnedFd>, starts: u32) -> Self {
        Self { pid, socket, starts, ..Self::default() }
    }

    /// Process id, number of the socket, number of starts: what a new program needs.
    pub(super) fn facts(&self) -> (i32, RawFd, u32) {
        let socket = self.socket.as_ref().map_or(-1, std::os::fd::AsRawFd::as_raw_fd);
        (self.pid, socket, self.starts)
    }

    /// The connection to it.
    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// Whether this is its process id.
    pub(super) fn is(&self, pid: i32) -> bool {
        self.pid == pid && pid != 0
    }

    /// When it has to be started, in monotonic milliseconds; `None` while it runs.
    pub(super) fn due(&self) -> Option<u64> {
        (self.pid == 0).then_some(self.due_at)
    }

    /// Whether it has to be started now.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.due().is_some_and(|at| at <= now)
    }

    /// Starts it.
    pub(super) fn start(&mut self, proof: SingleThread, home: &[u8], held: &[(u64, OwnedFd)], now: u64) {
        self.starts += 1;
        let started = record::pair().and_then(|(ours, theirs)| {
            let hello = FromKeeper::Hello {
                contract: CONTRACT,
                pid: process::own_pid(),
                daemon_starts: self.starts,
                held: u32::try_from(held.len()).unwrap_or(u32::MAX),
            };
            record::send(&ours, &hello.encode(), &[])?;
            let exe = self.candidate.as_ref().map(AsFd::as_fd);
            Ok((start::start_daemon(proof, home, theirs.as_fd(), exe)?, ours))
        });
        match started {
            Ok((pid, socket)) => {
                (self.pid, self.socket, self.since) = (pid, Some(socket), now);
                self.to_hand_over = held.iter().map(|(key, _)| *key).collect();
                self.hand_over(held);
                self.on_trial = self.candidate.is_some();
            }
            Err(e) => {
                crate::complain(&format!("cannot start the daemon: {e}; trying again"));
                self.since = now;
                self.delay(now, false);
            }
        }
    }

    /// Whether it has not got everything yet that is held for it.
    pub(super) fn waits_for_more(&self) -> bool {
        self.socket.is_some() && (self.failed.is_some() || !self.to_hand_over.is_empty())
    }

    /// Sends it what is held for it, as much as the connection takes: it may be more than fits in before
    /// the daemon begins to read.
    pub(super) fn hand_over(&mut self, held: &[(u64, OwnedFd)]) {
        while let (Some(socket), Some(key)) = (&self.socket, self.to_hand_over.front().copied()) {
            // One that was dropped meanwhile is announced all the same: the daemon counts them.
            let fd = held.iter().find(|(other, _)| *other == key).map(|(_, fd)| fd.as_fd());
            match record::send(socket, &FromKeeper::Held { key }.encode(), fd.as_slice()) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // One that is gone needs nothing; its death follows.
                _ => drop(self.to_hand_over.pop_front()),
            }
        }
        if let (Some(socket), Some(status)) = (&self.socket, self.failed) {
            match record::send(socket, &FromKeeper::CandidateFailed { status }.encode(), &[]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => self.failed = None,
            }
        }
    }

    /// The next daemon executes this program.
    pub(super) fn try_program(&mut self, exe: OwnedFd) {
        self.candidate = Some(exe);
        self.on_trial = false;
    }

    /// The daemon is up: whatever it executes has proved itself.
    pub(super) fn proved(&mut self) {
        if std::mem::take(&mut self.on_trial) {
            self.candidate = None;
        }
    }

    /// Somebody got no answer from it: asks it once more.
    pub(super) fn ask(&mut self, now: u64) {
        if self.pid != 0 && self.answer_by.is_none() {
            self.tell(&FromKeeper::AreYouThere);
            self.answer_by = Some(now + ANSWER_MS);
        }
    }

    /// It has answered.
    pub(super) fn answered(&mut self) {
        self.answer_by = None;
    }

    /// When it must have answered, if it was asked.
    pub(super) fn answer_due(&self) -> Option<u64> {
        self.answer_by
    }

    /// Kills it if it has not answered in time; its end is seen as any other.
    pub(super) fn kill_if_mute(&mut self, now: u64) {
        if self.answer_by.is_some_and(|at| at <= now) {
            self.answer_by = None;
            crate::complain("the daemon does not answer: it is killed and started anew; the apps go on");
            drop(process::kill(self.pid, KILL));
        }
    }

    /// It has closed its connection, or broken it.
    pub(super) fn hang_up(&mut self) {
        self.socket = None;
    }

    /// It has ended and was reaped. `done`: as it was told to; then it comes back only if the keeper
    /// is still there after a while, because some shim could not go.
    pub(super) fn died(&mut self, now: u64, end: End, done: bool) {
        if std::mem::take(&mut self.on_trial) {
            crate::complain("the new program died before it was up: going on with the old one");
            self.candidate = None;
            self.failed = Some(match end {
                End::Code(code) => u32::try_from(code).unwrap_or(0),
                End::Signal { signal, .. } => 256 + u32::try_from(signal).unwrap_or(0),
                End::Unknown | End::NotStarted { .. } | End::Cancelled => 0,
            });
        }
        self.pid = 0;
        self.socket = None;
        self.answer_by = None;
        self.delay(now, matches!(end, End::Signal { signal: KILL, .. }));
        if done {
            self.due_at = now + LEFT_BEHIND_MS;
        }
    }

    fn delay(&mut self, now: u64, killed: bool) {
        if now - self.since < YOUNG_MS {
            // Counted apart: one that ends by itself after many were killed has ended once.
            self.young_deaths[usize::from(!killed)] += 1;
        } else {
            self.young_deaths = [0; 2];
        }
        let delay = match self.young_deaths[usize::from(!killed)].checked_sub(PATIENCE) {
            None => 0,
            Some(_) if killed => KILLED_DELAY_MS,
            Some(n) => (DELAY_MS.0 << n.min(6)).min(DELAY_MS.1),
        };
        self.due_at = now + delay;
    }

    /// Sends it a record; one that has died meanwhile needs none.
    pub(super) fn tell(&self, message: &FromKeeper) {
        if let Some(socket) = &self.socket {
            drop(record::send(socket, &message.encode(), &[]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_ends_by_itself_after_many_were_killed_has_ended_once() {
        let mut daemon = Daemon::default();
        let killed = End::Signal { signal: KILL, core: false };
        for n in 1..20 {
            daemon.died(10, killed, false);
            assert_eq!(daemon.due(), Some(if n < PATIENCE { 10 } else { 10 + KILLED_DELAY_MS }));
        }
        daemon.died(10, End::Code(1), false);
        assert_eq!(daemon.due(), Some(10));
        let delays: Vec<u64> = (0..10)
            .map(|_| {
                daemon.died(10, End::Code(1), false);
                daemon.due().unwrap() - 10
            })
            .collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        daemon.died(10 + YOUNG_MS, End::Code(1), false);
        assert_eq!(daemon.due(), Some(10 + YOUNG_MS), "one that has lived is forgiven everything");
    }
}
