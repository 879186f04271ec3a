//! A world of its own for each test: a home in a temporary folder, the real binary, puppets.
//!
//! Nothing here sleeps: a puppet's connection is the proof that it runs, the end of that connection
//! the proof that it and its children are dead. Every wait has a deadline, after which the daemon's
//! log is shown. A world that is left takes every process of its home with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

/// Longest wait for anything. A machine under load is slow; a test that needs this long has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) const WPM: &str = env!("CARGO_BIN_EXE_wpm");

/// The puppet.
pub(crate) fn puppet() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_wpm-puppet"))
}

/// One home and what lives in it.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) listener: UnixListener,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Asserts success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts an exit code.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e} in:\n{}", self.out))
    }
}

impl World {
    /// A fresh home.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("wpm-e2e-").tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(dir.path().join("puppets")).expect("a socket");
        Self { dir, listener }
    }

    /// The home.
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A file of the home.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.home().join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A command of the real binary in a clean environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(WPM);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path())
            .env("WPM_HOME", self.home())
            .env("PUPPET", self.dir.path().join("puppets"))
            .env("COLUMNS", "120")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    #[must_use = "look at what it said"]
    pub(crate) fn wpm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        said(&self.command(args).output().expect("the binary runs"))
    }

    /// Runs a command given as one line of words.
    #[track_caller]
    #[must_use = "look at what it said"]
    pub(crate) fn run(&self, line: &str) -> Said {
        self.wpm(line.split_whitespace())
    }

    /// Starts the puppet under `name` and gives its instances as they report, in any order.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, options: &str, instances: usize) -> Vec<Puppet> {
        let program = puppet();
        let mut args = vec!["start".to_owned(), program.to_string_lossy().into_owned()];
        args.extend(["--name".to_owned(), name.to_owned()]);
        args.extend(options.split_whitespace().map(str::to_owned));
        args.extend(["--".to_owned(), name.to_owned()]);
        self.wpm(args).ok();
        let puppets: Vec<Puppet> = (0..instances).map(|_| self.puppet()).collect();
        assert!(puppets.iter().all(|p| p.name == name), "others came: {puppets:?}");
        puppets
    }

    /// Waits for the next puppet to report.
    #[track_caller]
    pub(crate) fn puppet(&self) -> Puppet {
        self.await_readable(&self.listener, "a puppet");
        let (line, _) = self.listener.accept().expect("a connection");
        line.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let mut reader = BufReader::new(line.try_clone().expect("a descriptor"));
        let mut hello = String::new();
        reader.read_line(&mut hello).expect("a puppet says hello");
        let mut words = hello.split_whitespace().skip(1);
        let pid = words.next().and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("hello? {hello:?}"));
        let index = words.next().unwrap_or("-").to_owned();
        let name = words.next().unwrap_or("-").to_owned();
        Puppet { pid, index, name, reader, line }
    }

    #[track_caller]
    pub(crate) fn await_readable(&self, what: impl std::os::fd::AsFd, name: &str) {
        let mut set = [PollFd::new(&what, PollFlags::IN)];
        let limit = Timespec { tv_sec: i64::try_from(DEADLINE.as_secs()).expect("short"), tv_nsec: 0 };
        let n = poll(&mut set, Some(&limit)).expect("poll");
        assert!(n > 0, "{name} did not come; the daemon's log:\n{}", self.log());
    }

    /// The daemon's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("daemon.log")).unwrap_or_default()
    }

    /// `jlist` as JSON.
    #[track_caller]
    pub(crate) fn jlist(&self) -> Vec<serde_json::Value> {
        self.wpm(["jlist"]).ok().json().as_array().expect("an array").clone()
    }

    /// Status words by instance, in the order of their ids.
    #[track_caller]
    pub(crate) fn statuses(&self) -> Vec<String> {
        self.jlist().iter().map(|p| p["pm2_env"]["status"].as_str().expect("a word").to_owned()).collect()
    }

    /// Process ids of this home's processes, wpm's own and the apps'.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes_with(&format!("WPM_HOME={}", self.home().display()))
    }
}

/// Processes whose environment holds this entry.
fn processes_with(entry: &str) -> Vec<i32> {
    let me = std::process::id();
    std::fs::read_dir("/proc")
        .expect("procfs")
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(me))
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|env| env.split(|b| *b == 0).any(|e| e == entry.as_bytes()))
        })
        .collect()
}

/// Kills a process and waits until it is gone.
pub(crate) fn kill_and_wait(pid: i32) {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Some(pid) = Pid::from_raw(pid) else { return };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let _ = pidfd_send_signal(&fd, Signal::KILL);
    let mut set = [PollFd::new(&fd, PollFlags::IN)];
    let _ = poll(&mut set, Some(&Timespec { tv_sec: 10, tv_nsec: 0 }));
}

