//! What apps say at `NOTIFY_SOCKET` (sd_notify(3)): ready, reloading, stopping, alive, more time, and how
//! they are in words.
//!
//! Owns the socket, one for the home, and finds the run of a sender by the credentials that the kernel
//! adds. The keeper holds it, too: what is said while there is no daemon waits for the next one, and
//! nobody who speaks then gets an error. Invariant: a message counts for the run whose process or descendant has sent it, and for no
//! other; there is a socket only while an app is told of it.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, sockopt};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;
use wpm_core::{Check, Event, RunId, Spec};
use wpm_proto::home::Home;
use wpm_sys::procfs;

use crate::cluster::Fd;
use crate::daemon::Daemon;
use crate::message::Message;

/// Longest message, in bytes.
const LONGEST: usize = 4096;
/// The keeper's name for the socket; those of shared ports end otherwise.
pub(crate) const KEY: u64 = u64::MAX;
/// How far the parents of a sender are followed.
const GENERATIONS: usize = 64;

/// Where apps find the socket.
pub(crate) fn path(home: &Home) -> PathBuf {
    home.run().join("notify.sock")
}

/// Whether an app is to be told of it.
pub(crate) fn is_used(spec: &Spec) -> bool {
    [&spec.ready, &spec.health].into_iter().any(|check| *check == Some(Check::Notify))
}

/// The variables of an app that uses it.
pub(crate) fn variables(home: &Home, spec: &Spec) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    if is_used(spec) {
        variables.push(("NOTIFY_SOCKET", path(home).to_string_lossy().into_owned()));
    }
    if spec.health == Some(Check::Notify) {
        variables.push(("WATCHDOG_USEC", spec.health_interval.0.saturating_mul(1000).to_string()));
    }
    variables
}

/// Longest status that is kept, in characters.
const LONGEST_STATUS: usize = 200;

/// What a run says of itself, for those who look.
#[derive(Debug, Default)]
pub(crate) struct Words {
    reloading: bool,
    status: String,
}

impl Words {
    /// In few words.
    pub(crate) fn shown(&self) -> Option<String> {
        match (self.reloading, self.status.as_str()) {
            (false, "") => None,
            (false, status) => Some(status.to_owned()),
            (true, "") => Some("reloading".into()),
            (true, status) => Some(format!("reloading: {status}")),
        }
    }
}

/// What a message says that matters here, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Ready,
    Reloading,
    Status(String),
    Stopping,
    Alive,
    Ill,
    MoreTime { ms: u64 },
}

fn parse(text: &str) -> impl Iterator<Item = Said> + '_ {
    text.lines().filter_map(|line| match line.split_once('=')? {
        ("READY", "1") => Some(Said::Ready),
        ("RELOADING", "1") => Some(Said::Reloading),
        ("STATUS", text) => Some(Said::Status(text.chars().take(LONGEST_STATUS).collect())),
        ("STOPPING", "1") => Some(Said::Stopping),
        ("WATCHDOG", "1") => Some(Said::Alive),
        ("WATCHDOG", "trigger") => Some(Said::Ill),
        ("EXTEND_TIMEOUT_USEC", us) => us.parse::<u64>().ok().map(|us| Said::MoreTime { ms: us / 1000 }),
        _ => None,
    })
}

/// The socket, once an app uses it.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The task that hears.
    hearing: Option<JoinHandle<()>>,
    /// The socket itself, by the keeper's name for it.
    pub(crate) socket: Option<(u64, Fd)>,
}

impl Notes {
    /// Whether what is said is heard.
    pub(crate) const fn are_heard(&self) -> bool {
        self.hearing.is_some()
    }
}

