//! Giving memory back to the system.

/// Returns free heap pages to the kernel. Worth its microseconds after a large reply or a burst.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions and touches only free memory of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
