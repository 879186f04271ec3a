//! What a unit runs beside its keeper: after the start, and before the end.
//!
//! Owns telling a stop from a restart. Invariant: apps are stopped only when the service itself is to
//! end, and the list on disk stays as it is, for the next start to bring them back.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wpm_client::{Client, Ending, Error, Options, Start, home};
use wpm_proto::request::{Detail, Op};
use wpm_proto::response::Body;

use crate::failure::Failure;
use crate::output;

/// Attempts to reach a daemon that is being replaced at the moment of the stop.
const ATTEMPTS: u32 = 20;
/// Between them.
const PAUSE: Duration = Duration::from_millis(100);
/// How long daemon and keeper may take to end, in seconds: until then whatever did not die of a kill may have. The
/// manager waits for longer.
const LEAVING_S: i64 = 30;

/// Runs `wpm __unit WORD [UNIT MANAGER]`.
pub(crate) fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match *words.as_slice() {
        ["start" | "started"] => started(),
        ["status"] => connect(Start::Never).map(drop),
        ["stop"] => stop(),
        ["stop", unit, manager] if ends(&jobs(manager), unit) => stop(),
        ["stop", ..] => Ok(()),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&failure.render(&[]));
            ExitCode::FAILURE
        }
    }
}

fn connect(start: Start) -> Result<Client, Failure> {
    Ok(Client::open(home::locate()?, Options { start, ..Options::default() })?)
}

/// The daemon has restored its list by itself. An empty one is filled from what was saved.
fn started() -> Result<(), Failure> {
    let mut client = connect(Start::IfAbsent)?;
    let empty = match client.call(Op::List { targets: vec![], detail: Detail::State }, |_| ())? {
        Body::Apps { apps } => apps.is_empty(),
        _ => false,
    };
    if empty {
        drop(client.call(Op::Resurrect { wait: false }, |_| ())?);
    }
    Ok(())
}

/// Stops every app and ends daemon and keeper.
fn stop() -> Result<(), Failure> {
    let mut attempt = 0;
    let mut client = loop {
        match Client::open(home::locate()?, Options { start: Start::Never, ..Options::default() }) {
            Ok(client) => break client,
            // Its keeper starts it again, unless there is none.
            Err(Error::NoDaemon { .. }) if attempt < ATTEMPTS && main_process().is_some() => {
                attempt += 1;
                std::thread::sleep(PAUSE);
            }
            Err(Error::NoDaemon { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    };
    let ending = Ending::of(&mut client);
    drop(client.call(Op::Kill { keep_list: true }, |_| ())?);
    // Whoever asks next must not be answered by one that is on its way out.
    let _ended = ending.with(&client).wait(Duration::from_secs(LEAVING_S.unsigned_abs()));
    if let Some(keeper) = main_process() {
        let limit = Timespec { tv_sec: LEAVING_S, tv_nsec: 0 };
        // Whether it has ended by then or not, the manager goes on.
        let _ = poll(&mut [PollFd::new(&keeper, PollFlags::IN)], Some(&limit));
    }
    Ok(())
}

/// The main process of the unit, as the manager names it, if it lives.
fn main_process() -> Option<std::os::fd::OwnedFd> {
    let pid = Pid::from_raw(std::env::var("MAINPID").ok()?.parse().ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// What the manager is about to do, as `systemctl` tells it; `None` if it cannot be asked.
fn jobs(manager: &str) -> Option<String> {
    let output = Command::new("systemctl")
        .args([if manager == "user" { "--user" } else { "--system" }, "--no-legend", "--plain", "--full"])
        .arg("list-jobs")
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the unit is to end for good. Without an answer it is: a machine that goes down may have
/// ended those already who could give one.
fn ends(jobs: &Option<String>, unit: &str) -> bool {
    let Some(jobs) = jobs else { return true };
    jobs.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(unit) && words.next() == Some("stop")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_that_stops_the_unit_ends_it() {
        let jobs = |text: &str| Some(text.to_owned());
        assert!(ends(
            &jobs("  12 wpm-web.service stop running\n 13 x.service start waiting\n"),
            "wpm-web.service"
        ));
        assert!(!ends(&jobs("12 wpm-web.service restart running\n"), "wpm-web.service"));
        assert!(!ends(&jobs("12 other.service stop running\n"), "wpm-web.service"));
        assert!(!ends(&jobs("No jobs running.\n"), "wpm-web.service"));
        assert!(!ends(&jobs(""), "wpm-web.service"));
        assert!(ends(&None, "wpm-web.service"), "nobody could be asked");
    }
}
