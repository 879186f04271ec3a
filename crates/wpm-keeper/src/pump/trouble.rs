//! What happens while the disk is full, or fails otherwise.
//!
//! Owns the order of patience: hold the app back, try again, and after the time that the app's
//! configuration allows give up output and count it. Invariant: no byte is given up silently, and
//! writing is tried again for ever.

use std::sync::atomic::Ordering;

use wpm_sys::clock;
use wpm_sys::slot::Slot;

/// First and greatest pause between two attempts, in milliseconds.
const PAUSE_MS: (u64, u64) = (200, 1000);

/// Trouble of one lane, since its first failed write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Error number of the last failure.
    pub(super) errno: i32,
    since: u64,
    pause: u64,
    /// When writing is tried again, in monotonic milliseconds.
    pub(super) retry_at: u64,
    /// Output is given up.
    pub(super) dropping: bool,
}

impl Trouble {
    /// The trouble that the shim before this one had.
    pub(super) fn inherited(slot: &Slot, lane: usize) -> Option<Self> {
        let counters = slot.lanes.get(lane)?;
        let since = counters.full_since_ms.load(Ordering::Acquire);
        if since == 0 {
            return None;
        }
        let now = clock::monotonic_ms();
        let dropping = counters.untold.load(Ordering::Acquire) > 0;
        Some(Self {
            errno: slot.log_errno.load(Ordering::Acquire),
            since: now.saturating_sub(clock::boottime_ms().saturating_sub(since)),
            pause: PAUSE_MS.0,
            retry_at: now,
            dropping,
        })
    }

    /// Another failure, the first one if there was no trouble `before`.
    pub(super) fn again(before: Option<Self>, errno: i32, now: u64, block_ms: u64) -> Self {
        let (since, pause, dropped) = before.map_or((now, PAUSE_MS.0, false), |t| {
            (t.since, (t.pause + PAUSE_MS.0).min(PAUSE_MS.1), t.dropping)
        });
        let gives_up_at = since.saturating_add(block_ms);
        let dropping = dropped || now >= gives_up_at;
        // The moment at which patience ends is not slept through.
        let retry_at = if dropping { now + pause } else { (now + pause).min(gives_up_at) };
        Self { errno, since, pause, retry_at, dropping }
    }

    /// What the log says when there is room again.
    pub(super) fn notice(self, bytes: u64) -> String {
        const FULL: [i32; 2] = [28, 122];
        let why = if FULL.contains(&self.errno) {
            "the disk was full".to_owned()
        } else {
            std::io::Error::from_raw_os_error(self.errno).to_string()
        };
        format!("[wpm] {bytes} bytes dropped: {why}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_when_it_was_said_to() {
        let mut t = Trouble::again(None, 28, 1000, 500);
        assert_eq!((t.dropping, t.retry_at), (false, 1200));
        t = Trouble::again(Some(t), 28, 1200, 500);
        assert_eq!((t.dropping, t.retry_at), (false, 1500));
        t = Trouble::again(Some(t), 28, 1500, 500);
        assert!(t.dropping && t.retry_at > 1500);
        for now in 1..20 {
            t = Trouble::again(Some(t), 28, 2000 + now * 1000, 500);
            assert!(t.dropping && t.retry_at <= 3000 + now * 1000);
        }
        assert!(Trouble::again(None, 5, 0, 0).dropping);
        assert_eq!(t.notice(7), "[wpm] 7 bytes dropped: the disk was full\n");
    }
}
