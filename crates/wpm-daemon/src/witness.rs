//! Process descriptors of runs: they tell how a process ended that nobody of wpm could reap.
//!
//! Where keeper and shim are killed together, an app that ends before it is taken back is reaped by a
//! stranger. Whoever has opened its descriptor before is told by the kernel (Linux 6.15) how it ended.
//! So the daemon holds one for each run, and where the keeper is gone, hands them to the next daemon
//! through the next keeper, in the way of shared sockets. Watches nothing: it is asked when a status is
//! missing.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use wpm_core::RunId;
use wpm_sys::contract::End;
use wpm_sys::pidfd::PidFd;

use crate::run::Run;

/// Most of them that are handed on: they travel in one argument of a command.
const HANDED_ON: usize = 1000;

/// Those that an earlier daemon has opened, by run.
pub(crate) type Witnesses = HashMap<RunId, Witness>;

/// The descriptor of a run's main process.
#[derive(Debug, Clone)]
pub(crate) struct Witness(Rc<PidFd>);

impl AsFd for Witness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Witness {
    /// Of a process that lives or is not reaped; `None` where there is none that started then.
    pub(crate) fn of((pid, start_time): (i32, u64)) -> Option<Self> {
        PidFd::open_checked(pid, start_time).ok().map(|fd| Self(Rc::new(fd)))
    }

    /// How the process ended, where it was reaped and the kernel tells.
    pub(crate) fn end(&self) -> Option<End> {
        self.0.end_after_reaping()
    }
}

/// Parts what a keeper held into sockets and witnesses, which are the only things that are no sockets.
pub(crate) fn part(held: Vec<(u64, OwnedFd)>) -> (Vec<(u64, OwnedFd)>, Witnesses) {
    let (sockets, others): (Vec<_>, Vec<_>) =
        held.into_iter().partition(|(_, fd)| rustix::net::sockopt::socket_type(fd).is_ok());
    let witness = |fd| Witness(Rc::new(PidFd::from(fd)));
    (sockets, others.into_iter().map(|(run, fd)| (RunId(run), witness(fd))).collect())
}

/// Those that the next daemon is to have, by the number of their run: first of the runs that have lost
/// their shims.
pub(crate) fn to_hand_on<'a>(runs: impl Iterator<Item = (&'a RunId, &'a Run)>) -> Vec<(u64, Witness)> {
    let lost =
        |run: &Run| run.link.is_none() || wpm_sys::procfs::stat(run.shim_pid).is_none_or(|s| s.is_zombie());
    let mut all: Vec<_> =
        runs.filter_map(|(id, run)| Some((!lost(run), id.0, run.witness.clone()?))).collect();
    all.sort_by_key(|(has_shim, id, _)| (*has_shim, *id));
    all.into_iter().take(HANDED_ON).map(|(_, id, witness)| (id, witness)).collect()
}
