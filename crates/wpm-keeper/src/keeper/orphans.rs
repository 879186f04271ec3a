//! Processes of apps that fell to the keeper because their shim has died, and of which run they are.
//!
//! Owns finding them and telling them to the shims through the slot. A process falls to the keeper when
//! its parent ends: the shim, or later one that fell to the keeper before. So they are looked for at each
//! end, before the dead one is reaped. Invariant: a process is given to a run only where it can be no
//! other's; one that could be of two is left alone.

use std::collections::BTreeSet;

use wpm_sys::process;
use wpm_sys::procfs;
use wpm_sys::slot::{ORPHANED, SlotMap};
use wpm_sys::splice;
use wpm_sys::start::{RUN_VARIABLE, run_mark};

use super::pages::Pages;
use super::{Keeper, Run};

/// How often the list of children is read for one end, at most.
const LOOKS: u32 = 8;

/// Whether a child runs still: one that is not reaped yet does not.
fn lives(pid: i32) -> bool {
    procfs::stat(pid).is_some_and(|s| !s.is_zombie())
}

impl Keeper {
    /// Sees to those who have lost their parent by the end of `ended`, a child that is not reaped yet, or of
    /// any other that has ended by now. Gives all those: each is one look less.
    pub(super) fn note_orphans(&self, pages: &Pages, ended: i32) -> BTreeSet<i32> {
        let mut children = Vec::new();
        procfs::children(process::own_pid(), &mut children);
        let mut gone: BTreeSet<i32> = children.into_iter().filter(|pid| !lives(*pid)).collect();
        let _ = gone.insert(ended);
        for pid in self.strangers(pages, &gone) {
            let slot = self.owner(pages, pid).and_then(|run| pages.get(run));
            if let Some((slot, start_time)) = slot.zip(procfs::start_time(pid)) {
                slot.add_orphan(pid, start_time);
            }
        }
        gone
    }

    /// Living children of the keeper that are known to no run.
    fn strangers(&self, pages: &Pages, gone: &BTreeSet<i32>) -> Vec<i32> {
        // The list of a process whose children end meanwhile may lack one: look until it is complete. It never
        // is where a family forks without end; the next of its ends is another look.
        let (mut children, mut before) = (Vec::new(), usize::MAX);
        for _ in 0..LOOKS {
            if children.len() == before {
                break;
            }
            before = children.len();
            procfs::children(process::own_pid(), &mut children);
            children.sort_unstable();
            children.dedup();
        }
        let is_of = |run: &Run, pid: i32| {
            let known = |slot: &SlotMap| slot.pid() == pid || slot.orphans().any(|(orphan, _)| orphan == pid);
            run.shim == pid || pages.is(run, known)
        };
        // One that has ended is nobody's any more; its status is noted when it is reaped.
        children.retain(|pid| {
            let known = || self.daemon.is(*pid) || self.runs.iter().any(|r| is_of(r, *pid));
            !gone.contains(pid) && !known() && lives(*pid)
        });
        children
    }

    /// The run of a stranger: by the variable that it was executed with, by its session, by a pipe of the
    /// run that it has open, or because no other run has lost a shim.
    fn owner(&self, pages: &Pages, pid: i32) -> Option<&Run> {
        if let Some(mark) = procfs::variable(pid, RUN_VARIABLE) {
            return self.runs.iter().find(|r| run_mark(r.wires.run.0, &self.home).as_bytes() == mark);
        }
        let session = procfs::stat(pid)?.session;
        if let Some(run) = self.runs.iter().find(|r| pages.is(r, |slot| slot.pid() == session)) {
            return Some(run);
        }
        let open = procfs::open_files(pid);
        let shares_pipe = |r: &&Run| {
            let mut pipes = r.wires.pipes.iter().flatten().filter_map(|pipe| splice::identity(pipe).ok());
            pipes.any(|pipe| open.contains(&pipe))
        };
        if let Some(run) = self.runs.iter().find(shares_pipe) {
            return Some(run);
        }
        // Also one whose shim has died and was not reaped yet.
        let lost = |r: &&Run| {
            pages.is(r, |slot| slot.has(ORPHANED)) || procfs::stat(r.shim).is_none_or(|s| s.is_zombie())
        };
        let mut runs = self.runs.iter().filter(lost);
        runs.next().filter(|_| runs.next().is_none())
    }
}
