//! The bytes of one lane between pipe and log files.
//!
//! A queue in a file of the run directory: spliced in at the end, taken from the front. A file with a
//! name, because it must outlive keeper and shim together: what has left the pipe is nowhere else. It
//! is never synced, for with the machine the pipe is gone, too. Positions count from the run's beginning
//! and never go back; the file's size says how much came in, its header how much is done.
//!
//! Invariant: bytes leave the pipe and enter the journal in one step, and leave the journal only by the
//! header's word that the log files have them.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use wpm_sys::codec::{DecodeError, Reader, Writer};
use wpm_sys::splice;

/// Most bytes that wait in a journal; a line that is longer is written in pieces of this size.
pub(super) const CAPACITY: u64 = 128 << 10;
/// Bytes before the data: a page, so that the header stays when data is given back.
const HEADER: u64 = 4096;
const PAGE: u64 = 4096;
/// The largest block in which a file system gives space back; in memory a block is a page, which may be of 64 KiB.
const BLOCK: u64 = 64 << 10;
/// First number of a header.
const MAGIC: u32 = 0x5750_4A31;
/// Bytes of a header.
const SIZE: usize = 44;

/// A position, and whether it is in the middle of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) mid_line: bool,
}

impl Place {
    fn unpack(word: u64) -> Self {
        Self { at: word >> 1, mid_line: word & 1 == 1 }
    }
    fn pack(self) -> u64 {
        self.at << 1 | u64::from(self.mid_line)
    }
}

/// What the header says. Places are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Head {
    /// Position of the first byte of data.
    base: u64,
    /// Equal to `base`, but while the file is being emptied: then the base that it is to have.
    next_base: u64,
    /// Up to where everything is in the log files.
    done: u64,
    /// Where the batch under way ends; equal to `done` when there is none.
    batch_end: u64,
    /// How many targets have the batch under way.
    step: u64,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(MAGIC).u64(self.base).u64(self.next_base).u64(self.done).u64(self.batch_end).u64(self.step);
        w.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut r = Reader::new(bytes);
        let ours = r.u32()? == MAGIC;
        let (base, next_base, done) = (r.u64()?, r.u64()?, r.u64()?);
        Ok(ours.then_some(Self { base, next_base, done, batch_end: r.u64()?, step: r.u64()? }))
    }
}

/// The journal of one lane.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    head: Cell<Head>,
    /// Up to where its space was given back.
    freed: Cell<u64>,
}

/// The journal's file of a lane, in the folder `locks`.
pub(super) fn path(locks: &Path, run: u64, lane: usize) -> PathBuf {
    locks.join(format!("{run}.{lane}.lines"))
}

impl Journal {
    /// Opens the journal that an earlier shim left; `None` where there is none.
    pub(super) fn existing(path: &Path) -> io::Result<Option<Self>> {
        match options().open(path) {
            Ok(file) => Self::of(file).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens the journal, and makes it and its folder where they are missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let open = || options().create(true).open(path);
        let file = open().or_else(|e| match path.parent() {
            Some(folder) if e.kind() == io::ErrorKind::NotFound => {
                super::logfile::make_folder(folder)?;
                open()
            }
            _ => Err(e),
        })?;
        Self::of(file)
    }

    fn of(file: File) -> io::Result<Self> {
        let mut bytes = [0; SIZE];
        let head = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Head::decode(&bytes).ok().flatten(),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(e),
        };
        let journal = Self { file, head: Cell::default(), freed: Cell::new(0) };
        match head {
            // Its maker came no further than this: there is no data before there is a header.
            None => {
                journal.file.set_len(0)?;
                journal.set(Head::default())?;
            }
            Some(head) => {
                journal.head.set(head);
                if head.base != head.next_base {
                    journal.empty(head.next_base)?;
                }
            }
        }
        journal.freed.set(journal.head.get().base);
        Ok(journal)
    }

