//! Control groups (version 2) below one that was delegated to wpm.
//!
//! Owns finding the delegated group, and one group for each run below it: made, entered, emptied and
//! removed. Groups are an addition: that a tree is gone is proved without them. Invariant: nothing is
//! made in a group that its owner has not marked as delegated, and only groups of runs are removed.

use std::ffi::{CStr, OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::lodging::Room;
use crate::procfs;
use crate::slot::Slot;

/// Group of wpm's own processes, where the service manager puts them into one: controllers can be
/// turned on only in a group that has no process itself.
pub const OWN: &str = "wpm";
/// Controllers that are turned on for the groups of runs.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// Marks by which a service manager says that a group is delegated: the first for its owner, the other
/// on older systems and for root alone.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// The delegated group in which this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    base: PathBuf,
    /// Of which home the groups of runs are.
    home: u32,
    /// Whether the processes of wpm are in a group of their own below it.
    apart: bool,
}

impl Delegation {
    /// The delegated group of this process, for the runs of a home; `None` where there is none.
    pub fn find(home: &Path) -> Option<Self> {
        let (own, home) = (own()?, mark(home.as_os_str().as_bytes()));
        if is_delegated(&own) {
            return Some(Self { base: own, home, apart: false });
        }
        let above = own.parent().filter(|_| own.file_name() == Some(OsStr::new(OWN)))?;
        let user = rustix::process::geteuid().as_raw();
        (is_delegated(above) || is_of_a_users_unit(above, user)).then(|| Self {
            base: above.to_owned(),
            home,
            apart: true,
        })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.base
    }

    /// Turns the controllers on that are there, where nothing stands in the way.
    pub fn turn_on(&self) {
        for name in CONTROLLERS.iter().filter(|_| self.apart) {
            // One that the delegation leaves out is not to be had.
            drop(fs::write(self.base.join("cgroup.subtree_control"), format!("+{name}")));
        }
    }

