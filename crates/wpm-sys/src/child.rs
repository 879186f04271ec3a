//! The way of a forked child from its gate to the program.
//!
//! Owns the order of the stages. Everything is laid out before the gate: behind it nothing allocates,
//! locks or returns. Invariant: the child runs the program only after the gate was opened, and says in
//! the slot which stage stopped it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::contract::{MAX_FDS, Phase, Stage};
use crate::image::Image;
use crate::launch::{Credentials, Limit};
use crate::slot::Slot;
use crate::{exec, limits, process, signals};

/// Exit code of a child that did not become its program.
pub const FAILED: i32 = 127;
/// Passed descriptors, three standard streams and the IPC channel.
const PLACES: usize = MAX_FDS + 4;

/// What the child needs, laid out before it waits at its gate.
#[derive(Debug)]
pub struct Preparation<'a> {
    /// The run's shared page.
    pub slot: &'a Slot,
    /// Read end of the gate: one byte opens it, its end means that the shim is dead.
    pub gate: BorrowedFd<'a>,
    /// Write end of the error pipe: a byte means failure, its end success.
    pub errors: BorrowedFd<'a>,
    /// Descriptors and the numbers that they get: standard streams first.
    pub places: Vec<(RawFd, i32)>,
    /// Limits to set.
    pub limits: &'a [Limit],
    /// Soft limit of descriptors to go back to, unless `limits` names another.
    pub descriptors_soft: u64,
    /// Added to the nice value.
    pub nice: i32,
    /// umask.
    pub umask: u32,
    /// User and groups.
    pub credentials: Option<&'a Credentials>,
    /// The program.
    pub image: Image,
}

/// The child's first act: it closes `gate_shim`, the shim's end of the gate, so that the gate ends with its
/// shim. It need not enter itself in the slot: the shim does before it tells anybody of it, and only the shim
/// can open the gate.
pub fn leave_gate(gate_shim: BorrowedFd<'_>) {
    // SAFETY: the child's copy of a descriptor that only the shim uses; nothing refers to it here.
    unsafe { libc::close(gate_shim.as_raw_fd()) };
}

/// The child's last act where a stage has failed.
pub fn give_up(slot: &Slot, errors: BorrowedFd<'_>, stage: Stage, error: &io::Error) -> ! {
    slot.fail(stage, error.raw_os_error().unwrap_or(libc::EINVAL));
    // The byte only wakes the shim: what failed is in the slot.
    let _ = rustix::io::write(errors, b"!");
    process::exit_now(FAILED)
}

impl Preparation<'_> {
    /// Waits at the gate and goes the rest of the way.
    pub fn run(mut self) -> ! {
        if !pass(self.gate) {
            process::exit_now(FAILED);
        }
        self.slot.advance(Phase::Launching);
        self.image.set_listen_pid(process::own_pid());
        let (stage, error) = match self.prepare() {
            Ok(()) => (Stage::Exec, self.image.exec()),
            Err(failed) => failed,
        };
        give_up(self.slot, self.errors, stage, &error)
    }

    fn prepare(&mut self) -> Result<(), (Stage, io::Error)> {
        signals::reset_own();
        process::start_session().map_err(|e| (Stage::Session, e))?;
        if !self.limits.iter().any(|l| l.resource == limits::NOFILE) {
            limits::restore_descriptors(self.descriptors_soft);
        }
        for limit in self.limits {
            limits::set(*limit).map_err(|e| (Stage::of_limit(limit.resource), e))?;
        }
        if self.nice != 0 {
            be_nice(self.nice).map_err(|e| (Stage::Nice, e))?;
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(self.umask & 0o777));
        if let Some(c) = self.credentials {
            become_user(c).map_err(|e| (Stage::Credentials, e))?;
        }
        rustix::process::chdir(self.image.folder()).map_err(|e| (Stage::WorkingDirectory, e.into()))?;
        place(&mut self.places).map_err(|e| (Stage::Descriptors, e))
    }
}

/// Waits for the byte that opens the gate.
fn pass(gate: BorrowedFd<'_>) -> bool {
    let mut byte = [0_u8; 1];
    loop {
        match rustix::io::read(gate, &mut byte) {
            Ok(n) => return n == 1,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn be_nice(add: i32) -> io::Result<()> {
    let own = rustix::process::getpriority_process(None)?;
    Ok(rustix::process::setpriority_process(None, (own + add).clamp(-20, 19))?)
}

fn become_user(c: &Credentials) -> io::Result<()> {
    // SAFETY: the list is valid for its length; the process has one thread, so no other can be left
    // with the old identity.
    let done = unsafe {
        libc::setgroups(c.groups.len() as _, c.groups.as_ptr()) == 0
            && libc::setgid(c.gid) == 0
            && libc::setuid(c.uid) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every descriptor its number. Those that are in the way of a number move up first.
fn place(places: &mut [(RawFd, i32)]) -> io::Result<()> {
    let places = places.get_mut(..PLACES.min(places.len())).unwrap_or_default();
    let top = places.iter().map(|p| p.1).max().unwrap_or(2);
    for (fd, _) in places.iter_mut() {
        if *fd <= top {
            // SAFETY: duplicating an open descriptor touches no memory.
            let moved = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, top + 1) };
            if moved < 0 {
                return Err(io::Error::last_os_error());
            }
            *fd = moved;
        }
    }
    for (fd, number) in places.iter() {
        exec::put(*fd, *number)?;
    }
    Ok(())
}
