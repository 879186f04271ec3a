//! Process descriptors of runs: they tell how a process ended that nobody of wpm could reap.
//!
//! Where keeper and shim are killed together, an app that ends before it is taken back is reaped by a
//! stranger. Whoever has opened its descriptor before is told by the kernel (Linux 6.15) how it ended.
//! So the daemon holds one for each run, and where the keeper is gone, hands them to the next daemon
//! through the next keeper, in the way of shared sockets. Watches nothing: it is asked when a status is
//! missing.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use wpm_core::{InstanceId, RunId};
use wpm_proto::home::Home;
use wpm_sys::child;
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

    /// How the process ended, where it was reaped and the kernel tells. `launched`: whether it is known to have
    /// become its program.
    pub(crate) fn end(&self, launched: bool) -> Option<End> {
        let end = self.0.end_after_reaping()?;
        // So ends a child whose gate is closed, and that is all it ever did.
        let unrun = !launched && end == End::Code(child::FAILED);
        Some(if unrun { End::Cancelled } else { end })
    }
}

/// How a run ended that no shim can tell of: as its child has said that it did not run, or as its witness tells.
pub(crate) fn end_unseen(
    home: &Home,
    (instance, run): (InstanceId, RunId),
    launched: bool,
    witness: Option<&Witness>,
) -> Option<End> {
    let mark = child::unrun_mark(home.shim_socket(instance.0, run.0).as_os_str().as_bytes());
    if !launched && mark.exists() { Some(End::Cancelled) } else { witness?.end(launched) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_found_its_gate_closed_is_no_app_that_ended_so() {
        let exit = format!("read x; exit {}", child::FAILED);
        let mut command = std::process::Command::new("/bin/sh");
        let mut sh =
            command.args(["-c", &exit]).stdin(std::process::Stdio::piped()).spawn().expect("a shell");
        let pid = i32::try_from(sh.id()).expect("small");
        let witness = Witness::of((pid, wpm_sys::procfs::start_time(pid).expect("it waits")));
        drop(sh.stdin.take());
        sh.wait().expect("it ends");
        let witness = witness.expect("it was there");
        // A kernel before 6.15 tells nothing.
        let told = witness.end(true);
        assert!(matches!(told, None | Some(End::Code(child::FAILED))), "{told:?}");
        assert_eq!(witness.end(false), told.map(|_| End::Cancelled));
    }
}
