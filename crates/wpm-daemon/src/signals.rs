//! The signals that the daemon hears: to end, and to open the logs anew.
//!
//! Not SIGHUP: a closed terminal is nothing to a daemon.

use std::io;

/// What a signal asks for.
pub(crate) enum Signal {
    /// Open the log files anew.
    Reopen,
    /// End; the apps go on.
    End,
}

/// The signals under way.
pub(crate) struct Signals {
    end: [tokio::signal::unix::Signal; 3],
    hup: tokio::signal::unix::Signal,
    reopen: tokio::signal::unix::Signal,
}

impl Signals {
    /// Hears them from now on.
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            end: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::quit())?,
            ],
            hup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Option<Signal> {
        let [term, int, quit] = &mut self.end;
        loop {
            tokio::select! {
                _ = term.recv() => return Some(Signal::End),
                _ = int.recv() => return Some(Signal::End),
                _ = quit.recv() => return Some(Signal::End),
                _ = self.reopen.recv() => return Some(Signal::Reopen),
                // A closed terminal is nothing to a daemon.
                _ = self.hup.recv() => {}
            }
        }
    }
}
