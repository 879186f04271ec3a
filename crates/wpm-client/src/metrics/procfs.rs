//! `/proc/PID/stat` of every process, with as few system calls as it takes: open, read, close.
//!
//! Knows the fields of that file, nothing of apps. Processes that end meanwhile are left out.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags, RawDir, open, openat};

/// What counts of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// Clock ticks since boot.
    pub(super) start_time: u64,
    /// CPU time in clock ticks, with that of children that it has waited for.
    pub(super) ticks: u64,
    /// Resident bytes.
    pub(super) memory: u64,
    /// Called as processes of wpm are: it, or one that wants to look like one.
    pub(super) wpms: bool,
}

/// A process as the folder of all names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Named {
    pub(super) pid: i32,
    /// Number of its folder, which no other process gets.
    pub(super) inode: u64,
}

/// Processes for which another thread is worth its start; reading each is a few microseconds of work for the
/// kernel.
const SHARE: usize = 40;
/// Threads that read, at most.
pub(super) const MOST_THREADS: usize = 8;
/// Processes that a thread takes at a time: the others wait for so many at the end.
const SOME: usize = 2;

/// All processes that can be seen, by name.
pub(super) fn named() -> Vec<Named> {
    let Some(proc_folder) = proc_folder() else { return Vec::new() };
    let mut all = Vec::with_capacity(512);
    let mut names = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(proc_folder, names.spare_capacity_mut());
    while let Some(Ok(entry)) = entries.next() {
        let pid = std::str::from_utf8(entry.file_name().to_bytes()).ok().and_then(|name| name.parse().ok());
        all.extend(pid.map(|pid| Named { pid, inode: entry.ino() }));
    }
    all
}

/// CPUs that this process may use. Asking the standard library would read the limits of control groups, which do
/// not matter for a moment.
pub(super) fn cpus() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

/// What counts of these processes.
pub(super) fn all(pids: Vec<i32>) -> Vec<Process> {
    let threads = cpus().min(pids.len() / SHARE).clamp(1, MOST_THREADS);
    Reading::new(pids).map(|reading| reading.go_on(threads - 1)).unwrap_or_default()
}

/// Processes that are read by whoever has time: each thread takes some that nobody has begun.
#[derive(Debug)]
pub(super) struct Reading {
    proc_folder: OwnedFd,
    pids: Vec<i32>,
    /// Position of the first that nobody has begun.
    next: AtomicUsize,
}

impl Reading {
    /// Nothing is read yet.
    pub(super) fn new(pids: Vec<i32>) -> Option<Self> {
        Some(Self { proc_folder: proc_folder()?, pids, next: AtomicUsize::new(0) })
    }

    /// Reads until nothing is left, with so many threads beside this one. What others have begun is theirs.
    pub(super) fn go_on(&self, more: usize) -> Vec<Process> {
        std::thread::scope(|scope| {
            // Where the user has no room for a thread, this one reads more.
            let another = |_| std::thread::Builder::new().spawn_scoped(scope, || self.share()).ok();
            let others: Vec<_> = (0..more).filter_map(another).collect();
            let mut processes = self.share();
            processes.extend(others.into_iter().filter_map(|other| other.join().ok()).flatten());
            processes
        })
    }

    fn share(&self) -> Vec<Process> {
        let mut processes = Vec::with_capacity(self.pids.len());
        // Nothing but the numbers is shared, so that no order of memory is needed.
        while let Some(some) = self.pids.get(self.next.fetch_add(SOME, Ordering::Relaxed)..) {
            let some = some.get(..SOME).unwrap_or(some);
            if some.is_empty() {
                break;
            }
            read(&self.proc_folder, some, &mut processes);
        }
        processes
    }
}

