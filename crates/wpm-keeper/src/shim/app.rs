//! The app as its shim sees it: as a child, or as somebody else's child that is watched.
//!
//! Owns gate, lodger and process descriptor, and the question whether the main process has ended
//! and the tree is gone. Invariant: a status comes from the kernel or from the keeper; when neither
//! knows it is [`End::Unknown`], never a guess.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use wpm_sys::contract::{End, Phase, Usage};
use wpm_sys::lodging::Lodger;
use wpm_sys::pidfd::{PidFd, end_of_status};
use wpm_sys::process::{self, Children};
use wpm_sys::slot::{KILLING, Slot};
use wpm_sys::{child, clock, procfs, signals};

use super::{Shim, launching, tree};

/// Between two looks at a child that somebody else forked and that has not executed yet.
const LAUNCH_LOOK_MS: u64 = 2;
/// How long the keeper, as the real parent, may take to tell the status.
const KEEPER_GRACE_MS: u64 = 20;
/// Before another attempt to get the descriptor of a process that lives.
const AGAIN_MS: u64 = 500;

/// What the shim knows of its app's process.
#[derive(Debug, Default)]
pub(super) struct App {
    /// Whether the shim is the parent.
    pub(super) parent: bool,
    /// The shim's end of the gate, until it is opened.
    pub(super) gate: Option<OwnedFd>,
    /// The child, until it has executed its program or ended.
    pub(super) lodger: Option<Lodger>,
    /// The watched process, where the shim is not the parent.
    pub(super) pidfd: Option<PidFd>,
    /// Set when the watched descriptor became ready.
    pub(super) ready: bool,
    /// No child is left.
    pub(super) childless: bool,
    /// Until when the keeper is given time to tell the status.
    grace_until: Option<u64>,
    /// When to look again.
    look_at: Option<u64>,
    /// How often the tree was struck.
    strikes: u32,
    /// The search for the tree, where the shim is not the parent.
    pub(super) search: tree::Search,
}

impl App {
    /// A child at its gate.
    pub(super) fn child(gate: OwnedFd, lodger: Lodger) -> Self {
        Self { parent: true, gate: Some(gate), lodger: Some(lodger), ..Self::default() }
    }

    /// A child as the program before this one left it.
    pub(super) fn resumed_child(gate: Option<OwnedFd>, lodger: Option<Lodger>) -> Self {
        Self { parent: true, gate, lodger, ready: true, ..Self::default() }
    }

    /// A run whose child was never forked.
    pub(super) fn unborn() -> Self {
        Self { parent: true, childless: true, ..Self::default() }
    }

    /// A process that is the keeper's child, or nobody's.
    pub(super) fn foreign(slot: &Slot) -> Self {
        let pidfd = match slot.end() {
            Some(_) => None,
            None => PidFd::open_checked(slot.pid(), slot.start_time()).ok(),
        };
        Self { pidfd, ..Self::default() }
    }

    /// When something has to be looked at again, in monotonic milliseconds.
    pub(super) fn due(&self) -> Option<u64> {
        [self.look_at, self.grace_until].into_iter().flatten().min()
    }

    /// The descriptor that tells of the app.
    pub(super) fn watched(&self) -> Option<BorrowedFd<'_>> {
        match &self.lodger {
            Some(child) => Some(child.as_fd()),
            // Once it has ended its descriptor stays ready.
            None => self.pidfd.as_ref().filter(|_| self.grace_until.is_none()).map(AsFd::as_fd),
        }
    }

    /// How long to wait before the tree is struck again.
    fn pause(&mut self) -> u64 {
        self.strikes = self.strikes.saturating_add(1);
        tree::pause(self.strikes)
    }

    /// Opens the gate.
    pub(super) fn open_gate(&mut self) {
        if let Some(gate) = self.gate.take() {
            use std::io::Write;
            drop(std::fs::File::from(gate).write_all(b"G"));
        }
    }
}

impl Shim {
    /// Sees to everything that may have happened to the app.
    pub(super) fn look_after_app(&mut self, now: u64) {
        let before = (self.wires.slot.phase(), self.app.childless);
        self.app.look_at = None;
        self.see_launch();
        if self.app.parent {
            self.reap();
            self.kill_if_asked(now);
        } else {
            self.watch_foreign(now);
        }
        if before != (self.wires.slot.phase(), self.app.childless) {
            self.talk.news();
        }
    }

    /// Sees whether the child has left for its program.
    fn see_launch(&mut self) {
        let Some(lodger) = self.app.lodger.as_mut().filter(|_| self.app.ready) else { return };
        if !lodger.has_left() {
            return;
        }
        self.app.lodger = None;
        // Failed or killed: its exit says the rest.
        if self.has_executed() {
            self.note_running();
        }
    }

