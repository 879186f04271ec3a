//! The last lines of apps, kept for a view that is drawn again and again.
//!
//! Invariant: a line is harmless on a terminal, and no wider than was asked for.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use wpm_client::logs::{Follower, From, Source, Wake};
use wpm_proto::home::Home;

use super::collect::Known;
use super::format::label;
use super::watch_failed;
use crate::failure::Failure;
use crate::render::escape;

/// Lines that are kept.
const KEPT: usize = 500;

/// The last lines of some apps.
pub(in crate::verbs) struct Gathering {
    known: Known,
    sources: Vec<Source>,
    follower: Follower,
    lines: VecDeque<String>,
}

impl Gathering {
    /// Begins with what comes from here on.
    pub(in crate::verbs) fn of(home: Home, targets: &[String]) -> Result<Self, Failure> {
        let mut gathering = Self {
            known: Known::new(home, targets)?,
            sources: Vec::new(),
            follower: Follower::new().map_err(|cause| watch_failed(&cause))?,
            lines: VecDeque::new(),
        };
        gathering.add(From::End);
        Ok(gathering)
    }

    /// Looks for files that have come.
    pub(in crate::verbs) fn look(&mut self) {
        self.add(From::Offset(0));
    }

    fn add(&mut self, from: From) {
        for position in self.known.refresh(&mut self.sources, |_| true).unwrap_or_default() {
            self.follower.add(&self.sources[position].path, from);
        }
    }

    /// Waits for new lines or for `other`, at most so long.
    pub(in crate::verbs) fn wait(&self, other: BorrowedFd<'_>, limit: Duration) -> Result<Wake, Failure> {
        self.follower.wait(Some(other), None, Some(limit)).map_err(|cause| watch_failed(&cause))
    }

    /// The last lines, the oldest first, each within so many columns.
    pub(in crate::verbs) fn last(&mut self, count: usize, columns: usize) -> Vec<String> {
        for line in self.follower.lines() {
            let name = label(&self.sources[line.source]);
            self.lines.push_back(format!("{name}  {}", escape::line(&line.bytes)));
        }
        self.lines.drain(..self.lines.len().saturating_sub(KEPT));
        let skipped = self.lines.len().saturating_sub(count);
        self.lines.iter().skip(skipped).map(|line| line.chars().take(columns).collect()).collect()
    }
}