impl Daemon {
    /// Sees to it that there is a socket, where an app needs one.
    ///
    /// # Errors
    /// When it cannot be bound; the path of a socket has at most 107 bytes.
    pub(crate) fn listen_for_notes(&mut self) -> io::Result<()> {
        if self.notes.are_heard() {
            return Ok(());
        }
        let path = path(&self.home);
        let held = self.clusters.claim(KEY).filter(|_| path.exists());
        let fd = match held {
            Some(fd) => fd,
            None => Rc::new(OwnedFd::from(bind(&path)?)),
        };
        self.keep(KEY, &fd);
        let socket = std::os::unix::net::UnixDatagram::from(fd.try_clone()?);
        self.notes.socket = Some((KEY, fd));
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        let inbox = self.inbox.clone();
        self.notes.hearing = Some(tokio::task::spawn_local(async move {
            loop {
                match receive(&socket).await {
                    Ok(Some((pid, text))) => {
                        if inbox.send(Message::Noted(pid, text)).is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "what apps say at NOTIFY_SOCKET is not heard any more");
                        return;
                    }
                }
            }
        }));
        Ok(())
    }

    /// The same where the socket's file was taken away.
    pub(crate) fn listen_for_notes_anew(&mut self) -> io::Result<()> {
        if let Some(hearing) = self.notes.hearing.take() {
            hearing.abort();
        }
        self.notes.socket = None;
        self.listen_for_notes()
    }

    /// A process has said something.
    pub(crate) fn noted(&mut self, pid: i32, text: &str) {
        let Some(run) = self.run_of(pid) else {
            tracing::debug!(pid, "a stranger spoke at NOTIFY_SOCKET");
            return;
        };
        let Some(spec) = self.core.spec_of_run(run) else { return };
        for said in parse(text) {
            if let Some(held) = self.runs.get_mut(&run) {
                match &said {
                    // Ready again: what it has read anew is in force.
                    Said::Ready => held.words.reloading = false,
                    Said::Reloading => held.words.reloading = true,
                    Said::Status(text) => held.words.status.clone_from(text),
                    Said::Stopping | Said::Alive | Said::Ill | Said::MoreTime { .. } => {}
                }
            }
            let event = match said {
                Said::Ready if spec.ready == Some(Check::Notify) => Event::BecameReady,
                Said::Alive => {
                    self.feed_watchdog(run);
                    continue;
                }
                Said::Ill if spec.health == Some(Check::Notify) => Event::BecameUnhealthy,
                Said::Stopping => Event::AskedToStop,
                Said::MoreTime { ms } => Event::ExtendTimeout { ms },
                Said::Ready | Said::Ill | Said::Reloading | Said::Status(_) => continue,
            };
            self.core.handle(crate::clock::now(), wpm_core::Input::Event(run, event));
        }
    }

    /// The run that a process belongs to: the one of its nearest forefather that is a main process or a
    /// shim.
    fn run_of(&self, pid: i32) -> Option<RunId> {
        let mut at = pid;
        for _ in 0..GENERATIONS {
            let found = self
                .runs
                .iter()
                .find(|(_, run)| run.shim_pid == at || run.process.is_some_and(|(main, _)| main == at));
            if let Some((id, _)) = found {
                return Some(*id);
            }
            at = procfs::stat(at).map(|s| s.parent).filter(|parent| *parent > 1)?;
        }
        None
    }
}

fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixDatagram> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = std::os::unix::net::UnixDatagram::bind(path)?;
    // An app may run as another user; who sends what is known from the kernel.
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    sockopt::set_socket_passcred(&socket, true)?;
    Ok(socket)
}

/// The next message and its sender; `None` for one without credentials.
async fn receive(socket: &UnixDatagram) -> io::Result<Option<(i32, String)>> {
    let read = || {
        let mut bytes = [0; LONGEST];
        let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got =
            rustix::net::recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        // Descriptors that somebody sends along are closed here.
        let sender = control.drain().fold(None, |sender, message| match message {
            RecvAncillaryMessage::ScmCredentials(who) => Some(who.pid.as_raw_nonzero().get()),
            _ => sender,
        });
        let text = String::from_utf8_lossy(bytes.get(..got.bytes).unwrap_or_default()).into_owned();
        Ok(sender.map(|pid| (pid, text)))
    };
    socket.async_io(Interest::READABLE, read).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_word_a_line_and_the_rest_is_passed_over() {
        let text =
            "READY=1\nSTATUS=Serving READY=0\nMAINPID=7\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=2500000\nSTOPPING=1";
        let said: Vec<Said> = parse(text).collect();
        let status = Said::Status("Serving READY=0".into());
        assert_eq!(said, [Said::Ready, status, Said::Alive, Said::MoreTime { ms: 2500 }, Said::Stopping]);
        assert_eq!(
            parse("READY=0\n\0\nWATCHDOG=trigger\nEXTEND_TIMEOUT_USEC=-1\nRELOADING=1").collect::<Vec<_>>(),
            [Said::Ill, Said::Reloading]
        );
    }
}
