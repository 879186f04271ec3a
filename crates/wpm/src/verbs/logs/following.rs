//! The output of every app of a home, from its beginning on, for a foreground run.
//!
//! Prints for as long as it is asked to; a reader that has gone is no reason to end. Invariant: stdout
//! of apps goes to stdout; raw stderr goes to stderr.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use wpm_client::logs::{Follower, From, Line, Source, Stream, Wake};
use wpm_proto::app::AppSpec;
use wpm_proto::home::Home;

use super::collect::Known;
use super::format::{Format, Printer};
use super::watch_failed;
use crate::failure::Failure;

/// The files of every folder in which these apps log, with their sizes.
fn there(home: &Home, apps: &[AppSpec]) -> HashMap<PathBuf, u64> {
    let mut folders = vec![home.logs()];
    for app in apps {
        let files = [&app.out_file, &app.error_file, &app.log_file].into_iter().flatten();
        folders.extend(files.filter_map(|file| Some(Path::new(file).parent()?.to_owned())));
    }
    folders.sort();
    folders.dedup();
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect()
}

/// Follows every log file of a home.
pub(in crate::verbs) struct Following {
    known: Known,
    sources: Vec<Source>,
    follower: Follower,
    printer: Printer,
    raw: bool,
    /// Files that were there before, with what they held: it was printed by whoever ran then.
    before: HashMap<PathBuf, u64>,
}

impl Following {
    /// Begins with what is there, and prints only what comes: of the apps of the home and of these.
    pub(in crate::verbs) fn of_all(home: Home, format: Format, apps: &[AppSpec]) -> Result<Self, Failure> {
        let before = there(&home, apps);
        let mut following = Self {
            before,
            known: Known::new(home, &[])?,
            sources: Vec::new(),
            follower: Follower::new().map_err(|cause| watch_failed(&cause))?,
            printer: Printer::new(format, None, None),
            raw: format == Format::Raw,
        };
        following.look();
        Ok(following)
    }

    /// Looks for files that have come.
    pub(in crate::verbs) fn look(&mut self) {
        let Ok(new) = self.known.refresh(&mut self.sources, |_| true) else { return };
        for position in &new {
            let path = &self.sources[*position].path;
            self.follower.add(path, From::Offset(self.before.get(path).copied().unwrap_or(0)));
        }
        if !new.is_empty() {
            self.printer.fit(&self.sources);
        }
        self.printer.stamped = self.known.stamped().to_vec();
    }

    /// Waits for new lines or for `other`.
    pub(in crate::verbs) fn wait(&self, other: BorrowedFd<'_>) -> Result<Wake, Failure> {
        self.follower.wait(Some(other), None, None).map_err(|cause| watch_failed(&cause))
    }

    /// Prints the lines that have come.
    pub(in crate::verbs) fn print(&mut self) {
        let lines = self.follower.lines();
        self.put(lines);
    }

    /// Prints what is left when nobody writes any more, lines without an end included.
    pub(in crate::verbs) fn print_rest(&mut self) {
        loop {
            let lines = self.follower.lines();
            if lines.is_empty() {
                break;
            }
            self.put(lines);
        }
        let rest = self.follower.take_partial();
        self.put(rest);
    }

    fn put(&self, lines: Vec<Line>) {
        let (err, out): (Vec<Line>, Vec<Line>) =
            lines.into_iter().partition(|line| self.raw && self.sources[line.source].stream == Stream::Err);
        // Who does not listen misses it; the apps go on.
        drop(self.printer.print(&self.sources, &out, Some(Timestamp::now())));
        if !err.is_empty() {
            let mut bytes = Vec::new();
            for line in err {
                bytes.extend_from_slice(&line.bytes);
                bytes.push(b'\n');
            }
            drop(std::io::stderr().lock().write_all(&bytes));
        }
    }
}
