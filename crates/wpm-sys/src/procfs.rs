//! What `/proc` says of a process.
//!
//! Owns the reading of `stat`, `children`, `environ` and `fdinfo`. Invariant: a field that cannot be read is
//! `None`, never a guess; callers compare start times before they believe that a pid is still theirs.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::RawDir;

/// `PF_FORKNOEXEC` in the flags: forked and has not executed a program yet.
const FORKED_ONLY: u64 = 0x40;
/// Bytes that most environments fit into.
const ENVIRON: usize = 8 << 10;
/// Bytes of the names in `/proc` that are read at once.
const NAMES: usize = 4 << 10;

/// The fields of `/proc/PID/stat` that wpm uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// State letter: `R`, `S`, `Z`…
    pub state: u8,
    /// Parent.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// Whether it has not executed a program since it was forked.
    pub forked_only: bool,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Raw wait status; meaningful in a zombie, and only for the same user.
    pub exit_code: i32,
}

impl Stat {
    /// Whether it has ended and waits to be reaped.
    pub const fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Whether somebody has stopped it.
    pub const fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// Whether its main thread waits for something.
    pub const fn is_waiting(&self) -> bool {
        self.state == b'S'
    }
}

/// Reads the state of a process without allocating.
pub fn stat(pid: i32) -> Option<Stat> {
    stat_now(pid).ok()
}

fn stat_now(pid: i32) -> io::Result<Stat> {
    let mut buf = [0_u8; 1024];
    let mut file = open(pid, b"/stat")?;
    // The kernel makes the whole text at once: a second read would only say that this was all.
    let n = read_some(&mut file, &mut buf)?;
    parse(&buf[..n]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(line: &[u8]) -> Option<Stat> {
    // The name in parentheses may hold anything, so count from its last parenthesis.
    let after = line.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(line.get(after + 2..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(2)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    let exit_code = fields.nth(29).and_then(|f| f.parse().ok()).unwrap_or(0);
    Some(Stat { state, parent, group, session, forked_only: flags & FORKED_ONLY != 0, start_time, exit_code })
}

/// Whether the process `pid` that began at `start_time` (clock ticks since boot) is there, ended and not
/// reaped yet included. Another process with that pid is not it.
///
/// # Errors
/// Where the system cannot tell for now, for lack of descriptors or memory.
pub fn is_alive(pid: i32, start_time: u64) -> io::Result<bool> {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(line) => Ok(parse(&line).is_some_and(|stat| stat.start_time == start_time)),
        // It was there when the file was opened, and is not any more.
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Start time of a process in clock ticks since boot.
pub fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|s| s.start_time)
}

/// Appends the children of a process, those of all its threads, to `out`.
pub fn children(pid: i32, out: &mut Vec<i32>) {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for thread in threads.flatten() {
        let mut path = thread.path();
        path.push("children");
        if let Ok(list) = std::fs::read_to_string(path) {
            out.extend(list.split_ascii_whitespace().filter_map(|p| p.parse::<i32>().ok()));
        }
    }
}

/// Every descendant of a process, parents before their children, without the process itself.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    children(pid, &mut found);
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        children(pid, &mut found);
        next += 1;
    }
    found
}

/// Shows every process that runs: its number, its state, and the environment that it was executed with, empty
/// where it has none or this user may not read it. Some are shown twice. Those that are born meanwhile are shown as
/// well, but for the children of one that was born meanwhile and has ended.
///
/// # Errors
/// Where the system cannot tell for now, for lack of descriptors or memory: not everybody was shown.
pub fn survey(mut show: impl FnMut(i32, &Stat, &[u8])) -> io::Result<()> {
    let (mut seen, mut environ) = (Vec::new(), Vec::with_capacity(ENVIRON));
    // One that forks and goes may be passed by twice, its child before the reader and itself behind; one that
    // executes a program at this moment has no environment. So the list is read once more, for those not seen.
    let folder = File::open("/proc")?;
    let mut names: Vec<u8> = Vec::with_capacity(NAMES);
    for _ in 0..2 {
        let before = seen.len();
        let _at_start = rustix::fs::seek(&folder, rustix::fs::SeekFrom::Start(0))?;
        // Not by the C library, which would take the room from its own heap and keep it.
        let mut entries = RawDir::new(&folder, names.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().ok().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if seen.get(..before).is_some_and(|known| known.binary_search(&pid).is_ok()) {
                continue;
            }
            let Some(stat) = present(stat_now(pid))?.filter(|stat| !stat.is_zombie()) else { continue };
            environ.clear();
            let read = present(read_all(pid, b"/environ", &mut environ))?;
            show(pid, &stat, &environ);
            // The kernel's own processes have no session.
            if !environ.is_empty() || read.is_none() || stat.session == 0 {
                seen.push(pid);
            }
        }
        seen.sort_unstable();
    }
    Ok(())
}

/// What was read of a process, none where it is gone or not for this user to see.
fn present<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => Err(e),
        Err(_) => Ok(None),
    }
}

