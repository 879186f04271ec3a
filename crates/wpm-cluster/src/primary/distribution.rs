//! Connections of one listener on their way to workers.
//!
//! Chooses; sends nothing. Connections are taken only while a worker is free for them: the others stay in
//! the kernel's queue, where they outlive the daemon. Sticky ones must be taken before it is known whose
//! they are. Invariant: a connection that was pushed is waiting here, or was taken out by exactly one
//! [`Step`].

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::Run;
use crate::balance::{Balance, sticky};

/// Waiting sticky connections at which accepting stops: one busy worker is not to stop the others at once.
const STICKY: usize = 256;

/// A connection that no worker has accepted yet.
#[derive(Debug)]
pub(crate) struct Connection<F> {
    pub(crate) fd: F,
    pub(crate) peer: Option<IpAddr>,
    /// Workers that did not want it.
    pub(crate) refused_by: Vec<Run>,
}

/// A worker that takes connections of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) run: Run,
    pub(crate) index: u32,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step<F> {
    /// Send it to this worker, which is free no more.
    Assign(Run, Connection<F>),
    /// Nobody wants it.
    Reject(Connection<F>),
}

/// A worker that takes part.
#[derive(Debug)]
struct Slot {
    run: Run,
    /// Connections that it was sent and has not answered.
    unanswered: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Distribution<F> {
    waiting: VecDeque<Connection<F>>,
    /// The worker that was given nothing for longest first.
    slots: VecDeque<Slot>,
    /// What the caller was told last.
    accepting: bool,
}

impl<F> Default for Distribution<F> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), slots: VecDeque::new(), accepting: false }
    }
}

impl<F> Distribution<F> {
    /// A connection has come, or has come back (`again`) and goes before the others.
    pub(crate) fn push(&mut self, connection: Connection<F>, again: bool) {
        if again {
            self.waiting.push_front(connection);
        } else {
            self.waiting.push_back(connection);
        }
    }

    /// A worker takes part.
    pub(crate) fn join(&mut self, run: Run) {
        if !self.slots.iter().any(|slot| slot.run == run) {
            self.slots.push_back(Slot { run, unanswered: 0 });
        }
    }

