//! The last lines of apps, kept for a view that is drawn again and again.
//!
//! Invariant: a line is harmless on a terminal, and of bounded length.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use wpm_client::logs::{Follower, From, Line, Source, Wake, merge, tail};
use wpm_proto::home::Home;

use super::collect::Known;
use super::format::label;
use super::watch_failed;
use crate::failure::Failure;
use crate::render::escape;

/// Lines that are kept.
const KEPT: usize = 500;
/// Characters of a line that are kept: more than a window shows.
const LONGEST: usize = 1000;

/// The last lines of some apps.
pub(in crate::verbs) struct Gathering {
    known: Known,
    sources: Vec<Source>,
    follower: Follower,
    lines: VecDeque<String>,
}

impl Gathering {
    /// Begins with so many last lines of each file.
    pub(in crate::verbs) fn of(home: Home, targets: &[String], before: usize) -> Result<Self, Failure> {
        let mut gathering = Self {
            known: Known::new(home, targets)?,
            sources: Vec::new(),
            follower: Follower::new().map_err(|cause| watch_failed(&cause))?,
            lines: VecDeque::new(),
        };
        let new = gathering.known.refresh(&mut gathering.sources, |_| true).unwrap_or_default();
        let mut piles = Vec::new();
        for position in new {
            let path = &gathering.sources[position].path;
            // A file that is not there yet, or not any more, has no last lines.
            let tail = File::open(path).and_then(|file| tail(&file, 0, before)).unwrap_or_default();
            gathering.follower.add(path, From::Offset(tail.end));
            piles.push((position, tail.lines, 0));
        }
        gathering.keep(merge(piles));
        Ok(gathering)
    }

    /// Looks for files that have come.
    pub(in crate::verbs) fn look(&mut self) {
        for position in self.known.refresh(&mut self.sources, |_| true).unwrap_or_default() {
            self.follower.add(&self.sources[position].path, From::Offset(0));
        }
    }

    /// Waits for new lines or for `other`, at most so long.
    pub(in crate::verbs) fn wait(&self, other: BorrowedFd<'_>, limit: Duration) -> Result<Wake, Failure> {
        self.follower.wait(Some(other), None, Some(limit)).map_err(|cause| watch_failed(&cause))
    }

    /// The last lines, the oldest first.
    pub(in crate::verbs) fn last(&mut self, count: usize) -> Vec<String> {
        let lines = self.follower.lines();
        self.keep(lines);
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).cloned().collect()
    }

    fn keep(&mut self, lines: Vec<Line>) {
        // Who wrote it is told where there are several.
        let several = self.sources.iter().any(|source| source.index != self.sources[0].index);
        for line in lines {
            let mut text = escape::line(&line.bytes);
            if text.chars().nth(LONGEST).is_some() {
                // Without colours, which must not be cut in the middle.
                text = anstream::adapter::strip_str(&text).to_string().chars().take(LONGEST).collect();
            }
            let label =
                if several { format!("{}  ", label(&self.sources[line.source])) } else { String::new() };
            self.lines.push_back(format!("{label}{text}"));
        }
        self.lines.drain(..self.lines.len().saturating_sub(KEPT));
    }
}
