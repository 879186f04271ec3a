//! strace as an injector: at the so-and-so-manieth call of a kind a process is killed, or the call fails.
//!
//! Attached to one process, with or without those that it forks; a program that is executed is let go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::wait::readable;
use crate::world::World;

/// Kinds of calls by which bytes, files and messages move.
pub(crate) const CALLS: [&str; 8] = [
    "write",
    "/^pwrite",
    "/^f(data)?sync$",
    "/^rename",
    "/^send(msg|to)$",
    "/^(splice|tee)$",
    "/^(ftruncate|fallocate)$",
    "/^(openat|open)$",
];

/// Files of a home on which a write may meet a full disk. Pipes and events never do.
const FILES: [&str; 12] = [
    "state.json",
    "state.json.tmp",
    "state.json.bak",
    "dump.json",
    "dump.json.tmp",
    "daemon.pid",
    "reserve",
    "run",
    "run/journal",
    "run/journal.new",
    "logs/raw-out.log",
    "logs/stamped-out.log",
];

/// What happens at the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The process is killed before the call is done.
    Kill,
    /// The call fails for lack of space.
    NoSpace,
    /// The call is made a second later.
    Late,
}

/// Who is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The threads of this process.
    Process(i32),
    /// It, and what it forks, until that executes another program.
    Forks(i32),
    /// It, what it forks, and what that executes.
    Programs(i32),
}

/// A strace at work.
pub(crate) struct Strace {
    child: Child,
    talk: BufReader<ChildStderr>,
    out: PathBuf,
    /// Lets everybody go after the first blow, or one that is forked again would be struck for ever.
    release: Option<JoinHandle<()>>,
}

/// Kind of a call, by its name.
fn kind(call: &str) -> Option<&'static str> {
    let of = match call {
        "write" => 0,
        "pwrite64" | "pwritev" | "pwritev2" => 1,
        "fsync" | "fdatasync" => 2,
        "rename" | "renameat" | "renameat2" => 3,
        "sendmsg" | "sendto" => 4,
        "splice" | "tee" => 5,
        "ftruncate" | "fallocate" => 6,
        "open" | "openat" => 7,
        _ => return None,
    };
    CALLS.get(of).copied()
}

impl Strace {
    /// Attaches; `None` where the kernel does not let one process trace another. Without a blow the calls
    /// are only counted.
    pub(crate) fn attach(
        world: &World,
        scope: Scope,
        calls: &str,
        blow: Option<(Blow, u64)>,
    ) -> Option<Self> {
        let out = world.dir.path().join("strace");
        let mut command = Command::new("strace");
        let _ = command.args(["-f", "-o"]).arg(&out);
        let pid = match scope {
            Scope::Process(pid) | Scope::Programs(pid) => pid,
            Scope::Forks(pid) => {
                let _ = command.args(["-b", "execve"]);
                pid
            }
        };
        let _ = command.args(["-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
        if let Some((Blow::NoSpace, _)) = blow {
            for file in FILES {
                let _ = command.arg("-P").arg(world.home().join(file));
            }
        }
        if let Some((blow, at)) = blow {
            let what = match blow {
                Blow::Kill => "signal=KILL",
                Blow::NoSpace => "error=ENOSPC",
                Blow::Late => "delay_enter=1s",
            };
            let _ = command.args(["-e", &format!("inject={calls}:{what}:when={at}")]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace");
        let mut talk = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        let _ = talk.read_line(&mut line).expect("strace says something");
        if !line.contains("attached") {
            drop(talk.read_to_string(&mut line));
            drop(child.wait());
            assert!(line.contains("Operation not permitted"), "strace: {line}");
            return None;
        }
        let once = matches!((scope, blow), (Scope::Forks(_), Some((Blow::Kill, _))));
        let pid = Pid::from_child(&child);
        let file = out.clone();
        let release = once.then(|| std::thread::spawn(move || release_after_blow(pid, &file)));
        Some(Self { child, talk, out, release })
    }

    /// Lets everybody go; how often one process made calls of each kind at most, and whether the blow fell.
    pub(crate) fn detach(mut self) -> (BTreeMap<&'static str, u64>, bool) {
        let pid = Pid::from_child(&self.child);
        let ended = pidfd_open(pid, PidfdFlags::empty());
        // It ends by itself with the last of those that it watches.
        let _ = kill_process(pid, Signal::TERM);
        // One that is told to go while a process with threads is dying may wait for the first of them,
        // which cannot be reaped before the others, for ever. The kernel lets everybody go in its place.
        let stuck = ended.is_ok_and(|ended| readable([Some(ended.as_fd())], LETTING_GO_MS) != [true]);
        if stuck {
            let _ = kill_process(pid, Signal::KILL);
        }
        let mut rest = String::new();
        drop(self.talk.read_to_string(&mut rest));
        drop(self.release.take().map(JoinHandle::join));
        drop(self.child.wait());
        let mut text = Vec::new();
        let _ = File::open(&self.out).and_then(|mut f| f.read_to_end(&mut text)).expect("strace wrote");
        let text = String::from_utf8_lossy(&text);
        let mut each = BTreeMap::<(&str, &'static str), u64>::new();
        for line in text.lines() {
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            let name = rest.trim_start().split('(').next().unwrap_or_default();
            if let Some(kind) = kind(name) {
                *each.entry((pid, kind)).or_default() += 1;
            }
        }
        let mut most = BTreeMap::new();
        for ((_, kind), count) in each {
            let so_far = most.entry(kind).or_default();
            *so_far = count.max(*so_far);
        }
        let struck = ["(INJECTED)", "(DELAYED)", KILLED].iter().any(|mark| text.contains(mark));
        (most, stuck || struck)
    }
}

/// How long a strace may take to let everybody go, in milliseconds.
const LETTING_GO_MS: u64 = 2000;

/// What strace writes of one that was killed.
const KILLED: &str = "killed by SIGKILL";

/// Ends a strace when it has struck, or does nothing once it has ended.
fn release_after_blow(strace: Pid, out: &Path) {
    let Ok(ended) = pidfd_open(strace, PidfdFlags::empty()) else { return };
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
    let _ = inotify::add_watch(&watch, out, WatchFlags::MODIFY).expect("strace has made it");
    loop {
        let held = std::fs::read(out).unwrap_or_default();
        if String::from_utf8_lossy(&held).contains(KILLED) {
            let _ = pidfd_send_signal(&ended, Signal::TERM);
            return;
        }
        let [_, gone] = readable([Some(watch.as_fd()), Some(ended.as_fd())], 60_000);
        if gone {
            return;
        }
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        while events.next().is_ok() {}
    }
}
