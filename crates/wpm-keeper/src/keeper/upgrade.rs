//! Replacing the keeper's program in place.
//!
//! Owns the list of what the new program needs. Invariant: the process id stays, so children stay
//! children, and nothing is closed or lost if the new program cannot be executed.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wpm_sys::codec::Reader;
use wpm_sys::exec::inherited;
use wpm_sys::process::SingleThread;
use wpm_sys::signals::SignalFd;
use wpm_sys::{clock, parting, start};

use super::daemon::Daemon;
use super::{Keeper, Run};
use crate::resume;

impl Keeper {
    /// Executes `exe` in place. Returns only on failure.
    pub(super) fn upgrade(&self, exe: BorrowedFd<'_>) -> io::Error {
        let (pid, socket, starts) = self.daemon.facts();
        let mut w = resume::begin();
        let mut keep: Vec<RawFd> = vec![self.lock.as_raw_fd(), self.complaints.as_raw_fd(), socket];
        w.i32(self.lock.as_raw_fd()).i32(self.complaints.as_raw_fd());
        w.i32(pid).i32(socket).u32(starts).u64(self.descriptors_soft);
        w.u8(u8::from(self.quitting)).u32(u32::try_from(self.runs.len()).unwrap_or(0));
        for run in &self.runs {
            resume::put_wires(&mut w, &run.wires);
            keep.extend(run.wires.numbers());
            w.i32(run.shim);
        }
        w.u32(u32::try_from(self.held.len()).unwrap_or(0));
        for (key, fd) in &self.held {
            w.u64(*key).i32(fd.as_raw_fd());
            keep.push(fd.as_raw_fd());
        }
        let (Ok(command), Ok(home)) = (CString::new(start::KEEPER_COMMAND), CString::new(self.home.clone()))
        else {
            return io::ErrorKind::InvalidInput.into();
        };
        resume::hand_over(exe, &[c"wpm", &command, &home], w, &keep)
    }

    /// Goes on where the old program left off.
    pub(super) fn resume(proof: SingleThread, home: &Path, fd: RawFd) -> io::Result<Self> {
        let state = resume::take(fd)?;
        let mut r = Reader::new(&state);
        let bad = io::Error::other::<wpm_sys::codec::DecodeError>;
        let lock = File::from(inherited(r.i32().map_err(bad)?)?);
        let complaints = inherited(r.i32().map_err(bad)?)?;
        let (pid, socket, starts) = (r.i32().map_err(bad)?, r.i32().map_err(bad)?, r.u32().map_err(bad)?);
        let socket = (socket >= 0).then(|| inherited(socket)).transpose()?;
        let descriptors_soft = r.u64().map_err(bad)?;
        let quitting = r.u8().map_err(bad)? == 1;
        let mut runs = Vec::new();
        for _ in 0..r.u32().map_err(bad)? {
            let wires = resume::take_wires(&mut r)?;
            let shim = r.i32().map_err(bad)?;
            let now = clock::monotonic_ms();
            let replace_at = (shim == 0).then_some(now);
            runs.push(Run { wires, shim, shim_since: now, young_deaths: 0, replace_at });
        }
        let mut held = Vec::new();
        for _ in 0..r.u32().map_err(bad)? {
            held.push((r.u64().map_err(bad)?, inherited(r.i32().map_err(bad)?)?));
        }
        Ok(Self {
            proof,
            home: home.as_os_str().as_bytes().to_vec(),
            lock,
            signals: SignalFd::open()?,
            complaints,
            descriptors_soft,
            parts: parting::is_possible(),
            daemon: Daemon::inherit(pid, socket, starts),
            runs,
            held,
            hearing: false,
            looked_at: clock::monotonic_ms(),
            quitting,
            announced: true,
        })
    }
}
