//! Reads the clocks, for the core which may not.
//!
//! The monotonic side is `CLOCK_BOOTTIME`: it goes on over a restart of the daemon within one boot,
//! so that uptimes and deadlines of re-adopted runs stay true.

use std::time::{SystemTime, UNIX_EPOCH};

use wpm_core::{Millis, Now};

pub(crate) use wpm_sys::clock::boottime_ms as boot_ms;

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The present moment.
pub(crate) fn now() -> Now {
    Now { mono: Millis(boot_ms()), wall_ms: wall_ms() }
}
