//! Starts the keeper (which starts the daemon) where nobody answers, and waits until somebody does.
//!
//! One client starts at a time, under `spawn.lock`; the others wait for the lock and find the daemon up.
//! Waiting is on the kernel: changes of the home, and the end of the keeper. Another keeper is started
//! where one ends and nobody listens all the same: it, or the one that it left the home to, was killed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use interprocess::local_socket::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::Pid;
use wpm_proto::env;
use wpm_proto::home::Home;

use crate::connect::{connect, is_absent};
use crate::{Error, alive, home as private_home};

/// How long a daemon may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the kernel shows as the name of a keeper; shims have the same command line.
const KEEPER_NAME: &[u8] = b"wpm-keeper\n";
/// How much of the daemon's log is shown when it does not.
const LOG_LINES: usize = 8;
/// First pause between a socket that is bound and one that listens; doubled up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How long after the end of a keeper somebody else may take to listen.
const OTHERS: Duration = Duration::from_millis(500);
/// Longest time without an attempt to connect, whatever the kernel reports.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Starts the daemon unless somebody else just did. Says with the connection whether it was us.
pub(crate) fn spawn(home: &Home, program: &Path) -> Result<(Stream, bool), Error> {
    let deadline = Instant::now() + PATIENCE;
    private_home::prepare(home)?;
    let lock_path = home.spawn_lock();
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(Error::file("open", &lock_path))?;
    lock.lock().map_err(Error::file("lock", &lock_path))?;
    match connect(&home.socket(), PATIENCE) {
        Ok(stream) => return Ok((stream, false)),
        Err(cause) if is_absent(&cause) => {}
        Err(cause) => return Err(Error::Connect { path: home.socket(), cause }),
    }
    // The watch stands before the keeper runs: whatever it does in the home is seen.
    let changes = watch(home)?;
    let log_path = home.daemon_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(Error::file("open", &log_path))?;
    let log_start = log.metadata().map_err(Error::file("look at", &log_path))?.len();
    let start = || launch(home, program, &log);
    let first = match keeper_without_lock(home) {
        // Its files were taken away; the daemon makes them again.
        Some(keeper) => Keeper::Other(keeper),
        None => Keeper::Ours(start()?),
    };
    let fail = |reason: String| Error::DaemonStart {
        home: home.path().to_owned(),
        reason,
        log: tail(&log_path, log_start),
    };
    wait(home, &changes, first, start, deadline).map_err(fail).map(|stream| (stream, true))
}

/// The daemon that a keeper is about to start where one has just ended; none where there is no keeper, or
/// it ends, too.
pub(crate) fn next(home: &Home, patience: Duration) -> Result<Option<Stream>, Error> {
    let Some(keeper) = alive::keeper(home) else { return Ok(None) };
    let changes = watch(home)?;
    let never = || Err(Error::NoDaemon { home: home.path().to_owned() });
    Ok(wait(home, &changes, Keeper::Other(keeper), never, Instant::now() + patience).ok())
}

fn launch(home: &Home, program: &Path, log: &File) -> Result<Child, Error> {
    let clone = || log.try_clone().map_err(Error::file("open", home.daemon_log()));
    let (out, err) = (clone()?, clone()?);
    // Its own process group, so that Ctrl-C in this terminal does not reach it before it has made
    // itself a session.
    Command::new(program)
        .arg0("wpm")
        .arg("__keeper")
        .arg(home.path())
        .current_dir("/")
        // Started by an app: it is no process of that app.
        .env_remove(env::RUN)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0)
        .spawn()
        .map_err(Error::file("execute", program))
}

fn watch(home: &Home) -> Result<OwnedFd, Error> {
    let failed = |errno: rustix::io::Errno| Error::file("watch", home.path())(errno.into());
    let changes =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    let mask = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CLOSE_WRITE;
    inotify::add_watch(&changes, home.path(), mask).map_err(failed)?;
    Ok(changes)
}

