//! Commands that are typed all the time while wpm is being killed.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::process::Child;
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
            clear(command, code, &err)?;
        }
    }
    Ok(answers)
}

/// Whether a command that failed has said why.
pub(crate) fn clear(command: &str, code: Option<i32>, err: &str) -> Result<(), String> {
    if matches!(code, Some(5 | 7)) && err.contains("error[E") && !err.contains("panicked") {
        return Ok(());
    }
    Err(format!("`wpm {command}` ended with {code:?} and said: {err}"))
}

/// A command that was typed and runs.
pub(crate) struct Typed {
    line: String,
    child: Child,
    err: File,
}

/// Types a command.
pub(crate) fn typed(world: &World, line: &str) -> Result<Typed, String> {
    let told = |e: std::io::Error| e.to_string();
    let err = tempfile::tempfile().map_err(told)?;
    let child = world
        .command(line.split_whitespace())
        .stdout(tempfile::tempfile().map_err(told)?)
        .stderr(err.try_clone().map_err(told)?)
        .spawn()
        .map_err(told)?;
    Ok(Typed { line: line.to_owned(), child, err })
}

impl Typed {
    /// Waits for its end, with a limit; gives exit code and stderr.
    pub(crate) fn wait(mut self, world: &World) -> Result<(Option<i32>, String), String> {
        let told = |e: std::io::Error| e.to_string();
        let ended =
            pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).map_err(|e| e.to_string())?;
        if readable([Some(ended.as_fd())], LIMIT_MS) != [true] {
            self.child.kill().map_err(told)?;
            let _ = self.child.wait().map_err(told)?;
            return Err(format!("`wpm {}` did not end; the daemon's log:\n{}", self.line, world.log()));
        }
        let status = self.child.wait().map_err(told)?;
        let mut text = String::new();
        self.err.rewind().map_err(told)?;
        let _ = self.err.read_to_string(&mut text).map_err(told)?;
        Ok((status.code(), text))
    }
}

/// Runs a command with a limit; gives exit code and stderr.
pub(crate) fn limited(world: &World, command: &str) -> Result<(Option<i32>, String), String> {
    typed(world, command)?.wait(world)
}

/// What came of updates.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    /// Done.
    pub(crate) done: u32,
    /// Failed, with a clear message.
    pub(crate) failed: u32,
    /// Longest time of one.
    pub(crate) slowest: Duration,
}

/// Changes wpm's program again and again, to and fro between copies of it, until `stop`.
///
/// # Errors
/// With the update that hung or crashed, or failed although nothing was killed (`calm`).
pub(crate) fn update(world: &World, stop: &AtomicBool, calm: bool) -> Result<Updates, String> {
    let mut updates = Updates::default();
    let copies = ["wpm-a", "wpm-b"].map(|name| world.dir.path().join(name));
    for copy in &copies {
        let _ = std::fs::copy(crate::world::WPM, copy).map_err(|e| e.to_string())?;
    }
    for copy in copies.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let (code, err) = limited(world, &format!("update {}", copy.display()))?;
        if code == Some(0) {
            updates.done += 1;
            updates.slowest = updates.slowest.max(began.elapsed());
            continue;
        }
        updates.failed += 1;
        // A new daemon that is killed before it has proved itself is taken back, as told.
        let taken_back = code == Some(1) && err.contains("died before it was up");
        if calm || !taken_back {
            clear("update", code, &err)?;
        }
        if calm {
            return Err(format!("an update failed although nothing was killed: {err}"));
        }
    }
    Ok(updates)
}
