//! Giving memory back when the daemon comes to rest.
//!
//! Owns the moment: the last one before the thread waits. Whatever ran after it would bring pages of the program
//! back, a group of neighbours for each function. Invariant: nothing is given back twice for one rest.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use wpm_sys::memory;

/// How long after the last command that changed something. While commands follow each other, each would have to
/// fetch what the one before has given back.
pub(crate) const AFTER: Duration = Duration::from_millis(250);

static DUE: AtomicBool = AtomicBool::new(false);

/// Memory is given back as soon as there is nothing to do.
pub(crate) fn soon() {
    DUE.store(true, Relaxed);
}

/// The loop's thread is about to wait.
pub(crate) fn before_waiting() {
    if DUE.swap(false, Relaxed) {
        memory::trim();
        memory::trim_stack();
        memory::forget_program();
    }
}