impl Drop for World {
    fn drop(&mut self) {
        // Commands that still wait: they would start a daemon again, in the end in a home that is gone.
        self.processes().into_iter().filter(|pid| is_child(*pid)).for_each(kill_and_wait);
        if self.home().exists() {
            drop(self.command(["kill"]).output());
        }
        // Whatever a failed test left: until nothing is left, since shims revive the daemon. Twice, since
        // one that executes a program just now has no environment for a moment.
        let mut looks_in_vain = 0;
        for _ in 0..50 {
            let left = self.processes();
            looks_in_vain = if left.is_empty() { looks_in_vain + 1 } else { 0 };
            if looks_in_vain == 2 {
                break;
            }
            left.into_iter().for_each(kill_and_wait);
        }
    }
}

/// Whether it is a child of this process: a command that a test has typed.
fn is_child(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    parent == Some(std::process::id())
}

pub(crate) fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// One running puppet.
#[derive(Debug)]
pub(crate) struct Puppet {
    pub(crate) pid: i32,
    pub(crate) index: String,
    /// Its first argument.
    pub(crate) name: String,
    reader: BufReader<UnixStream>,
    pub(crate) line: UnixStream,
}

impl Puppet {
    /// Gives an order and its answer.
    #[track_caller]
    pub(crate) fn tell(&mut self, order: &str) -> String {
        writeln!(self.line, "{order}").expect("the puppet lives");
        let mut answer = String::new();
        self.reader.read_line(&mut answer).expect("an answer in time");
        answer.trim_end().to_owned()
    }

    /// Gives an order without waiting for an answer. `false`: it is dead.
    pub(crate) fn order(&mut self, order: &str) -> bool {
        writeln!(self.line, "{order}").is_ok()
    }

    /// Gives an order that ends it.
    #[track_caller]
    pub(crate) fn exit(mut self, code: i32) {
        assert!(self.order(&format!("exit {code}")), "the puppet lives");
        self.dead();
    }

    /// Waits until it and all its children are dead.
    #[track_caller]
    pub(crate) fn dead(mut self) {
        let mut rest = String::new();
        loop {
            rest.clear();
            match self.reader.read_line(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(e) => panic!("puppet {} did not die: {e}", self.pid),
            }
        }
    }
}

/// Says in the output of a test that this machine cannot show what it is about.
#[expect(clippy::print_stderr, reason = "who reads the results is to see it")]
pub(crate) fn not_shown(why: &str) {
    eprintln!("not shown here: {why}");
}

/// First of `count` free ports in a row, below those that the kernel gives to others; each call gives others.
pub(crate) fn ports_in_a_row(count: u16) -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port: &u16| {
        (0..count).all(|n| std::net::TcpListener::bind(("127.0.0.1", port.saturating_add(n))).is_ok())
    };
    (0..1000)
        // Processes that run tests side by side begin far from each other.
        .map(|_| (std::process::id() % 1000 * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % 1000)
        .map(|slot| 20_000 + u16::try_from(slot * 10).expect("below ten thousand"))
        .find(free)
        .expect("free ports in a row")
}

/// Waits until a file holds a text, by watching its folder.
#[track_caller]
pub(crate) fn await_text(path: &Path, text: &str) {
    await_file(path, &format!("held {text:?}"), |held| held.contains(text));
}

/// Waits until the text of a file passes; `what` says in the past tense what it was to do.
#[track_caller]
pub(crate) fn await_file(path: &Path, what: &str, passes: impl Fn(&str) -> bool) {
    let holds = || std::fs::read(path).is_ok_and(|held| passes(&String::from_utf8_lossy(&held)));
    await_change(path.parent().expect("a folder"), holds, || {
        let held = std::fs::read(path).unwrap_or_default();
        format!("{} never {what} but:\n{}", path.display(), String::from_utf8_lossy(&held))
    });
}

/// Waits until a folder has an entry whose name passes; gives the name.
#[track_caller]
pub(crate) fn await_entry(folder: &Path, passes: impl Fn(&str) -> bool) -> String {
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    await_change(
        folder,
        || names().iter().any(|name| passes(name)),
        || format!("nothing in {} was right: {:?}", folder.display(), names()),
    );
    names().into_iter().find(|name| passes(name)).expect("it was there")
}

/// Waits until something is so that changes with the files of a folder.
#[track_caller]
fn await_change(folder: &Path, is_so: impl Fn() -> bool, failure: impl Fn() -> String) {
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    let _ = inotify::add_watch(
        &watch,
        folder,
        inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO,
    )
    .expect("the folder is there");
    let deadline = std::time::Instant::now() + DEADLINE;
    while !is_so() {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        assert!(!left.is_zero(), "{}", failure());
        let mut set = [PollFd::new(&watch, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).expect("short"),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        if poll(&mut set, Some(&limit)).expect("poll") > 0 {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
            let _event = inotify::Reader::new(&watch, &mut buffer).next();
        }
    }
}
