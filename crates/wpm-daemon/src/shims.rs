//! Shims that are lost while the daemon lives: connected again, replaced, or mourned.
//!
//! Invariant: a run counts as ended only where neither its shim nor its process is there.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use wpm_core::{InstanceId, RunId};
use wpm_proto::state::SavedExit;
use wpm_sys::contract::{End, RunKey, ToKeeper, ToShim};
use wpm_sys::{procfs, record};

use crate::daemon::Daemon;
use crate::link::Link;
use crate::message::Message;
use crate::recover::saved_end;
use crate::witness::end_unseen;
use crate::{convert, launch};

/// Time until a shim that could not take a connection is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

impl Daemon {
    /// Asks the keeper for a shim around an app that lives without one. One that the list does not know
    /// gets one, too: it can only be brought down.
    pub(crate) fn adopt(
        &mut self,
        instance: InstanceId,
        run: RunId,
        process: Option<(i32, u64)>,
    ) -> std::io::Result<OwnedFd> {
        let (pid, start_time) = process.ok_or(std::io::ErrorKind::NotFound)?;
        let known = self.core.instance(instance).and_then(|i| Some((i.index, self.core.app(i.app)?)));
        let described = match known {
            Some((index, app)) => {
                launch::describe(&self.home, &app.spec, index, instance, run, self.settings.log)
                    .map_err(|e| std::io::Error::from_raw_os_error(e.errno))?
            }
            None => launch::leftover(&self.home, instance, run),
        };
        let (ours, theirs) = record::pair()?;
        let beside = self.beside(instance, run, &described.encode(), theirs)?;
        tracing::info!(run = run.0, pid, "taking a running app back");
        self.keeper.send(ToKeeper::Adopt { run: RunKey(run.0), pid, start_time }.encode(), beside);
        Ok(ours)
    }

    /// Connects to a shim a little later.
    pub(crate) fn try_shim_later(&self, id: RunId) {
        let inbox = self.inbox.clone();
        let _task = tokio::task::spawn_local(async move {
            tokio::time::sleep(BUSY_PAUSE).await;
            let _gone = inbox.send(Message::Lost(id));
        });
    }

    /// The connection to a shim ended: it is done, or it was killed and the keeper makes another.
    pub(crate) fn shim_lost(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.link = None;
        run.stdin = None;
        let (instance, process, released) = (run.instance, run.process, run.released);
        let silent = !run.opened && process.is_none() && !run.in_doubt;
        let found = record::connect_to(&self.home.shim_socket(instance.0, id.0));
        let unwanted = self.core.instance_of(id).is_none() && released;
        let connected = match found {
            Ok(fd) => Ok(fd),
            Err(error) if !record::is_deserted(&error) => {
                tracing::warn!(%error, run = id.0, "a shim takes no connection now");
                self.try_shim_later(id);
                return;
            }
            // Also where its process is still to be seen, as one that nobody has reaped yet.
            Err(_) if unwanted => {
                self.runs.remove(&id);
                return;
            }
            Err(error) => match process {
                Some((pid, start_time)) if procfs::start_time(pid) == Some(start_time) => {
                    self.adopt(instance, id, process)
                }
                _ => Err(error),
            },
        };
        match connected.and_then(Link::new) {
            Ok(link) => {
                tracing::warn!(run = id.0, "a shim was lost and replaced");
                let link = Rc::new(link);
                self.listen_to(id, &link);
                if unwanted {
                    dismiss(&link);
                }
                if let Some(run) = self.runs.get_mut(&id) {
                    run.link = Some(link);
                    if run.condemned {
                        self.send(id, &ToShim::KillTree);
                    }
                }
            }
            Err(_) if silent => {
                // The keeper's own word, that it could not be forked, is on its way by another connection.
                if let Some(run) = self.runs.get_mut(&id) {
                    run.in_doubt = true;
                }
                self.try_shim_later(id);
            }
            Err(error) => {
                tracing::warn!(%error, run = id.0, "a run was lost together with its shim");
                // One whose gate was never opened (the keeper died with the request on its way) has not run.
                let event = match self.runs.get(&id) {
                    Some(run) if !run.opened => wpm_core::Event::Cancelled,
                    run => match run.and_then(|run| {
                        end_unseen(&self.home, (instance, id), run.is_launched(), run.witness.as_ref())
                    }) {
                        Some(End::Cancelled) => wpm_core::Event::Cancelled,
                        end => {
                            let exit = convert::restored_exit(end.map_or(SavedExit::Unknown, saved_end));
                            wpm_core::Event::Exited { exit, tree_gone: true, ran_ms: None }
                        }
                    },
                };
                let _gone = self.inbox.send(Message::Event(id, event));
            }
        }
    }
}

/// Ends a run that nobody wants: an ended one whose shim was not told, or a leftover.
pub(crate) fn dismiss(link: &Link) {
    drop(link.try_send(&ToShim::KillTree.encode(), &[]));
    drop(link.try_send(&ToShim::Release.encode(), &[]));
}
