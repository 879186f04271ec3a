//! The shim's connection to the daemon, whichever daemon that is at the moment.
//!
//! Owns accepting, reporting and obeying. Deliberately remembers nothing of what was said: a report is
//! the whole state, a request may be repeated. Invariant: the newest trusted connection is the one that
//! counts, and nothing here waits for a daemon that does not read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use wpm_sys::cgroup::Group;
use wpm_sys::contract::{End, LogHealth, MAX_RECORD, RunReport, Scope, ToShim};
use wpm_sys::slot::{KILLING, RELEASED, SHARED};
use wpm_sys::{clock, peer, process, record, signals};

use super::{Facts, Shim, tree};
use crate::wires::Wires;

/// The connection.
#[derive(Debug)]
pub(super) struct Talk {
    connection: Option<OwnedFd>,
    /// Nothing was sent on it yet: the first report carries descriptors.
    first: bool,
    /// Something has changed since the last report.
    news: bool,
    last_health: LogHealth,
}

impl Talk {
    /// Talks on `connection`, if there is one.
    pub(super) fn new(connection: Option<OwnedFd>) -> Self {
        Self { connection, first: true, news: true, last_health: LogHealth::default() }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub(super) fn connection(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }

    /// Whether a report waits for room.
    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// Something has changed that the daemon is to know.
    pub(super) fn news(&mut self) {
        self.news = true;
    }

    /// Takes the newest connection, in place of the one before: the daemon was started again.
    pub(super) fn accept(&mut self, wires: &Wires) {
        while let Ok(connection) = record::accept(wires.listener.as_fd()) {
            if peer::credentials(&connection).is_ok_and(peer::Peer::is_trusted) {
                *self = Self::new(Some(connection));
            }
        }
    }

    /// Sends a report if there is something new and somebody to hear it. Not inlined, as [`Shim::listen`] is not.
    #[inline(never)]
    pub(super) fn report(&mut self, wires: &Wires, facts: &Facts, tree_gone: bool, health: LogHealth) {
        self.news |= health != self.last_health;
        let Some(connection) = self.connection.as_ref().filter(|_| self.news) else { return };
        let mut report = describe(wires, tree_gone, health);
        // Of an end that nobody could see, only what the group has counted in the time of this shim tells.
        let before = match report.end {
            Some(End::Signal { signal: signals::KILL, .. }) => Some(0),
            Some(End::Unknown) => Some(facts.starved),
            _ => None,
        };
        let starved = |group: &Group| before.is_some_and(|before| group.out_of_memory() > before);
        if facts.group.as_ref().is_some_and(starved) {
            report.set_out_of_memory();
        }
        let mut beside: Vec<BorrowedFd<'_>> = Vec::new();
        if self.first {
            beside.extend(wires.stdin.iter().chain(&wires.ipc).map(AsFd::as_fd));
            report.set_carries(wires.stdin.is_some(), wires.ipc.is_some());
        }
        match record::send(connection, &report.encode(), &beside) {
            Ok(()) => (self.news, self.first, self.last_health) = (false, false, health),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.connection = None,
        }
    }
}

fn describe(wires: &Wires, tree_gone: bool, log: LogHealth) -> RunReport {
    let slot = &wires.slot;
    let end = slot.end();
    RunReport {
        run: wires.run,
        shim_pid: process::own_pid(),
        pid: slot.pid(),
        start_time: slot.start_time(),
        phase: slot.phase(),
        end,
        running_since_ms: slot.running_since_ms(),
        ended_at_ms: slot.ended_at_ms(),
        usage: if end.is_some() { slot.usage() } else { wpm_sys::contract::Usage::default() },
        tree_gone,
        log,
        carries: 0,
    }
}

impl Shim {
    /// Does what the daemon asks, until it asks nothing more. Not inlined: its buffers would lie on the stack for
    /// as long as the shim lives.
    #[inline(never)]
    pub(super) fn listen(&mut self) {
        let mut buf = [0; MAX_RECORD];
        while let Some(connection) = self.talk.connection() {
            match record::receive(connection, &mut buf) {
                Ok(Some(got)) => match buf.get(..got.len).map(ToShim::decode) {
                    Some(Ok(message)) => self.obey(&message, got.fds),
                    _ => crate::complain("the daemon sent a record that this shim does not know"),
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => self.talk.connection = None,
            }
        }
    }

    fn obey(&mut self, message: &ToShim, fds: Vec<OwnedFd>) {
        let slot = &self.wires.slot;
        match *message {
            ToShim::Go => self.app.open_gate(),
            ToShim::Signal { signal, scope: Scope::Tree } if self.facts.tree => {
                tree::signal(self, signal, clock::monotonic_ms());
            }
            ToShim::Signal { signal, .. } => tree::signal_main(self, signal),
            ToShim::KillTree => {
                slot.set(KILLING, true);
                self.look_after_app(clock::monotonic_ms());
            }
            ToShim::Release => slot.set(RELEASED, true),
            ToShim::Rotate => self.pump.rotate(&self.wires),
            ToShim::Reopen => self.pump.reopen(),
            ToShim::Flush => self.pump.flush(&self.wires),
            ToShim::Share { on } => slot.set(SHARED, on),
            ToShim::Door => {
                if let Some(listener) = fds.into_iter().next() {
                    self.wires.listener = listener;
                }
            }
            ToShim::Upgrade => {
                if let Some(exe) = fds.first() {
                    tree::deliver_now(self);
                    let error = self.upgrade(exe.as_fd());
                    crate::complain(&format!("a shim could not execute its new program: {error}"));
                }
            }
        }
    }
}
