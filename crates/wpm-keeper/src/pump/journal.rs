//! The bytes of one lane between pipe and log files.
//!
//! A queue in an anonymous file that keeper and shim both hold: spliced in at the end, taken from the
//! front. Positions count from the run's beginning and never go back; the file's size says how much
//! came in, the slot how much is done. Invariant: bytes leave the pipe and enter the journal in one
//! step, and leave the journal only by the slot's word that the log files have them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use wpm_sys::slot::Lane;
use wpm_sys::splice;

/// Most bytes that wait in a journal; a line that is longer is written in pieces of this size.
pub(super) const CAPACITY: u64 = 64 << 10;
const PAGE: u64 = 4096;

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

/// View of one lane's journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Journal<'w> {
    file: &'w File,
    base: u64,
    lane: &'w Lane,
}

impl<'w> Journal<'w> {
    /// The journal in `file` from offset `base` on.
    pub(super) fn new((file, base): (&'w File, u64), lane: &'w Lane) -> Self {
        Self { file, base, lane }
    }

    fn end(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.base))
    }

    /// Up to where everything is in the log files.
    pub(super) fn done(&self) -> Place {
        Place::unpack(self.lane.done.load(Ordering::Acquire))
    }

    /// Where the batch under way ends; equal to [`Self::done`] when there is none.
    pub(super) fn batch_end(&self) -> Place {
        Place::unpack(self.lane.batch_end.load(Ordering::Acquire))
    }

    /// How many targets have the batch under way.
    pub(super) fn step(&self) -> u64 {
        self.lane.step.load(Ordering::Acquire)
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
        match splice::to_file(pipe, self.file, self.base + end, room) {
            Ok(n) => Ok(Some(n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads from `from` to `to` into `buf`.
    pub(super) fn read(&self, from: u64, to: u64, buf: &mut Vec<u8>) -> io::Result<()> {
        buf.clear();
        buf.resize(usize::try_from(to.saturating_sub(from)).unwrap_or(0), 0);
        self.file.read_exact_at(buf, self.base + from)
    }

    /// Notes where the batch ends that is written from now on.
    pub(super) fn begin(&self, end: Place) {
        self.lane.step.store(0, Ordering::Release);
        self.lane.batch_end.store(end.pack(), Ordering::Release);
    }

    /// One more target has the batch.
    pub(super) fn advance(&self) {
        self.lane.step.fetch_add(1, Ordering::AcqRel);
    }

    /// Every target has the batch.
    pub(super) fn finish(&self) {
        self.lane.done.store(self.batch_end().pack(), Ordering::Release);
    }

    /// Gives up everything that waits; returns how much that was.
    pub(super) fn discard(&self) -> io::Result<u64> {
        let (done, end) = (self.done(), self.end()?);
        let lost = end.saturating_sub(done.at);
        if lost > 0 {
            let place = Place { at: end, mid_line: true };
            self.lane.batch_end.store(place.pack(), Ordering::Release);
            self.finish();
        }
        Ok(lost)
    }

    /// Gives the memory of what is done back. `from` is where that was done last; returns up to where.
    pub(super) fn free(&self, from: u64) -> u64 {
        let to = self.done().at / PAGE * PAGE;
        if to > from {
            // A page that stays costs memory, nothing else.
            drop(splice::punch(self.file, self.base + from, to - from));
        }
        to.max(from)
    }
}
