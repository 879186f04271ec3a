//! Giving memory back to the system.
//!
//! Owns the ways to do so: free heap, the deeper part of the stack, and the pages of the program that only
//! its start needed. Invariant: nothing that is in use is touched; what was given back comes again by itself.

/// Returns free heap pages to the kernel. Worth its microseconds after a large reply or a burst.
pub fn trim() {
    // Where the system's allocator is not in use, the call would write the first page of its own.
    if crate::heap::trim() {
        #[cfg(target_env = "gnu")]
        // SAFETY: malloc_trim has no preconditions and touches only free memory of the allocator.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// What a thread may have written below its present frame, at most, in bytes: the kernel maps so much at the
/// start of a program.
const STACK: usize = 128 << 10;
/// Bytes below the present frame that stay: the frames of the call that gives the rest back.
const MARGIN: usize = 1024;

/// Gives back the stack below the caller, which deeper calls had used. For a process that is about to wait
/// for long, on its first thread.
#[inline(never)]
pub fn trim_stack() {
    let here = 0_u8;
    let page = rustix::param::page_size();
    let end = (std::ptr::from_ref(&here).addr() - MARGIN) / page * page;
    // SAFETY: the range ends below every frame that lives; below the frame a stack holds nothing that anybody
    // may read again. Of what is not mapped there the kernel only says so.
    let _ = unsafe {
        rustix::mm::madvise(
            std::ptr::without_provenance_mut(end - STACK),
            STACK,
            rustix::mm::Advice::LinuxDontNeed,
        )
    };
}

unsafe extern "C" {
    /// First byte of the program, its read-only data and its code, by the linker's word.
    static __executable_start: u8;
    static etext: u8;
}

/// Unmaps the pages of the program's own code and constants until they are used again: of a long-lived
/// process the start has touched much that is never needed any more. The kernel keeps the file's pages.
pub fn forget_program() {
    let page = rustix::param::page_size();
    let start = (&raw const __executable_start).addr() / page * page;
    let end = (&raw const etext).addr() / page * page;
    // SAFETY: the range is the part of the program's file that is mapped read-only and never written; a page
    // that is touched again comes from the file again. Constants with relocations are not in it.
    let _ = unsafe {
        rustix::mm::madvise(
            std::ptr::without_provenance_mut(start),
            end.saturating_sub(start),
            rustix::mm::Advice::LinuxDontNeed,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays() {
        let kept = std::hint::black_box([7_u8; 4096]);
        // Deeper than here, then given back.
        fn deep(n: usize) -> usize {
            let room = std::hint::black_box([n; 512]);
            if n == 0 { room[0] } else { deep(n - 1) + room[511] }
        }
        assert_eq!(deep(10), 55);
        trim_stack();
        forget_program();
        trim();
        assert_eq!(deep(10), 55);
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
