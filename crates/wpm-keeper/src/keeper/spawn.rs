//! Forking shims: for a new run, for an adopted one, and in place of one that was killed.
//!
//! Owns what is passed on and what is closed on the way. Invariant: a shim holds the descriptors of
//! its own run and none of the others'; a run that could not be forked leaves nothing behind.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use wpm_sys::contract::{End, FromKeeper, Phase, RunKey};
use wpm_sys::process::{self, Ended, Fork};
use wpm_sys::slot::Slot;
use wpm_sys::{clock, exec, parting, signals};

use super::{Keeper, Run};
use crate::shim::{self, Context, Fresh, Origin};
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
    passed: Vec<OwnedFd>,
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
    pub(super) fn spawn(&mut self, run: RunKey, fds: Vec<OwnedFd>) {
        if self.knows(run) {
            return;
        }
        let made = sort_out(fds).and_then(|b| {
            let (wires, ipc_app) = Wires::new(run, b.listener, b.launch)?;
            let fresh = Fresh { connection: b.connection, passed: b.passed, ipc_app };
            self.fork_new(wires, Origin::Fresh(fresh))
        });
        self.report_failure(run, made);
    }

    /// Takes an app back that has lost its shim and keeper.
    pub(super) fn adopt(&mut self, run: RunKey, process: (i32, u64), fds: Vec<OwnedFd>) {
        if let Some(run) = self.runs.iter_mut().find(|r| r.wires.run == run) {
            // It was lost to the daemon alone, whose way to it (the name of its socket) was taken away. The
            // next shim listens where the daemon does look; nothing else is lost with a shim.
            if let Ok(beside) = sort_out(fds) {
                run.wires.listener = beside.listener;
                if run.shim > 0 {
                    drop(process::kill(run.shim, signals::KILL));
                }
            }
            return;
        }
        let made = sort_out(fds).and_then(|b| {
            let wires = Wires::adopt(run, process, b.listener, b.launch)?;
            self.fork_new(wires, Origin::Adopted(b.connection))
        });
        self.report_failure(run, made);
    }

    fn report_failure(&self, run: RunKey, made: io::Result<()>) {
        if let Err(e) = made {
            let errno = e.raw_os_error().unwrap_or(EINVAL);
            self.daemon.tell(&FromKeeper::ForkFailed { run, errno });
        }
    }

    fn context(&self) -> Context {
        Context {
            proof: self.proof,
            signals: self.signals.as_raw_fd(),
            descriptors_soft: self.descriptors_soft,
            keeper: process::parent_pid(),
        }
    }

    fn fork_new(&mut self, wires: Wires, origin: Origin) -> io::Result<()> {
        match self.fork(&wires.slot)? {
            Fork::Child => self.become_shim(wires, origin),
            Fork::Parent(shim) => {
                self.runs.push(Run {
                    wires: wires.park(),
                    shim,
                    shim_since: clock::monotonic_ms(),
                    young_deaths: 0,
                    replace_at: None,
                });
                Ok(())
            }
        }
    }

    /// Forks a shim, without a copy of what it does not keep where that is possible.
    fn fork(&self, slot: &Slot) -> io::Result<Fork> {
        if self.parts { parting::fork(self.proof, &slot.apart) } else { process::fork(self.proof) }
    }

    /// In the child: forgets the keeper's descriptors and goes on as a shim.
    fn become_shim(&self, wires: Wires, origin: Origin) -> ! {
        let mut keep: Vec<RawFd> = wires.numbers().to_vec();
        keep.push(self.signals.as_raw_fd());
        origin.numbers(&mut keep);
        if !self.parts {
            exec::close_all_but(&mut keep);
        } else if parting::part(&mut keep, &wires.slot.apart).is_err() {
            process::exit_now(crate::CANNOT_START);
        }
        shim::run(self.context(), wires, origin)
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

    /// Forks the replacements that are due.
    pub(super) fn replace_due(&mut self, now: u64) {
        for at in 0..self.runs.len() {
            if self.runs.get(at).is_some_and(|r| r.replace_at.is_some_and(|due| due <= now)) {
                self.replace(at, now);
            }
        }
    }

    /// Forks a shim on the same pipes, the same socket and the same slot.
    fn replace(&mut self, at: usize, now: u64) {
        let Some(run) = self.runs.get(at) else { return };
        let forked = run.wires.page().and_then(|slot| {
            // The child never got as far as its gate, so nothing of it can be left.
            let unborn = slot.phase() == Phase::Preparing;
            Ok((self.fork(&slot)?, slot, Origin::Replacement { unborn }))
        });
        match forked {
            Ok((Fork::Child, slot, origin)) => {
                let wires = self.runs.swap_remove(at).wires.with_page(slot);
                self.become_shim(wires, origin)
            }
            Ok((Fork::Parent(shim), ..)) => {
                if let Some(run) = self.runs.get_mut(at) {
                    (run.shim, run.shim_since, run.replace_at) = (shim, now, None);
                }
            }
            Err(_) => {
                if let Some(run) = self.runs.get_mut(at) {
                    run.replace_at = Some(now + RETRY_MS);
                }
            }
        }
    }
}
