//! Moving the output of an app into its log files, losing and doubling nothing.
//!
//! Owns the two lanes (stdout, stderr) and decides which way each goes: bytes that nobody changes and
//! nobody else appends to are spliced by the kernel; lines that are stamped, written to two files, or
//! mixed with those of other runs go through the lane's journal. Knows nothing of processes.
//!
//! Invariant: at any moment every byte of output is in the pipe, in the journal or in the file, and the
//! shared page, the file's size and its ledger together say in which.

mod append;
mod compress;
mod journal;
mod lane;
mod lines;
mod logfile;
mod pace;
mod rotate;
mod shared;
mod trouble;

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wpm_sys::contract::LogHealth;
use wpm_sys::launch::LogPlan;
use wpm_sys::process::SingleThread;
use wpm_sys::slot::{SHARED, Slot};
use wpm_sys::{clock, memory};

use crate::wires::Wires;
use lane::Lane;
use logfile::Target;
use rotate::Keep;

pub(crate) use logfile::make_folder;

/// Between two attempts to get a lock that another writer holds, in milliseconds.
const BUSY_MS: u64 = 1;
/// For how long memory for large batches is kept after the last one, in milliseconds: an app that prints without
/// end pauses for microseconds, again and again.
const KEEP_MS: u64 = 50;

/// Bytes as they came, and as they go into the files.
#[derive(Debug, Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Everything that has to do with the output of one run.
#[derive(Debug)]
pub(crate) struct Pump {
    plan: LogPlan,
    keep: Keep,
    targets: Vec<Target>,
    lanes: [Option<Lane>; 2],
    /// Whether this is the first shim of the run.
    fresh: bool,
    /// When something that was asked for is tried again.
    serve_at: Option<u64>,
    /// A batch on its way, kept for the next one.
    buffers: Buffers,
    /// Whether they have become large since memory was given back last.
    heaped: bool,
    /// Until when they are kept so, in monotonic milliseconds.
    keep_until: u64,
    /// Where dropped output goes.
    null: Option<File>,
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

impl Pump {
    /// Lays out the lanes of a run. Nothing is opened yet. `fresh`: no shim has come before this one, so
    /// nothing was begun.
    pub(crate) fn new(plan: LogPlan, home: &[u8], wires: &Wires, fresh: bool, proof: SingleThread) -> Self {
        let locks =
            if plan.lock_dir.is_empty() { path_of(home).join("run/locks") } else { path_of(&plan.lock_dir) };
        let mut targets: Vec<Target> = Vec::new();
        let mut target = |path: &[u8]| {
            let path = path_of(path);
            if path.as_os_str().is_empty() {
                return None;
            }
            let known = targets.iter().position(|t| t.log.is_named(&path));
            Some(known.unwrap_or_else(|| {
                targets.push(Target::new(path, &locks));
                targets.len() - 1
            }))
        };
        let files = [target(&plan.out), target(&plan.err)];
        let both = target(&plan.both);
        let lane = |i: usize, kind| {
            let mut to: Vec<usize> = files[i].into_iter().chain(both).collect();
            to.dedup();
            wires.pipes[i].as_ref().map(|_| {
                let lane = Lane::new(i, kind, to, wires.run, &locks);
                if fresh { lane } else { lane.resumed(i, &wires.slot) }
            })
        };
        let lanes = [lane(0, "out"), lane(1, "err")];
        if plan.shared {
            wires.slot.set(SHARED, true);
        }
        let keep = Keep { max_size: plan.max_size, retain: plan.retain, compress: plan.compress, proof };
        Self {
            plan,
            keep,
            targets,
            lanes,
            fresh,
            serve_at: None,
            buffers: Buffers::default(),
            heaped: false,
            keep_until: 0,
            null: None,
        }
    }

    /// Opens every log file. A run whose files cannot be opened is not started.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        let opened = self.targets.iter_mut().try_for_each(|t| t.log.open());
        if opened.is_err() {
            // Nothing will ever come.
            self.lanes = [None, None];
        }
        opened
    }

    /// Whether both streams go to the same file, through one pipe.
    pub(crate) fn is_merged(&self) -> bool {
        !self.plan.out.is_empty() && self.plan.out == self.plan.err
    }

