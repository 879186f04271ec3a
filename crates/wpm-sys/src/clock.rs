//! The clocks that a process survives with: time since boot, and which boot it is.
//!
//! Owns no waiting and no wall clock. Invariant: [`boottime_ms`] counts suspended time too, so it can
//! be compared with a process's start time.

use std::io;

use rustix::time::{ClockId, clock_gettime};

fn millis(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1000 + u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000
}

fn micros(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0) / 1000
}

/// Milliseconds since boot, suspended time included.
pub fn boottime_ms() -> u64 {
    millis(ClockId::Boottime)
}

/// Microseconds since boot, likewise.
pub fn boottime_us() -> u64 {
    micros(ClockId::Boottime)
}

/// Milliseconds of a clock that never jumps and stops in suspend, for deadlines.
pub fn monotonic_ms() -> u64 {
    millis(ClockId::Monotonic)
}

/// Microseconds of the same clock, for what is over before a millisecond is.
pub fn monotonic_us() -> u64 {
    micros(ClockId::Monotonic)
}

/// Identity of this boot of the machine.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_owned())
}
