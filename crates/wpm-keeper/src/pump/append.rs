//! The two ways into a file: whole batches by a recorded append, and raw bytes by splice.
//!
//! Owns what happens while the file's lock is held. Invariant: when a function here returns an error,
//! the file ends where it ended before, or its ledger says that somebody has to see to it.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use wpm_sys::{clock, splice};

use super::logfile::{LogFile, Target, ends_line};
use super::rotate::{Keep, rotate};
use super::shared::{AppendId, Held};

/// Capacity of a pipe as it is made, where pages are of 4 KiB, and most bytes of one splice: less at once means that
/// it is empty now.
/// Not more, because the kernel copies with the pipe locked: in between the app goes on printing.
pub(super) const PIPE: usize = 64 << 10;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was written; `more`: there may be more.
    Moved { more: bool },
    /// Nothing is there.
    Nothing,
    /// Nothing is there, and nothing will come.
    End,
    /// Somebody else is writing the file; try again soon.
    Busy,
}

/// Appends a batch, once, however often it is tried. `resumed`: an earlier attempt may have got
/// further than this shim knows. `commit` notes that it is done.
pub(super) fn append(
    target: &mut Target,
    id: AppendId,
    resumed: bool,
    bytes: &[u8],
    keep: Keep,
    commit: impl FnOnce(),
) -> io::Result<Step> {
    if !target.log.regular {
        target.log.stream()?.write_all(bytes)?;
        commit();
        return Ok(Step::Moved { more: true });
    }
    let asked = target.rotate;
    let (log, ledger) = target.parts();
    let Some(mut held) = ledger.lock()? else { return Ok(Step::Busy) };
    let unsettled = settle(log, &mut held)?;
    if (resumed || unsettled) && held.was_done(&id) {
        commit();
        return Ok(Step::Moved { more: true });
    }
    let len = bytes.len() as u64;
    let size = log.current(held.generation())?.1.len();
    let over = keep.max_size > 0 && size + len > keep.max_size;
    let whole = (over || asked) && size > 0 && log.may_be_cut(size);
    if whole {
        try_rotate(log, &mut held, keep);
    }
    let (file, now) = log.current(held.generation())?;
    held.begin(id, &now, len)?;
    if let Err(e) = file.write_all_at(bytes, now.len()) {
        // What stays is settled by whoever is next.
        if file.set_len(now.len()).is_ok() {
            drop(held.finish());
        }
        return Err(e);
    }
    commit();
    // Not said, it is settled as done.
    drop(held.finish());
    drop(held);
    if asked {
        target.rotate = !whole && size > 0;
    }
    Ok(Step::Moved { more: true })
}

/// Rotates the file. One that cannot be rotated is written on: losing output would be worse.
fn try_rotate(log: &mut LogFile, held: &mut Held<'_>, keep: Keep) {
    /// Before it is tried again.
    const PAUSE_MS: u64 = 60_000;
    let now = clock::boottime_ms();
    if now < log.no_rotation_until {
        return;
    }
    if let Err(e) = rotate(log, held, keep) {
        log.no_rotation_until = now + PAUSE_MS;
        crate::complain(&format!("cannot rotate {}: {e}", log.real.display()));
    }
}

/// Settles what a dead holder left; whether there was something.
fn settle(log: &mut LogFile, held: &mut Held<'_>) -> io::Result<bool> {
    if !held.is_unsettled() {
        return Ok(false);
    }
    let (file, now) = log.current(held.generation())?;
    held.settle(file, &now)?;
    Ok(true)
}

