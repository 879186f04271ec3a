//! How soon a lane that prints line after line is looked at again.
//!
//! Pure: time and amounts are given from outside. An app that prints many small pieces is left alone for a
//! moment after each look, so that one look finds many of them, and neither wakes the other for each. Invariant:
//! only what comes in quick succession waits, never longer than [`LONGEST_US`], and for no longer than the pipe,
//! at the rate seen last, takes to be a quarter full: an app seldom meets a full one. While both streams of an app
//! speak neither waits, so that their lines stay in the order in which they were printed as well as they can.

/// Longest pause, in microseconds. Pieces that are twice as far apart are moved one by one.
pub(super) const LONGEST_US: u64 = 2000;
/// A shorter one is not worth the switches that it costs, in microseconds.
const SHORTEST_US: u64 = 30;
/// The part of a pipe that is to be filled after a pause. Not more than half of it is sure to be of use: a piece
/// of just over half a page takes a whole one.
const PART: u64 = 4;

/// A pipe of the usual size in which so much comes that it would have to be looked at this often, in microseconds,
/// is too small.
const FAST_US: u64 = 250;
/// For how long a stream says nothing before the other one's lines may wait, in microseconds.
const QUIET_US: u64 = 50_000;
/// How often in a row that is seen before it is believed: a MiB or so.
const FAST_TIMES: u32 = 64;

/// The pace of one lane. Times are microseconds of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pace {
    /// When the pipe was seen to be empty last.
    emptied_at: u64,
    /// Until when it is left alone.
    until: Option<u64>,
    /// How often in a row more came than a small pipe is good for.
    fast: u32,
}

impl Pace {
    /// Until when the lane is left alone.
    pub(super) const fn until(self) -> Option<u64> {
        self.until
    }

    /// Whether the stream has been silent for a while.
    pub(super) const fn is_quiet(self, now: u64) -> bool {
        now.saturating_sub(self.emptied_at) >= QUIET_US
    }

    /// Whether so much comes, and has for a while, that a wider pipe would save many looks.
    pub(super) const fn wants_room(self) -> bool {
        self.fast >= FAST_TIMES
    }

    /// The pause is over, or ended early.
    pub(super) const fn go_on(&mut self) {
        self.until = None;
    }

    /// At `looked_at` a pipe of that capacity had `found` bytes in it, and at `now` all of them were moved.
    pub(super) fn emptied(&mut self, found: u64, capacity: u64, looked_at: u64, now: u64) {
        self.until = None;
        if found == 0 {
            self.fast = 0;
            return;
        }
        let took = looked_at.saturating_sub(self.emptied_at);
        self.emptied_at = now;
        if took >= 2 * LONGEST_US {
            self.fast = 0;
            return;
        }
        let pause = (capacity / PART).saturating_mul(took) / found;
        self.fast = if pause < FAST_US { self.fast.saturating_add(1) } else { 0 };
        self.until = (pause >= SHORTEST_US).then(|| now.saturating_add(pause.min(LONGEST_US)));
    }
}

/// Which of two lanes comes first: one that was left alone while the other one has news, for what it has was
/// printed before.
pub(super) const fn first(paused: [bool; 2], active: [bool; 2]) -> usize {
    if paused[1] && active[0] { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_alone_comes_before_news() {
        assert_eq!(first([true, false], [false, true]), 0);
        assert_eq!(first([false, true], [true, false]), 1);
        assert_eq!(first([false, false], [true, true]), 0);
        assert_eq!(first([false, true], [false, false]), 0);
        let mut pace = Pace::default();
        assert!(pace.is_quiet(QUIET_US));
        pace.emptied(1, PIPE, 100_000, 100_000);
        assert!(!pace.is_quiet(100_001) && pace.is_quiet(100_000 + QUIET_US));
    }

    const PIPE: u64 = 64 << 10;

    /// Looks at a pipe into which so many bytes a microsecond flow; gives the pauses, and what was found at
    /// the end of each.
    fn pauses(rate: f64, capacity: u64) -> Vec<(u64, u64)> {
        let (mut pace, mut now, mut found) = (Pace::default(), 1_000_000, 0);
        let mut seen = Vec::new();
        for _ in 0..20 {
            pace.emptied(found, capacity, now, now);
            let next = pace.until().unwrap_or(now + 5);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "small numbers"
            )]
            let came = ((next - now) as f64 * rate) as u64;
            found = came.min(capacity);
            seen.push((next - now, found));
            now = next;
        }
        seen
    }

    #[test]
    fn a_stream_of_lines_is_let_grow_to_a_quarter_of_the_pipe() {
        for rate in [20.0, 100.0, 500.0] {
            for (pause, found) in pauses(rate, PIPE).into_iter().skip(3) {
                assert!(pause <= LONGEST_US && found <= PIPE / 3, "{rate}: {found} after {pause}");
                assert!(found >= PIPE / 5, "{rate}: {found} after {pause}");
            }
        }
        assert!(pauses(1.0, PIPE).into_iter().skip(3).all(|(pause, _)| pause == LONGEST_US));
    }

    #[test]
    fn a_pipe_is_too_small_for_much_that_lasts() {
        for (rate, wants) in [(10, false), (50, false), (100, true), (1000, true)] {
            let mut pace = Pace::default();
            for look in 1..200_u32 {
                assert_eq!(pace.wants_room(), wants && look > FAST_TIMES, "{rate}: look {look}");
                let now = u64::from(look) * 40;
                pace.emptied(40 * rate, PIPE, now, now);
            }
            pace.emptied(0, PIPE, 8001, 8001);
            assert!(!pace.wants_room());
        }
    }

    #[test]
    fn a_pipe_that_is_found_full_is_looked_at_sooner() {
        let mut pace = Pace::default();
        pace.emptied(1, PIPE, 0, 1000);
        pace.emptied(100, PIPE, 1010, 1010);
        let first = pace.until().unwrap();
        assert_eq!(first, 1010 + 1638);
        pace.emptied(PIPE, PIPE, first, first);
        assert_eq!(pace.until(), Some(first + 1638 / PART));
    }

    #[test]
    fn what_comes_alone_or_without_end_waits_for_nothing() {
        let mut pace = Pace::default();
        pace.emptied(100, PIPE, 10_000_000, 10_000_010);
        assert_eq!(pace.until(), None);
        // The next line comes after a while.
        pace.emptied(100, PIPE, 10_000_010 + 2 * LONGEST_US, 10_005_000);
        assert_eq!(pace.until(), None);
        // Nothing has come since.
        pace.emptied(0, PIPE, 10_005_001, 10_005_001);
        assert_eq!(pace.until(), None);
        // A flood.
        pace.emptied(PIPE, PIPE, 10_005_050, 10_005_100);
        assert_eq!(pace.until(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(found: u64, capacity: u64, times: [u64; 4]) {
            let mut pace = Pace::default();
            pace.emptied(found, capacity, times[0], times[1]);
            pace.emptied(found, capacity, times[2], times[3]);
            let longest = times[3].saturating_add(LONGEST_US);
            proptest::prop_assert!(pace.until().is_none_or(|until| until <= longest));
        }
    }
}
