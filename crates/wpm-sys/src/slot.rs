//! The page of memory that a run's keeper, shim and child share, and that outlives each of them.
//!
//! Owns the layout and the order of writes. Deliberately takes no decision but one: what the death of
//! a child means, which depends on how far the child itself said it had come. Invariant: every field
//! is one atomic word that is valid at any moment, for any of the writers may be killed between two.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use crate::contract::{End, Phase, Stage, Usage};

/// Bytes of the slot's file.
pub const SIZE: usize = 4096;

/// The daemon has taken note of the end.
pub const RELEASED: u32 = 1;
/// The tree is being killed.
pub const KILLING: u32 = 2;
/// The log files are shared with other runs.
pub const SHARED: u32 = 4;
/// A shim of this run has died, and its children fell to the keeper.
pub const ORPHANED: u32 = 8;

/// Orphans of which a slot has room to tell.
const ORPHANS: usize = 128;

const SET: u64 = 1 << 63;

/// Trouble of one output stream.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Lane {
    /// Dropped bytes of which no notice in the log file tells yet.
    pub untold: AtomicU64,
    /// Milliseconds of `CLOCK_BOOTTIME` since which nothing can be written, 0 = it can.
    pub full_since_ms: AtomicU64,
}

/// A process of the run that fell to the keeper; pid 0: none yet.
#[derive(Debug, Default)]
#[repr(C)]
struct Orphan {
    start_time: AtomicU64,
    pid: AtomicI32,
}

/// Those of a run. Written by the keeper alone, and never taken out: where a process is gone, its place
/// may be given to another.
#[derive(Debug)]
#[repr(C)]
struct Orphans([Orphan; ORPHANS]);

impl Default for Orphans {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Orphan::default()))
    }
}

/// The shared page.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Slot {
    phase: AtomicU32,
    pid: AtomicI32,
    start_time: AtomicU64,
    flags: AtomicU32,
    /// Error number of the last failed log write, 0 while writing works.
    pub log_errno: AtomicI32,
    running_since_ms: AtomicU64,
    ended_at_ms: AtomicU64,
    failure: AtomicU64,
    end: AtomicU64,
    usage: [AtomicU64; 3],
    /// Output bytes given up because the disk was full.
    pub dropped: AtomicU64,
    /// The two output streams.
    pub lanes: [Lane; 2],
    /// How often an orphan was added.
    orphaned: AtomicU32,
    orphans: Orphans,
    /// Whether the shim has left the descriptors of its keeper.
    pub apart: AtomicU32,
}

impl Slot {
    /// How far the run has come.
    pub fn phase(&self) -> Phase {
        if self.end().is_some() {
            return Phase::Ended;
        }
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Preparing,
            1 => Phase::AtGate,
            2 => Phase::Launching,
            _ => Phase::Running,
        }
    }

    /// Notes a further phase; an earlier one changes nothing.
    pub fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u32, Ordering::AcqRel);
    }

    /// Notes the main process.
    pub fn register(&self, pid: i32, start_time: u64) {
        self.start_time.store(start_time, Ordering::Release);
        self.pid.store(pid, Ordering::Release);
        self.advance(Phase::AtGate);
    }

    /// Process id of the main process, 0 before it exists.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Acquire)
    }

    /// Start time of the main process in clock ticks since boot.
    pub fn start_time(&self) -> u64 {
        self.start_time.load(Ordering::Acquire)
    }

    /// Notes that exec succeeded, once.
    pub fn set_running(&self, now_ms: u64) {
        // The first to see it knows the time best; whoever loses has nothing to add.
        let _ = self.running_since_ms.compare_exchange(0, now_ms, Ordering::AcqRel, Ordering::Acquire);
        self.advance(Phase::Running);
    }

    /// When exec succeeded, in milliseconds of `CLOCK_BOOTTIME`; 0 before.
    pub fn running_since_ms(&self) -> u64 {
        self.running_since_ms.load(Ordering::Acquire)
    }

    /// Called by the child: a stage of its preparation failed.
    pub fn fail(&self, stage: Stage, errno: i32) {
        let word = SET | (stage as u64) << 32 | u64::from(errno.cast_unsigned());
        self.failure.store(word, Ordering::Release);
    }

    /// The stage that failed.
    pub fn failure(&self) -> Option<(Stage, i32)> {
        let word = self.failure.load(Ordering::Acquire);
        if word & SET == 0 {
            return None;
        }
        let stage = usize::try_from((word & !SET) >> 32).ok().and_then(|n| Stage::ALL.get(n).copied());
        Some((stage.unwrap_or(Stage::Exec), low(word)))
    }

    /// Notes how the main process ended, in the words of its parent, unless it is noted already. What
    /// that means is decided here: a child that failed in a stage never became the app, and one that
    /// never passed its gate was cancelled.
    pub fn record_end(&self, raw: End, usage: Usage, now_ms: u64) {
        if self.end().is_some() {
            return;
        }
        let passed = self.phase.load(Ordering::Acquire) >= Phase::Launching as u32;
        let end = match self.failure() {
            Some((stage, errno)) => End::NotStarted { stage, errno },
            None if !passed => End::Cancelled,
            None => raw,
        };
        for (word, value) in self.usage.iter().zip([usage.user_us, usage.system_us, usage.max_rss_kib]) {
            word.store(value, Ordering::Relaxed);
        }
        self.ended_at_ms.store(now_ms, Ordering::Relaxed);
        self.end.store(pack(end), Ordering::Release);
    }

    /// How the main process ended.
    pub fn end(&self) -> Option<End> {
        unpack(self.end.load(Ordering::Acquire))
    }

    /// When the end was seen, in milliseconds of `CLOCK_BOOTTIME`; 0 before.
    pub fn ended_at_ms(&self) -> u64 {
        self.ended_at_ms.load(Ordering::Acquire)
    }

    /// What it used.
    pub fn usage(&self) -> Usage {
        let [user_us, system_us, max_rss_kib] =
            [0, 1, 2].map(|i: usize| self.usage[i].load(Ordering::Relaxed));
        Usage { user_us, system_us, max_rss_kib }
    }

    /// Notes a process of the run that fell to the keeper. One for which there is no room is left to
    /// those who look for the session and the variable of the run.
    pub fn add_orphan(&self, pid: i32, start_time: u64) {
        let lives = |o: &Orphan| {
            crate::procfs::start_time(o.pid.load(Ordering::Acquire))
                == Some(o.start_time.load(Ordering::Acquire))
        };
        if let Some(place) = self.orphans.0.iter().find(|o| o.pid.load(Ordering::Acquire) == 0 || !lives(o)) {
            // Of the old pid and the new start time there is no process.
            place.start_time.store(start_time, Ordering::Release);
            place.pid.store(pid, Ordering::Release);
            self.orphaned.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Those processes and their start times; some may be gone.
    pub fn orphans(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        let all = self.orphans.0.iter();
        all.map(|o| (o.pid.load(Ordering::Acquire), o.start_time.load(Ordering::Acquire)))
            .filter(|(pid, _)| *pid > 0)
    }

    /// Changes whenever one is added.
    pub fn orphan_count(&self) -> u32 {
        self.orphaned.load(Ordering::Acquire)
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    /// Sets or clears a flag.
    pub fn set(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, Ordering::AcqRel);
        } else {
            self.flags.fetch_and(!flag, Ordering::AcqRel);
        }
    }
}

