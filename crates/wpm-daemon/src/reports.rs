//! What shims report, on its way to the core.
//!
//! Invariant: that an app has been executed is in the journal before anything is made of it.

use std::os::fd::OwnedFd;

use wpm_core::{Event, Input, RunId};
use wpm_sys::contract::{RunReport, ToShim};

use crate::clock;
use crate::daemon::Daemon;
use crate::journal::Fact;
use crate::persistence::After;

impl Daemon {
    /// Takes a report of a shim.
    pub(crate) fn report(&mut self, id: RunId, report: &RunReport, fds: Vec<OwnedFd>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let mut fds = fds.into_iter();
        if report.carries_stdin() {
            run.stdin = fds.next();
        }
        let channel = if report.carries_ipc() { fds.next() } else { None };
        let inherited = std::mem::take(&mut run.inherited);
        let events = run.take(report);
        if inherited && self.update.proves_at.is_none() {
            self.update_shim(id);
        }
        if let Some(channel) = channel {
            self.channel_opens(id, channel);
        }
        for event in events {
            if event == Event::Launched {
                let (boot_ms, wall_ms) = (clock::boot_ms(), clock::wall_ms());
                let fact = Fact::Launched { run: id.0, boot_ms, wall_ms, came_up: false, account: None };
                self.journal(&fact, After::Nothing);
            }
            if matches!(event, Event::Exited { .. } | Event::SpawnFailed { .. } | Event::Cancelled) {
                self.channel_ends(id);
                if let Some(run) = self.runs.get_mut(&id) {
                    (run.probing, run.watchdog) = (None, None);
                }
            }
            self.core.handle(clock::now(), Input::Event(id, event));
        }
        if let Some(run) = self.runs.get(&id)
            && run.released
            && let Some(link) = &run.link
        {
            drop(link.try_send(&ToShim::Release.encode(), &[]));
        }
    }
}
