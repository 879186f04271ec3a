//! The heap of the keeper, which its children do not have, and the small one that each of them has instead.
//!
//! A shim is a fork of the keeper. On a common heap every page that one of the two writes after the fork is one
//! more that this shim has to itself, as long as it lives. So the keeper, once it serves, allocates in a region
//! that is not copied to its children, and a child in pages that nobody has written before. Owns both regions,
//! and which of them is in use. What finds no room there comes from the system's allocator, as does everything
//! in the other processes of wpm, and what the C library allocates by itself.
//!
//! Invariant: a block goes back to where it came from. What the keeper has allocated since [`set_apart`] is not
//! there in a child: it gets by value what it needs, may drop the rest, and ends with SIGSEGV if it looks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicPtr};

use linked_list_allocator::Heap as Blocks;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::process::SingleThread;

/// Bytes of the keeper's region, of which a run takes about a hundred. Less than a huge page, which the kernel would
/// give at the first byte that is written.
const KEEPER: usize = 1 << 20;
/// Bytes of a child's region; a shim uses about three thousand.
const CHILD: usize = 32 << 10;

/// The allocator of a program that has a keeper in it.
#[derive(Debug)]
pub struct Heap;

/// The region of a child, and on its first page all that changes with it.
#[repr(C, align(4096))]
struct Own {
    /// Whether it is in use: never in the keeper.
    used: AtomicBool,
    /// Whether something came from the system's allocator, for want of room here.
    spilled: AtomicBool,
    region: Region<CHILD>,
}

/// Memory that begins with the list of its free blocks.
#[repr(C, align(16))]
struct Region<const SIZE: usize>(UnsafeCell<[MaybeUninit<u8>; SIZE]>);

// SAFETY: regions are used only in processes that have proved to have one thread.
unsafe impl<const SIZE: usize> Sync for Region<SIZE> {}

static OWN: Own = Own {
    used: AtomicBool::new(false),
    spilled: AtomicBool::new(false),
    region: Region(UnsafeCell::new([MaybeUninit::uninit(); CHILD])),
};

/// The region of the keeper, in its children as well, where there is nothing any more; null in all other processes.
static APART: AtomicPtr<Blocks> = AtomicPtr::new(std::ptr::null_mut());

/// The region in use, if there is one.
fn present() -> Option<NonNull<Blocks>> {
    if OWN.used.load(Relaxed) {
        NonNull::new(OWN.region.0.get().cast())
    } else {
        NonNull::new(APART.load(Relaxed))
    }
}

/// Where a block came from.
enum Place {
    /// The region in use.
    Here(NonNull<Blocks>),
    /// The keeper's region, in a child of it.
    Nowhere,
    /// The system's allocator.
    System,
}

fn place_of(block: *mut u8) -> Place {
    let is_in = |start: usize, size: usize| (start..start + size).contains(&block.addr());
    match present() {
        None => Place::System,
        Some(blocks) if OWN.used.load(Relaxed) => {
            let keeper = APART.load(Relaxed).addr();
            if is_in(blocks.addr().get(), CHILD) {
                Place::Here(blocks)
            } else if is_in(keeper, KEEPER) {
                Place::Nowhere
            } else {
                Place::System
            }
        }
        Some(blocks) if is_in(blocks.addr().get(), KEEPER) => Place::Here(blocks),
        Some(_) => Place::System,
    }
}

/// A block of the region in use, if there is one with room. An allocator must not unwind: what cannot happen
/// ends the process, and the compiler knows it at all its callers.
#[expect(improper_ctypes_definitions, reason = "called from here alone; \"C\" is what does not unwind")]
extern "C" fn take(layout: Layout) -> Option<NonNull<u8>> {
    let mut blocks = present()?;
    // SAFETY: the list was written before the region came into use, and this process has one thread.
    let block = unsafe { blocks.as_mut() }.allocate_first_fit(layout).ok();
    if block.is_none() && OWN.used.load(Relaxed) {
        OWN.spilled.store(true, Relaxed);
    }
    block
}

/// Gives a block back to the list that it came from. The same holds of unwinding.
///
/// # Safety
/// It was allocated there, with this layout.
#[expect(improper_ctypes_definitions, reason = "as above")]
unsafe extern "C" fn give_back(mut blocks: NonNull<Blocks>, block: NonNull<u8>, layout: Layout) {
    // SAFETY: the caller's word; this process has one thread.
    unsafe { blocks.as_mut().deallocate(block, layout) };
}

