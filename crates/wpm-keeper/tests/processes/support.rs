//! A home with a keeper in it, and the test in the place of the daemon.
//!
//! The keeper starts the puppet as its daemon; the puppet lends its connection to the test. So a test
//! says to keeper and shims what a daemon would, and may "die" by hanging up.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wpm_sys::contract::{End, FromKeeper, MAX_RECORD, Phase, RunKey, RunReport, ToKeeper, ToShim};
use wpm_sys::launch::{Launch, LogPlan};
use wpm_sys::poll::{self, Watch};
use wpm_sys::{memfd, process, procfs, record};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PUPPET: &str = env!("CARGO_BIN_EXE_keeper-puppet");

/// Waits for a record; `None` at the end of the connection.
pub(crate) fn next_record(socket: BorrowedFd<'_>, deadline: Instant) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buf = [0; MAX_RECORD];
    loop {
        match record::receive(socket, &mut buf) {
            Ok(got) => return got.map(|g| (buf[..g.len].to_vec(), g.fds)),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => wait_readable(socket, deadline),
            Err(_) => return None,
        }
    }
}

fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(!left.is_zero(), "nothing came in time");
    let _ = poll::wait([Watch::read(Some(fd))], Some(u64::try_from(left.as_millis()).unwrap() + 1)).unwrap();
}

/// A home of its own.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    door: OwnedFd,
    /// The stand-in daemon: its process, the connection to it, the keeper's connection.
    pub(crate) daemon: Option<(i32, OwnedFd, OwnedFd)>,
    pub(crate) keeper: i32,
    pub(crate) starts: u32,
    next_run: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_keeper(Self::start_keeper)
    }

    /// A home whose keeper is started in some way of its own.
    pub(crate) fn with_keeper(start: impl FnOnce(&Self)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let door = record::listen_at(&dir.path().join("test.sock")).unwrap();
        let mut world = Self { dir, door, daemon: None, keeper: 0, starts: 0, next_run: 1 };
        std::fs::create_dir(world.home().join("run")).unwrap();
        start(&world);
        world.meet_daemon();
        world
    }

    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    /// As a daemon does that has lost its keeper: once that is gone for good. While it dies it still has its
    /// lock, and another one leaves.
    pub(crate) fn start_keeper(&self) {
        eventually(|| procfs::stat(self.keeper).is_none_or(|keeper| keeper.is_zombie()));
        wpm_sys::start::spawn_keeper(Path::new(PUPPET), self.home(), &[]).unwrap();
    }

    /// Waits for the next daemon that a keeper starts, and takes its place.
    pub(crate) fn meet_daemon(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let test = loop {
                match record::accept(self.door.as_fd()) {
                    Ok(test) => break test,
                    Err(_) => wait_readable(self.door.as_fd(), deadline),
                }
            };
            let Some((pid, mut fds)) = next_record(test.as_fd(), deadline) else { continue };
            let keeper = fds.remove(0);
            // One that has died since is followed by another.
            let Some((hello, _)) = next_record(keeper.as_fd(), deadline) else { continue };
            let Ok(FromKeeper::Hello { pid: keeper_pid, daemon_starts, .. }) = FromKeeper::decode(&hello)
            else {
                panic!("the keeper did not greet")
            };
            self.keeper = keeper_pid;
            self.starts = daemon_starts;
            self.daemon = Some((i32::from_le_bytes(pid.try_into().unwrap()), test, keeper));
            return;
        }
    }

    pub(crate) fn keeper_socket(&self) -> BorrowedFd<'_> {
        self.daemon.as_ref().unwrap().2.as_fd()
    }

    pub(crate) fn tell_keeper(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) {
        record::send(self.keeper_socket(), &message.encode(), fds).unwrap();
    }

    /// Kills the stand-in daemon and takes the place of the next one.
    pub(crate) fn replace_daemon(&mut self) {
        let (pid, ..) = self.daemon.take().unwrap();
        drop(process::kill(pid, 9));
        self.meet_daemon();
    }

    /// A launch of the puppet with these arguments.
    pub(crate) fn launch(&self, args: &[&str]) -> Launch {
        let mut all = vec![PUPPET.as_bytes().to_vec()];
        all.extend(args.iter().map(|a| a.as_bytes().to_vec()));
        let path = |p: &str| self.home().join(p).into_os_string().into_encoded_bytes();
        Launch {
            title: "wpm:test".into(),
            home: path("").strip_suffix(b"/").unwrap().to_vec(),
            program: PUPPET.into(),
            args: all,
            cwd: b"/".to_vec(),
            umask: 0o022,
            tree: true,
            log: LogPlan {
                out: path("logs/out.log"),
                err: path("logs/err.log"),
                lock_dir: path("run/locks"),
                retain: 1000,
                full_disk_block_ms: 60_000,
                app: "test".into(),
                process_id: 3,
                ..LogPlan::default()
            },
            ..Launch::default()
        }
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.home().join(name)).unwrap_or_default()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.read(name)).into_owned()
    }

    /// Asks for a run; it is at its gate or has failed when this returns.
    pub(crate) fn spawn(&mut self, launch: Launch) -> TestRun {
        self.spawn_with(launch, &[])
    }

    pub(crate) fn spawn_with(&mut self, mut launch: Launch, passed: &[BorrowedFd<'_>]) -> TestRun {
        let run = RunKey(self.next_run);
        self.next_run += 1;
        let socket = self.home().join(format!("run/{}.sock", run.0));
        launch.socket = socket.clone().into_os_string().into_encoded_bytes();
        let mut run =
            TestRun { key: run, socket, link: None, last: None, beside: Vec::new(), launch, released: false };
        self.ask(&ToKeeper::Spawn { run: run.key }, &mut run, passed);
        run.until(|r| r.phase >= Phase::AtGate);
        run
    }

    fn ask(&self, message: &ToKeeper, run: &mut TestRun, passed: &[BorrowedFd<'_>]) {
        let listener = record::listen_at(&run.socket).unwrap();
        let (ours, theirs) = record::pair().unwrap();
        let memfd = memfd::sealed("launch", &run.launch.encode()).unwrap();
        let mut fds = vec![theirs.as_fd(), listener.as_fd(), memfd.as_fd()];
        fds.extend(passed);
        self.tell_keeper(message, &fds);
        run.link = Some(ours);
        run.last = None;
    }

    /// Has a run adopted whose keeper and shim are dead.
    pub(crate) fn adopt(&self, run: &mut TestRun) {
        let (pid, start_time) = (run.report().pid, run.report().start_time);
        self.ask(&ToKeeper::Adopt { run: run.key, pid, start_time }, run, &[]);
        run.until(|_| true);
    }

    /// A run that was let through its gate and has been executed.
    pub(crate) fn start(&mut self, launch: Launch) -> TestRun {
        let mut run = self.spawn(launch);
        run.go();
        run
    }

    /// Every process of wpm in this home: (pid, name).
    pub(crate) fn processes(&self) -> BTreeMap<i32, String> {
        let home = self.home().to_str().unwrap().to_owned();
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                std::fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|c| c.split(|b| *b == 0).any(|a| a == home.as_bytes()))
            })
            .filter_map(|pid| {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                Some((pid, name.trim().to_owned()))
            })
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::io::Write::write_all(&mut std::io::stderr(), &self.read("daemon.log")).unwrap();
        }
        // Whatever a failed test has left: keeper first, so that it starts nobody again.
        drop(std::fs::remove_file(self.home().join("test.sock")));
        for _ in 0..50 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for pid in left.keys() {
                let mut all = procfs::descendants(*pid);
                all.push(*pid);
                for pid in all {
                    drop(process::kill(pid, 9));
                }
            }
        }
    }
}

