//! Signals to whole trees, and killing them without a leak.
//!
//! Owns finding every descendant. Where the shim is the parent it is a subreaper: nobody escapes, and
//! `ECHILD` proves that nobody is left. Where it is not, the tree is walked through `/proc`: from the
//! main process, the orphans that fell to the keeper, the session, and the variable that every process
//! of a run has unless it took it away. Invariant: no process that is
//! not known to be of this run is ever signalled.

use wpm_sys::process;
use wpm_sys::procfs;
use wpm_sys::signals::{KILL, STOP};
use wpm_sys::start::{RUN_VARIABLE, run_mark};

use super::Shim;

/// Rounds in one go: a tree that forks faster than it is killed must not starve the output.
const ROUNDS: u32 = 64;
/// Least and greatest pause between two goes, in milliseconds. It grows: what does not die of a kill
/// hangs in the kernel, and is not helped by more of them.
const PAUSE_MS: (u64, u64) = (1, 250);

/// Pause after so many goes.
pub(super) fn pause(goes: u32) -> u64 {
    (PAUSE_MS.0 << (goes / 8).min(8)).min(PAUSE_MS.1)
}

/// Sends a signal to the main process alone.
pub(super) fn signal_main(shim: &Shim, signal: i32) {
    let slot = &shim.wires.slot;
    if slot.end().is_some() || slot.pid() == 0 {
        return;
    }
    // As its parent the shim has not reaped it, so the pid is its own; else the descriptor knows.
    let sent = match &shim.app.pidfd {
        Some(fd) => fd.signal(signal),
        None if shim.app.parent => process::kill(slot.pid(), signal),
        None => return,
    };
    // Already gone: its end is being noted.
    drop(sent);
}

/// Sends a signal to the main process, its group and every descendant, each once.
pub(super) fn signal(shim: &Shim, signal: i32) {
    let main = shim.wires.slot.pid();
    // Looked at once: a process that makes a group of its own meanwhile, as the app does before it is
    // executed, would be taken for a member of neither.
    let all: Vec<(i32, i32)> =
        members(shim).into_iter().filter_map(|pid| Some((pid, group_of(pid)?))).collect();
    // The group at once: what it forks meanwhile is in it and gets the signal, too.
    if all.iter().any(|(_, group)| *group == main) {
        drop(process::kill_group(main, signal));
    }
    for (pid, _) in all.into_iter().filter(|(_, group)| *group != main) {
        drop(process::kill(pid, signal));
    }
}

fn group_of(pid: i32) -> Option<i32> {
    procfs::stat(pid).map(|s| s.group)
}

/// Every living process of the run.
fn members(shim: &Shim) -> Vec<i32> {
    if shim.app.parent {
        return procfs::descendants(process::own_pid());
    }
    let slot = &shim.wires.slot;
    let main = slot.pid();
    let mut found = Vec::new();
    if slot.end().is_none() && procfs::start_time(main) == Some(slot.start_time()) {
        found.push(main);
        found.extend(procfs::descendants(main));
    }
    for (pid, start_time) in slot.orphans() {
        if procfs::start_time(pid) == Some(start_time) && !found.contains(&pid) {
            found.push(pid);
            found.extend(procfs::descendants(pid));
        }
    }
    // The child made itself the leader of a session before it executed; a session lives on without.
    // Its number is not given to anybody else while a member lives, unless the whole session went.
    let reused = procfs::start_time(main).is_some_and(|start| start != slot.start_time());
    if !reused && main > 0 {
        for pid in procfs::session_members(main) {
            if !found.contains(&pid) {
                found.push(pid);
            }
        }
    }
    let mark = run_mark(shim.wires.run.0, &shim.facts.home);
    for pid in procfs::with_variable(format!("{RUN_VARIABLE}={mark}").as_bytes()) {
        if !found.contains(&pid) {
            found.push(pid);
        }
    }
    let mut grouped = Vec::new();
    if let Some(group) = &shim.facts.group {
        group.processes(&mut grouped);
    }
    grouped.retain(|pid| !found.contains(pid));
    found.extend(grouped);
    found.retain(|pid| procfs::stat(*pid).is_some_and(|s| !s.is_zombie()));
    found
}

/// Stops all, kills all, reaps; again until nobody is left or the rounds are used up.
pub(super) fn kill_rounds(shim: &mut Shim) {
    kill_group(shim);
    for _ in 0..ROUNDS {
        let all = procfs::descendants(process::own_pid());
        strike(&all);
        shim.reap();
        if shim.app.childless {
            return;
        }
    }
}

/// Kills the control group at once, where there is one: what forks faster than it is found is gone.
fn kill_group(shim: &Shim) {
    if let Some(group) = &shim.facts.group {
        group.kill();
    }
}

fn strike(all: &[i32]) {
    // Stopped first: a process that is stopped forks nobody while the others are killed.
    for signal in [STOP, KILL] {
        for pid in all {
            drop(process::kill(*pid, signal));
        }
    }
}

/// The same for a tree of which the shim is not the parent. Returns whether somebody was there.
pub(super) fn kill_foreign(shim: &Shim) -> bool {
    let all = if shim.facts.tree {
        kill_group(shim);
        members(shim)
    } else {
        signal_main(shim, KILL);
        Vec::new()
    };
    strike(&all);
    !all.is_empty()
}

/// Whether nobody of a foreign tree is left, as far as can be seen.
pub(super) fn is_foreign_gone(shim: &Shim) -> bool {
    let slot = &shim.wires.slot;
    let known = slot.orphan_count();
    // The keeper tells of the children that one leaves before it reaps it.
    let unreaped = |(pid, start_time)| procfs::start_time(pid) == Some(start_time);
    members(shim).is_empty() && !slot.orphans().any(unreaped) && slot.orphan_count() == known
}