    /// Whether the child has become its program; that it has left might be its death.
    fn has_executed(&self) -> bool {
        let slot = &self.wires.slot;
        slot.phase() == Phase::Launching
            && procfs::stat(slot.pid()).is_some_and(|s| s.start_time == slot.start_time() && !s.forked_only)
    }

    fn note_running(&mut self) {
        let slot = &self.wires.slot;
        slot.set_running(clock::boottime_ms());
        use std::os::unix::ffi::OsStrExt;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&self.facts.pid_file));
        launching::write_pid_file(path, slot.pid());
    }

    /// Reaps every child that has ended. The status of the main process is in the slot before it is
    /// really reaped.
    pub(super) fn reap(&mut self) {
        loop {
            match process::look_at_children() {
                Children::Alive => return,
                Children::None => {
                    self.app.childless = true;
                    return;
                }
                Children::Ended(ended) => {
                    if ended.pid == self.wires.slot.pid() {
                        if self.wires.slot.end().is_none() {
                            // That it has become its program comes before its end.
                            self.app.ready = true;
                            self.see_launch();
                        }
                        self.wires.slot.record_end(ended.end, ended.usage, clock::boottime_ms());
                    }
                    process::reap(ended.pid);
                }
            }
        }
    }

    fn kill_if_asked(&mut self, now: u64) {
        if !self.wires.slot.has(KILLING) || self.app.childless {
            return;
        }
        if self.facts.tree {
            tree::kill_rounds(self);
        } else if self.wires.slot.end().is_none() {
            drop(process::kill(self.wires.slot.pid(), signals::KILL));
        }
        if !self.app.childless && self.facts.tree {
            self.app.look_at = Some(now + self.app.pause());
        }
    }

    fn watch_foreign(&mut self, now: u64) {
        if self.has_executed() {
            self.note_running();
        } else if self.wires.slot.phase() == Phase::Launching {
            self.app.look_at = Some(now + LAUNCH_LOOK_MS);
        }
        if self.wires.slot.end().is_none() {
            self.watch_main(now);
        }
        if self.wires.slot.end().is_some() {
            // The descriptor of a dead process stays ready for ever.
            (self.app.pidfd, self.app.grace_until) = (None, None);
        }
        if self.app.childless {
            return;
        }
        if self.facts.tree {
            let due = tree::see_to_foreign(self, now);
            self.app.look_at = self.app.look_at.into_iter().chain(due).min();
        } else {
            if self.wires.slot.has(KILLING) {
                tree::signal_main(self, signals::KILL);
            }
            self.app.childless = self.wires.slot.end().is_some();
        }
    }

    /// Finds out how the main process ended: the keeper knows if it is the parent; else the zombie
    /// tells, or, once reaped, its descriptor.
    fn watch_main(&mut self, now: u64) {
        let slot = &self.wires.slot;
        let gone = self.app.pidfd.is_none();
        if !gone && !self.app.ready && self.app.grace_until.is_none() {
            return;
        }
        let there = procfs::stat(slot.pid()).filter(|s| s.start_time == slot.start_time());
        if there.is_some_and(|s| !s.is_zombie()) {
            // It lives, whatever made this shim look: an end is never concluded from anything else.
            self.app.grace_until = None;
            if gone {
                self.app.pidfd = PidFd::open_checked(slot.pid(), slot.start_time()).ok();
                self.app.look_at = self.app.pidfd.is_none().then_some(now + AGAIN_MS);
            }
            return;
        }
        let until = *self.app.grace_until.get_or_insert(now + KEEPER_GRACE_MS);
        if now < until && !gone {
            return;
        }
        let zombie = there.map(|s| end_of_status(s.exit_code));
        let end = match (zombie, &self.app.pidfd) {
            (Some(end), _) => end,
            (None, Some(fd)) => fd.end_after_reaping().unwrap_or(End::Unknown),
            // It was gone before this shim came: give the keeper its grace, too.
            (None, None) if now < until => return,
            (None, None) => End::Unknown,
        };
        // Its gate closed when its shim was killed, and nobody saw it execute anything.
        let says_so = || child::unrun_mark(&self.facts.socket).exists();
        let failed = end == End::Code(child::FAILED) || (end == End::Unknown && says_so());
        let unrun = slot.phase() == Phase::Launching && failed;
        let end = if unrun { End::Cancelled } else { end };
        slot.record_end(end, Usage::default(), clock::boottime_ms());
        self.app.grace_until = None;
    }

    /// Whether no process of the run is left.
    pub(super) fn is_tree_gone(&self) -> bool {
        self.wires.slot.end().is_some() && (self.app.childless || !self.facts.tree)
    }
}