fn low(word: u64) -> i32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0).cast_signed()
}

fn pack(end: End) -> u64 {
    let part =
        |kind: u64, extra: u64, value: i32| SET | kind << 56 | extra << 32 | u64::from(value.cast_unsigned());
    match end {
        End::Code(code) => part(1, 0, code),
        End::Signal { signal, core } => part(2, u64::from(core), signal),
        End::Unknown => part(3, 0, 0),
        End::NotStarted { stage, errno } => part(4, stage as u64, errno),
        End::Cancelled => part(5, 0, 0),
    }
}

fn unpack(word: u64) -> Option<End> {
    if word & SET == 0 {
        return None;
    }
    let extra = usize::try_from((word >> 32) & 0xff).unwrap_or(0);
    Some(match (word >> 56) & 0x7f {
        1 => End::Code(low(word)),
        2 => End::Signal { signal: low(word), core: extra == 1 },
        4 => {
            End::NotStarted { stage: Stage::ALL.get(extra).copied().unwrap_or(Stage::Exec), errno: low(word) }
        }
        5 => End::Cancelled,
        _ => End::Unknown,
    })
}

/// A slot in its file, mapped.
#[derive(Debug)]
pub struct SlotMap {
    at: NonNull<Slot>,
    /// Whether it stays mapped.
    kept: Cell<bool>,
}

impl SlotMap {
    /// Maps the slot at the start of `file`, which is made long enough.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn of(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() < SIZE as u64 {
            file.set_len(SIZE as u64)?;
        }
        // SAFETY: a fresh shared mapping of a whole page that the file really has and that is never
        // cut off: nobody shortens a slot's file.
        let at = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        NonNull::new(at.cast())
            .map(|at| Self { at, kept: Cell::new(false) })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl SlotMap {
    /// The slot, mapped for as long as this process lives: for a child in its memory, which may outlive
    /// whatever holds the mapping.
    pub fn keep(&self) -> &'static Slot {
        self.kept.set(true);
        // SAFETY: as in `deref`, and never unmapped from now on.
        unsafe { self.at.as_ref() }
    }
}

impl Deref for SlotMap {
    type Target = Slot;
    fn deref(&self) -> &Slot {
        const { assert!(size_of::<Slot>() <= SIZE) };
        // SAFETY: mapped and page-aligned for as long as self lives; every field is atomic, and any
        // bits are valid for an atomic integer, so other processes may write at any time.
        unsafe { self.at.as_ref() }
    }
}

impl Drop for SlotMap {
    fn drop(&mut self) {
        if self.kept.get() {
            return;
        }
        // SAFETY: the mapping was made by `of` with this size and no reference outlives self.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_survives_the_word() {
        for end in [
            End::Code(-3),
            End::Code(255),
            End::Signal { signal: 11, core: true },
            End::Unknown,
            End::NotStarted { stage: Stage::Exec, errno: 2 },
            End::Cancelled,
        ] {
            assert_eq!(unpack(pack(end)), Some(end));
        }
        assert_eq!(unpack(0), None);
    }

    #[test]
    fn the_meaning_of_a_death_depends_on_how_far_the_child_had_come() {
        let file = crate::memfd::empty("slot").unwrap();
        let slot = SlotMap::of(&file).unwrap();
        slot.register(7, 9);
        slot.record_end(End::Signal { signal: 9, core: false }, Usage::default(), 5);
        assert_eq!((slot.phase(), slot.end()), (Phase::Ended, Some(End::Cancelled)));
        // Seen from another mapping, and never overwritten.
        let again = SlotMap::of(&file).unwrap();
        again.record_end(End::Code(0), Usage::default(), 6);
        assert_eq!((again.end(), again.pid(), again.ended_at_ms()), (Some(End::Cancelled), 7, 5));

        let slot = Slot::default();
        slot.advance(Phase::Launching);
        slot.fail(Stage::Exec, 2);
        slot.record_end(End::Code(127), Usage::default(), 5);
        assert_eq!(slot.end(), Some(End::NotStarted { stage: Stage::Exec, errno: 2 }));
    }
}
