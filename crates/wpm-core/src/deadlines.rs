//! Deadlines of instances in the order of their time.
//!
//! It holds at most one deadline of each kind per instance and knows nothing of what they mean.
//! Invariant: both collections hold the same deadlines.

use std::collections::{BTreeMap, BTreeSet};

use crate::{InstanceId, Millis};

/// Which deadline of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The one that its state carries: exec, readiness, SIGKILL or the next run.
    State,
    /// The one of the run beside: exec, readiness, the end of its draining or SIGKILL.
    Beside,
    /// The end of its start check; only while a command waits for that.
    Check,
    /// The same while others depend on its app.
    Depended,
}

/// All deadlines.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    order: BTreeSet<(Millis, InstanceId, Timer)>,
    of: BTreeMap<(InstanceId, Timer), Millis>,
}

impl Deadlines {
    /// Sets a deadline, in place of an earlier one of its kind.
    pub(crate) fn arm(&mut self, id: InstanceId, timer: Timer, at: Millis) {
        self.disarm(id, timer);
        self.order.insert((at, id, timer));
        self.of.insert((id, timer), at);
    }

    /// Removes a deadline, if it is set.
    pub(crate) fn disarm(&mut self, id: InstanceId, timer: Timer) {
        if let Some(at) = self.of.remove(&(id, timer)) {
            self.order.remove(&(at, id, timer));
        }
    }

    /// Puts a deadline that is set off, if that makes it later.
    pub(crate) fn extend(&mut self, id: InstanceId, timer: Timer, at: Millis) {
        if self.of.get(&(id, timer)).is_some_and(|present| *present < at) {
            self.arm(id, timer, at);
        }
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.order.first().map(|(at, ..)| *at)
    }

    /// Takes the earliest out if it is due.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<(InstanceId, Timer)> {
        let (at, id, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.disarm(id, timer);
        Some((id, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_in_order_and_only_when_due() {
        let mut all = Deadlines::default();
        let (a, b) = (InstanceId(0), InstanceId(1));
        all.arm(a, Timer::State, Millis(30));
        all.arm(b, Timer::State, Millis(20));
        all.arm(a, Timer::Check, Millis(10));
        all.arm(a, Timer::Check, Millis(25));
        assert_eq!(all.next(), Some(Millis(20)));
        assert_eq!(all.pop_due(Millis(19)), None);
        assert_eq!(all.pop_due(Millis(25)), Some((b, Timer::State)));
        assert_eq!(all.pop_due(Millis(25)), Some((a, Timer::Check)));
        assert_eq!(all.pop_due(Millis(25)), None);
        all.disarm(a, Timer::State);
        assert_eq!(all.next(), None);
    }
}