/// These processes and their descendants, found from parent to child: for a few of them far less work than
/// looking at all. `None` where the kernel does not tell children (it can be built without).
pub(super) fn trees(roots: &[i32]) -> Option<Vec<Process>> {
    let proc_folder = proc_folder()?;
    let mut pids: Vec<i32> = roots.iter().copied().filter(|pid| *pid > 0).collect();
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = match std::fs::read_to_string(task.path().join("children")) {
                Ok(children) => children,
                // The thread has ended; else there is no such file anywhere.
                Err(_) if task.path().join("stat").exists() => return None,
                Err(_) => continue,
            };
            let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
            pids.extend(children.filter(|child| !roots.contains(child)));
        }
    }
    let mut processes = Vec::with_capacity(pids.len());
    read(&proc_folder, &pids, &mut processes);
    Some(processes)
}

fn proc_folder() -> Option<OwnedFd> {
    open("/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Adds what counts of these processes.
fn read(proc_folder: &OwnedFd, pids: &[i32], to: &mut Vec<Process>) {
    let page = rustix::param::page_size() as u64;
    let mut text = [0_u8; 1024];
    to.extend(pids.iter().filter_map(|pid| {
        // `4294967295/stat` and its NUL fit easily.
        let mut path = [0_u8; 24];
        write!(&mut path[..23], "{pid}/stat").ok()?;
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        let file = openat(proc_folder, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let length = rustix::io::read(&file, &mut text).ok()?;
        parse(text.get(..length)?, page)
    }));
}

/// Reads one line of `/proc/PID/stat`. The name in parentheses may hold anything, so it is skipped from
/// behind.
fn parse(text: &[u8], page: u64) -> Option<Process> {
    let before = text.iter().position(|byte| *byte == b'(')?;
    let behind = text.iter().rposition(|byte| *byte == b')')?;
    let wpms = text.get(before + 1..)?.starts_with(b"wpm");
    let pid = number(text.get(..before)?.trim_ascii_end())?;
    // The first of these is field 3, the state.
    let mut fields = text.get(behind + 2..)?.split(|byte| *byte == b' ');
    let parent = number(fields.nth(1)?)?;
    let mut ticks = 0;
    // Fields 14 to 17: own and children's time, in user and kernel mode.
    for position in [9, 0, 0, 0] {
        ticks += number::<u64>(fields.nth(position)?)?;
    }
    let start_time = number(fields.nth(4)?)?;
    let memory = number::<u64>(fields.nth(1)?)? * page;
    Some(Process { pid, parent, start_time, ticks, memory, wpms })
}

/// A number without a sign: none of these fields is ever negative.
fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    let digit = |byte: &u8| Some(u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?));
    let more = |number: u64, byte| number.checked_mul(10)?.checked_add(digit(byte)?);
    let number = digits.iter().try_fold(0, more)?;
    T::try_from(number).ok().filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn descendants_are_found_from_parent_to_child() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & wait"])
            .stdin(std::process::Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let pid = i32::try_from(child.id()).expect("a pid");
        // Until the shell has forked.
        let found = loop {
            let found = trees(&[pid]).expect("this kernel tells");
            if found.len() > 1 {
                break found;
            }
            std::thread::yield_now();
        };
        assert!(found.iter().any(|process| process.pid == pid));
        assert!(found.iter().any(|process| process.parent == pid));
        assert!(trees(&[i32::MAX]).expect("told").is_empty());
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).expect("killed");
        child.wait().expect("ended");
    }

    #[test]
    fn fields_are_counted_from_behind_the_name() {
        let line = b"42 (a) b (c)) S 7 42 42 0 -1 4194304 100 200 0 0 11 22 33 44 20 0 1 0 5555 1000000 25 \
                     18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n";
        let process = parse(line, 4096).expect("well formed");
        let memory = 25 * 4096;
        assert_eq!(
            process,
            Process { pid: 42, parent: 7, start_time: 5555, ticks: 110, memory, wpms: false }
        );
        assert_eq!(parse(b"42 (x", 4096), None);
        assert_eq!(
            parse(b"42 (x) S 7 42 42 0 -1 4194304 100 200 0 0 11 22 33 -44 20 0 1 0 5555", 4096),
            None
        );
        assert_eq!(parse(b"", 4096), None);
    }
}
