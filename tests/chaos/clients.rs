//! Commands that are typed all the time while wpm is being killed.

use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::wait::readable;
use crate::world::World;

/// Longest time that any command may take, in milliseconds. Twice the limit for one answer and once
/// that for starting a daemon, on a busy machine.
const LIMIT_MS: u64 = 30_000;

/// What the commands were answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Commands run.
    pub(crate) count: u32,
    /// Commands that failed with a clear message.
    pub(crate) failed: u32,
    /// Longest time of one.
    pub(crate) slowest: Duration,
}

/// Runs one command after the other until `stop`.
///
/// # Errors
/// With the command that hung, crashed, or failed without saying why.
pub(crate) fn busy(world: &World, stop: &AtomicBool) -> Result<Answers, String> {
    let mut answers = Answers::default();
    let commands = ["jlist", "list", "reloadLogs", "logs --nostream --lines 3", "ping", "pid raw"];
    for command in commands.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let (code, err) = limited(world, command)?;
        answers.count += 1;
        answers.slowest = answers.slowest.max(began.elapsed());
        if code != Some(0) {
            answers.failed += 1;
            let clear = matches!(code, Some(5 | 7)) && err.contains("error[E");
            if !clear || err.contains("panicked") {
                return Err(format!("`wpm {command}` ended with {code:?} and said: {err}"));
            }
        }
    }
    Ok(answers)
}

/// Runs a command with a limit; gives exit code and stderr.
pub(crate) fn limited(world: &World, command: &str) -> Result<(Option<i32>, String), String> {
    let told = |e: std::io::Error| e.to_string();
    let mut err = tempfile::tempfile().map_err(told)?;
    let mut child = world
        .command(command.split_whitespace())
        .stdout(tempfile::tempfile().map_err(told)?)
        .stderr(err.try_clone().map_err(told)?)
        .spawn()
        .map_err(told)?;
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|e| e.to_string())?;
    if readable([Some(ended.as_fd())], LIMIT_MS) != [true] {
        child.kill().map_err(told)?;
        let _ = child.wait().map_err(told)?;
        return Err(format!("`wpm {command}` did not end; the daemon's log:\n{}", world.log()));
    }
    let status = child.wait().map_err(told)?;
    let mut text = String::new();
    err.rewind().map_err(told)?;
    let _ = err.read_to_string(&mut text).map_err(told)?;
    Ok((status.code(), text))
}