/// Value of an environment variable with which a process was executed.
pub fn variable(pid: i32, name: &str) -> Option<Vec<u8>> {
    let env = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = env.split(|b| *b == 0);
    entries.find_map(|e| e.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).map(<[u8]>::to_vec)
}

/// Inodes of the sockets that a process has open, as far as this user may see them.
pub fn sockets(pid: i32) -> Vec<u64> {
    let Ok(all) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    all.flatten()
        .filter_map(|e| std::fs::read_link(e.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// Device and inode of everything that a process has open, as far as this user may see it.
pub fn open_files(pid: i32) -> Vec<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let Ok(all) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    all.flatten()
        .filter_map(|e| std::fs::metadata(e.path()).ok())
        .map(|data| (data.dev(), data.ino()))
        .collect()
}

/// Whether descriptor `fd` of a process is open for reading and writing.
pub fn is_open_both_ways(pid: i32, fd: i32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")) else { return false };
    let flags = text.lines().find_map(|l| l.strip_prefix("flags:"));
    flags.and_then(|f| u64::from_str_radix(f.trim(), 8).ok()).is_some_and(|f| f & 3 == 2)
}

fn open(pid: i32, file: &[u8]) -> io::Result<File> {
    let mut path = PathBuf::<32>::default();
    path.push(b"/proc/").number(pid).push(file);
    File::open(path.as_str().ok_or(io::ErrorKind::InvalidInput)?)
}

fn read_some(file: &mut File, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Reads a file of a process into `to`, which is empty, in as few calls as there is room for.
fn read_all(pid: i32, file: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
    let mut file = open(pid, file)?;
    let mut len = 0;
    loop {
        to.resize(to.capacity().max(len + ENVIRON), 0);
        let read = read_some(&mut file, &mut to[len..]);
        let n = *read.as_ref().unwrap_or(&0);
        let is_all = n < to.len() - len;
        len += n;
        // Less than was asked for is the last of it.
        if is_all {
            to.truncate(len);
            return read.map(drop);
        }
    }
}

/// A short path that is put together without the heap.
pub(crate) struct PathBuf<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for PathBuf<N> {
    fn default() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> PathBuf<N> {
    /// Appends bytes; what does not fit is left out.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> &mut Self {
        let n = bytes.len().min(N - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        self.len += n;
        self
    }

    /// Appends a number in decimal; a negative one as 0.
    pub(crate) fn number(&mut self, n: i32) -> &mut Self {
        let mut digits = [0_u8; 10];
        let mut rest = u32::try_from(n).unwrap_or(0);
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[at..])
    }

    /// The path.
    pub(crate) fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[..self.len]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"7 (a) b (c) Z 1 2 3 0 -1 4194368 9 0 0 0 1 2 0 0 20 0 1 0 777 0 0 18446744073709551615 \
            0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 1792\n";
        let s = parse(line).unwrap();
        assert_eq!((s.state, s.parent, s.group, s.session), (b'Z', 1, 2, 3));
        assert_eq!((s.start_time, s.exit_code, s.forked_only), (777, 7 << 8, true));
    }

    #[test]
    fn this_process_is_alive_and_was_executed() {
        let s = stat(crate::process::own_pid()).unwrap();
        assert!(s.start_time > 0 && !s.is_zombie() && !s.forked_only);
        assert_eq!(stat(i32::MAX), None);
        let own = crate::process::own_pid();
        assert!(is_alive(own, s.start_time).unwrap());
        assert!(!is_alive(own, s.start_time + 1).unwrap() && !is_alive(i32::MAX, 1).unwrap());
    }
    #[test]
    fn a_survey_shows_everybody_with_an_environment_of_any_length() {
        use std::process::{Command, Stdio};
        // Longer than is read at once, and none.
        let long = "x".repeat(3 * ENVIRON);
        let mut children = [Some(long.as_str()), None].map(|value| {
            let mut command = Command::new("/bin/cat");
            let _same = command.env_clear().envs(value.map(|v| ("LONG", v))).stdin(Stdio::piped());
            command.spawn().unwrap()
        });
        let [full, bare] = [0, 1].map(|i| i32::try_from(children[i].id()).unwrap());
        let mut seen = Vec::new();
        survey(|pid, stat, environ| seen.push((pid, *stat, environ.to_vec()))).unwrap();
        let of = |pid| seen.iter().find(|(other, ..)| *other == pid).unwrap();
        assert_eq!(of(full).2, format!("LONG={long}\0").into_bytes());
        assert_eq!(of(bare).2, b"");
        assert_eq!(of(full).1.start_time, start_time(full).unwrap());
        let own = of(crate::process::own_pid());
        assert_eq!((own.1.session, own.1.group), (of(full).1.session, of(full).1.group));
        for child in &mut children {
            child.kill().unwrap();
            let _status = child.wait().unwrap();
        }
        let mut again = Vec::new();
        survey(|pid, _, _| again.push(pid)).unwrap();
        assert!(!again.contains(&full) && !again.contains(&bare));
    }
}
