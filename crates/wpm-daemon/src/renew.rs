//! What is done when files of the home are taken away while it runs: sockets, locks, or all of it.
//!
//! The kernel tells of it; what is missing is made again, so that the next command finds this daemon and
//! no second one is started. What the apps do is not touched by any of this. It is the one place where
//! the loop waits for a disk: until it is done nobody could be served anyway.
//!
//! Invariant: nothing is made in a home that has become somebody else's.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::inotify::{self, WatchFlags};
use tokio::net::unix::pipe::Receiver;
use wpm_proto::home::Home;
use wpm_sys::contract::{RunKey, Thing, ToKeeper, ToShim};
use wpm_sys::{exec, lock, record};

use crate::daemon::Daemon;
use crate::message::Message;
use crate::store::Job;
use crate::{listener, recover, startup};

/// How long after the first file was taken away the others are looked at: they may go one by one.
const SETTLE: Duration = Duration::from_millis(50);

/// The kernel's word on the files.
///
/// The type says pipe, the descriptor tells of files: of tokio's type only the reading is used.
#[derive(Debug, Default)]
pub(crate) struct Guard(Option<Rc<Receiver>>);

impl Guard {
    /// Watches the files as they are now.
    fn watch(&self, home: &Home) {
        // What cannot be watched is not there, and is looked for at the next event.
        let Some(fd) = &self.0 else { return };
        let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        for folder in [home.path().to_owned(), home.run()] {
            let _ = inotify::add_watch(fd, &folder, gone);
        }
        // A file that is open stays when its name goes; only its count of links changes.
        for file in [home.socket(), home.daemon_lock(), home.keeper_lock(), home.keeper_socket()] {
            let _ = inotify::add_watch(fd, &file, gone | WatchFlags::ATTRIB);
        }
    }
}

/// Waits until something happens to one of them, and lets it come to rest.
async fn disturbed(events: &Receiver) -> io::Result<()> {
    events.readable().await?;
    tokio::time::sleep(SETTLE).await;
    // What it was exactly is found out by looking.
    while events.try_read(&mut [0; 4096]).is_ok() {}
    Ok(())
}

impl Daemon {
    /// Looks after the files of the home from now on.
    pub(crate) fn guard_home(&mut self) {
        let made = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let made = made.map_err(io::Error::from).and_then(Receiver::from_owned_fd_unchecked);
        let events = match made {
            Ok(events) => Rc::new(events),
            Err(error) => {
                tracing::warn!(%error, "files of the home that are taken away will not be noticed");
                return;
            }
        };
        let (watched, inbox) = (Rc::clone(&events), self.inbox.clone());
        let _detached = tokio::task::spawn_local(async move {
            while disturbed(&watched).await.is_ok() && inbox.send(Message::HomeDisturbed).is_ok() {}
        });
        self.guard = Guard(Some(events));
        // Also what an earlier daemon has not come to.
        self.look_after_home();
    }

    /// Makes again what is missing of the home.
    pub(crate) fn look_after_home(&mut self) {
        let missing = self.missing();
        if !missing.is_empty() && !self.quitting {
            tracing::warn!("taken away while wpm runs, and made again: {}", missing.join(", "));
            if let Err(error) = self.renew() {
                tracing::error!(
                    "the home {} cannot be used any more: {error}; the apps go on",
                    self.home.path().display()
                );
            }
        }
        self.guard.watch(&self.home);
    }

    fn missing(&self) -> Vec<String> {
        let home = &self.home;
        let mut missing: Vec<String> = [home.run(), home.socket(), home.keeper_lock(), home.keeper_socket()]
            .into_iter()
            .chain([home.path().to_owned()])
            .filter(|path| path.symlink_metadata().is_err())
            .map(|path| path.display().to_string())
            .collect();
        if !self.holds_lock() {
            missing.push(home.daemon_lock().display().to_string());
        }
        missing
    }

    /// Whether the lock of this daemon is still the lock of the home.
    fn holds_lock(&self) -> bool {
        let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let named = self.home.daemon_lock().metadata();
        self.lock.metadata().is_ok_and(|own| named.is_ok_and(|named| same(&own, &named)))
    }

    fn renew(&mut self) -> io::Result<()> {
        let home = self.home.clone();
        recover::make_private(home.path())?;
        let data = home.path().metadata()?;
        if data.uid() != rustix::process::geteuid().as_raw() || data.mode() & 0o022 != 0 {
            return Err(io::Error::other("it has become somebody else's, or others may write to it"));
        }
        if !self.holds_lock() {
            let taken = lock::for_life(&home.daemon_lock())?;
            self.lock = taken.ok_or_else(|| io::Error::other("another daemon has taken it over"))?;
        }
        let run_gone = home.journal().symlink_metadata().is_err();
        startup::make_folders(&home)?;
        self.renew_keeper(&home)?;
        if run_gone {
            self.persistence.store.write(Job::Renew);
        }
        if home.socket().symlink_metadata().is_err() {
            self.fresh_listener = Some(listener::open(&home)?);
        }
        self.renew_doors(&home);
        if crate::notify::path(&home).symlink_metadata().is_err() && self.notes.are_heard() {
            self.listen_for_notes_anew()?;
        }
        drop(std::fs::write(home.daemon_pid(), format!("{}\n", std::process::id())));
        self.persist();
        Ok(())
    }

    /// Gives the keeper what it is to hold instead of what was taken away.
    fn renew_keeper(&self, home: &Home) -> io::Result<()> {
        let give = |thing, fd: OwnedFd| self.keeper.send(ToKeeper::Renew(thing).encode(), vec![fd]);
        let is_gone = |path: &Path| path.symlink_metadata().is_err();
        if is_gone(&home.keeper_lock()) {
            let taken = lock::for_life(&home.keeper_lock())?;
            give(
                Thing::Lock,
                taken.ok_or_else(|| io::Error::other("another keeper has taken it over"))?.into(),
            );
        }
        if is_gone(&home.keeper_socket()) {
            give(Thing::Complaints, record::listen_at(&home.keeper_socket())?);
        }
        let own_is_gone = rustix::fs::fstat(std::io::stderr()).is_ok_and(|data| data.st_nlink == 0);
        if own_is_gone || is_gone(&home.daemon_log()) {
            let log = File::options().create(true).append(true).mode(0o600).open(home.daemon_log())?;
            exec::say_into(&log);
            give(Thing::Log, log.into());
        }
        Ok(())
    }

    /// Gives shims, and the keeper for those that may take their place, sockets where theirs are gone.
    fn renew_doors(&self, home: &Home) {
        for (id, run) in &self.runs {
            let path = home.shim_socket(run.instance.0, id.0);
            let Some(link) = run.link.as_ref().filter(|_| path.symlink_metadata().is_err()) else { continue };
            let renewed = record::listen_at(&path).and_then(|door| {
                link.try_send(&ToShim::Door.encode(), &[door.as_fd()])?;
                self.keeper.send(ToKeeper::Renew(Thing::Door(RunKey(id.0))).encode(), vec![door]);
                Ok(())
            });
            if let Err(error) = renewed {
                tracing::warn!(%error, run = id.0, "a shim could not be given another socket");
            }
        }
    }
}
