//! Forking a child without copying the parent's descriptors, however many those are.
//!
//! A fork copies every descriptor, and a child that wants few of them closes all the others again. Here the
//! child is forked onto its parent's own table; its first act is to copy the few that it keeps, which lie at
//! low numbers, and to leave the table ([`part`]). Owns both sides of that. Invariant: the parent goes on only
//! when the table is its own again, whatever became of the child; the child closes nothing before it has left.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

use crate::exec;
use crate::process::{self, Fork, SingleThread};

/// How long a parent waits for its child before it leaves the table itself, in milliseconds: a child that was
/// killed at once, is stopped, or gets no CPU.
const PATIENCE_MS: u64 = 10;

/// Whether the kernel lets processes part: from Linux 5.9 on, where nobody forbids it.
pub fn is_possible() -> bool {
    // Nobody shares the table of this process: this only asks.
    exec::leave_table(RawFd::MAX).is_ok()
}

/// Forks a child onto the descriptors of this process; `apart` is in memory that both share. The child has to
/// call [`part`] before anything else.
///
/// # Errors
/// When the system or a limit refuses another process or its table.
pub fn fork(proof: SingleThread, apart: &AtomicU32) -> io::Result<Fork> {
    apart.store(0, Ordering::Release);
    let Fork::Parent(pid) = process::fork_onto_descriptors(proof)? else { return Ok(Fork::Child) };
    let patience = futex::Timespec { tv_sec: 0, tv_nsec: (PATIENCE_MS * 1_000_000).cast_signed() };
    while apart.load(Ordering::Acquire) == 0 {
        if futex::wait(apart, futex::Flags::empty(), 0, Some(&patience)) != Err(rustix::io::Errno::TIMEDOUT) {
            continue;
        }
        // Where the child is gone, this changes nothing.
        if let Err(e) = exec::leave_table(RawFd::MAX) {
            // A table that both may change is of no use to either.
            drop(process::kill(pid, crate::signals::KILL));
            process::wait_for(pid);
            return Err(e);
        }
        break;
    }
    Ok(Fork::Parent(pid))
}

/// In the child: leaves the parent's table with a copy of `keep`, and says so.
///
/// # Errors
/// When there is no memory for a table. Nothing was closed, and the process has to end.
pub fn part(keep: &mut [RawFd], apart: &AtomicU32) -> io::Result<()> {
    let above = keep.iter().max().map_or(3, |fd| fd.saturating_add(1).max(3));
    exec::leave_table(above)?;
    apart.store(1, Ordering::Release);
    // One who does not wait any more has left the table himself.
    let _ = futex::wake(apart, futex::Flags::empty(), 1);
    exec::close_all_but(keep);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::*;
    use crate::process::in_a_process;
    use crate::slot::SlotMap;

    fn is_open(fd: RawFd) -> bool {
        // SAFETY: asking for the flags of a number touches nothing.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_child_keeps_what_it_names_and_the_parent_everything() {
        in_a_process(|proof| {
            let slot = SlotMap::of(&crate::memfd::empty("slot").unwrap()).unwrap();
            let (kept, other) = (null(), null());
            let far = exec::raise(null(), 500);
            match fork(proof, &slot.apart).unwrap() {
                Fork::Child => {
                    let good = part(&mut [kept.as_raw_fd()], &slot.apart).is_ok()
                        && is_open(kept.as_raw_fd())
                        && !is_open(other.as_raw_fd())
                        && !is_open(far.as_raw_fd());
                    process::exit_now(if good { 7 } else { 8 })
                }
                Fork::Parent(pid) => {
                    let mut status = 0;
                    // SAFETY: the status is a live integer.
                    unsafe { libc::waitpid(pid, &raw mut status, 0) };
                    libc::WEXITSTATUS(status) == 7
                        && [&kept, &other, &far].iter().all(|fd| is_open(fd.as_raw_fd()))
                }
            }
        });
    }

    #[test]
    fn a_child_that_dies_or_stops_before_it_has_parted_holds_up_nobody_and_closes_nothing() {
        in_a_process(|proof| {
            let slot = SlotMap::of(&crate::memfd::empty("slot").unwrap()).unwrap();
            let mine = null();
            match fork(proof, &slot.apart).unwrap() {
                Fork::Child => process::exit_now(0),
                Fork::Parent(pid) => process::wait_for(pid),
            }
            match fork(proof, &slot.apart).unwrap() {
                Fork::Child => loop {
                    drop(process::kill(process::own_pid(), libc::SIGSTOP));
                    // Going on, it closes what it takes for its own.
                    if part(&mut [], &slot.apart).is_ok() {
                        process::exit_now(0);
                    }
                },
                Fork::Parent(pid) => {
                    drop(process::kill(pid, libc::SIGCONT));
                    // A signal sent before the stop is lost: go on until it has ended.
                    // SAFETY: a null status pointer is allowed.
                    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) } == 0 {
                        drop(process::kill(pid, libc::SIGCONT));
                        std::thread::yield_now();
                    }
                }
            }
            is_open(mine.as_raw_fd())
        });
    }
}
