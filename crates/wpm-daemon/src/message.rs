//! What tasks tell the loop, and who sees to it.
//!
//! Owns the list; what is done about each is with its capability.

use std::os::fd::OwnedFd;

use wpm_core::{Event, Input, InstanceId, RunId};
use wpm_sys::contract::{FromKeeper, RunReport};

use crate::clock;
use crate::daemon::Daemon;

/// What tasks tell the loop.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something has happened to a file of the home.
    HomeDisturbed,
    /// A process has said this at `NOTIFY_SOCKET`.
    Noted(i32, String),
    /// A shim reported.
    Report(RunId, Box<RunReport>, Vec<OwnedFd>),
    /// The connection to a shim ended.
    Lost(RunId),
    /// The keeper reported.
    Keeper(FromKeeper),
    /// The keeper is gone.
    KeeperLost,
    /// An app said something through its channel.
    Ipc(RunId, crate::cluster::Said),
    /// The channel of an app ended.
    IpcEnd(RunId),
    /// Clients have connected to a socket whose connections are handed out.
    Connections {
        /// Name of the app.
        app: String,
        /// Which of its sockets.
        listener: wpm_cluster::ListenerId,
    },
    /// A worker that gets no more connections is to end those that it has.
    Disconnect(RunId, u32),
    /// A worker that was asked to has ended its connections.
    Drained(RunId),
    /// A watched file changed.
    Changed {
        /// Whose.
        app: wpm_core::AppId,
        /// Which.
        path: String,
        /// Whether it changes so often that it is not watched any more.
        paused: bool,
    },
    /// The hook before a run has ended.
    Prepared {
        /// The run.
        run: RunId,
        /// Why it failed, if it did.
        failed: Option<String>,
    },
    /// A hook has failed.
    HookFailed {
        /// Whose.
        id: InstanceId,
        /// Which.
        hook: wpm_core::Hook,
        /// Why.
        why: String,
    },
    /// Something that the daemon found out by itself about a run.
    Event(RunId, Event),
}

impl Daemon {
    /// Takes what a task has to tell.
    pub(crate) fn take(&mut self, message: Message) {
        let now = clock::now();
        match message {
            Message::HomeDisturbed => self.look_after_home(),
            Message::Report(run, report, fds) => self.report(run, &report, fds),
            Message::Lost(run) => self.shim_lost(run),
            Message::Noted(pid, text) => self.noted(pid, &text),
            Message::Ipc(run, said) => self.channel_said(run, said),
            Message::IpcEnd(run) => self.channel_ends(run),
            Message::Connections { app, listener } => self.connections_came(&app, listener),
            Message::Disconnect(run, looks) => self.disconnect(run, looks),
            Message::Drained(run) => self.drained(run),
            Message::Changed { app, path, paused: false } => {
                self.core.handle(now, Input::FileChanged { app, path });
            }
            Message::Prepared { run, failed } => self.prepared(run, failed),
            Message::HookFailed { id, hook, why } => self.hook_failed(id, hook, &why),
            Message::Changed { app, path, paused: true } => self.watch_paused(app, &path),
            Message::Event(run, event) => self.core.handle(now, Input::Event(run, event)),
            Message::Keeper(report) => self.keeper_said(&report),
            Message::KeeperLost => self.keeper.is_gone = true,
        }
    }
}