    /// A worker has answered one of those that it was sent.
    pub(crate) fn answered(&mut self, run: Run) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.run == run) {
            slot.unanswered = slot.unanswered.saturating_sub(1);
        }
    }

    /// A worker takes no more.
    pub(crate) fn remove(&mut self, run: Run) {
        self.slots.retain(|slot| slot.run != run);
    }

    /// Everything that waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Connection<F>> + '_ {
        self.waiting.drain(..)
    }

    /// What can be done now, where a worker may have `most` unanswered connections. `candidates` in the
    /// order in which they joined.
    pub(crate) fn step(
        &mut self,
        balance: Balance,
        most: usize,
        candidates: &[Candidate],
    ) -> Option<Step<F>> {
        if candidates.is_empty() {
            return None;
        }
        let free = || self.slots.iter().filter(|slot| slot.unanswered < most);
        let (at, chosen) = self.waiting.iter().enumerate().find_map(|(at, connection)| {
            let willing = || candidates.iter().filter(|c| !connection.refused_by.contains(&c.run));
            if willing().next().is_none() {
                return Some((at, None));
            }
            let run = match connection.peer {
                Some(peer) if balance == Balance::Sticky => {
                    let index = sticky(peer, willing().map(|c| c.index))?;
                    // Of two generations of an instance the newer one has its future before it.
                    let newest = willing().rfind(|c| c.index == index)?;
                    free().any(|slot| slot.run == newest.run).then_some(newest.run)
                }
                // The first of those with the fewest.
                _ => free()
                    .filter(|slot| willing().any(|c| c.run == slot.run))
                    .min_by_key(|slot| slot.unanswered)
                    .map(|slot| slot.run),
            };
            run.map(|run| (at, Some(run)))
        })?;
        let connection = self.waiting.remove(at)?;
        Some(match chosen {
            Some(run) => {
                self.take(run);
                Step::Assign(run, connection)
            }
            None => Step::Reject(connection),
        })
    }

    /// A worker is sent a connection: its next turn comes after everybody else's.
    fn take(&mut self, run: Run) {
        if let Some(at) = self.slots.iter().position(|slot| slot.run == run)
            && let Some(slot) = self.slots.remove(at)
        {
            self.slots.push_back(Slot { unanswered: slot.unanswered + 1, ..slot });
        }
    }

    /// Whether the caller is to start (`true`) or to stop accepting; `None` = as it is.
    pub(crate) fn accepting(&mut self, balance: Balance, most: usize) -> Option<bool> {
        let wanted = !self.slots.is_empty()
            && match balance {
                Balance::Sticky => self.waiting.len() < STICKY,
                // What comes goes out at once.
                _ => self.waiting.is_empty() && self.slots.iter().any(|slot| slot.unanswered < most),
            };
        (wanted != self.accepting).then(|| {
            self.accepting = wanted;
            wanted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(of: &[(u64, u32)]) -> Vec<Candidate> {
        of.iter().map(|(run, index)| Candidate { run: Run(*run), index: *index }).collect()
    }

    fn connection(fd: u32, peer: Option<&str>) -> Connection<u32> {
        Connection { fd, peer: peer.map(|p| p.parse().unwrap()), refused_by: vec![] }
    }

    fn assigned(step: Option<Step<u32>>) -> Option<(u64, u32)> {
        match step {
            Some(Step::Assign(run, c)) => Some((run.0, c.fd)),
            _ => None,
        }
    }

    #[test]
    fn who_waits_longest_is_next() {
        let mut d = Distribution::default();
        let workers = candidates(&[(1, 0), (2, 1)]);
        for fd in 0..3 {
            d.push(connection(fd, None), false);
        }
        d.join(Run(2));
        d.join(Run(1));
        let next = |d: &mut Distribution<u32>| assigned(d.step(Balance::RoundRobin, 1, &workers));
        assert_eq!(next(&mut d), Some((2, 0)));
        assert_eq!(next(&mut d), Some((1, 1)));
        assert_eq!(next(&mut d), None, "both are busy");
        d.answered(Run(1));
        assert_eq!(next(&mut d), Some((1, 2)));
    }

    #[test]
    fn several_on_their_way_are_spread_and_bounded() {
        let mut d = Distribution::default();
        let workers = candidates(&[(1, 0), (2, 1)]);
        (0..9).for_each(|fd| d.push(connection(fd, None), false));
        d.join(Run(1));
        d.join(Run(2));
        let mut runs = Vec::new();
        while let Some((run, _)) = assigned(d.step(Balance::RoundRobin, 3, &workers)) {
            runs.push(run);
        }
        assert_eq!(runs, [1, 2, 1, 2, 1, 2]);
        d.answered(Run(2));
        d.answered(Run(2));
        assert_eq!(assigned(d.step(Balance::RoundRobin, 3, &workers)), Some((2, 6)));
    }

    #[test]
    fn a_busy_worker_keeps_its_clients_but_not_those_of_others() {
        let mut d = Distribution::default();
        let workers = candidates(&[(1, 0), (2, 1)]);
        let of = |index| {
            (1..)
                .map(|n| format!("10.0.0.{n}"))
                .find(|a| sticky(a.parse().unwrap(), 0..2) == Some(index))
                .unwrap()
        };
        d.push(connection(0, Some(&of(0))), false);
        d.push(connection(1, Some(&of(1))), false);
        d.join(Run(2));
        assert_eq!(assigned(d.step(Balance::Sticky, 1, &workers)), Some((2, 1)));
        assert!(d.step(Balance::Sticky, 1, &workers).is_none());
        // A new generation of instance 0 takes its clients.
        d.join(Run(3));
        let workers = candidates(&[(1, 0), (2, 1), (3, 0)]);
        assert_eq!(assigned(d.step(Balance::Sticky, 1, &workers)), Some((3, 0)));
    }

    #[test]
    fn what_everyone_refuses_is_rejected() {
        let mut d = Distribution::default();
        d.push(Connection { refused_by: vec![Run(1)], ..connection(5, None) }, false);
        d.join(Run(1));
        assert!(d.step(Balance::RoundRobin, 1, &[]).is_none(), "without workers it waits");
        assert!(matches!(d.step(Balance::RoundRobin, 1, &candidates(&[(1, 0)])), Some(Step::Reject(_))));
    }

    #[test]
    fn connections_are_taken_while_somebody_is_free_for_them() {
        let workers = candidates(&[(1, 0)]);
        let mut d = Distribution::default();
        assert_eq!(d.accepting(Balance::RoundRobin, 2), None, "nobody would take them");
        d.join(Run(1));
        assert_eq!(d.accepting(Balance::RoundRobin, 2), Some(true));
        for fd in 0..2 {
            assert_eq!(d.accepting(Balance::RoundRobin, 2), None);
            d.push(connection(fd, None), false);
            drop(d.step(Balance::RoundRobin, 2, &workers));
        }
        assert_eq!(d.accepting(Balance::RoundRobin, 2), Some(false));
        d.answered(Run(1));
        assert_eq!(d.accepting(Balance::RoundRobin, 2), Some(true));
        d.remove(Run(1));
        assert_eq!(d.accepting(Balance::RoundRobin, 2), Some(false));
    }

    #[test]
    fn sticky_ones_are_taken_although_somebody_is_busy() {
        let mut d = Distribution::default();
        d.join(Run(1));
        assert_eq!(d.accepting(Balance::Sticky, 1), Some(true));
        for fd in 0..256 {
            assert_eq!(d.accepting(Balance::Sticky, 1), None);
            d.push(connection(fd, Some("10.0.0.1")), false);
        }
        assert_eq!(d.accepting(Balance::Sticky, 1), Some(false));
    }
}
