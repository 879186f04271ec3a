//! History: notes of the core become events for subscribers and lines in the daemon's log.

use wpm_core::{InstanceId, Note};
use wpm_proto::event::{EventKind, EventView};

use crate::clock;
use crate::convert::{cause_words, saved_exit};

/// The event that watchers see.
pub(crate) fn event(seq: u64, instance: InstanceId, app: &str, index: u32, note: &Note) -> EventView {
    let reason = |cause| cause_words(cause).unwrap_or_else(|| "asked".to_owned());
    let what = match note {
        Note::Online { pid } => EventKind::Online { pid: *pid },
        Note::Ready => EventKind::Ready,
        Note::Exited { exit, uptime_ms } => {
            EventKind::Exited { exit: saved_exit(*exit), uptime_ms: *uptime_ms }
        }
        Note::RestartPlanned { delay_ms, cause } => {
            EventKind::RestartPlanned { delay_ms: *delay_ms, reason: reason(cause) }
        }
        Note::Stopping { cause } => EventKind::Stopping { reason: reason(cause) },
        Note::Stopped => EventKind::Stopped,
        Note::Errored { cause } => EventKind::Errored { reason: reason(cause) },
        Note::Replaced { pid } => EventKind::Replaced { pid: *pid },
        Note::NotReplaced { cause } => EventKind::NotReplaced { reason: reason(cause) },
        Note::Deleted => EventKind::Deleted,
        Note::Skipped => EventKind::Skipped,
        Note::LogTrouble { errno } => EventKind::LogTrouble { errno: *errno },
    };
    EventView { seq, at_ms: clock::wall_ms(), app: app.to_owned(), id: instance.0, index, what }
}

/// Writes the event to the daemon's log; names are escaped by the `Debug` form.
pub(crate) fn log(event: &EventView) {
    let (app, index, id) = (&event.app, event.index, event.id);
    match &event.what {
        EventKind::LogTrouble { errno } if *errno != 0 => {
            let why = rustix::io::Errno::from_raw_os_error(*errno);
            tracing::warn!("{app:?}/{index} ({id}): log files cannot be written: {why}");
        }
        EventKind::LogTrouble { .. } => {
            tracing::info!("{app:?}/{index} ({id}): log files can be written again");
        }
        EventKind::HookFailed { hook, reason } => {
            tracing::warn!("{app:?}/{index} ({id}): its hook {hook} failed: {reason}");
        }
        EventKind::Errored { reason } => tracing::warn!("{app:?}/{index} ({id}): errored: {reason}"),
        what => tracing::info!("{app:?}/{index} ({id}): {what:?}"),
    }
}