/// Writes the list of an empty region at its start.
///
/// # Safety
/// The region is of that size, writable, aligned to 16 bytes, and nobody uses it.
unsafe fn lay_out(region: *mut u8, size: usize) {
    let head = size_of::<Blocks>().next_multiple_of(16);
    // SAFETY: both parts are within the region, by the caller's word.
    unsafe { region.cast::<Blocks>().write(Blocks::new(region.wrapping_add(head), size - head)) };
}

// SAFETY: blocks come from an allocator of the standard library or of `linked_list_allocator`, which keep the
// contract, and go back to the same one by their address. The second is used by one thread at most.
// Nothing of this is inlined: at some ten thousand places it made the program a fifth larger.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match take(layout) {
            Some(block) => block.as_ptr(),
            // SAFETY: the caller's word.
            None => unsafe { System.alloc(layout) },
        }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match take(layout) {
            Some(block) => {
                // SAFETY: a fresh block of that size.
                unsafe { block.write_bytes(0, layout.size()) };
                block.as_ptr()
            }
            // SAFETY: the caller's word.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match (place_of(block), NonNull::new(block)) {
            // SAFETY: by the caller's word it was allocated with this layout, by its address from this list.
            (Place::Here(blocks), Some(block)) => unsafe { give_back(blocks, block, layout) },
            (Place::Nowhere, _) | (_, None) => {}
            // SAFETY: the caller's word.
            (Place::System, _) => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let from_system = matches!(place_of(block), Place::System);
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        let new = match take(wanted) {
            Some(new) => new.as_ptr(),
            // SAFETY: the caller's word.
            None if from_system => return unsafe { System.realloc(block, layout, size) },
            // SAFETY: the caller's word.
            None => unsafe { System.alloc(wanted) },
        };
        if !new.is_null() {
            // SAFETY: two different blocks of at least that size.
            unsafe { std::ptr::copy_nonoverlapping(block, new, layout.size().min(size)) };
            // SAFETY: the caller's word.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

/// In the keeper: what is allocated from now on is not in its children. Where there is no memory for that, it is,
/// and they are larger.
pub fn set_apart(_proof: SingleThread) {
    if present().is_some() {
        return;
    }
    // SAFETY: a fresh mapping, and its whole.
    let region = unsafe {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let Ok(region) = rustix::mm::mmap_anonymous(std::ptr::null_mut(), KEEPER, access, flags) else {
            return;
        };
        if rustix::mm::madvise(region, KEEPER, Advice::LinuxDontFork).is_err() {
            let _ = rustix::mm::munmap(region, KEEPER);
            return;
        }
        lay_out(region.cast(), KEEPER);
        region
    };
    APART.store(region.cast(), Relaxed);
}

/// In a process that was just forked, before it allocates anything.
pub(crate) fn leave_parent() {
    if OWN.used.load(Relaxed) || APART.load(Relaxed).is_null() {
        return;
    }
    // SAFETY: nobody uses the region before the mark is set. Only a process with one thread was set apart.
    unsafe { lay_out(OWN.region.0.get().cast(), CHILD) };
    OWN.used.store(true, Relaxed);
}

/// Gives the pages of free blocks back. Whether the system's allocator may have some, too.
pub(crate) fn trim() -> bool {
    let Some(mut blocks) = present() else { return true };
    let page = rustix::param::page_size();
    // SAFETY: as in `take`.
    let blocks = unsafe { blocks.as_mut() };
    // From the largest to the smallest, so that together they fill what is free.
    let mut taken = [None; KEEPER.ilog2() as usize];
    for (n, place) in taken.iter_mut().enumerate() {
        let Ok(layout) = Layout::from_size_align(KEEPER >> n, page) else { break };
        if layout.size() < page {
            break;
        }
        *place = blocks.allocate_first_fit(layout).ok().map(|block| (block, layout));
    }
    for (block, layout) in taken.into_iter().flatten() {
        // SAFETY: whole pages of a block that is ours, in which nothing is kept; then it is freed once.
        unsafe {
            let _ = rustix::mm::madvise(block.as_ptr().cast(), layout.size(), Advice::LinuxDontNeed);
            blocks.deallocate(block, layout);
        }
    }
    !OWN.used.load(Relaxed) || OWN.spilled.load(Relaxed)
}

#[cfg(test)]
mod tests;
