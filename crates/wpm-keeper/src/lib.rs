//! The keeper (fork server) and the shim (parent of one instance).
//!
//! Keeper and shim are the only processes that touch apps. Both are one thread with one `poll` loop
//! that sleeps for ever when nothing happens. They take no decision that could be taken by the
//! daemon, which may be killed, hung or replaced at any time.
//!
//! Invariant: whichever of them is killed, no app notices, no byte of output is lost or doubled, and
//! every exit status is exact.
//!
//! The entry points must be reached from `main` before any thread, runtime or large allocation.

mod keeper;
mod pump;
mod resume;
mod shim;
mod wires;

use std::io::Write;
use std::os::fd::RawFd;
use std::path::Path;

use keeper::Beginning;
pub use wpm_sys::contract::HANDOVER;
use wpm_sys::process::{self, SingleThread};
use wpm_sys::start;

/// The allocator of every program with a keeper in it: its shims are to have little of its heap.
#[global_allocator]
static HEAP: wpm_sys::heap::Heap = wpm_sys::heap::Heap;

/// Exit code of a keeper or shim that could not start.
const CANNOT_START: i32 = 70;

/// Runs the keeper of `home` until it is told to quit. A second keeper of the same home leaves at
/// once with code 0. `options` are the words behind the home:
///
/// - `--resume FD`: the descriptor with the state of the program that this one replaces;
/// - `--held KEY:FD,…`: listening sockets that a daemon has saved from a dead keeper;
/// - `--unit`: a service manager runs it as the main process of a unit.
pub fn keeper_main(home: &Path, options: &[&str]) -> ! {
    let beginning = match options {
        ["--resume", fd] => match fd.parse() {
            Ok(fd) => Beginning::Resumed(fd),
            Err(_) => process::exit_now(CANNOT_START),
        },
        [start::UNIT_OPTION] => Beginning::Unit,
        [start::HELD_OPTION, list] => Beginning::Background(start::parse_held(list)),
        _ => Beginning::Background(vec![]),
    };
    let mut born = SingleThread::prove().and_then(|proof| keeper::run(proof, home, beginning));
    match &mut born {
        Ok(None) => process::exit_now(0),
        // Here, where nothing of the keeper's is left on the stack: what lies deeper is given back.
        Ok(born) => shim::run(born),
        Err(e) => {
            complain(&format!("cannot run the keeper of {}: {e}", home.display()));
            process::exit_now(CANNOT_START)
        }
    }
}

/// Goes on as the shim that executed this program in place of itself (`wpm __shim --resume FD`).
pub fn shim_main(resume: RawFd) -> ! {
    let error = match SingleThread::prove().and_then(|proof| shim::resume(proof, resume)) {
        Ok(never) => match never {},
        Err(e) => e,
    };
    complain(&format!("cannot go on as a shim: {error}"));
    process::exit_now(CANNOT_START)
}

/// Says something on stderr, which is the home's `daemon.log`.
fn complain(text: &str) {
    // Nobody is left to tell when even this fails.
    drop(writeln!(std::io::stderr(), "wpm: {text}"));
}
