//! The one thread that writes: journal lines and state files.
//!
//! The loop of the daemon never waits for a disk; it hands over what is to be written together with
//! what may be done afterwards, and gets the latter back once it is written. Requests that have piled
//! up meanwhile are written together (group commit). A journal line that does not fit the disk is
//! cut off again, so that the journal never holds half a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;
use wpm_proto::home::Home;

use crate::journal::{self, Needed};
use crate::state_file;

/// Room that is held for the journal, for gates wait for it; and how little of it is left when more is
/// asked for. In bytes.
const JOURNAL_ROOM: u64 = 64 * 1024;
const JOURNAL_LEAST: u64 = 16 * 1024;
/// Bytes of journal lines after which it is worth to write a shorter one, and as many more for each instance:
/// what is needed of a journal is shorter than that.
const JOURNAL_LONG: usize = 256 * 1024;
const JOURNAL_EACH: usize = 512;

/// Which file a state goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// `state.json`.
    State,
    /// `dump.json`.
    Dump,
}

/// What to write.
#[derive(Debug)]
pub(crate) enum Job {
    /// Journal lines; `token` comes back when they are written.
    Journal { lines: String, token: u64 },
    /// A whole state; `token` comes back when it is durable. Of several waiting states of one
    /// target, the last is written.
    File { target: Target, content: Vec<u8>, token: u64 },
    /// A small file of the run folder, replaced whole, without fsync; nobody waits for it.
    Small { path: PathBuf, content: Vec<u8> },
    /// The journal's file was taken away: makes it again with all that it held.
    Renew,
    /// The journal is long: writes it anew, with what is needed of it.
    Shorten(Needed),
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The tokens.
    pub(crate) tokens: Vec<u64>,
    /// Whether it failed, and how.
    pub(crate) error: Option<String>,
    /// Whether it was a state file.
    pub(crate) durable: bool,
    /// Whether there is room for the next state, however full the disk is.
    pub(crate) reserved: bool,
}

/// Hand of the loop to the thread.
#[derive(Debug)]
pub(crate) struct Store {
    /// What is handed over with the next [`Store::send`]: what was decided together is written together.
    jobs: Vec<Job>,
    to: Sender<Vec<Job>>,
    thread: JoinHandle<()>,
    /// Bytes of lines since the journal was short, and how many make it long.
    journaled: usize,
    long: usize,
}

impl Store {
    /// Starts the thread on an already compacted journal.
    ///
    /// # Errors
    /// When the journal cannot be opened or the thread not be started.
    pub(crate) fn start(home: Home, written: UnboundedSender<Written>) -> io::Result<Self> {
        let journal = open_journal(&home)?;
        let (to, from) = channel();
        let thread =
            std::thread::Builder::new().name("wpm-store".into()).stack_size(256 * 1024).spawn(move || {
                let end = journal.metadata().map_or(0, |data| data.len());
                let journal_room = reserve_ahead(&journal, end);
                Writer { home, journal, journal_room, written }.run(&from);
            })?;
        Ok(Self { jobs: Vec::new(), to, thread, journaled: 0, long: JOURNAL_LONG })
    }

    /// Waits until everything that was to be written is written.
    pub(crate) fn finish(mut self) {
        self.send();
        drop(self.to);
        // A panic of the thread is in the log already.
        drop(self.thread.join());
    }

    /// Has something written, once it is sent.
    pub(crate) fn write(&mut self, what: Job) {
        if let Job::Journal { lines, .. } = &what {
            self.journaled += lines.len();
        }
        self.jobs.push(what);
    }

    /// Has the journal written anew if it has become long.
    pub(crate) fn shorten_journal(&mut self, needed: impl FnOnce() -> Needed) {
        if self.journaled > self.long {
            let needed = needed();
            self.journaled = 0;
            self.long = JOURNAL_LONG + JOURNAL_EACH * needed.instances.len();
            self.write(Job::Shorten(needed));
        }
    }

    /// Hands everything over that is to be written.
    pub(crate) fn send(&mut self) {
        if !self.jobs.is_empty() {
            // The thread ends only with the process.
            drop(self.to.send(std::mem::take(&mut self.jobs)));
        }
    }
}

fn open_journal(home: &Home) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(home.journal())
}

/// Holds room behind the end of the journal; up to where, or 0 where there is none.
fn reserve_ahead(journal: &File, end: u64) -> u64 {
    let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(journal, keep, end, JOURNAL_ROOM).map_or(0, |()| end + JOURNAL_ROOM)
}

/// What is needed of a journal. One that is not good to its end is left as it is, for somebody to look at.
fn shortened(text: &[u8], needed: &Needed) -> io::Result<Vec<u8>> {
    let (facts, good) = journal::read(text);
    if good < text.len() {
        return Err(io::Error::other(format!("it is good up to byte {good} of {}", text.len())));
    }
    Ok(journal::shorten(&journal::summarise(&facts), needed).into_bytes())
}

struct Writer {
    home: Home,
    journal: File,
    /// Up to where room is held for it.
    journal_room: u64,
    written: UnboundedSender<Written>,
}

