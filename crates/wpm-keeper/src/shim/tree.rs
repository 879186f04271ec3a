//! Signals to whole trees, and killing them without a leak.
//!
//! Owns finding every descendant. Where the shim is the parent it is a subreaper: nobody escapes, and
//! `ECHILD` proves that nobody is left. Where it is not, those near are found from the main process and the orphans
//! that fell to the keeper; those that fled by the session, and by the variable that every process of a run has
//! unless it took it away, in a [census](super::census), for which it may have to wait. Invariant: no process that is
//! not known to be of this run is ever signalled.

use wpm_sys::signals::{KILL, STOP};
use wpm_sys::slot::KILLING;
use wpm_sys::{process, procfs};

use super::Shim;
use super::census::{self, Answer, Person, Question};

/// Rounds in one go: a tree that forks faster than it is killed must not starve the output.
const ROUNDS: u32 = 64;
/// Least and greatest pause between two goes, in milliseconds. It grows: what does not die of a kill
/// hangs in the kernel, and is not helped by more of them.
const PAUSE_MS: (u64, u64) = (1, 250);
/// Between two looks whether a foreign tree is gone that nobody kills, in milliseconds.
const LOOK_MS: u64 = 500;
/// The same where nobody was left, and that is not proved; least pause also while the end of the main process is not
/// known, which takes a while to be told.
const UNSURE_MS: u64 = 20;

/// The search for the processes of a run whose main process is not the shim's child.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Signals that wait for it, for all that it finds.
    signals: Vec<i32>,
    /// Asked, and not answered yet.
    question: Option<Question>,
    /// Whether the end of the main process was known when it was asked: before, nothing proves that all are gone.
    after_end: bool,
    /// Whether the tree was being killed.
    killing: bool,
    /// How many orphans had been added.
    orphans: u32,
    /// When the next one begins, in monotonic milliseconds.
    again_at: Option<u64>,
    /// How often the tree was struck.
    strikes: u32,
}

impl Search {
    /// Begins anew now: what is found otherwise might be older than the reason to look.
    fn begin_anew(&mut self) {
        (self.question, self.again_at) = (None, None);
    }
}

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

/// Sends a signal to the main process, its group and every descendant, each once. Where they have to be looked
/// for, that is when they are found.
pub(super) fn signal(shim: &mut Shim, signal: i32, now: u64) {
    if shim.app.parent {
        return deliver(shim, signal, procfs::descendants(process::own_pid()));
    }
    let search = &mut shim.app.search;
    if search.signals.is_empty() {
        search.begin_anew();
    }
    if !search.signals.contains(&signal) {
        search.signals.push(signal);
    }
    shim.look_after_app(now);
}

/// Sends the signals that still wait for a search, which is cut short.
pub(super) fn deliver_now(shim: &mut Shim) {
    let signals = std::mem::take(&mut shim.app.search.signals);
    if signals.is_empty() {
        return;
    }
    // Where nobody can be looked for, those near are all that can be found.
    let fled = census::look_alone(&shim.facts.home, &is_fled(shim)).unwrap_or_default();
    for signal in signals {
        deliver(shim, signal, members(shim, &fled));
    }
}

fn deliver(shim: &Shim, signal: i32, members: Vec<i32>) {
    let main = shim.wires.slot.pid();
    // Looked at once: a process that makes a group of its own meanwhile, as the app does before it is
    // executed, would be taken for a member of neither.
    let all: Vec<(i32, i32)> =
        members.into_iter().filter_map(|pid| Some((pid, procfs::stat(pid)?.group))).collect();
    // The group at once: what it forks meanwhile is in it and gets the signal, too.
    if all.iter().any(|(_, group)| *group == main) {
        drop(process::kill_group(main, signal));
    }
    for (pid, _) in all.into_iter().filter(|(_, group)| *group != main) {
        drop(process::kill(pid, signal));
    }
}

