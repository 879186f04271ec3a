//! How long to wait before the next run, and when to give up.
//!
//! Pure arithmetic over spans; it knows neither instances nor the present time. Invariant: the clock
//! of the crash window only advances while a run is up, so that neither a long delay nor a slow spawn
//! hides a crash loop.

use std::collections::VecDeque;

use crate::{Millis, RestartPolicy};

/// First growing delay that wpm chooses by itself.
pub(crate) const FIRST_DELAY: Millis = Millis(100);
/// Longest growing delay.
pub(crate) const LONGEST_DELAY: Millis = Millis(15_000);
/// Longest delay that wpm chooses by itself: an app is given up within a minute, as its user may wait for that.
const LONGEST_OWN: Millis = Millis(5_000);
/// Uptime after which a growing delay starts anew.
pub(crate) const FORGIVEN_AFTER: Millis = Millis(30_000);

/// Parts of the crash window that are told apart; bounds its memory whatever the limit is.
const GRAIN: u64 = 256;

/// A delay that grows with each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    last: Option<Millis>,
}

impl Pace {
    /// Starts anew.
    pub(crate) fn forgive(&mut self) {
        self.last = None;
    }

    /// The next delay that wpm chooses by itself after a restart at once: twice the last one. So an app that
    /// cannot run costs few starts, and one that only came too early is soon tried again.
    fn double(&mut self) -> Millis {
        let twice = self.last.map_or(Millis(0), |last| Millis(last.0.saturating_mul(2)));
        let next = twice.max(FIRST_DELAY).min(LONGEST_OWN);
        self.last = Some(next);
        next
    }

    /// The next delay, beginning with `first`, each greater by half.
    pub(crate) fn grow_from(&mut self, first: Millis) -> Millis {
        let next = self.last.map_or(first, |last| {
            let half_more = last.0.saturating_add(last.0 / 2).max(last.0.saturating_add(1));
            Millis(half_more).min(LONGEST_DELAY)
        });
        self.last = Some(next);
        next
    }

    /// The delay that follows a run which was up for `uptime`.
    pub(crate) fn after_run(&mut self, policy: &RestartPolicy, uptime: Millis) -> Millis {
        let none = Millis(0);
        if let Some(fixed) = policy.restart_delay.filter(|delay| *delay > none) {
            return fixed;
        }
        if let Some(first) = policy.backoff.filter(|delay| *delay > none) {
            if uptime >= FORGIVEN_AFTER {
                self.forgive();
            }
            return self.grow_from(first);
        }
        if uptime >= policy.min_uptime {
            self.forgive();
            return none;
        }
        if self.last.is_none() {
            self.last = Some(none);
            return none;
        }
        self.double()
    }
}

/// Unstable exits within a sliding window of uptime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CrashWindow {
    /// Uptime so far, in milliseconds.
    clock: u64,
    /// Unstable exits in groups close in time: the clock at the first of the group, and how many.
    exits: VecDeque<(u64, u32)>,
}

impl CrashWindow {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes in the end of a run and returns the number of unstable exits in the window.
    pub(crate) fn note_end(&mut self, policy: &RestartPolicy, uptime: Millis) -> u32 {
        let length = policy.min_uptime.0.saturating_mul(u64::from(policy.max_restarts.max(1)));
        self.clock = self.clock.saturating_add(uptime.0);
        let clock = self.clock;
        while self.exits.front().is_some_and(|(at, _)| clock.saturating_sub(*at) >= length) {
            self.exits.pop_front();
        }
        if uptime < policy.min_uptime {
            match self.exits.back_mut() {
                Some((at, count)) if clock.saturating_sub(*at) <= length / GRAIN => {
                    *count = count.saturating_add(1);
                }
                _ => self.exits.push_back((clock, 1)),
            }
        }
        self.exits.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// Whether an exit that brought the window to `count` ends the trying.
pub(crate) fn is_crash_loop(policy: &RestartPolicy, count: u32) -> bool {
    count >= policy.max_restarts.max(1)
}
