use super::*;
use crate::process::{self, Fork, in_a_process};

/// Does `act` in a child, for whose end this waits. Gives whether it was content.
fn in_a_child(proof: SingleThread, act: impl FnOnce() -> bool) -> bool {
    match process::fork(proof).unwrap() {
        Fork::Child => process::exit_now(if act() { 7 } else { 8 }),
        Fork::Parent(pid) => {
            let mut status = 0;
            // SAFETY: the status is a live integer.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// A block of this size, full of this byte.
fn block(size: usize, byte: u8) -> *mut u8 {
    // SAFETY: the size is not zero, and the block is as large.
    unsafe {
        let block = Heap.alloc(layout(size));
        block.write_bytes(byte, size);
        block
    }
}

fn is_full_of(block: *mut u8, size: usize, byte: u8) -> bool {
    // SAFETY: a block of that size, which `block` has filled.
    unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|b| *b == byte)
}

fn is_mapped(block: *mut u8) -> bool {
    let page = block.addr() / 4096 * 4096;
    // SAFETY: asks only whether the page is mapped.
    unsafe { libc::msync(std::ptr::without_provenance_mut(page), 4096, libc::MS_ASYNC) == 0 }
}

#[test]
fn what_was_allocated_apart_is_not_in_a_child() {
    in_a_process(|proof| {
        let before = block(100, 1);
        set_apart(proof);
        let apart = block(100, 2);
        let child = in_a_child(proof, || {
            let own = block(100, 3);
            let good = is_full_of(before, 100, 1) && !is_mapped(apart) && is_full_of(own, 100, 3);
            // What is dropped there is let be, what is its own and what came before is freed.
            for gone in [apart, own, before] {
                // SAFETY: each was allocated with this layout and is freed once.
                unsafe { Heap.dealloc(gone, layout(100)) };
            }
            good && block(100, 4) == own
        });
        child && is_full_of(apart, 100, 2) && is_full_of(before, 100, 1)
    });
}

#[test]
fn a_child_of_a_child_has_what_that_one_has() {
    in_a_process(|proof| {
        set_apart(proof);
        in_a_child(proof, || {
            let own = block(100, 1);
            in_a_child(proof, || is_full_of(own, 100, 1) && !is_full_of(block(100, 2), 100, 1))
        })
    });
}

#[test]
fn what_has_no_room_comes_from_the_system_and_goes_back() {
    in_a_process(|proof| {
        set_apart(proof);
        in_a_child(proof, || {
            let small = block(1000, 1);
            let untouched = !OWN.spilled.load(Relaxed);
            // SAFETY: freed with the layouts that each block has at the time.
            let grown = unsafe { Heap.realloc(small, layout(1000), CHILD * 2) };
            let spilled = OWN.spilled.load(Relaxed);
            let kept = is_full_of(grown, 1000, 1) && matches!(place_of(grown), Place::System);
            // SAFETY: as above.
            let back = unsafe { Heap.realloc(grown, layout(CHILD * 2), 500) };
            untouched && spilled && kept && back == small && is_full_of(back, 500, 1)
        })
    });
}

#[test]
fn trimmed_memory_is_used_again_and_blocks_stay() {
    in_a_process(|proof| {
        set_apart(proof);
        in_a_child(proof, || {
            let (kept, large) = (block(100, 1), block(CHILD / 2, 2));
            // SAFETY: it was allocated with this layout.
            unsafe { Heap.dealloc(large, layout(CHILD / 2)) };
            let alone = !trim();
            // SAFETY: within the region; the page in the middle was given back and is read as zeroes. Where pages are
            // larger, that one may have something else on it.
            let given_back = rustix::param::page_size() > 4096 || unsafe { large.add(CHILD / 4).read() } == 0;
            // SAFETY: the size is not zero.
            let zeroed = unsafe { Heap.alloc_zeroed(layout(CHILD / 2)) };
            alone
                && given_back
                && is_full_of(kept, 100, 1)
                && zeroed == large
                && is_full_of(zeroed, CHILD / 2, 0)
        })
    });
}

proptest::proptest! {
    /// Whatever is allocated, changed and freed in whatever order: no block is given out twice, none changes.
    #[test]
    fn blocks_are_kept_apart(steps in proptest::collection::vec((0_usize..3, 0_usize..16, 1_usize..9000), 1..120)) {
        in_a_process(|proof| {
            set_apart(proof);
            in_a_child(proof, || {
                let mut held = [const { None::<(*mut u8, usize)> }; 16];
                for (what, at, size) in steps {
                    let byte = u8::try_from(at).unwrap() + 1;
                    match (what, held[at]) {
                        (0, None) => held[at] = Some((block(size, byte), size)),
                        (1, Some((old, len))) => {
                            // SAFETY: it was allocated, or grown, with this layout.
                            let new = unsafe { Heap.realloc(old, layout(len), size) };
                            if !is_full_of(new, len.min(size), byte) {
                                return false;
                            }
                            // SAFETY: as large as that now.
                            unsafe { new.write_bytes(byte, size) };
                            held[at] = Some((new, size));
                        }
                        (2, Some((old, len))) => {
                            if !is_full_of(old, len, byte) {
                                return false;
                            }
                            // SAFETY: it was allocated with this layout.
                            unsafe { Heap.dealloc(old, layout(len)) };
                            held[at] = None;
                        }
                        _ => drop(trim()),
                    }
                }
                (1..).zip(held).all(|(byte, held)| held.is_none_or(|(block, len)| is_full_of(block, len, byte)))
            })
        });
    }
}
