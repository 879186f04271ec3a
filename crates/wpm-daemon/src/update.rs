//! Taking another program in place, under running apps.
//!
//! The order is what makes it safe: first the keeper starts the daemon anew with the new program, and
//! goes back to the old one if that daemon dies before it is up. Only a daemon that has taken
//! everything over hands its program on to the keeper and to the shims, which replace theirs by
//! `execve` and keep their process ids, children and descriptors.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use wpm_proto::error::{ErrorCode, WireError};
use wpm_proto::response::Body;
use wpm_sys::contract::{ToKeeper, ToShim};

use crate::daemon::Daemon;

/// How long a new program must have run as daemon.
const TRIAL: Duration = Duration::from_millis(500);
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How far an update is.
#[derive(Debug, Default)]
pub(crate) struct Update {
    /// Whether the daemon ends for the next program to take over.
    pub(crate) is_under_way: bool,
    /// When this daemon, started in place of another program, counts as proved.
    pub(crate) proves_at: Option<Instant>,
    /// Why the last one was taken back.
    pub(crate) failed: Option<String>,
}

impl Daemon {
    /// Has the keeper start the next daemon with this program, and ends.
    pub(crate) fn update(&mut self, exe: &str) -> Body {
        let program = match File::open(exe) {
            Ok(program) => program,
            Err(e) => {
                let message = format!("cannot open {exe}: {e}");
                return Body::Error {
                    error: WireError {
                        code: ErrorCode::BadRequest,
                        message,
                        hint: None,
                        similar: vec![],
                        entry: None,
                    },
                };
            }
        };
        tracing::info!("{exe:?} takes over; the apps go on");
        self.keeper.send(ToKeeper::TryProgram.encode(), vec![OwnedFd::from(program)]);
        self.update.is_under_way = true;
        Body::Outcomes { outcomes: vec![], remarks: vec![] }
    }

    /// The keeper had to go back to this program.
    pub(crate) fn update_failed(&mut self, status: u32) {
        let how = match status.checked_sub(256) {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("exit code {status}"),
        };
        tracing::error!("the new program died before it was up ({how}): the old one goes on");
        self.update.failed = Some(how);
    }

    /// A daemon that is another program than its keeper has to live for a while before the others
    /// take it.
    pub(crate) fn prove_later(&mut self) {
        let other = File::open(OWN_PROGRAM)
            .is_ok_and(|own| !same_file(&own, &format!("/proc/{}/exe", self.keeper.pid)));
        if other {
            self.update.proves_at = Some(Instant::now() + TRIAL);
        } else {
            self.keeper.send(ToKeeper::Here.encode(), vec![]);
        }
    }

    /// Has keeper and shims take the program of this daemon.
    pub(crate) fn hand_program_on(&mut self) {
        self.update.proves_at = None;
        let Ok(own) = File::open(OWN_PROGRAM) else { return };
        let same = |pid: i32| same_file(&own, &format!("/proc/{pid}/exe"));
        let old_shims: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, r)| r.shim_pid > 0 && !same(r.shim_pid))
            .map(|(id, _)| *id)
            .collect();
        for run in old_shims {
            self.hand_program_to(run, &own);
        }
        if self.keeper.pid > 0
            && !same(self.keeper.pid)
            && let Ok(program) = own.try_clone()
        {
            tracing::info!("the keeper takes the program of this daemon");
            self.keeper.send(ToKeeper::Upgrade.encode(), vec![program.into()]);
        }
    }

    /// Has one shim take the program of this daemon, if it has another.
    pub(crate) fn update_shim(&mut self, run: wpm_core::RunId) {
        let Some(pid) = self.runs.get(&run).map(|r| r.shim_pid).filter(|pid| *pid > 0) else { return };
        if let Ok(own) = File::open(OWN_PROGRAM)
            && !same_file(&own, &format!("/proc/{pid}/exe"))
        {
            self.hand_program_to(run, &own);
        }
    }

    fn hand_program_to(&self, run: wpm_core::RunId, program: &File) {
        if let Some(link) = self.runs.get(&run).and_then(|r| r.link.as_ref())
            && let Err(error) = link.try_send(&ToShim::Upgrade.encode(), &[program.as_fd()])
        {
            tracing::warn!(%error, run = run.0, "a shim could not be given the new program");
        }
    }
}

/// Whether the open file and the path are one file. A path that cannot be looked at counts as the same:
/// nothing is replaced on a guess.
fn same_file(open: &File, path: &str) -> bool {
    match (open.metadata(), std::fs::metadata(Path::new(path))) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => true,
    }
}
