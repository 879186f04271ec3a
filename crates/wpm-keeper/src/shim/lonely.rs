//! What a shim does without a daemon: it sees to it that there is one again.
//!
//! Owns the timing. Deliberately asks nobody: a keeper that is still there finds its lock held by
//! itself, and a second one leaves. Invariant: with a daemon connected there is no timer.

use wpm_sys::contract::RunKey;
use wpm_sys::process::{self, SingleThread};
use wpm_sys::{clock, start};

/// How long a daemon may be away before anything is done, in milliseconds.
const PATIENCE_MS: u64 = 300;
/// Greatest random delay on top, so that not all shims act at once.
const JITTER_MS: u64 = 200;
/// Between two attempts.
const AGAIN_MS: u64 = 3000;

/// Loneliness, if any.
#[derive(Debug)]
pub(super) struct Lonely {
    jitter: u64,
    keeper: i32,
    act_at: Option<u64>,
}

impl Lonely {
    /// `keeper` is the parent; as long as it lives it takes care of the daemon.
    pub(super) fn new(run: RunKey, keeper: i32) -> Self {
        Self { jitter: run.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) % JITTER_MS, keeper, act_at: None }
    }

    /// Process id of the keeper that forked this shim.
    pub(super) fn keeper(&self) -> i32 {
        self.keeper
    }

    /// When something is to be done, in monotonic milliseconds.
    pub(super) fn due(&mut self, connected: bool, now: u64) -> Option<u64> {
        if connected {
            self.act_at = None;
        } else {
            self.act_at = self.act_at.or(Some(now + PATIENCE_MS + self.jitter));
        }
        self.act_at
    }

    /// Starts a keeper if it is time and the own one is gone.
    pub(super) fn revive_if_due(&mut self, proof: SingleThread, home: &[u8], descriptors_soft: u64) {
        let now = clock::monotonic_ms();
        if self.act_at.is_none_or(|at| now < at) {
            return;
        }
        self.act_at = Some(now + AGAIN_MS + self.jitter);
        if process::parent_pid() != self.keeper
            && let Err(e) = start::revive_keeper(proof, home, descriptors_soft)
        {
            crate::complain(&format!("a shim cannot start the keeper again: {e}"));
        }
    }
}
