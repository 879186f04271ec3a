//! Wire, memory and disk are three types; here is the only place where one becomes another.
//!
//! Every conversion names every field, so that a new one cannot be forgotten silently.

mod spec;

use wpm_core::{Cause, Exit, FileName, LogNames, Millis, ScaleTo, SpecChange};
use wpm_proto::request::{Change, Scale};
use wpm_proto::response;
use wpm_proto::state::SavedExit;
use wpm_proto::view::{self, Status};

pub(crate) use spec::{app_spec, restored_spec, saved_spec, spec};

/// What an app gets where neither it nor the user says otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    /// First signal of a stop.
    pub(crate) kill_signal: i32,
    /// Milliseconds until SIGKILL.
    pub(crate) kill_timeout_ms: u64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { kill_signal: 2, kill_timeout_ms: 1600 }
    }
}

/// A field of an app that cannot be understood, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadField {
    /// Its name.
    pub(crate) field: &'static str,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// Wire to memory.
pub(crate) fn change(change: Change) -> SpecChange {
    let Change {
        env,
        file_env,
        args,
        interpreter_args,
        name,
        kill_timeout_ms,
        max_memory_restart,
        restart_delay_ms,
        exp_backoff_restart_delay_ms,
        max_restarts,
        autorestart,
        stop_exit_codes,
        cron_restart,
        log_date_format,
        watch,
    } = change;
    let span = |ms: u64| (ms > 0).then_some(Millis(ms));
    SpecChange {
        env,
        file_env,
        args,
        interpreter_args,
        name,
        kill_timeout: kill_timeout_ms.map(Millis),
        max_memory: max_memory_restart.map(|bytes| (bytes > 0).then_some(bytes)),
        restart_delay: restart_delay_ms.map(span),
        backoff: exp_backoff_restart_delay_ms.map(span),
        max_restarts,
        autorestart,
        stop_exit_codes,
        cron_restart: cron_restart.map(|rule| (rule != "0").then_some(rule)),
        date_format: log_date_format.map(|format| (!format.is_empty()).then_some(format)),
        watch,
    }
}

/// Memory to wire.
pub(crate) fn app_change(change: wpm_core::AppChange) -> response::AppChange {
    use response::Step as Wire;
    use wpm_core::Step;
    response::AppChange {
        app: change.name,
        step: match change.step {
            Step::Add => Wire::Add,
            Step::Keep => Wire::Keep,
            Step::Start => Wire::Start,
            Step::Adjust => Wire::Adjust,
            Step::Scale => Wire::Scale,
            Step::Reload => Wire::Reload,
            Step::Restart => Wire::Restart,
            Step::Delete => Wire::Delete,
        },
        instances: change.instances,
        differences: change.differences.into_iter().map(difference).collect(),
    }
}

fn difference(difference: wpm_core::Difference) -> response::Difference {
    let wpm_core::Difference { key, old, new, secret, effect: _ } = difference;
    response::Difference { key, old, new, secret }
}

/// Wire to memory.
pub(crate) const fn scale(to: Scale) -> ScaleTo {
    match to {
        Scale::Exactly(n) => ScaleTo::Exactly(n),
        Scale::More(n) => ScaleTo::More(n),
        Scale::Fewer(n) => ScaleTo::Fewer(n),
    }
}

/// Memory to wire.
pub(crate) const fn status(status: wpm_core::Status) -> Status {
    use wpm_core::Status as Core;
    match status {
        Core::Online => Status::Online,
        Core::Launching => Status::Launching,
        Core::Stopping => Status::Stopping,
        Core::Stopped => Status::Stopped,
        Core::WaitingRestart => Status::WaitingRestart,
        Core::Errored => Status::Errored,
    }
}

/// Memory to wire.
pub(crate) fn file_names((logs, pid): (LogNames, FileName)) -> view::FileNames {
    let LogNames { out, err, both } = logs;
    let name = |FileName { head, tail, numbered_from }| view::FileName { head, tail, numbered_from };
    view::FileNames { out: out.map(name), error: err.map(name), both: both.map(name), pid: name(pid) }
}

/// Memory to wire and disk.
pub(crate) const fn saved_exit(exit: Exit) -> SavedExit {
    match exit {
        Exit::Code(code) => SavedExit::Code(code),
        Exit::Signal(signal) => SavedExit::Signal(signal),
        Exit::OutOfMemory => SavedExit::OutOfMemory,
        Exit::Unknown => SavedExit::Unknown,
    }
}

/// Disk to memory.
pub(crate) const fn restored_exit(exit: SavedExit) -> Exit {
    match exit {
        SavedExit::Code(code) => Exit::Code(code),
        SavedExit::Signal(signal) => Exit::Signal(signal),
        SavedExit::OutOfMemory => Exit::OutOfMemory,
        SavedExit::Unknown => Exit::Unknown,
    }
}

/// An end in a few words.
pub(crate) fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::OutOfMemory => "out of memory".to_owned(),
        Exit::Unknown => "exit unknown".to_owned(),
    }
}

/// A cause in a few words; `None` where there is nothing to say.
pub(crate) fn cause_words(cause: &Cause) -> Option<String> {
    match cause {
        Cause::Asked => None,
        Cause::Exited(exit) => Some(exit_words(*exit)),
        Cause::Finished(exit) => Some(format!("finished, {}", exit_words(*exit))),
        Cause::CrashLoop { last, count } => {
            Some(format!("crash loop: {count} short runs, last {}", exit_words(*last)))
        }
        Cause::SpawnFailed { stage, errno } => {
            Some(format!("failed while {stage}: {}", rustix::io::Errno::from_raw_os_error(*errno)))
        }
        Cause::Memory { bytes } => Some(format!("memory limit: {} MiB in use", bytes / (1024 * 1024))),
        Cause::Cron => Some("cron".to_owned()),
        Cause::Scheduled => Some("scheduled".to_owned()),
        Cause::Waits { app } => Some(format!("waits for {app}")),
        Cause::Changed { path } => Some(format!("{path} changed")),
        Cause::NotReady => Some("not ready in time".to_owned()),
        Cause::Unhealthy => Some("unhealthy".to_owned()),
        Cause::Watchdog => Some("watchdog missed".to_owned()),
        Cause::Leaving => Some("ending by itself".to_owned()),
        Cause::Told(words) => Some(words.clone()),
    }
}
