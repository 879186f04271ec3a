//! CPU times of an earlier look, from which the next one computes a rate.
//!
//! A cache in the home's run folder: what is missing, unreadable or cannot be written only makes the
//! first figure an average since the start.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;

use wpm_proto::home::Home;

use super::cache;

/// A sample is replaced when it is at least this old, in milliseconds: two looks in quick succession
/// would compare a few clock ticks.
const MIN_AGE: u64 = 500;

/// A sample of what this look was not about is kept up to this age, in milliseconds: the next look may be.
const MAX_AGE: u64 = 600_000;

/// CPU time of a tree at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Milliseconds since boot.
    pub(super) at_ms: u64,
    /// Clock ticks.
    pub(super) ticks: u64,
}

/// A process that is not mistaken for a later one: pid and start time.
type Key = (i32, u64);

/// Samples of one home.
#[derive(Debug, Default)]
pub(super) struct Samples {
    old: HashMap<Key, Sample>,
    new: Vec<(Key, Sample)>,
    changed: bool,
}

impl Samples {
    pub(super) fn load(home: &Home) -> Self {
        let text = fs::read_to_string(home.cpu_samples()).unwrap_or_default();
        Self { old: text.lines().filter_map(parse).collect(), ..Self::default() }
    }

    /// Gives the sample to compare with, and keeps the new one where that is old enough.
    pub(super) fn exchange(&mut self, key: Key, sample: Sample) -> Option<Sample> {
        let old = self.old.get(&key).copied().filter(|old| old.at_ms < sample.at_ms);
        let keep = match old {
            Some(old) if sample.at_ms - old.at_ms < MIN_AGE => old,
            _ => sample,
        };
        self.changed |= keep == sample;
        self.new.push((key, keep));
        // A rate over a few ticks says nothing; the average since the start does.
        old.filter(|old| sample.at_ms - old.at_ms >= MIN_AGE / 5)
    }

    pub(super) fn store(&self, home: &Home) {
        if !self.changed {
            return;
        }
        let mut text = String::with_capacity(self.new.len() * 40);
        let newest = self.new.iter().map(|(_, sample)| sample.at_ms).max().unwrap_or(0);
        let looked_at: HashSet<Key> = self.new.iter().map(|(key, _)| *key).collect();
        let others = self.old.iter().map(|(key, sample)| (*key, *sample)).filter(|(key, sample)| {
            !looked_at.contains(key) && newest.checked_sub(sample.at_ms).is_some_and(|age| age < MAX_AGE)
        });
        for ((pid, start), sample) in self.new.iter().copied().chain(others) {
            let _written = writeln!(text, "{pid} {start} {} {}", sample.at_ms, sample.ticks);
        }
        cache::replace(&home.cpu_samples(), &text);
    }
}

fn parse(line: &str) -> Option<(Key, Sample)> {
    let mut fields = line.split(' ');
    let key = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((key, Sample { at_ms: fields.next()?.parse().ok()?, ticks: fields.next()?.parse().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_kept_until_it_is_worth_replacing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        let look = |at_ms, ticks| {
            let mut samples = Samples::load(&home);
            let earlier = samples.exchange((1, 2), Sample { at_ms, ticks });
            samples.store(&home);
            earlier.map(|sample| sample.at_ms)
        };
        assert_eq!(look(1000, 1), None);
        assert_eq!(look(1050, 2), None);
        assert_eq!(look(1200, 3), Some(1000));
        assert_eq!(look(1600, 4), Some(1000));
        assert_eq!(look(1800, 5), Some(1600));
        // After a reboot the clock begins again.
        assert_eq!(look(10, 5), None);
    }

    #[test]
    fn a_look_at_one_app_forgets_no_other() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        for (key, at_ms) in [((1, 2), 1000), ((3, 4), 2000)] {
            let mut samples = Samples::load(&home);
            samples.exchange(key, Sample { at_ms, ticks: 1 });
            samples.store(&home);
        }
        let mut samples = Samples::load(&home);
        assert!(samples.exchange((1, 2), Sample { at_ms: 3000, ticks: 2 }).is_some());
        // What has not been looked at for long is over.
        samples.exchange((5, 6), Sample { at_ms: 700_000, ticks: 1 });
        samples.store(&home);
        assert_eq!(Samples::load(&home).old.len(), 2);
    }

    #[test]
    fn a_damaged_file_is_no_file() {
        assert_eq!(parse("1 2 3"), None);
        assert_eq!(parse("x 2 3 4"), None);
        assert_eq!(parse("1 2 3 4"), Some(((1, 2), Sample { at_ms: 3, ticks: 4 })));
    }
}