    /// Moves what is there. `tree_gone`: nothing more will come, except from strangers.
    pub(crate) fn turn(&mut self, wires: &Wires, now: u64, tree_gone: bool) {
        if self.serve_at.is_some_and(|at| at <= now) {
            self.serve(wires, now);
        }
        let is = |what: fn(&Lane) -> bool| {
            [0, 1].map(|i| self.lanes.get(i).is_some_and(|lane| lane.as_ref().is_some_and(what)))
        };
        let (paused, active) = (is(|lane| lane.paused_until().is_some()), is(|lane| lane.active));
        let first = pace::first(paused, active);
        for i in [first, 1 - first] {
            let other_has_news = active.get(1 - i) == Some(&true);
            if other_has_news && let Some(Some(lane)) = self.lanes.get_mut(i) {
                lane.end_pause();
            }
            self.turn_lane(i, wires, now, tree_gone);
        }
    }

    /// Whether everything is in the files. `tree`: what strangers still hold open does not matter.
    pub(crate) fn is_done(&self, tree: bool) -> bool {
        self.lanes
            .iter()
            .flatten()
            .all(|lane| lane.waiting() == 0 && !lane.is_held_back() && (lane.ended || (tree && lane.settled)))
    }

    /// State of the log files, for the daemon.
    pub(crate) fn health(&self, slot: &Slot) -> LogHealth {
        LogHealth {
            errno: slot.log_errno.load(Ordering::Acquire),
            dropped: slot.dropped.load(Ordering::Acquire),
        }
    }

    /// When there is something to do by itself, in monotonic milliseconds.
    pub(crate) fn due(&self) -> Option<u64> {
        self.lanes.iter().flatten().filter_map(Lane::due).chain(self.serve_at).min()
    }

    /// For how much longer a lane that prints line after line is left alone.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let until = self.lanes.iter().flatten().filter_map(Lane::paused_until).min()?;
        Some(Duration::from_micros(until.saturating_sub(clock::monotonic_us())))
    }

    /// Whether lane `i` wants to know of new output.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.lanes.get(i).is_some_and(|l| l.as_ref().is_some_and(Lane::wants))
    }

    /// There is output in lane `i`, or its end.
    pub(crate) fn note_ready(&mut self, i: usize) {
        if let Some(Some(lane)) = self.lanes.get_mut(i) {
            lane.active = true;
        }
    }

    /// Nothing is to be done for now: gives memory back, at once or at the moment that it returns.
    pub(crate) fn rest(&mut self, now: u64) -> Option<u64> {
        if self.heaped && now < self.keep_until {
            return Some(self.keep_until);
        }
        self.buffers = Buffers::default();
        if std::mem::take(&mut self.heaped) {
            for lane in self.lanes.iter_mut().flatten() {
                lane.free();
            }
            memory::trim();
        }
        None
    }

    /// Starts new files now, between two lines.
    pub(crate) fn rotate(&mut self, wires: &Wires) {
        self.targets.iter_mut().for_each(|t| t.rotate = true);
        self.serve(wires, clock::monotonic_ms());
    }

    /// Empties the files.
    pub(crate) fn flush(&mut self, wires: &Wires) {
        self.targets.iter_mut().for_each(|t| t.flush = true);
        self.serve(wires, clock::monotonic_ms());
    }

    /// Opens the files again by their names.
    pub(crate) fn reopen(&mut self) {
        for target in &mut self.targets {
            // One that cannot be opened keeps its place: the next output tries again, and says so.
            if let Err(e) = target.log.open() {
                crate::complain(&format!(
                    "cannot open the log file {} again: {e}",
                    target.log.real.display()
                ));
            }
        }
    }

    fn serve(&mut self, wires: &Wires, now: u64) {
        let empty = wires.has_no_output(0) && wires.has_no_output(1);
        let mut all = true;
        for target in self.targets.iter_mut().filter(|t| t.rotate || t.flush) {
            match append::serve(target, self.keep, empty, clock::boottime_ms()) {
                Ok(done) => all &= done,
                Err(e) => {
                    (target.rotate, target.flush) = (false, false);
                    crate::complain(&format!("cannot rotate or empty {}: {e}", target.log.real.display()));
                }
            }
        }
        self.serve_at = (!all).then_some(now + BUSY_MS);
    }

    /// Takes away what only this run's recovery would need.
    pub(crate) fn forget(&mut self, wires: &Wires) {
        // Nobody can have noted anything of a run of which nothing was appended.
        for target in self.targets.iter_mut().filter(|t| !self.fresh || t.is_used()) {
            target.parts().1.forget(wires.run.0);
        }
        self.lanes.iter_mut().flatten().for_each(Lane::forget);
    }
}
