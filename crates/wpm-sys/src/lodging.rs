//! A child that lives in its parent's memory until it has become its program.
//!
//! A fork copies the tables of its parent's memory, then parent and child copy every page that either writes,
//! and exec throws all of it away. A child that only waits and executes needs none of that: it runs on a stack
//! of its own, with what was laid out for it, in the memory that is there already. Owns that room, and the fork
//! into it. Invariant: from the fork on the room is the child's alone, and it is given back only when the child
//! has left the memory, which the end of its error pipe says.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::process::SingleThread;
use crate::splice;

/// Bytes of the child's stack. Its upper end shares a page with the start of what is laid out.
const STACK: usize = 14 << 10;
/// Greatest alignment of what is laid out.
const ALIGN: usize = 16;

/// In whose memory a child lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// In its parent's.
    Shared,
    /// In a copy, as after any fork.
    Own,
}

/// A mapping: a page that nobody may touch, the stack, and what is laid out for the child.
#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

/// Room for a child that is not forked yet. What is laid out stays where it is for as long as the process lives,
/// or until a [`Lodger`] has left; room without a child is not given back: a shim without a child soon ends.
#[derive(Debug)]
pub(crate) struct Room {
    mapping: Mapping,
    /// Where the stack begins, which grows down from there.
    top: usize,
    /// What is taken, from the start of the mapping on.
    taken: usize,
}

impl Room {
    /// Makes room for so many bytes beside the stack.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let top = page + STACK;
        let len = top.checked_add(size).and_then(|len| len.checked_next_multiple_of(page));
        let len = len.ok_or(io::ErrorKind::OutOfMemory)?;
        let may = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping, of which nobody knows yet.
        let at = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, may, MapFlags::PRIVATE)? };
        // SAFETY: its first page, in which nothing is: what runs over the stack ends the child.
        unsafe { rustix::mm::mprotect(at, page, MprotectFlags::empty())? };
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { mapping: Mapping { at, len }, top, taken: top })
    }

    /// Takes the place of `count` values.
    fn take<T>(&mut self, count: usize) -> io::Result<NonNull<T>> {
        const { assert!(align_of::<T>() <= ALIGN) };
        let start = self.taken.next_multiple_of(align_of::<T>());
        let end = size_of::<T>().checked_mul(count).and_then(|size| start.checked_add(size));
        self.taken = end.filter(|end| *end <= self.mapping.len).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: `start` is within the mapping, which begins at a page.
        Ok(unsafe { self.mapping.at.add(start) }.cast())
    }

    /// Lays out a value.
    fn put<T: 'static>(&mut self, value: T) -> io::Result<NonNull<T>> {
        let place = self.take::<T>(1)?;
        // SAFETY: aligned, large enough, and handed out once.
        unsafe { place.write(value) };
        Ok(place)
    }

    /// Lays out several values.
    ///
    /// # Errors
    /// When there is no room left.
    pub(crate) fn list<T: Copy + 'static>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
    ) -> io::Result<&'static mut [T]> {
        let (count, mut done) = (values.len(), 0);
        let place = self.take::<T>(count)?;
        for value in values.take(count) {
            // SAFETY: there is place for `count` of them.
            unsafe { place.add(done).write(value) };
            done += 1;
        }
        // SAFETY: so many were written, to a place that was handed out once and that stays: it is given back
        // only behind a fork, whose caller has promised to keep no reference.
        Ok(unsafe { std::slice::from_raw_parts_mut(place.as_ptr(), done) })
    }

    /// Lays out a string of several parts, ended by a zero.
    ///
    /// # Errors
    /// `InvalidInput` when one of them holds a zero byte, else when there is no room left.
    pub(crate) fn string(&mut self, parts: [&[u8]; 2]) -> io::Result<&'static mut [u8]> {
        if parts.iter().any(|part| part.contains(&0)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let [first, second] = parts.map(<[u8]>::len);
        let place = self.take::<u8>(first.saturating_add(second).saturating_add(1))?;
        // SAFETY: there is place for both and the zero, nobody knows of it yet, and the parts lie elsewhere. The
        // rest is as in `list`.
        unsafe {
            place.copy_from_nonoverlapping(NonNull::from(parts[0]).cast(), first);
            place.add(first).copy_from_nonoverlapping(NonNull::from(parts[1]).cast(), second);
            place.add(first + second).write(0);
            Ok(std::slice::from_raw_parts_mut(place.as_ptr(), first + second + 1))
        }
    }

    /// The same for a string that is only read.
    ///
    /// # Errors
    /// As for [`Room::string`].
    pub(crate) fn text(&mut self, parts: [&[u8]; 2]) -> io::Result<&'static CStr> {
        CStr::from_bytes_with_nul(self.string(parts)?).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

