//! The state of keeper or shim on its way from the old program to the new one.
//!
//! Owns the frame: a sealed memfd with a format number, written before exec and read after it. What
//! is in it is said beside each user. Invariant: a state of another format is refused, and exec is
//! not tried with a state that could not be written. Whoever asks for the change has compared the numbers
//! before.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use wpm_sys::codec::{Reader, Writer};
use wpm_sys::contract::{HANDOVER, RunKey};
use wpm_sys::{exec, memfd};

use crate::wires::{NUMBERS, Unmapped, Wires};

/// Starts a state.
pub(crate) fn begin() -> Writer {
    let mut w = Writer::new();
    w.u32(HANDOVER);
    w
}

/// Executes `exe` in place of this program with the state; `command` are its arguments, to which
/// `--resume FD` is added. Returns only on failure, with everything as it was.
pub(crate) fn hand_over(exe: BorrowedFd<'_>, command: &[&CStr], state: Writer, keep: &[RawFd]) -> io::Error {
    let memfd = match memfd::sealed("wpm-state", &state.finish()) {
        Ok(fd) => fd,
        Err(e) => return e,
    };
    let Ok(number) = CString::new(memfd.as_raw_fd().to_string()) else {
        return io::ErrorKind::InvalidInput.into();
    };
    let mut args = command.to_vec();
    args.extend([c"--resume", &number]);
    let keep: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd >= 0).chain([memfd.as_raw_fd()]).collect();
    exec::in_place(exe, &args, &keep)
}

/// Reads the state that the old program left.
pub(crate) fn take(fd: RawFd) -> io::Result<Vec<u8>> {
    let memfd = exec::inherited(fd)?;
    let bytes = memfd::Sealed::map(&memfd)?;
    let mut r = Reader::new(&bytes);
    if r.u32().map_err(io::Error::other)? != HANDOVER {
        return Err(io::Error::other("the state is of an unknown format"));
    }
    Ok(bytes.split_at(4).1.to_vec())
}

/// Appends a run's objects.
pub(crate) fn put_wires<Page>(w: &mut Writer, wires: &Wires<Page>) {
    w.u64(wires.run.0);
    for fd in wires.numbers() {
        w.i32(fd);
    }
}

/// Takes a run's objects.
pub(crate) fn take_wires(r: &mut Reader<'_>) -> io::Result<Wires<Unmapped>> {
    let run = RunKey(r.u64().map_err(io::Error::other)?);
    let mut numbers = [-1; NUMBERS];
    for n in &mut numbers {
        *n = r.i32().map_err(io::Error::other)?;
    }
    Wires::inherit(run, numbers)
}
