//! Connections of one listener on their way to workers.
//!
//! Chooses; sends nothing. Invariant: a connection that was pushed is waiting here, or was taken out
//! by exactly one [`Step`].

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::Run;
use crate::balance::{Balance, sticky};

/// Waiting connections per worker at which accepting stops: the others stay in the kernel's queue,
/// where they outlive the daemon.
const PER_WORKER: usize = 2;
/// As above, in all, for sticky connections: one busy worker is not to stop the others at once.
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

/// See the module.
#[derive(Debug)]
pub(crate) struct Distribution<F> {
    waiting: VecDeque<Connection<F>>,
    /// Workers without an unanswered connection, the one that waits longest first.
    free: VecDeque<Run>,
    /// What the caller was told last.
    accepting: bool,
}

impl<F> Default for Distribution<F> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), free: VecDeque::new(), accepting: false }
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

    /// A worker has no unanswered connection.
    pub(crate) fn set_free(&mut self, run: Run) {
        if !self.free.contains(&run) {
            self.free.push_back(run);
        }
    }

    /// A worker takes no more.
    pub(crate) fn remove(&mut self, run: Run) {
        self.free.retain(|r| *r != run);
    }

    /// Everything that waits.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Connection<F>> + '_ {
        self.waiting.drain(..)
    }

    /// What can be done now. `candidates` in the order in which they joined.
    pub(crate) fn step(&mut self, balance: Balance, candidates: &[Candidate]) -> Option<Step<F>> {
        if candidates.is_empty() {
            return None;
        }
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
                    self.free.contains(&newest.run).then_some(newest.run)
                }
                _ => self.free.iter().copied().find(|run| willing().any(|c| c.run == *run)),
            };
            run.map(|run| (at, Some(run)))
        })?;
        let connection = self.waiting.remove(at)?;
        Some(match chosen {
            Some(run) => {
                self.remove(run);
                Step::Assign(run, connection)
            }
            None => Step::Reject(connection),
        })
    }

    /// Whether the caller is to start (`true`) or to stop accepting; `None` = as it is.
    pub(crate) fn accepting(&mut self, balance: Balance, workers: usize) -> Option<bool> {
        let most = if balance == Balance::Sticky { STICKY } else { PER_WORKER * workers };
        // Between half and full it stays as it is, or it would change with each connection.
        let wanted = workers > 0
            && if self.accepting { self.waiting.len() < most } else { self.waiting.len() <= most / 2 };
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
        d.set_free(Run(2));
        d.set_free(Run(1));
        assert_eq!(assigned(d.step(Balance::RoundRobin, &workers)), Some((2, 0)));
        assert_eq!(assigned(d.step(Balance::RoundRobin, &workers)), Some((1, 1)));
        assert!(d.step(Balance::RoundRobin, &workers).is_none(), "both are busy");
        d.set_free(Run(1));
        assert_eq!(assigned(d.step(Balance::RoundRobin, &workers)), Some((1, 2)));
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
        d.set_free(Run(2));
        assert_eq!(assigned(d.step(Balance::Sticky, &workers)), Some((2, 1)));
        assert!(d.step(Balance::Sticky, &workers).is_none());
        // A new generation of instance 0 takes its clients.
        d.set_free(Run(3));
        assert_eq!(assigned(d.step(Balance::Sticky, &candidates(&[(1, 0), (2, 1), (3, 0)]))), Some((3, 0)));
    }

    #[test]
    fn what_everyone_refuses_is_rejected() {
        let mut d = Distribution::default();
        d.push(Connection { refused_by: vec![Run(1)], ..connection(5, None) }, false);
        d.set_free(Run(1));
        assert!(d.step(Balance::RoundRobin, &[]).is_none(), "without workers it waits");
        assert!(matches!(d.step(Balance::RoundRobin, &candidates(&[(1, 0)])), Some(Step::Reject(_))));
    }

    #[test]
    fn accepting_stops_when_too_many_wait() {
        let mut d = Distribution::default();
        assert_eq!(d.accepting(Balance::RoundRobin, 0), None, "nobody would take them");
        assert_eq!(d.accepting(Balance::RoundRobin, 2), Some(true));
        for fd in 0..4 {
            assert_eq!(d.accepting(Balance::RoundRobin, 2), None);
            d.push(connection(fd, None), false);
        }
        assert_eq!(d.accepting(Balance::RoundRobin, 2), Some(false));
        d.set_free(Run(1));
        drop(d.step(Balance::RoundRobin, &candidates(&[(1, 0)])));
        assert_eq!(d.accepting(Balance::RoundRobin, 2), None);
        d.set_free(Run(1));
        drop(d.step(Balance::RoundRobin, &candidates(&[(1, 0)])));
        assert_eq!(d.accepting(Balance::RoundRobin, 2), Some(true));
        assert_eq!(d.accepting(Balance::RoundRobin, 0), Some(false));
    }
}