/// What the child does first.
struct Beginning<T> {
    act: fn(&mut T) -> !,
    what: T,
}

extern "C" fn begin<T>(at: *mut c_void) -> c_int {
    // SAFETY: `fork` passes the beginning that it has laid out, which is the child's alone.
    let beginning = unsafe { &mut *at.cast::<Beginning<T>>() };
    (beginning.act)(&mut beginning.what)
}

/// Forks a child that does `act` with `what` on the stack of `room`. The child has to hold the only writing end of
/// the pipe of which `errors` is the reading end, and lose it by exec or its own end.
///
/// # Errors
/// When the system or a limit refuses another process.
///
/// # Safety
/// In shared memory the child is a second thread of which neither Rust nor the C library knows, beside this process
/// going on. So `act` may only
/// - read what was laid out in the room, and constants; write what was laid out, its stack, and atomics of a
///   mapping that stays for as long as this process lives;
/// - call the kernel: where a call can fail, not by the C library, whose `errno` is this process's;
/// - end the process or execute a program: not return, unwind, allocate, or wait for a lock.
///
/// Besides, the caller keeps no reference to what was laid out, and `what` holds none to anything else that may
/// go away.
pub(crate) unsafe fn fork<T: 'static>(
    _proof: SingleThread,
    mut room: Room,
    memory: Memory,
    errors: OwnedFd,
    what: T,
    act: fn(&mut T) -> !,
) -> io::Result<(i32, Lodger)> {
    let beginning = room.put(Beginning { act, what })?;
    let flags = libc::SIGCHLD | if memory == Memory::Shared { libc::CLONE_VM } else { 0 };
    // SAFETY: the stack is large enough for what only makes system calls, unused, aligned, and stays mapped until
    // the child has left. The child's table of signal actions and of descriptors are its own (no CLONE_SIGHAND, no
    // CLONE_FILES). The C library's `clone` does nothing around the call but to switch to that stack.
    let pid = unsafe {
        let top = room.mapping.at.add(room.top / ALIGN * ALIGN);
        libc::clone(begin::<T>, top.as_ptr().cast(), flags, beginning.as_ptr().cast())
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((pid, Lodger { errors, mapping: Some(room.mapping) }))
}

/// A child between its fork and its program, as its parent sees it.
#[derive(Debug)]
pub struct Lodger {
    errors: OwnedFd,
    /// Its room, unless the program that made it was replaced.
    mapping: Option<Mapping>,
}

impl Lodger {
    /// The child of the program that this one has replaced: its room went with that.
    pub fn resumed(errors: OwnedFd) -> Self {
        Self { errors, mapping: None }
    }

    /// Whether it has executed its program or ended. From then on its room is given back.
    pub fn has_left(&mut self) -> bool {
        loop {
            match splice::read(&self.errors, &mut [0]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                // A child of an older program says so before it ends where a stage has failed.
                Ok(1..) => {}
                Ok(0) => {
                    if let Some(Mapping { at, len }) = self.mapping.take() {
                        // SAFETY: made by `Room::new` with this length. The pipe has ended, so the child has
                        // closed its last descriptor: at exec, for which the kernel first changes to the new
                        // memory, or at its end, when it first lets go of its memory. Nobody else knows the room.
                        let _ = unsafe { rustix::mm::munmap(at.as_ptr().cast(), len) };
                    }
                    return true;
                }
                Err(_) => return true,
            }
        }
    }
}

impl AsFd for Lodger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.errors.as_fd()
    }
}

