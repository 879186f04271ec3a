//! Forking shims: for a new run, for an adopted one, and in place of one that was killed.
//!
//! Owns what is passed on and what is closed on the way. Invariant: a shim holds the descriptors of
//! its own run and none of the others', and nothing that the keeper has allocated; a run that could not be forked
//! leaves nothing behind.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use wpm_sys::contract::{End, FromKeeper, Phase, RunKey};
use wpm_sys::process::{self, Ended, Fork};
use wpm_sys::slot::{Slot, SlotMap};
use wpm_sys::{clock, exec, parting, signals};

use super::{Keeper, Run};
use crate::shim::{Born, Context, Fresh, Origin, Passed};
use crate::wires::Wires;

/// A shim that lived shorter than this many milliseconds died young.
const YOUNG_MS: u64 = 100;
/// Young deaths in a row before a replacement is held back.
const PATIENCE: u32 = 3;
/// How long it is then held back, in milliseconds.
const HELD_BACK_MS: u64 = 1000;
/// Delay after a fork that the system refused, in milliseconds.
const RETRY_MS: u64 = 50;
/// Said of a launch description that cannot be read.
const EINVAL: i32 = 22;
/// Said of a request without its descriptors.
const EMFILE: i32 = 24;

/// The first three descriptors beside a request, and the others.
struct Beside {
    connection: OwnedFd,
    listener: OwnedFd,
    launch: OwnedFd,
    passed: Passed,
}

/// A shim that is to be forked.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "what a shim is given must not be on the keeper's heap")]
pub(super) enum Birth {
    /// Of a run that is not in the table yet.
    New(Wires, Origin),
    /// In place of one that was killed.
    Again {
        /// Where its run is in the table.
        at: usize,
        /// The page of the run.
        slot: SlotMap,
        /// Whether no child had come as far as its gate.
        unborn: bool,
    },
}

fn sort_out(fds: Vec<OwnedFd>) -> io::Result<Beside> {
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next(), fds.next()) {
        (Some(connection), Some(listener), Some(launch)) => {
            Ok(Beside { connection, listener, launch, passed: fds.collect() })
        }
        // The kernel leaves them out where the keeper has no room for them.
        _ => Err(io::Error::from_raw_os_error(EMFILE)),
    }
}

impl Keeper {
    fn knows(&self, run: RunKey) -> bool {
        self.runs.iter().any(|r| r.wires.run == run)
    }

    /// Starts a run, unless it was started already.
    pub(super) fn spawn(&self, run: RunKey, fds: Vec<OwnedFd>) -> Option<Birth> {
        if self.knows(run) {
            return None;
        }
        let made = sort_out(fds).and_then(|b| {
            let (wires, ipc_app) = Wires::new(run, b.listener, b.launch)?;
            let fresh = Fresh { connection: b.connection, passed: b.passed, ipc_app };
            Ok(Birth::New(wires, Origin::Fresh(fresh)))
        });
        self.or_report(run, made)
    }

    /// Takes an app back that has lost its shim and keeper.
    pub(super) fn adopt(&mut self, run: RunKey, process: (i32, u64), fds: Vec<OwnedFd>) -> Option<Birth> {
        if let Some(run) = self.runs.iter_mut().find(|r| r.wires.run == run) {
            // It was lost to the daemon alone, whose way to it (the name of its socket) was taken away. The
            // next shim listens where the daemon does look; nothing else is lost with a shim.
            if let Ok(beside) = sort_out(fds) {
                run.wires.listener = beside.listener;
                if run.shim > 0 {
                    drop(process::kill(run.shim, signals::KILL));
                }
            }
            return None;
        }
        let made = sort_out(fds).and_then(|b| {
            let wires = Wires::adopt(run, process, b.listener, b.launch)?;
            Ok(Birth::New(wires, Origin::Adopted(b.connection)))
        });
        self.or_report(run, made)
    }

    fn or_report(&self, run: RunKey, made: io::Result<Birth>) -> Option<Birth> {
        made.inspect_err(|e| self.report(run, e)).ok()
    }

    fn report(&self, run: RunKey, e: &io::Error) {
        let errno = e.raw_os_error().unwrap_or(EINVAL);
        self.daemon.tell(&FromKeeper::ForkFailed { run, errno });
    }

    fn context(&self) -> Context {
        Context {
            proof: self.proof,
            signals: self.signals.as_raw_fd(),
            descriptors_soft: self.descriptors_soft,
            keeper: process::parent_pid(),
        }
    }

