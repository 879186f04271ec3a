//! What is said of instances that did not do as asked: one error for each kind of bad end.
//!
//! Reads the last lines of stderr and looks at the program that could not be executed; changes nothing.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use wpm_client::{home, logs};
use wpm_proto::response::{InstanceOutcome, Outcome};
use wpm_proto::state::SavedExit;

use crate::failure::{Code, Failure};
use crate::quantity::show_elapsed;
use crate::render::escape;
use crate::signals;

/// Lines of stderr that are shown of an app that died: the trace of an uncaught error in Node with what
/// stands above it.
const LAST_LINES: usize = 30;

/// The errors of one app's instances.
pub(super) fn failures(app: &str, outcomes: &[&InstanceOutcome]) -> Vec<Failure> {
    let mut failures = Vec::new();
    let several = outcomes.len() > 1;
    let label = |outcome: &InstanceOutcome| {
        escape::clean(&if several { format!("{app}/{}", outcome.index) } else { app.to_owned() })
    };
    let quoted = escape::clean(&shlex::try_quote(app).unwrap_or(app.into()));
    let mut died = outcomes.iter().filter_map(|outcome| match &outcome.outcome {
        Outcome::Died { exit, after_ms, error_file, error_offset } => {
            Some((outcome, exit, *after_ms, error_file, *error_offset))
        }
        _ => None,
    });
    if let Some((outcome, exit, after, file, offset)) = died.next() {
        let others = died.count();
        let more = if others > 0 { format!(", and {others} more like it") } else { String::new() };
        let message = format!("{} {} after {}{more}", label(outcome), ended(*exit), age(after));
        let (failure, wrote) = with_last_lines(Failure::new(Code::Failed, message), file, offset);
        failures.push(failure.help(if wrote {
            format!("wpm logs {quoted} --err")
        } else {
            format!("it wrote nothing to stderr; `wpm logs {quoted}` shows its output")
        }));
    }
    for outcome in outcomes {
        let label = label(outcome);
        match &outcome.outcome {
            Outcome::NotReady { after_ms, error_file, error_offset } => {
                let message = format!("{label} was not ready after {}", age(*after_ms));
                let failure = Failure::new(Code::Failed, message);
                let (failure, _) = with_last_lines(failure, error_file, *error_offset);
                failures.push(failure.help("`--listen-timeout` gives it more time"));
            }
            Outcome::SpawnFailed { stage, subject, errno } => {
                failures.push(not_started(&label, stage, subject.as_deref(), *errno));
                // The others fail for the same reason.
                break;
            }
            Outcome::Waits { on } => {
                let on = escape::clean(on);
                let message = format!("{label} waits for {on}, which is not there");
                failures.push(
                    Failure::new(Code::Failed, message)
                        .help(format!("it starts as soon as {on} does: `wpm start {on}`")),
                );
                break;
            }
            Outcome::StillAlive => failures.push(
                Failure::new(Code::Failed, format!("{label} was killed with SIGKILL and is still there"))
                    .help("`wpm doctor` tells whether its shim is stopped; a process that waits for a device or a network file system cannot be killed"),
            ),
            _ => {}
        }
    }
    failures
}

fn age(milliseconds: u64) -> String {
    show_elapsed(Duration::from_millis(milliseconds))
}

/// `exited with code 1`, `was ended by SIGKILL`.
pub(crate) fn ended(exit: SavedExit) -> String {
    match exit {
        SavedExit::Code(code) => format!("exited with code {code}"),
        SavedExit::Signal(number) => format!("was ended by {}", signals::show(number)),
        SavedExit::OutOfMemory => "was killed by the kernel, for lack of memory,".to_owned(),
        SavedExit::Unknown => "ended".to_owned(),
    }
}