    /// The controllers that groups of runs have.
    pub fn controllers(&self) -> Vec<String> {
        let text = fs::read_to_string(self.base.join("cgroup.subtree_control")).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// The group of a run, made or not.
    pub fn group(&self, run: u64) -> Group {
        Group(self.base.join(name(self.home, run)))
    }

    /// Removes the empty groups of runs that are not in `live`.
    pub fn tidy(&self, live: &[u64]) {
        for entry in fs::read_dir(&self.base).into_iter().flatten().flatten() {
            let run = entry.file_name().to_str().and_then(run_of);
            let run = run.filter(|(home, _)| *home == self.home).map(|(_, run)| run);
            if run.is_some_and(|run| !live.contains(&run)) {
                Group(entry.path()).remove();
            }
        }
    }
}

/// Tells homes apart that share a delegated group (FNV-1a: the same in every process and version).
fn mark(home: &[u8]) -> u32 {
    home.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn name(home: u32, run: u64) -> String {
    format!("run-{home:08x}-{run}")
}

fn run_of(name: &str) -> Option<(u32, u64)> {
    let (home, run) = name.strip_prefix("run-")?.split_once('-')?;
    Some((u32::from_str_radix(home, 16).ok()?, run.parse().ok()?))
}

/// The group of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(PathBuf);

impl Group {
    /// The group at this path of a launch description; `None` for an empty one.
    pub fn at(path: &[u8]) -> Option<Self> {
        (!path.is_empty()).then(|| Self(PathBuf::from(OsStr::from_bytes(path))))
    }

    /// The group at this path, if it was made.
    pub fn made(path: &[u8]) -> Option<Self> {
        Self::at(path).filter(|group| group.0.is_dir())
    }

    /// The group that a run has: where its process is, for one that was taken back by a wpm that runs
    /// in another group; else the one of its description, if it was made.
    pub fn of_run(path: &[u8], slot: &Slot, (home, run): (&[u8], u64)) -> Option<Self> {
        let (pid, known) = (slot.pid(), OsString::from(name(mark(home), run)));
        let lives = pid > 0 && procfs::start_time(pid) == Some(slot.start_time());
        let is = lives.then(|| group_of(&pid.to_string())).flatten();
        let found =
            is.and_then(|at| at.ancestors().find(|a| a.file_name() == Some(&known)).map(Path::to_owned));
        found.map(Self).or_else(|| Self::made(path))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it, with values for some of its files (`memory.max`).
    ///
    /// # Errors
    /// When it cannot be made or a value is refused, as for a controller that is not there.
    pub fn make(&self, settings: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
        match fs::create_dir(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        settings.iter().try_for_each(|(file, value)| write(&self.0.join(OsStr::from_bytes(file)), value))
    }

    /// Where a process puts itself into it, laid out for [`enter`].
    pub(crate) fn door(&self, room: &mut Room) -> io::Result<&'static CStr> {
        room.text([self.0.as_os_str().as_bytes(), b"/cgroup.procs"])
    }

    /// Kills everything in it and below, at once. Before Linux 5.14 nothing happens.
    pub fn kill(&self) {
        drop(write(&self.0.join("cgroup.kill"), b"1"));
    }

    /// Adds the processes in it and below.
    pub fn processes(&self, to: &mut Vec<i32>) {
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            to.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            folders.extend(subgroups(&folder));
        }
    }

    /// How many of its processes the kernel has killed because memory was short.
    pub fn out_of_memory(&self) -> u64 {
        fs::read_to_string(self.0.join("memory.events")).map_or(0, |text| oom_kills(&text))
    }

    /// Removes it and the groups below, if they are empty.
    pub fn remove(&self) {
        let (mut folders, mut at) = (vec![self.0.clone()], 0);
        while let Some(folder) = folders.get(at) {
            folders.extend(subgroups(&folder.clone()));
            at += 1;
        }
        for folder in folders.iter().rev() {
            // One with a process stays.
            drop(fs::remove_dir(folder));
        }
    }
}

/// Puts this process into the group of this door. Async-signal-safe, and leaves `errno` alone.
///
/// # Errors
/// When the group is not there or may not be entered.
pub(crate) fn enter(door: &CStr) -> io::Result<()> {
    let open = || rustix::fs::open(door, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let door = rustix::io::retry_on_intr(open)?;
    Ok(rustix::io::retry_on_intr(|| rustix::io::write(&door, b"0")).map(drop)?)
}

fn subgroups(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

/// Writes into a file of the kernel, which is there or must not be made.
fn write(path: &Path, value: &[u8]) -> io::Result<()> {
    use std::io::Write;
    fs::File::options().write(true).open(path)?.write_all(value)
}

fn oom_kills(events: &str) -> u64 {
    let value = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    value.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

fn is_delegated(group: &Path) -> bool {
    let marked = |mark: &str| {
        let mut value = [0; 2];
        rustix::fs::getxattr(group, mark, &mut value).is_ok_and(|n| value.get(..n) == Some(b"1"))
    };
    let writable = || rustix::fs::access(group.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok();
    MARKS.into_iter().any(marked) && writable()
}

/// Whether the group is of a service of a user's own manager, which marks nothing. All its groups belong to
/// the user; that [`OWN`] is below this one shows that it was delegated, for nothing else makes it.
fn is_of_a_users_unit(group: &Path, user: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    user != 0
        && group.extension() == Some(OsStr::new("service"))
        && fs::metadata(group.join("cgroup.procs")).is_ok_and(|data| data.uid() == user)
}

/// Folder of the group of this process, delegated or not.
pub fn own() -> Option<PathBuf> {
    group_of("self")
}

/// Folder of the group of a process (`self` or a number).
fn group_of(process: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    folder(&groups, &mounts)
}

/// The folder of the group named in `/proc/PID/cgroup`, by the mounts of `/proc/self/mountinfo`.
fn folder(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        (kind.split(' ').next() == Some("cgroup2")).then_some(())?;
        let below = Path::new(path).strip_prefix(root).ok()?;
        Some(Path::new(point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "25 30 0:23 / /proc rw - proc proc rw\n\
        31 25 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_folder_follows_from_group_and_mount() {
        let group = "4:memory:/x\n0::/system.slice/wpm-web.service/wpm\n";
        let found = folder(group, MOUNTS);
        assert_eq!(found, Some(PathBuf::from("/sys/fs/cgroup/system.slice/wpm-web.service/wpm")));
        // In a container whose mount shows a part of the hierarchy.
        let part = "31 25 0:27 /box /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(folder("0::/box/a\n", part), Some(PathBuf::from("/sys/fs/cgroup/a")));
        assert_eq!(folder("0::/elsewhere\n", part), None);
        assert_eq!(folder("1:name=systemd:/x\n", MOUNTS), None);
        assert_eq!(folder(group, "31 25 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw,memory\n"), None);
    }

    #[test]
    fn kills_for_lack_of_memory_are_counted() {
        assert_eq!(oom_kills("low 0\nhigh 3\nmax 9\noom 1\noom_kill 2\noom_group_kill 1\n"), 2);
        assert_eq!(oom_kills(""), 0);
    }

    #[test]
    fn only_groups_of_runs_have_names_of_runs() {
        assert_eq!(run_of(&name(mark(b"/h"), 17)), Some((mark(b"/h"), 17)));
        assert_ne!(mark(b"/h"), mark(b"/g"));
        for other in ["wpm", "run-x", "run-1-", "run-1-1.scope", "init.scope"] {
            assert_eq!(run_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_group_of_a_users_unit_is_the_users() {
        let dir = tempfile::tempdir().unwrap();
        let me = rustix::process::geteuid().as_raw();
        // As another user sees it, where this one is root.
        let user = if me == 0 { 1000 } else { me };
        let of = |name: &str| {
            let group = dir.path().join(name);
            fs::create_dir(&group).unwrap();
            fs::write(group.join("cgroup.procs"), "").unwrap();
            if me == 0 {
                std::os::unix::fs::chown(group.join("cgroup.procs"), Some(user), None).unwrap();
            }
            group
        };
        let unit = of("wpm.service");
        assert!(is_of_a_users_unit(&unit, user));
        assert!(!is_of_a_users_unit(&unit, user + 1), "of another user");
        assert!(!is_of_a_users_unit(&unit, 0), "what root is given is marked");
        assert!(!is_of_a_users_unit(&of("session-1.scope"), user));
        assert!(!is_of_a_users_unit(&dir.path().join("none.service"), user));
    }

    #[test]
    fn an_ordinary_folder_is_nothing_delegated() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_delegated(dir.path()));
        let group = Group(dir.path().join("none"));
        let mut room = Room::new(4096).unwrap();
        assert!(enter(group.door(&mut room).unwrap()).is_err() && group.out_of_memory() == 0);
        group.kill();
        assert!(!dir.path().join("none").exists());
    }
}
