//! One stream of output on its way: which way it goes, and what it waits for.
//!
//! Owns the state of a lane and its single steps. Invariant: a batch that was begun, by this shim or
//! one before it, is finished before anything else is taken from the journal or the pipe.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use wpm_sys::clock;
use wpm_sys::contract::RunKey;
use wpm_sys::launch::LineFormat;
use wpm_sys::slot::{SHARED, Slot};
use wpm_sys::splice;

use super::append::{self, Step};
use super::journal::{self, Journal, Place};
use super::lines::{self, Style};
use super::pace::Pace;
use super::shared::AppendId;
use super::trouble::Trouble;
use super::{BUSY_MS, Buffers, KEEP_MS, Pump};
use crate::wires::Wires;

/// Steps of a lane before the others get their turn.
const STEPS: u32 = 32;
/// Journal bytes that are done before their space is given back.
const HOARD: u64 = 256 << 10;
/// A batch beyond this is worth giving memory back.
const LARGE: usize = 8 << 10;
/// Capacity of the pipe of an app that prints without end, in bytes: with four times as much as usual it and its
/// shim seldom wait for each other.
const WIDE: usize = 256 << 10;
/// How often in a row a pipe is found full before it is made wider.
const OFTEN: u32 = 4;
/// Step number of a notice, which belongs to no batch.
const NOTICE: u64 = u64::MAX;
/// Said of a failure that has no number.
const EIO: i32 = 5;

/// State of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    kind: &'static str,
    /// Indices of the files that get it.
    to: Vec<usize>,
    /// Something may be there.
    pub(super) active: bool,
    /// Every writer is gone and everything was taken.
    pub(super) ended: bool,
    /// Since the tree is gone, everything was taken.
    pub(super) settled: bool,
    retry_at: Option<u64>,
    trouble: Option<Trouble>,
    /// Where its journal is, and the journal, once it was needed.
    path: PathBuf,
    opened: Option<Rc<Journal>>,
    /// The batch under way was begun by this shim.
    own_batch: bool,
    /// Something may be in the journal.
    journaled: bool,
    /// How often in a row its pipe was found full; more than [`OFTEN`] once it was made wider for whatever reason.
    full: u32,
    /// When it is looked at again.
    pace: Pace,
    /// Capacity of its pipe in bytes, once it was asked for.
    capacity: Option<u64>,
}

impl Lane {
    /// A lane of a new run, to which the first output is told. `locks`: the folder of the journals.
    pub(super) fn new(index: usize, kind: &'static str, to: Vec<usize>, run: RunKey, locks: &Path) -> Self {
        Self {
            kind,
            to,
            active: false,
            ended: false,
            settled: false,
            retry_at: None,
            trouble: None,
            path: journal::path(locks, run.0, index),
            opened: None,
            own_batch: false,
            journaled: false,
            full: 0,
            pace: Pace::default(),
            capacity: None,
        }
    }

    /// The lane as the shim before this one left it.
    pub(super) fn resumed(mut self, index: usize, slot: &Slot) -> Self {
        self.active = true;
        self.trouble = Trouble::inherited(slot, index);
        // What the shim before this one had begun comes first.
        match Journal::existing(&self.path) {
            Ok(journal) => self.opened = journal.map(Rc::new),
            // Tried again with the first output.
            Err(_) => self.journaled = true,
        }
        self.journaled |= self.waiting() > 0;
        self
    }

    fn journal(&mut self) -> io::Result<Rc<Journal>> {
        if let Some(journal) = &self.opened {
            return Ok(Rc::clone(journal));
        }
        let journal = Rc::new(Journal::open(&self.path)?);
        self.opened = Some(Rc::clone(&journal));
        Ok(journal)
    }

    /// Bytes that were taken from the pipe and are not in the files yet.
    pub(super) fn waiting(&self) -> u64 {
        self.opened.as_ref().map_or(0, |j| j.waiting().unwrap_or(1))
    }

    /// Whether output waits for room on the disk.
    pub(super) fn is_held_back(&self) -> bool {
        self.trouble.is_some_and(|t| !t.dropping)
    }

    pub(super) fn wants(&self) -> bool {
        !self.ended && self.retry_at.is_none() && !self.is_held_back() && self.paused_until().is_none()
    }

    /// Until when it is left alone, in microseconds of the monotonic clock.
    pub(super) const fn paused_until(&self) -> Option<u64> {
        self.pace.until()
    }