/// Which processes of a census are of a run of which the shim is not the parent.
fn is_fled(shim: &Shim) -> impl Fn(&Person) -> bool {
    let (run, slot) = (shim.wires.run.0, &shim.wires.slot);
    let main = slot.pid();
    // The child made itself the leader of a session before it executed; a session lives on without.
    // Its number is not given to anybody else while a member lives, unless the whole session went.
    let reused = procfs::start_time(main).is_some_and(|start| start != slot.start_time());
    let session = Some(main).filter(|main| !reused && *main > 0);
    move |person| person.run == run || Some(person.session) == session
}

/// Those that are found without a look at all processes: the main process, orphans, their descendants.
fn near(shim: &Shim) -> Vec<i32> {
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
    found
}

/// Every living process of a run of which the shim is not the parent, with those that were seen to have fled.
fn members(shim: &Shim, fled: &[Person]) -> Vec<i32> {
    let mut found = near(shim);
    let mut grouped = Vec::new();
    if let Some(group) = &shim.facts.group {
        group.processes(&mut grouped);
    }
    // Who was seen a while ago may be somebody else by now.
    let same = |person: &&Person| procfs::start_time(person.pid) == Some(person.start_time);
    for pid in fled.iter().filter(same).map(|person| person.pid).chain(grouped) {
        if !found.contains(&pid) {
            found.push(pid);
        }
    }
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

/// Sees to a tree of which the shim is not the parent, where there is a reason to: signals it, kills it, finds out
/// whether it is gone. Gives the moment at which to come again, in monotonic milliseconds.
pub(super) fn see_to_foreign(shim: &mut Shim, now: u64) -> Option<u64> {
    let slot = &shim.wires.slot;
    let (ended, killing) = (slot.end().is_some(), slot.has(KILLING));
    if !ended && !killing && shim.app.search.signals.is_empty() {
        return None;
    }
    let is_news = (ended && !shim.app.search.after_end) || (killing && !shim.app.search.killing);
    if is_news {
        shim.app.search.begin_anew();
    }
    if let Some(at) = shim.app.search.again_at.filter(|at| now < *at) {
        return Some(at);
    }
    let question = match shim.app.search.question {
        Some(question) => question,
        None => {
            if killing {
                kill_group(shim);
                strike(&near(shim));
            }
            let search = &mut shim.app.search;
            (search.after_end, search.killing, search.again_at) = (ended, killing, None);
            search.orphans = shim.wires.slot.orphan_count();
            *search.question.insert(Question::new(now))
        }
    };
    let fled = match question.ask(&shim.facts.home, now, &is_fled(shim)) {
        Answer::Seen(fled) => fled,
        Answer::Later(ms) => return Some(now + ms),
    };
    shim.app.search.question = None;
    // Where the app goes on the stack that this took is to be given back.
    shim.settled = false;
    for signal in std::mem::take(&mut shim.app.search.signals) {
        deliver(shim, signal, members(shim, &fled));
    }
    let all = members(shim, &fled);
    if killing {
        strike(&all);
    }
    // Seen to be gone, by a whole look: that one who was seen is not found again proves less.
    shim.app.childless = ended && fled.is_empty() && all.is_empty() && is_keeper_done(shim);
    if shim.app.childless || (!ended && !killing) {
        return None;
    }
    let search = &mut shim.app.search;
    let pause_ms = if killing {
        search.strikes = search.strikes.saturating_add(1);
        pause(search.strikes).max(if ended { 0 } else { UNSURE_MS })
    } else if all.is_empty() {
        UNSURE_MS
    } else {
        LOOK_MS
    };
    search.again_at = Some(now + pause_ms);
    search.again_at
}

/// Whether the keeper has reaped all orphans that it told of, and told of no more since the search began: it tells
/// of the children that one leaves before it reaps it.
fn is_keeper_done(shim: &Shim) -> bool {
    let slot = &shim.wires.slot;
    let unreaped = |(pid, start_time)| procfs::start_time(pid) == Some(start_time);
    !slot.orphans().any(unreaped) && slot.orphan_count() == shim.app.search.orphans
}
