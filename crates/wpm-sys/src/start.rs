//! Starting the keeper, from a client, a daemon that has lost it, or a shim left alone.
//!
//! Owns the way into the background. Deliberately does not look whether a keeper runs: a second one
//! finds the lock held and leaves. Invariant: the keeper is nobody's descendant.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::process::{self, Fork, SingleThread};
use crate::{exec, limits, signals};

/// Hidden command that runs the keeper.
pub const KEEPER_COMMAND: &str = "__keeper";
/// Option of it: descriptors that it shall hold.
pub const HELD_OPTION: &str = "--held";
/// Option of it: a service manager runs it as the main process of a unit.
pub const UNIT_OPTION: &str = "--unit";
/// Hidden command that runs the daemon.
pub const DAEMON_COMMAND: &str = "__daemon";
/// Hidden command that a shim becomes when it is upgraded.
pub const SHIM_COMMAND: &str = "__shim";
/// Environment variable with the number of the daemon's connection to the keeper.
pub const KEEPER_FD: &str = "WPM_KEEPER_FD";
/// Environment variable with the soft limit of descriptors before the keeper raised it.
pub const DESCRIPTORS_SOFT: &str = "WPM_NOFILE_SOFT";
/// Environment variable of a daemon with the form in which its keeper hands over ([`HANDOVER`]).
///
/// [`HANDOVER`]: crate::contract::HANDOVER
pub const HANDOVER_FORM: &str = "WPM_HANDOVER";
/// Environment variable of an app by which its processes are known; see [`run_mark`].
pub const RUN_VARIABLE: &str = "WPM_RUN";
/// File in the home that takes what keeper and daemon say.
pub const LOG_NAME: &str = "daemon.log";

/// Value of [`RUN_VARIABLE`]: the run and its home. Numbers of runs begin with the time at which a daemon
/// was started, so two homes may well have the same.
pub fn run_mark(run: u64, home: &[u8]) -> String {
    format!("{run}@{}", String::from_utf8_lossy(home))
}

fn text(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Starts a keeper for `home` in the background: own session, nobody's child, stdin from `/dev/null`,
/// stdout and stderr to the home's `daemon.log`. May be called from a program with several threads.
/// Returns when the keeper has been forked; whether it serves is found by connecting to the daemon.
///
/// # Errors
/// When the log cannot be opened or a process cannot be forked.
///
/// `held` are descriptors that the keeper gets with their names: what a dead keeper had held.
pub fn spawn_keeper(exe: &Path, home: &Path, held: &[(u64, BorrowedFd<'_>)]) -> io::Result<()> {
    let (null, log) = streams(home)?;
    let path = text(exe.as_os_str().as_bytes())?;
    let list: Vec<String> = held.iter().map(|(key, fd)| format!("{key}:{}", fd.as_raw_fd())).collect();
    let mut args = vec![text(b"wpm")?, text(KEEPER_COMMAND.as_bytes())?, text(home.as_os_str().as_bytes())?];
    if !held.is_empty() {
        args.extend([text(HELD_OPTION.as_bytes())?, text(list.join(",").as_bytes())?]);
    }
    let argv = exec::arguments(&args);
    // SAFETY: the child calls only async-signal-safe functions until it executes or ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                drop(process::start_session());
                signals::reset_all();
                for (fd, number) in [(&null, 0), (&log, 1), (&log, 2)] {
                    drop(exec::put(fd.as_raw_fd(), number));
                }
                for (_, fd) in held {
                    drop(exec::keep_open(*fd));
                }
                exec::program(&path, &argv);
            }
            process::exit_now(FAILED)
        }
        middle => {
            process::wait_for(middle);
            Ok(())
        }
    }
}

/// Reads what [`HELD_OPTION`] carries; what is not of its form is left out.
pub fn parse_held(list: &str) -> Vec<(u64, RawFd)> {
    list.split(',')
        .filter_map(|one| one.split_once(':'))
        .filter_map(|(k, fd)| Some((k.parse().ok()?, fd.parse().ok()?)))
        .collect()
}

/// What stands for a terminal: nothing to read, and the log of the home.
fn streams(home: &Path) -> io::Result<(File, File)> {
    use std::os::unix::fs::OpenOptionsExt;
    let log = File::options().create(true).append(true).mode(0o600).open(home.join(LOG_NAME))?;
    Ok((File::open("/dev/null")?, log))
}

/// Gives this process stdin from `/dev/null` and the home's `daemon.log` as stdout and stderr, as
/// [`spawn_keeper`] does: for one that a service manager has started.
///
/// # Errors
/// When the log cannot be opened.
pub fn use_log(home: &Path) -> io::Result<()> {
    let (null, log) = streams(home)?;
    for (fd, number) in [(&null, 0), (&log, 1), (&log, 2)] {
        exec::put(fd.as_raw_fd(), number)?;
    }
    Ok(())
}

const FAILED: i32 = 127;

/// Starts a keeper from a shim whose own is dead, as the shim's sibling.
///
/// # Errors
/// When a process cannot be forked.
pub fn revive_keeper(proof: SingleThread, home: &[u8], descriptors_soft: u64) -> io::Result<()> {
    let args = [text(b"wpm")?, text(KEEPER_COMMAND.as_bytes())?, text(home)?];
    let argv = exec::arguments(&args);
    if process::fork_sibling(proof)? == Fork::Child {
        drop(process::start_session());
        signals::reset_all();
        limits::restore_descriptors(descriptors_soft);
        exec::program(c"/proc/self/exe", &argv);
        process::exit_now(FAILED);
    }
    Ok(())
}

/// Starts the daemon as a child of the keeper; `socket` becomes its descriptor 3. It executes `exe`, or
/// the keeper's own program.
///
/// # Errors
/// When a process cannot be forked.
pub fn start_daemon(
    proof: SingleThread,
    home: &[u8],
    socket: BorrowedFd<'_>,
    exe: Option<BorrowedFd<'_>>,
) -> io::Result<i32> {
    match process::fork(proof)? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => {
            signals::reset_all();
            drop(exec::put(socket.as_raw_fd(), 3));
            // Made here: the child does not have what the keeper has allocated.
            drop(execute_daemon(home, exe));
            process::exit_now(FAILED)
        }
    }
}

fn execute_daemon(home: &[u8], exe: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let program = match exe {
        Some(exe) => text(format!("/proc/self/fd/{}", exe.as_raw_fd()).as_bytes())?,
        None => c"/proc/self/exe".to_owned(),
    };
    let args = [text(b"wpm")?, text(DAEMON_COMMAND.as_bytes())?, text(home)?];
    exec::program(&program, &exec::arguments(&args));
    Ok(())
}