impl Writer {
    fn run(mut self, from: &Receiver<Vec<Job>>) {
        while let Ok(first) = from.recv() {
            let (mut lines, mut line_tokens) = (String::new(), Vec::new());
            let mut files: Vec<(Target, Vec<u8>, Vec<u64>)> = Vec::new();
            for item in first.into_iter().chain(from.try_iter().flatten()) {
                match item {
                    Job::Renew => self.renew(Ok),
                    Job::Shorten(needed) => {
                        // What it was decided after is in the journal first.
                        self.append(&mut lines, &mut line_tokens);
                        self.renew(|text| shortened(&text, &needed));
                    }
                    Job::Journal { lines: more, token } => {
                        lines.push_str(&more);
                        line_tokens.push(token);
                    }
                    Job::Small { path, content } => {
                        let fresh = path.with_extension("new");
                        if let Err(error) =
                            std::fs::write(&fresh, content).and_then(|()| std::fs::rename(&fresh, &path))
                        {
                            tracing::warn!(%error, path = %path.display(), "cannot write a file of the run folder");
                        }
                    }
                    Job::File { target, content, token } => match files.iter_mut().find(|f| f.0 == target) {
                        Some(waiting) => {
                            waiting.1 = content;
                            waiting.2.push(token);
                        }
                        None => files.push((target, content, vec![token])),
                    },
                }
            }
            // The journal first: gates wait for it.
            self.append(&mut lines, &mut line_tokens);
            for (target, content, tokens) in files {
                let (path, backup) = match target {
                    Target::State => (self.home.state(), self.home.state_backup()),
                    Target::Dump => (self.home.dump(), self.home.dump_backup()),
                };
                let done = state_file::replace(&path, &backup, &self.home.reserve(), &content);
                let reserved = *done.as_ref().unwrap_or(&false);
                self.tell(
                    tokens,
                    done.err().as_ref(),
                    &format!("writing {}", path.display()),
                    Some(reserved),
                );
            }
        }
    }

    /// Makes the journal again, with what `change` leaves of it.
    fn renew(&mut self, change: impl FnOnce(Vec<u8>) -> io::Result<Vec<u8>>) {
        let again = || {
            let mut text = Vec::new();
            let mut old = &self.journal;
            old.rewind()?;
            let _ = old.read_to_end(&mut text)?;
            journal::replace(&self.home, change(text)?)?;
            open_journal(&self.home)
        };
        match again() {
            Ok(journal) => (self.journal, self.journal_room) = (journal, 0),
            Err(error) => tracing::error!(%error, "the run journal cannot be written anew"),
        }
    }

    /// Writes the lines that have come together, and says so.
    fn append(&mut self, lines: &mut String, tokens: &mut Vec<u64>) {
        if !tokens.is_empty() {
            let error = self.append_bytes(lines.as_bytes()).err();
            self.tell(std::mem::take(tokens), error.as_ref(), "writing the run journal", None);
            lines.clear();
        }
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.journal.metadata()?.len();
        if let Err(e) = self.journal.write_all(bytes) {
            drop(self.journal.set_len(before));
            // Cut off with the half line.
            self.journal_room = 0;
            return Err(e);
        }
        let end = before + bytes.len() as u64;
        if end + JOURNAL_LEAST > self.journal_room {
            self.journal_room = reserve_ahead(&self.journal, end);
        }
        Ok(())
    }

    /// `reserved`: it was a state file, and whether there is room for the next.
    fn tell(&self, tokens: Vec<u64>, error: Option<&io::Error>, what: &str, reserved: Option<bool>) {
        let error = error.map(|e| format!("{what} failed: {e}"));
        let (durable, reserved) = (reserved.is_some(), reserved.unwrap_or(true));
        // The loop is gone only when the process ends.
        drop(self.written.send(Written { tokens, error, durable, reserved }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Fact, line, read, summarise};

    #[test]
    fn a_journal_does_not_grow_with_what_has_happened() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        std::fs::create_dir(home.run()).expect("created");
        let (to, mut written) = tokio::sync::mpsc::unbounded_channel();
        let mut store = Store::start(home.clone(), to).expect("started");
        let mut lines = 0;
        let mut say = |store: &mut Store, fact: &Fact| {
            lines += 1;
            store.write(Job::Journal { lines: line(fact), token: lines });
            let needed = || Needed { runs: [1, 9000].into(), instances: [0].into() };
            store.shorten_journal(needed);
            if lines % 100 == 0 {
                store.send();
            }
        };
        say(&mut store, &Fact::Boot { id: "b".into() });
        for run in 1..=9000 {
            say(&mut store, &Fact::Asked { run, instance: 0 });
            if run != 17 {
                say(&mut store, &Fact::End { run, account: None });
            }
        }
        store.finish();
        let text = std::fs::read(home.journal()).expect("there");
        assert!(text.len() < 2 * JOURNAL_LONG, "{}", text.len());
        let (facts, good) = read(&text);
        let summary = summarise(&facts);
        assert_eq!((good, summary.last_run), (text.len(), 9000));
        assert_eq!(summary.open.iter().map(|open| open.run).collect::<Vec<_>>(), [17]);
        assert!([1, 9000].iter().all(|run| summary.ended.contains(run)), "their shims may be there");
        let tokens: Vec<u64> = std::iter::from_fn(|| written.try_recv().ok())
            .inspect(|done| assert_eq!(done.error, None))
            .flat_map(|done| done.tokens)
            .collect();
        assert_eq!(tokens, (1..=lines).collect::<Vec<_>>(), "each is told of once, in order");
    }
}