/// Moves what is in the pipe to the end of the file, up to where the file has to be rotated.
pub(super) fn splice_in(target: &mut Target, pipe: &OwnedFd, keep: Keep) -> io::Result<Step> {
    if !target.log.regular {
        return splice_stream(target, pipe);
    }
    let asked = target.rotate;
    let (log, ledger) = target.parts();
    let mut held = match ledger.lock() {
        Ok(Some(held)) => Some(held),
        Ok(None) => return Ok(Step::Busy),
        // Where no lock can be made the output still has to go somewhere.
        Err(_) => None,
    };
    if let Some(held) = &mut held {
        settle(log, held)?;
    }
    let generation = held.as_ref().map_or(log.generation(), Held::generation);
    let may = log.no_rotation_until == 0 || clock::boottime_ms() >= log.no_rotation_until;
    let size = log.current(generation)?.1.len();
    let over = may && size > 0 && (asked || (keep.max_size > 0 && size >= keep.max_size));
    let may_be_cut = over && log.may_be_cut(size);
    let (file, now) = log.current(generation)?;
    let step = match &mut held {
        Some(held) if over => {
            if may_be_cut {
                try_rotate(log, held, keep);
                Step::Moved { more: true }
            } else {
                let len = rest_of_line(pipe)?;
                return move_bytes(pipe, file, &now, len, true);
            }
        }
        _ => {
            let most = PIPE as u64;
            let room = if may && keep.max_size > size { keep.max_size - size } else { most };
            return move_bytes(pipe, file, &now, room.min(most), room < most);
        }
    };
    drop(held);
    target.rotate = false;
    Ok(step)
}

fn move_bytes(pipe: &OwnedFd, file: &File, now: &Metadata, len: u64, cut: bool) -> io::Result<Step> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    step_of(splice::to_file(pipe, file, now.len(), len), if cut { len.min(PIPE) } else { PIPE })
}

/// Less than `full` means that nothing is left; the next byte will be told of.
fn step_of(moved: io::Result<usize>, full: usize) -> io::Result<Step> {
    match moved {
        Ok(0) => Ok(Step::End),
        Ok(n) => Ok(Step::Moved { more: n >= full }),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Step::Nothing),
        Err(e) => Err(e),
    }
}

fn splice_stream(target: &mut Target, pipe: &OwnedFd) -> io::Result<Step> {
    let file = target.log.stream()?;
    match splice::to_stream(pipe, file, PIPE) {
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
            target.log.splices = false;
            Ok(Step::Moved { more: true })
        }
        // Empty, or the other side has no room.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock && splice::waiting(pipe)? > 0 => Err(e),
        other => step_of(other, PIPE),
    }
}

/// Bytes in the pipe up to the end of the line that has begun, or all that can be seen of it.
fn rest_of_line(pipe: &OwnedFd) -> io::Result<u64> {
    let (read, write) = splice::pipe()?;
    let seen = match splice::tee(pipe, &write, PIPE) {
        Ok(n) => n,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
        Err(e) => return Err(e),
    };
    let mut bytes = vec![0; seen];
    let mut got = 0;
    while let Some(free) = bytes.get_mut(got..).filter(|f| !f.is_empty()) {
        match splice::read(&read, free)? {
            0 => break,
            n => got += n,
        }
    }
    let end = bytes.iter().take(got).position(|b| *b == b'\n').map_or(got, |at| at + 1);
    // Nothing seen: let the splice say whether it is empty or at its end.
    Ok(if end == 0 { 1 } else { end as u64 })
}

/// Rotates or empties the file where that was asked for. Whether nothing is left to be done.
pub(super) fn serve(target: &mut Target, keep: Keep, pipes_empty: bool, now_ms: u64) -> io::Result<bool> {
    /// Several runs that share a file are all asked at once: one of them does it.
    const SAME: u64 = 2000;
    if !target.log.regular {
        (target.rotate, target.flush) = (false, false);
        return Ok(true);
    }
    let (rotate_asked, flush_asked) = (target.rotate, target.flush);
    let (log, ledger) = target.parts();
    let Some(mut held) = ledger.lock()? else { return Ok(false) };
    settle(log, &mut held)?;
    let (file, now) = log.current(held.generation())?;
    let size = now.len();
    if flush_asked {
        file.set_len(0)?;
    }
    let mut pending = false;
    if rotate_asked && !flush_asked && size > 0 && held.rotated_ms() + SAME < now_ms {
        if pipes_empty || ends_line(file, size) {
            try_rotate(log, &mut held, keep);
        } else {
            // The next output finishes the line first.
            pending = true;
        }
    }
    drop(held);
    (target.rotate, target.flush) = (pending, false);
    Ok(true)
}
