//! wpm's own processes in one home: who they are, how many, and how they die.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::wait::readable;
use crate::world::World;

/// What a process of wpm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The daemon.
    Daemon,
    /// The keeper.
    Keeper,
    /// The shim of one run.
    Shim,
}

/// Fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone)]
struct Stat {
    pid: i32,
    comm: String,
    state: char,
    parent: i32,
    session: i32,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    let (head, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        pid,
        comm: head.split_once('(')?.1.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
    })
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").expect("procfs").flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
}

fn words(pid: i32) -> Vec<Vec<u8>> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).map(<[u8]>::to_vec).collect()
}

/// The living processes of wpm in `home`, by role.
///
/// A child that has not executed its app yet looks like its shim, and one that is not a shim yet like
/// the keeper: they are what they are about to be, and not counted.
pub(crate) fn all(home: &Path) -> BTreeMap<Role, Vec<i32>> {
    let mut found = BTreeMap::new();
    for pid in pids() {
        if let Some(role) = role(pid, home) {
            found.entry(role).or_insert_with(Vec::new).push(pid);
        }
    }
    found
}

/// What a process is, if it lives and is one of wpm's in `home`.
fn role(pid: i32, home: &Path) -> Option<Role> {
    use std::os::unix::ffi::OsStrExt;
    let words = words(pid);
    let is = |word: &[u8]| words.iter().any(|w| w == word);
    // A shim that has changed its program names no home in its arguments.
    let at_home = || is(home.as_os_str().as_bytes()) || (is(b"__shim") && has_home(pid, home));
    let stat = stat(pid).filter(|s| at_home() && s.state != 'Z' && s.state != 'X')?;
    let parent = self::stat(stat.parent).map(|s| s.comm).unwrap_or_default();
    if is(b"__daemon") {
        Some(Role::Daemon)
    } else if stat.comm.starts_with("wpm:") {
        (stat.session != stat.pid && !parent.starts_with("wpm:")).then_some(Role::Shim)
    } else if is(b"__keeper") {
        (stat.comm == "wpm-keeper" && parent != "wpm-keeper").then_some(Role::Keeper)
    } else {
        None
    }
}

fn has_home(pid: i32, home: &Path) -> bool {
    let entry = format!("WPM_HOME={}", home.display());
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|b| *b == 0).any(|e| e == entry.as_bytes())
}

/// What a process is, for the message of a test that has failed.
pub(crate) fn describe(pid: i32) -> String {
    let words = words(pid).iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect::<Vec<_>>();
    let waits = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    format!("{:?}, {words:?}, waiting in {waits:?}", stat(pid))
}

/// Whether it is a command that this test has typed.
fn is_command(pid: i32) -> bool {
    stat(pid).is_none_or(|s| u32::try_from(s.parent) == Ok(std::process::id()))
}

/// The processes of the apps of a home.
pub(crate) fn apps(world: &World) -> Vec<i32> {
    let own = all(&world.home());
    let is_own = |pid: &i32| own.values().any(|pids| pids.contains(pid));
    world.processes().into_iter().filter(|pid| !is_own(pid) && !is_command(*pid)).collect()
}

fn send(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Kills without waiting for the end, if it is still one of wpm's own: stopped first, it cannot become
/// an app between the look and the blow.
pub(crate) fn kill(pid: i32, home: &Path) -> bool {
    if !send(pid, Signal::STOP) {
        return false;
    }
    let own = role(pid, home).is_some();
    send(pid, if own { Signal::KILL } else { Signal::CONT }) && own
}

/// Kills several at one moment: all are stopped first, so that none sees another one die and acts on it.
pub(crate) fn kill_together(pids: &[i32], home: &Path) -> bool {
    let stopped = pids.iter().filter(|pid| send(**pid, Signal::STOP)).count();
    stopped == pids.len() && pids.iter().filter(|pid| kill(**pid, home)).count() == pids.len()
}

/// Waits until a process has ended; false: it did not.
pub(crate) fn ended(pid: i32, milliseconds: u64) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    readable([Some(fd.as_fd())], milliseconds) == [true]
}

/// Waits until there is one keeper, one daemon and as many shims as given, and no process of the home
/// beside them and these `apps`, living or zombie.
#[track_caller]
pub(crate) fn await_census(world: &World, shims: usize, apps: &[i32]) {
    let mut strange = String::new();
    for _ in 0..100 {
        let own = all(&world.home());
        let count = |role| own.get(&role).map_or(0, Vec::len);
        let mine: Vec<i32> = own.values().flatten().copied().collect();
        let strays: Vec<i32> = world
            .processes()
            .into_iter()
            .filter(|pid| !mine.contains(pid) && !apps.contains(pid) && !is_command(*pid))
            .collect();
        let zombies: Vec<Stat> = pids()
            .filter_map(stat)
            .filter(|s| s.state == 'Z' && (mine.contains(&s.parent) || apps.contains(&s.pid)))
            .collect();
        let right = (count(Role::Keeper), count(Role::Daemon), count(Role::Shim)) == (1, 1, shims);
        if right && strays.is_empty() && zombies.is_empty() {
            return;
        }
        strange = format!(
            "{own:?}, wanted 1 + 1 + {shims}; strays {:?}; zombies {zombies:?}",
            strays.iter().map(|p| (*p, stat(*p))).collect::<Vec<_>>()
        );
        // Whoever is on the way out is waited for; a command gives the others time.
        if !strays.into_iter().any(|pid| ended(pid, 50)) {
            drop(world.run("ping"));
        }
    }
    panic!("{strange}; the daemon's log:\n{}", world.log());
}