/// One run, as the daemon sees it.
pub(crate) struct TestRun {
    pub(crate) key: RunKey,
    pub(crate) socket: PathBuf,
    pub(crate) link: Option<OwnedFd>,
    pub(crate) last: Option<RunReport>,
    /// Descriptors beside the first report of the connection.
    pub(crate) beside: Vec<OwnedFd>,
    pub(crate) launch: Launch,
    released: bool,
}

impl TestRun {
    pub(crate) fn report(&self) -> &RunReport {
        self.last.as_ref().expect("the shim has reported")
    }

    pub(crate) fn shim(&self) -> i32 {
        self.report().shim_pid
    }

    pub(crate) fn tell(&self, message: &ToShim) {
        if let Some(link) = &self.link {
            drop(record::send(link, &message.encode(), &[]));
        }
    }

    pub(crate) fn tell_with(&self, message: &ToShim, fds: &[BorrowedFd<'_>]) {
        record::send(self.link.as_ref().unwrap(), &message.encode(), fds).unwrap();
    }

    /// Reads reports until one fulfils the condition; connects again whenever the shim was replaced.
    pub(crate) fn until(&mut self, what: impl Fn(&RunReport) -> bool) -> RunReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(last) = self.last.filter(&what) {
                return last;
            }
            if self.link.is_none() {
                self.connect(deadline);
            }
            match next_record(self.link.as_ref().unwrap().as_fd(), deadline) {
                Some((record, fds)) => {
                    let report = RunReport::decode(&record).unwrap();
                    assert_eq!(report.run, self.key);
                    if self.last.is_none() {
                        self.beside = fds;
                    }
                    self.last = Some(report);
                }
                None => {
                    assert!(!self.released, "a released run is not asked again");
                    self.link = None;
                }
            }
        }
    }

    /// Drops the connection, as a daemon does that dies.
    pub(crate) fn hang_up(&mut self) {
        self.link = None;
        self.last = None;
    }

    /// Connects to whichever shim listens.
    pub(crate) fn connect(&mut self, deadline: Instant) {
        loop {
            match record::connect_to(&self.socket) {
                Ok(link) => {
                    self.link = Some(link);
                    self.last = None;
                    return;
                }
                Err(e) => assert!(Instant::now() < deadline, "nobody listens at {:?}: {e}", self.socket),
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn go(&mut self) {
        self.tell(&ToShim::Go);
        self.until(|r| r.phase >= Phase::Running);
    }

    /// Waits for the end of the main process.
    pub(crate) fn ended(&mut self) -> End {
        self.until(|r| r.end.is_some()).end.unwrap()
    }

    /// Kills what is left, takes note of the end, and waits until the shim is gone.
    pub(crate) fn finish(&mut self) -> RunReport {
        let deadline = Instant::now() + PATIENCE;
        self.until(|r| r.end.is_some());
        if !self.report().tree_gone {
            self.tell(&ToShim::KillTree);
        }
        let last = self.until(|r| r.tree_gone);
        loop {
            self.tell(&ToShim::Release);
            match next_record(self.link.as_ref().unwrap().as_fd(), deadline) {
                Some((record, _)) => self.last = Some(RunReport::decode(&record).unwrap()),
                None if !self.socket.exists() => break,
                // Replaced before it went: tell the next one.
                None => match record::connect_to(&self.socket) {
                    Ok(link) => self.link = Some(link),
                    Err(_) => std::thread::yield_now(),
                },
            }
        }
        self.released = true;
        last
    }
}

/// Bytes of a page: 4 KiB, or more on some machines that are not x86-64.
pub(crate) fn page_size() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let kib = text.lines().find_map(|line| line.strip_prefix("KernelPageSize:")?.strip_suffix("kB"));
    kib.unwrap().trim().parse::<usize>().unwrap() << 10
}

/// What the puppet prints when it is told to count.
pub(crate) fn counted(seed: u64, bytes: usize) -> Vec<u8> {
    let args = ["count".to_owned(), seed.to_string(), bytes.to_string(), "0".to_owned()];
    let out = std::process::Command::new(PUPPET).args(args).output().unwrap();
    assert!(out.status.success() && out.stdout.len() > bytes / 2);
    out.stdout
}

/// Kills the shims of these runs at odd moments until every run has ended; returns how often.
pub(crate) fn harass(runs: &mut [TestRun], greatest_pause_ms: u64) -> u32 {
    let (mut kills, mut random) = (0, 0x2545_F491_4F6C_DD1D_u64);
    while let Some(i) = runs.iter().position(|r| r.report().end.is_none()) {
        for run in &mut runs[i..] {
            if run.report().end.is_some() {
                continue;
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let watch = run.link.as_ref().map(|l| Watch::read(Some(l.as_fd())));
            let pause = (random >> 33) % (greatest_pause_ms + 1);
            if let Some(watch) = watch {
                poll::wait([watch], Some(pause)).unwrap();
            }
            let shim = run.shim();
            kills += u32::from(kill_wpm(shim));
            run.until(|r| r.shim_pid != shim || r.end.is_some());
        }
    }
    kills
}

/// Says in the output of a test that this machine cannot show what it is about.
#[expect(clippy::print_stderr, reason = "who reads the results is to see it")]
pub(crate) fn not_shown(why: &str) {
    eprintln!("not shown here: {why}");
}

/// Waits until `what` holds; for facts of `/proc`, which no descriptor tells of: they are looked at
/// again every millisecond, on a clock of the kernel.
pub(crate) fn eventually(what: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let (never, _other) = std::io::pipe().unwrap();
    while !what() {
        assert!(Instant::now() < deadline, "it did not come true in time");
        poll::wait([Watch::read(Some(never.as_fd()))], Some(1)).unwrap();
    }
}

/// Kills a process for good, if it is (still) a process of wpm.
pub(crate) fn kill_wpm(pid: i32) -> bool {
    let ours = std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|c| c.windows(8).any(|w| w == b"__keeper") || c.windows(6).any(|w| w == b"__shim"));
    ours && process::kill(pid, 9).is_ok()
}