impl AsRawFd for Lodger {
    fn as_raw_fd(&self) -> RawFd {
        self.errors.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::process::{self, in_a_process};

    /// What a child writes into, and reads from, its room.
    struct Word(&'static AtomicU32);

    fn word(room: &mut Room) -> &'static AtomicU32 {
        let word = room.put(AtomicU32::new(1)).unwrap();
        // SAFETY: laid out a moment ago; the tests look at it only while the room is there.
        unsafe { word.as_ref() }
    }

    fn write(word: &mut Word) -> ! {
        word.0.store(2, Ordering::Release);
        process::exit_now(0)
    }

    fn wait(word: &mut Word) -> ! {
        while word.0.load(Ordering::Acquire) == 1 {
            rustix::thread::sched_yield();
        }
        process::exit_now(0)
    }

    /// Whether the memory at this address is mapped.
    fn is_mapped(at: usize) -> bool {
        let mut vec = [0_u8; 1];
        let start = at / rustix::param::page_size() * rustix::param::page_size();
        // SAFETY: asking which pages of a range are in memory touches nothing but the one byte.
        unsafe { libc::mincore(std::ptr::without_provenance_mut(start), 1, vec.as_mut_ptr()) == 0 }
    }

    fn wait_until_left(lodger: &mut Lodger) {
        while !lodger.has_left() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_shares_the_memory_of_its_parent_or_has_a_copy() {
        in_a_process(|proof| {
            [(Memory::Shared, 2), (Memory::Own, 1)].into_iter().all(|(memory, seen)| {
                let mut room = Room::new(256).unwrap();
                let word = word(&mut room);
                let (errors, writing) = splice::pipe().unwrap();
                // SAFETY: `write` does nothing but to write an atomic of the room; the room is looked at again
                // only before it is given back.
                let (pid, mut lodger) =
                    unsafe { fork(proof, room, memory, errors, Word(word), write) }.unwrap();
                process::wait_for(pid);
                let found = word.load(Ordering::Acquire);
                let before = lodger.has_left();
                drop(writing);
                let at = std::ptr::from_ref(word).addr();
                let kept = is_mapped(at);
                found == seen && !before && kept && lodger.has_left() && !is_mapped(at)
            })
        });
    }

    #[test]
    fn the_room_of_a_child_that_was_killed_is_given_back() {
        in_a_process(|proof| {
            let mut room = Room::new(256).unwrap();
            let word = word(&mut room);
            let (errors, writing) = splice::pipe().unwrap();
            // SAFETY: `wait` only reads an atomic of the room, which is not looked at again.
            let (pid, mut lodger) =
                unsafe { fork(proof, room, Memory::Shared, errors, Word(word), wait) }.unwrap();
            drop(writing);
            let here = !lodger.has_left();
            drop(process::kill(pid, crate::signals::KILL));
            wait_until_left(&mut lodger);
            process::wait_for(pid);
            here && !is_mapped(std::ptr::from_ref(word).addr())
        });
    }

    #[test]
    fn a_room_takes_what_fits_and_nothing_more() {
        let mut room = Room::new(100).unwrap();
        let page = rustix::param::page_size();
        let left = room.mapping.len - room.taken;
        assert!(left >= 100 && room.mapping.len.is_multiple_of(page));
        assert_eq!(&*room.list([1_u64, 2].into_iter()).unwrap(), [1, 2]);
        assert_eq!(room.text([b"a", b"b"]).unwrap(), c"ab");
        let zero = room.text([b"a\0", b"b"]).unwrap_err();
        assert_eq!(zero.kind(), io::ErrorKind::InvalidInput);
        let rest = room.mapping.len - room.taken;
        assert!(room.string([&vec![b'x'; rest], b""]).is_err());
        assert_eq!(room.string([&vec![b'x'; rest - 1], b""]).unwrap().len(), rest);
        assert!(room.text([b"", b""]).is_err());
    }
}