    /// It is looked at now, if it was left alone.
    pub(super) const fn end_pause(&mut self) {
        self.active |= self.pace.until().is_some();
        self.pace.go_on();
    }

    pub(super) fn due(&self) -> Option<u64> {
        if self.active && self.retry_at.is_none() && !self.is_held_back() {
            return Some(0);
        }
        self.retry_at.or(self.trouble.map(|t| t.retry_at))
    }

    pub(super) fn free(&self) {
        if let Some(journal) = &self.opened {
            journal.free();
        }
    }

    /// Makes the pipe wider where it is found full again and again, or has to be looked at all the time.
    fn widen(&mut self, pipe: &OwnedFd, found: u64) {
        if self.full > OFTEN {
            return;
        }
        self.full = if found >= append::PIPE as u64 { self.full + 1 } else { 0 };
        if self.full > OFTEN || self.pace.wants_room() {
            self.full = OFTEN + 1;
            // A pipe is sixteen pages as it is made, and pages may be larger than 4 KiB; an app may have made its
            // own wider. Where the user's share of pipe memory is used up it stays as it is.
            if splice::pipe_size(pipe).is_ok_and(|capacity| capacity < WIDE as u64) {
                drop(splice::set_pipe_size(pipe, WIDE));
            }
            self.capacity = None;
        }
    }

    /// Everything that was `found` at that moment was moved: the lane may be left alone for a while, if it is
    /// the only one that speaks.
    fn rest(&mut self, pipe: &OwnedFd, found: u64, looked_at: u64, alone: bool) {
        let capacity = *self.capacity.get_or_insert_with(|| splice::pipe_size(pipe).unwrap_or(0));
        self.pace.emptied(found, capacity, looked_at, clock::monotonic_us());
        if !alone {
            self.pace.go_on();
        }
    }