/// The keeper that is waited for.
enum Keeper {
    Ours(Child),
    /// One that somebody else has started.
    Other(OwnedFd),
}

impl Keeper {
    fn end(&self) -> Result<OwnedFd, String> {
        match self {
            Self::Ours(child) => end_of(Pid::from_child(child)).map_err(|errno| errno.to_string()),
            Self::Other(fd) => fd.try_clone().map_err(|error| error.to_string()),
        }
    }

    /// Why there is no point in another one, once it has ended.
    fn failure(&mut self) -> Result<Option<String>, String> {
        let Self::Ours(child) = self else { return Ok(None) };
        let status = child.wait().map_err(|error| error.to_string())?;
        // One that ends well has found another one, or was replaced by a detached one.
        let failed = status.code().is_some_and(|code| code != 0);
        Ok(failed.then(|| format!("the keeper ended with {status}")))
    }
}

fn end_of(keeper: Pid) -> rustix::io::Result<OwnedFd> {
    rustix::process::pidfd_open(keeper, rustix::process::PidfdFlags::empty())
}

/// A keeper of this home that lives although the home has no lock of a keeper: somebody has taken the
/// files away. Another keeper would know nothing of its apps.
fn keeper_without_lock(home: &Home) -> Option<OwnedFd> {
    if home.keeper_lock().exists() {
        return None;
    }
    let me = rustix::process::geteuid().as_raw();
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let read = |name: &str| std::fs::read(entry.path().join(name)).ok();
        (read("comm")? == KEEPER_NAME && entry.metadata().ok()?.uid() == me).then_some(())?;
        let line = read("cmdline")?;
        line.split(|b| *b == 0).any(|word| word == home.path().as_os_str().as_bytes()).then_some(())?;
        end_of(pid).ok()
    })
}

fn wait(
    home: &Home,
    changes: &OwnedFd,
    mut keeper: Keeper,
    again: impl Fn() -> Result<Child, Error>,
    deadline: Instant,
) -> Result<Stream, String> {
    let mut ended = Some(keeper.end()?);
    let mut again_at = None;
    let mut pause = FIRST_PAUSE;
    let socket = home.socket();
    loop {
        match connect(&socket, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(cause) if is_absent(&cause) => {}
            Err(cause) => return Err(format!("cannot connect to {}: {cause}", socket.display())),
        }
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Err(format!("nobody listens on {} after {} s", socket.display(), PATIENCE.as_secs()));
        };
        if again_at.is_some_and(|at| at <= Instant::now()) {
            again_at = None;
            keeper = Keeper::Ours(again().map_err(|error| error.to_string())?);
            ended = Some(keeper.end()?);
        }
        // Between `bind` and `listen` the socket is there and refuses; no event tells the end of that.
        let limit = if socket.exists() {
            let limit = pause;
            pause = (pause * 2).min(MAX_PAUSE);
            limit
        } else {
            MAX_PAUSE
        };
        let limit = Timespec::try_from(limit.min(left)).map_err(|error| error.to_string())?;
        let mut fds = Vec::with_capacity(2);
        fds.push(PollFd::new(changes, PollFlags::IN));
        if let Some(ended) = &ended {
            fds.push(PollFd::new(ended, PollFlags::IN));
        }
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.to_string()),
        }
        let keeper_ended = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drain(changes);
        if keeper_ended {
            if let Some(failure) = keeper.failure()? {
                return Err(failure);
            }
            (ended, again_at) = (None, Some(Instant::now() + OTHERS));
        }
    }
}

/// Throws the events away; that there were some is all that counts.
fn drain(changes: &OwnedFd) {
    let mut buffer = [0_u8; 4096];
    while matches!(rustix::io::read(changes, &mut buffer), Ok(read) if read > 0) {}
}

fn tail(log: &Path, start: u64) -> Vec<String> {
    let mut text = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.take(64 * 1024).read_to_end(&mut text)
    });
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}