    /// Forks a shim. In the child this gives all that the shim has; the keeper's heap is not there any more.
    #[inline(never)]
    pub(super) fn bear(&mut self, birth: Birth) -> Option<Born> {
        match birth {
            Birth::New(wires, origin) => match self.fork(&wires.slot) {
                Ok(Fork::Child) => {
                    let mut keep = wires.numbers().to_vec();
                    origin.numbers(&mut keep);
                    self.part(keep, &wires.slot);
                    return Some(Born { context: self.context(), wires, origin });
                }
                Ok(Fork::Parent(shim)) => self.runs.push(Run {
                    wires: wires.park(),
                    shim,
                    shim_since: clock::monotonic_ms(),
                    young_deaths: 0,
                    replace_at: None,
                }),
                Err(e) => self.report(wires.run, &e),
            },
            Birth::Again { at, slot, unborn } => {
                let run = self.runs.get(at)?;
                let (key, numbers) = (run.wires.run, run.wires.numbers());
                match self.fork(&slot) {
                    Ok(Fork::Child) => {
                        self.part(numbers.to_vec(), &slot);
                        // The table is the keeper's, and so not here.
                        let Ok(wires) = Wires::inherit(key, numbers) else {
                            process::exit_now(crate::CANNOT_START)
                        };
                        let origin = Origin::Replacement { unborn };
                        return Some(Born { context: self.context(), wires: wires.with_page(slot), origin });
                    }
                    Ok(Fork::Parent(shim)) => self.replaced(at, shim),
                    Err(_) => self.put_off(at),
                }
            }
        }
        None
    }

    /// Forks a shim, without a copy of what it does not keep where that is possible.
    fn fork(&self, slot: &Slot) -> io::Result<Fork> {
        if self.parts { parting::fork(self.proof, &slot.apart) } else { process::fork(self.proof) }
    }

    /// In the child: forgets the keeper's descriptors but for these.
    fn part(&self, mut keep: Vec<RawFd>, slot: &Slot) {
        keep.push(self.signals.as_raw_fd());
        if !self.parts {
            exec::close_all_but(&mut keep);
        } else if parting::part(&mut keep, &slot.apart).is_err() {
            process::exit_now(crate::CANNOT_START);
        }
    }

    /// A shim has ended and was reaped: with code 0 its run is done, else it was killed.
    pub(super) fn shim_ended(&mut self, at: usize, ended: &Ended) {
        if ended.end == End::Code(0) {
            drop(self.runs.swap_remove(at));
            return;
        }
        let now = clock::monotonic_ms();
        let Some(run) = self.runs.get_mut(at) else { return };
        run.shim = 0;
        // One that was killed did nothing wrong; one that ended by itself might do so for ever.
        let killed = matches!(ended.end, End::Signal { signal: signals::KILL, .. });
        let young = !killed && now - run.shim_since < YOUNG_MS;
        run.young_deaths = if young { run.young_deaths + 1 } else { 0 };
        let delay = if run.young_deaths > PATIENCE { HELD_BACK_MS } else { 0 };
        run.replace_at = Some(now + delay);
    }

    /// The next replacement that is due by this moment: a shim on the same pipes, the same socket and the same slot.
    pub(super) fn replacement_due(&mut self, now: u64) -> Option<Birth> {
        loop {
            let due = |r: &Run| r.replace_at.is_some_and(|due| due <= now);
            let at = self.runs.iter().position(due)?;
            match self.runs.get(at)?.wires.page() {
                Ok(slot) => {
                    // The child never got as far as its gate, so nothing of it can be left.
                    let unborn = slot.phase() == Phase::Preparing;
                    return Some(Birth::Again { at, slot, unborn });
                }
                Err(_) => self.put_off(at),
            }
        }
    }

    /// There is a new shim for the run at this place.
    fn replaced(&mut self, at: usize, shim: i32) {
        if let Some(run) = self.runs.get_mut(at) {
            (run.shim, run.shim_since, run.replace_at) = (shim, clock::monotonic_ms(), None);
        }
    }

    /// There is none: it is tried again.
    fn put_off(&mut self, at: usize) {
        if let Some(run) = self.runs.get_mut(at) {
            run.replace_at = Some(clock::monotonic_ms() + RETRY_MS);
        }
    }
}