    /// Takes the journal away.
    pub(super) fn forget(&mut self) {
        if self.opened.take().is_some() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

impl Pump {
    pub(super) fn turn_lane(&mut self, i: usize, wires: &Wires, now: u64, tree_gone: bool) {
        let (Some(Some(lane)), Some(pipe)) =
            (self.lanes.get_mut(i), wires.pipes.get(i).and_then(Option::as_ref))
        else {
            return;
        };
        let looked_at = clock::monotonic_us();
        let rested = lane.paused_until().is_some_and(|until| until <= looked_at);
        let retry =
            lane.retry_at.is_some_and(|at| at <= now) || lane.trouble.is_some_and(|t| t.retry_at <= now);
        let last =
            tree_gone && !lane.settled && !lane.ended && lane.retry_at.is_none() && !lane.is_held_back();
        if last && !lane.active && !lane.journaled && wires.has_no_output(i) {
            // Of an app that has said nothing more the file is not touched.
            lane.settled = true;
            return;
        }
        if !(retry || last || rested || (lane.active && lane.retry_at.is_none() && !lane.is_held_back())) {
            return;
        }
        lane.retry_at = None;
        lane.pace.go_on();
        let found = splice::waiting(pipe).unwrap_or(0);
        if rested && found == 0 && !retry && !last && !lane.active {
            return;
        }
        lane.widen(pipe, found);
        self.move_output(i, wires, now, tree_gone);
        let other = self.lanes.get(1 - i).and_then(Option::as_ref);
        let alone = other.is_none_or(|other| other.pace.is_quiet(looked_at));
        if let Some(Some(lane)) = self.lanes.get_mut(i)
            && !lane.active
            && !tree_gone
            && lane.trouble.is_none()
            && lane.wants()
        {
            lane.rest(pipe, found, looked_at, alone);
        }
    }

    /// Moves what is there, but not for ever.
    fn move_output(&mut self, i: usize, wires: &Wires, now: u64, tree_gone: bool) {
        for _ in 0..STEPS {
            let step = self.step(i, wires, now, tree_gone);
            let Some(Some(lane)) = self.lanes.get_mut(i) else { return };
            match step {
                Ok(Step::Moved { more }) => {
                    lane.active = more;
                    self.note_success(i, wires);
                    self.keep_until = now + KEEP_MS;
                    if !more && !tree_gone {
                        return;
                    }
                }
                Ok(step @ (Step::Nothing | Step::End)) => {
                    lane.active = false;
                    lane.settled = tree_gone;
                    lane.ended |= step == Step::End;
                    if lane.is_held_back() {
                        // There was nothing left to hold back.
                        self.note_success(i, wires);
                    }
                    return;
                }
                Ok(Step::Busy) => {
                    lane.retry_at = Some(now + BUSY_MS);
                    return;
                }
                Err(e) => {
                    self.note_failure(i, &e, wires, now);
                    return;
                }
            }
        }
        if let Some(Some(lane)) = self.lanes.get_mut(i) {
            lane.active = true;
        }
    }

    fn step(&mut self, i: usize, wires: &Wires, now: u64, tree_gone: bool) -> io::Result<Step> {
        let (Some(Some(lane)), Some(pipe)) = (self.lanes.get(i), wires.pipes.get(i).and_then(Option::as_ref))
        else {
            return Ok(Step::End);
        };
        if let Some(trouble) = lane.trouble.filter(|t| t.dropping) {
            return self.drop_some(i, wires, pipe, trouble, now);
        }
        let journaled = lane.journaled;
        let raw = self.plan.format == LineFormat::Raw;
        if let ([only], true, false) = (lane.to.as_slice(), raw, journaled)
            && let Some(target) = self.targets.get_mut(*only)
            && (!wires.slot.has(SHARED) || !target.log.regular)
            && target.log.splices
        {
            return append::splice_in(target, pipe, self.keep);
        }
        self.write_batch(i, wires, pipe, tree_gone)
    }

    /// Takes in what the pipe has and writes one batch of lines.
    fn write_batch(&mut self, i: usize, wires: &Wires, pipe: &OwnedFd, tree_gone: bool) -> io::Result<Step> {
        let Some(Some(lane)) = self.lanes.get_mut(i) else { return Ok(Step::End) };
        let journal = lane.journal()?;
        let begun = journal.batch_end() != journal.done();
        lane.journaled = true;
        let filled = journal.fill(pipe)?;
        let style = Style {
            format: &self.plan.format,
            kind: lane.kind,
            app: &self.plan.app,
            process_id: self.plan.process_id,
        };
        let start = journal.done();
        let Buffers { input, output } = &mut self.buffers;
        output.clear();
        let (mut more, mut empty) = (true, false);
        if begun {
            let end = journal.batch_end();
            journal.read(start.at, end.at, input)?;
            let stamp = lines::stamp(style.format);
            lines::transform(&style, input, start.mid_line, true, None, &stamp, output);
        } else {
            let waiting = journal.waiting()?;
            if waiting == 0 {
                lane.journaled = false;
                return Ok(if filled == Some(0) { Step::End } else { Step::Nothing });
            }
            journal.read(start.at, start.at + waiting, input)?;
            // A line without its end waits for it, unless nobody will write it, or nobody is in the way.
            let alone = *style.format == LineFormat::Raw && !wires.slot.has(SHARED) && lane.to.len() == 1;
            let room = waiting < super::journal::CAPACITY;
            let all = filled == Some(0) || alone || (tree_gone && filled.is_none() && room);
            if !all && room && !input.contains(&b'\n') {
                return Ok(Step::Nothing);
            }
            let limit = if self.keep.max_size > 0 { self.keep.max_size } else { u64::MAX };
            let stamp = lines::stamp(style.format);
            let taken = lines::transform(&style, input, start.mid_line, all, Some(limit), &stamp, output);
            if taken.bytes == 0 {
                return Ok(Step::Nothing);
            }
            // What is left is a line that has no end yet: the rest of it will be told of.
            let left = input.get(taken.bytes..).unwrap_or_default();
            (more, empty) = (!room || left.contains(&b'\n'), left.is_empty());
            journal.begin(Place { at: start.at + taken.bytes as u64, mid_line: taken.mid_line })?;
            lane.own_batch = true;
        }
        self.heaped |= output.capacity() > LARGE;
        for step in journal.step()..lane.to.len() as u64 {
            let Some(target) = usize::try_from(step)
                .ok()
                .and_then(|s| lane.to.get(s))
                .and_then(|t| self.targets.get_mut(*t))
            else {
                break;
            };
            let id = AppendId { run: wires.run.0, lane: u32::from(i == 1), start: start.at, step };
            let done = append::append(target, id, !lane.own_batch, output, self.keep, || journal.advance())?;
            if done == Step::Busy {
                return Ok(Step::Busy);
            }
        }
        journal.finish();
        lane.journaled = !empty;
        if journal.hoard() > HOARD {
            journal.free();
        }
        Ok(Step::Moved { more })
    }

    /// The disk has been full for too long: gives output up, and tries now and then to say so in the
    /// log, which ends the trouble.
    fn drop_some(
        &mut self,
        i: usize,
        wires: &Wires,
        pipe: &OwnedFd,
        trouble: Trouble,
        now: u64,
    ) -> io::Result<Step> {
        let Some(Some(lane)) = self.lanes.get_mut(i) else { return Ok(Step::End) };
        let Some(counters) = wires.slot.lanes.get(i) else { return Ok(Step::End) };
        if trouble.retry_at <= now {
            let done = self.tell_of_loss(i, wires, trouble)?;
            return Ok(if done { Step::Moved { more: true } } else { Step::Busy });
        }
        let mut lost = match &lane.opened {
            Some(journal) => journal.discard()?,
            None => 0,
        };
        lane.own_batch = false;
        if self.null.is_none() {
            self.null = Some(File::options().write(true).open("/dev/null")?);
        }
        let Some(null) = &self.null else { return Ok(Step::Nothing) };
        let ended = match splice::to_stream(pipe, null, 1 << 20) {
            Ok(0) => true,
            Ok(n) => {
                lost += n as u64;
                false
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            Err(e) => return Err(e),
        };
        wires.slot.dropped.fetch_add(lost, Ordering::AcqRel);
        counters.untold.fetch_add(lost, Ordering::AcqRel);
        Ok(if ended { Step::End } else { Step::Nothing })
    }

    /// Says in the log how much is missing. Whether that was possible.
    fn tell_of_loss(&mut self, i: usize, wires: &Wires, trouble: Trouble) -> io::Result<bool> {
        let Some(Some(lane)) = self.lanes.get_mut(i) else { return Ok(true) };
        let Some(counters) = wires.slot.lanes.get(i) else { return Ok(true) };
        let lost = counters.untold.load(Ordering::Acquire);
        let style = Style {
            format: &self.plan.format,
            kind: lane.kind,
            app: &self.plan.app,
            process_id: self.plan.process_id,
        };
        let mut output = Vec::new();
        let stamp = lines::stamp(style.format);
        let start = lane.opened.as_ref().map_or(0, |j| j.done().at);
        lines::transform(&style, trouble.notice(lost).as_bytes(), false, true, None, &stamp, &mut output);
        for target in &lane.to {
            let Some(target) = self.targets.get_mut(*target) else { continue };
            // A notice is a line of its own.
            let text =
                if target.is_mid_line() { [b"\n", output.as_slice()].concat() } else { output.clone() };
            let id = AppendId { run: wires.run.0, lane: u32::from(i == 1), start, step: NOTICE };
            if append::append(target, id, false, &text, self.keep, || ())? == Step::Busy {
                return Ok(false);
            }
        }
        counters.untold.fetch_sub(lost, Ordering::AcqRel);
        Ok(true)
    }

    fn note_failure(&mut self, i: usize, error: &io::Error, wires: &Wires, now: u64) {
        let errno = error.raw_os_error().unwrap_or(EIO);
        let Some(Some(lane)) = self.lanes.get_mut(i) else { return };
        lane.trouble = Some(Trouble::again(lane.trouble, errno, now, self.plan.full_disk_block_ms));
        lane.active = lane.trouble.is_some_and(|t| t.dropping);
        wires.slot.log_errno.store(errno, Ordering::Release);
        if let Some(counters) = wires.slot.lanes.get(i)
            && counters.full_since_ms.load(Ordering::Acquire) == 0
        {
            counters.full_since_ms.store(clock::boottime_ms(), Ordering::Release);
        }
    }

    fn note_success(&mut self, i: usize, wires: &Wires) {
        let Some(Some(lane)) = self.lanes.get_mut(i) else { return };
        if lane.trouble.take().is_none() {
            return;
        }
        if let Some(counters) = wires.slot.lanes.get(i) {
            counters.full_since_ms.store(0, Ordering::Release);
        }
        if self.lanes.iter().flatten().all(|l| l.trouble.is_none()) {
            wires.slot.log_errno.store(0, Ordering::Release);
        }
    }
}