    fn set(&self, head: Head) -> io::Result<()> {
        self.file.write_all_at(&head.encode(), 0)?;
        self.head.set(head);
        Ok(())
    }

    fn offset(&self, at: u64) -> u64 {
        HEADER + at.saturating_sub(self.head.get().base)
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.head.get().base + self.file.metadata()?.len().saturating_sub(HEADER))
    }

    /// Up to where everything is in the log files.
    pub(super) fn done(&self) -> Place {
        Place::unpack(self.head.get().done)
    }

    /// Where the batch under way ends; equal to [`Self::done`] when there is none.
    pub(super) fn batch_end(&self) -> Place {
        Place::unpack(self.head.get().batch_end)
    }

    /// How many targets have the batch under way.
    pub(super) fn step(&self) -> u64 {
        self.head.get().step
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> io::Result<u64> {
        Ok(self.end()?.saturating_sub(self.done().at))
    }

    /// Takes in what the pipe has, as far as there is room. `Some(0)`: every writer is gone; `None`:
    /// no room, or nothing there.
    pub(super) fn fill(&self, pipe: &OwnedFd) -> io::Result<Option<usize>> {
        let end = self.end()?;
        let room = CAPACITY.saturating_sub(end.saturating_sub(self.done().at));
        if room == 0 {
            return Ok(None);
        }
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        match splice::to_file(pipe, &self.file, self.offset(end), room) {
            Ok(n) => Ok(Some(n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads from `from` to `to` into `buf`.
    pub(super) fn read(&self, from: u64, to: u64, buf: &mut Vec<u8>) -> io::Result<()> {
        // What it holds is written over, so none of it is cleared but what is new.
        buf.resize(usize::try_from(to.saturating_sub(from)).unwrap_or(0), 0);
        self.file.read_exact_at(buf, self.offset(from))
    }

    /// Notes where the batch ends that is written from now on.
    pub(super) fn begin(&self, end: Place) -> io::Result<()> {
        self.set(Head { step: 0, batch_end: end.pack(), ..self.head.get() })
    }

    /// One more target has the batch.
    pub(super) fn advance(&self) {
        self.note(|head| head.step += 1);
    }

    /// Every target has the batch.
    pub(super) fn finish(&self) {
        self.note(|head| head.done = head.batch_end);
    }

    /// Notes what has been done already, which holds for this shim even where it cannot be written.
    fn note(&self, change: impl FnOnce(&mut Head)) {
        let mut head = self.head.get();
        change(&mut head);
        if let Err(e) = self.set(head) {
            self.head.set(head);
            crate::complain(&format!("cannot note in a run's journal what was logged: {e}"));
        }
    }

    /// Gives up everything that waits; returns how much that was.
    pub(super) fn discard(&self) -> io::Result<u64> {
        let (done, end) = (self.done(), self.end()?);
        let lost = end.saturating_sub(done.at);
        if lost > 0 {
            let all = Place { at: end, mid_line: true }.pack();
            self.note(|head| (head.batch_end, head.done) = (all, all));
        }
        Ok(lost)
    }

    /// Bytes that are done and still take space.
    pub(super) fn hoard(&self) -> u64 {
        self.done().at.saturating_sub(self.freed.get())
    }

    /// Gives the space of what is done back.
    pub(super) fn free(&self) {
        let done = self.done().at;
        if done > self.head.get().base && self.waiting().is_ok_and(|n| n == 0) {
            // Where it fails the space stays taken, nothing else.
            drop(self.empty(done));
            return;
        }
        let (from, to) = (self.offset(self.freed.get()), self.offset(done) / PAGE * PAGE);
        if to > from {
            let from = start_of_hole(from);
            drop(splice::punch(&self.file, from, to - from));
            self.freed.set(done - (self.offset(done) - to));
        }
    }

    /// Cuts the data off; the next byte has the position `base`. Each step may be the last one of a shim
    /// and is then done again by the next, before anything comes in.
    fn empty(&self, base: u64) -> io::Result<()> {
        self.set(Head { next_base: base, ..self.head.get() })?;
        self.file.set_len(HEADER)?;
        self.set(Head { base, ..self.head.get() })?;
        self.freed.set(base);
        Ok(())
    }
}

/// Where a hole begins that goes on from `from`: with the block that the last one had reached into, which only a
/// hole over all of it gives back.
const fn start_of_hole(from: u64) -> u64 {
    let block = from / BLOCK * BLOCK;
    if block < HEADER { HEADER } else { block }
}

fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pour(journal: &Journal, text: &[u8]) {
        let (read, write) = splice::pipe().unwrap();
        File::from(write).write_all(text).unwrap();
        assert_eq!(journal.fill(&read).unwrap(), Some(text.len()));
    }

    fn waiting(journal: &Journal) -> String {
        let (from, mut text) = (journal.done().at, Vec::new());
        journal.read(from, from + journal.waiting().unwrap(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_next_shim_finds_what_the_last_one_took() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), 7, 1);
        assert!(Journal::existing(&path).unwrap().is_none());
        let journal = Journal::open(&path).unwrap();
        pour(&journal, b"one\ntwo\n");
        journal.begin(Place { at: 4, mid_line: false }).unwrap();
        journal.advance();
        let journal = Journal::existing(&path).unwrap().unwrap();
        assert_eq!((journal.done().at, journal.batch_end().at, journal.step()), (0, 4, 1));
        journal.finish();
        journal.free();
        let journal = Journal::open(&path).unwrap();
        pour(&journal, b"three\n");
        assert_eq!(waiting(&journal), "two\nthree\n");
    }

    #[test]
    fn an_emptied_journal_goes_on_counting() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), 7, 0);
        let journal = Journal::open(&path).unwrap();
        pour(&journal, b"one\n");
        journal.begin(Place { at: 4, mid_line: false }).unwrap();
        journal.finish();
        // Killed after each step of the emptying.
        journal.set(Head { next_base: 4, ..journal.head.get() }).unwrap();
        for cut in [false, true] {
            if cut {
                journal.file.set_len(HEADER).unwrap();
            }
            let next = Journal::open(&path).unwrap();
            assert_eq!((next.waiting().unwrap(), next.done().at), (0, 4));
            journal.set(Head { base: 0, ..next.head.get() }).unwrap();
        }
        let journal = Journal::open(&path).unwrap();
        pour(&journal, b"two\n");
        assert_eq!((waiting(&journal).as_str(), journal.done().at), ("two\n", 4));
    }

    #[test]
    fn a_file_without_header_is_a_new_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), 7, 0);
        for bad in [&b""[..], b"short", &[0; 8192]] {
            std::fs::write(&path, bad).unwrap();
            let journal = Journal::existing(&path).unwrap().unwrap();
            assert_eq!((journal.waiting().unwrap(), journal.done().at), (0, 0));
        }
    }

    #[test]
    fn a_block_that_was_given_back_in_part_is_given_back_with_the_rest() {
        assert_eq!([HEADER, BLOCK - PAGE, BLOCK].map(start_of_hole), [HEADER, HEADER, BLOCK]);
        assert_eq!([BLOCK + PAGE, 3 * BLOCK - 1].map(start_of_hole), [BLOCK, 2 * BLOCK]);
    }

    #[test]
    fn space_is_given_back_in_pages() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), 7, 0);
        let journal = Journal::open(&path).unwrap();
        pour(&journal, &[b'x'; 10_000]);
        journal.begin(Place { at: 9_000, mid_line: true }).unwrap();
        journal.finish();
        assert_eq!(journal.hoard(), 9_000);
        journal.free();
        assert_eq!(journal.hoard(), 9_000 - 2 * PAGE);
        assert_eq!(waiting(&journal), "x".repeat(1000));
        assert_eq!(Journal::open(&path).unwrap().done(), Place { at: 9_000, mid_line: true });
    }
}