/// A run that never became the app: the step, on what, why, and what may help.
fn not_started(label: &str, stage: &str, subject: Option<&str>, errno: i32) -> Failure {
    let cause = std::io::Error::from_raw_os_error(errno);
    let on = subject.map_or_else(String::new, |subject| format!(" {}", escape::clean(subject)));
    let failure = Failure::new(Code::Failed, format!("{label} was not started: {stage}{on} failed: {cause}"));
    match advice(stage, subject.unwrap_or_default(), Errno::from_raw_os_error(errno)) {
        Some(advice) => failure.help(advice),
        None => failure,
    }
}

fn advice(stage: &str, subject: &str, errno: Errno) -> Option<String> {
    let path = Path::new(subject);
    let shown = escape::clean(&shlex::try_quote(subject).unwrap_or(subject.into()));
    match errno {
        Errno::NOENT if stage.starts_with("executing") => {
            let mut head = [0; 256];
            let read = File::open(path).and_then(|mut file| file.read(&mut head)).ok()?;
            let line = head.get(..read)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
            let line = String::from_utf8_lossy(line);
            let interpreter = escape::clean(line.split_whitespace().next()?);
            Some(format!("its first line asks for {interpreter}, which is not there"))
        }
        Errno::ACCESS if stage.starts_with("executing") => {
            let executable = fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o111 != 0);
            Some(if executable {
                "its user may not execute it, or not enter a folder above it".to_owned()
            } else {
                format!("chmod +x {shown}")
            })
        }
        Errno::NOEXEC => Some("it is no program of this machine; `--interpreter` names what runs it".to_owned()),
        Errno::TOOBIG => Some(
            "its arguments and its environment are too long for the kernel: 128 KiB for one of them, and for all \
             a quarter of the stack's limit (`ulimit -s`)"
                .to_owned(),
        ),
        Errno::ACCESS if stage.starts_with("entering") => {
            Some("its user may not enter this folder, or one above it".to_owned())
        }
        Errno::ADDRINUSE if stage.contains("--listen") => {
            Some("another program listens there: `ss -ltnp` shows which".to_owned())
        }
        Errno::ADDRNOTAVAIL if stage.contains("--listen") => Some("this machine has no such address".to_owned()),
        Errno::NOENT if stage.contains("--listen") => Some("its folder is not there".to_owned()),
        Errno::ACCESS if stage.contains("--listen") => {
            Some("ports below 1024 are root's; of a path, its user may not write to the folder".to_owned())
        }
        Errno::PERM if stage == "setting the limit nofile" => Some(
            "only root may raise a limit above that of wpm (`ulimit -Hn`), and nobody above fs.nr_open".to_owned(),
        ),
        Errno::PERM if stage.starts_with("setting the limit") => {
            Some("only root may raise a limit above that of wpm (`ulimit -H -a` in the shell that started it)".to_owned())
        }
        Errno::PERM if stage.contains("nice") => {
            Some("only root may make an app more important than wpm itself".to_owned())
        }
        Errno::PERM if stage.contains("user") => Some("only root can start apps as somebody else".to_owned()),
        _ => None,
    }
}

/// With what an app wrote to stderr since an offset, made harmless; whether it wrote anything.
fn with_last_lines(failure: Failure, file: &str, offset: u64) -> (Failure, bool) {
    let lines = last_lines(file, offset);
    let failure = if file.is_empty() { failure } else { failure.at(home::shorten(Path::new(file))) };
    if lines.is_empty() { (failure, false) } else { (failure.excerpt(lines), true) }
}

fn last_lines(file: &str, offset: u64) -> Vec<String> {
    let Ok(opened) = File::open(file) else { return Vec::new() };
    let size = opened.metadata().map_or(0, |data| data.len());
    // Shorter than it was: it has been rotated or emptied since.
    let start = if size < offset { 0 } else { offset };
    let Ok(tail) = logs::tail(&opened, start, LAST_LINES) else { return Vec::new() };
    let unfinished = Some(tail.partial).filter(|partial| !partial.is_empty());
    let lines: Vec<Vec<u8>> = tail.lines.into_iter().chain(unfinished).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..]
        .iter()
        .map(|line| escape::line(line).chars().take(500).collect())
        .collect()
}
