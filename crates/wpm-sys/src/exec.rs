//! Replacing the program of a running process, and what it inherits across that.
//!
//! Owns the descriptors' close-on-exec bits around exec. Invariant: exactly the descriptors that were
//! named survive, and only for as long as exec takes.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

unsafe extern "C" {
    static environ: *const *const c_char;
}

fn set_cloexec(fd: RawFd, on: bool) -> io::Result<()> {
    // SAFETY: fcntl with an integer argument touches no memory.
    let done = unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Executes the program behind `exe` in place of this one with the present environment; `keep`
/// survives. Returns only on failure, with everything as it was.
pub fn in_place(exe: BorrowedFd<'_>, args: &[&CStr], keep: &[RawFd]) -> io::Error {
    let mut argv: Vec<*const c_char> = args.iter().map(|a| a.as_ptr()).collect();
    argv.push(std::ptr::null());
    for fd in keep {
        if let Err(e) = set_cloexec(*fd, false) {
            return e;
        }
    }
    // SAFETY: argv is a null-terminated array of strings that outlive the call; environ is the
    // process's own and no other thread changes it.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            exe.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH,
        );
    }
    let error = io::Error::last_os_error();
    for fd in keep {
        // The descriptor was open a moment ago.
        drop(set_cloexec(*fd, true));
    }
    error
}

/// Lets a descriptor survive the next exec. Async-signal-safe.
///
/// # Errors
/// When it is not open.
pub fn keep_open(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_cloexec(fd.as_raw_fd(), false)
}

/// Executes the program at `path` with the present environment. Async-signal-safe; returns only on
/// failure.
pub fn program(path: &CStr, args: &[*const c_char]) {
    if args.last().is_some_and(|last| last.is_null()) {
        // SAFETY: the array is null-terminated, as was just checked, and its strings are the
        // caller's live ones.
        unsafe { libc::execve(path.as_ptr(), args.as_ptr(), environ) };
    }
}

/// A null-terminated argument array for [`program`].
pub fn arguments(args: &[CString]) -> Vec<*const c_char> {
    args.iter().map(|a| a.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Takes over a descriptor whose number came with exec, and closes it on the next one.
///
/// # Errors
/// When the number is not open.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    set_cloexec(fd, true)?;
    // SAFETY: it is open, and its number was handed to this program for it to own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts descriptor `from` at number `to`, open across exec. Async-signal-safe, and leaves `errno` alone.
///
/// # Errors
/// When `from` is not open, or `to` is beyond the limit.
pub fn put(from: RawFd, to: RawFd) -> io::Result<()> {
    if from < 0 || to < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: a number that is not -1, used for this one call; whether it is open is for the kernel to say.
    let source = unsafe { BorrowedFd::borrow_raw(from) };
    if from == to {
        return Ok(rustix::io::fcntl_setfd(source, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: not -1, and never closed by this: whoever calls is about to exec, and owns all numbers.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(to) });
    Ok(rustix::io::dup2(source, &mut place)?)
}

/// Whether [`execve`] leaves `errno` alone.
pub(crate) const IS_BARE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// The bare call: returns the error number, if at all, and on most processors without writing it to `errno`. (rustix
/// has it in a module without a stable name.)
///
/// # Safety
/// Both arrays end with a null pointer and hold pointers to strings that end with a zero.
pub(crate) unsafe fn execve(path: &CStr, argv: *const *const c_char, envp: *const *const c_char) -> i32 {
    #[cfg(target_arch = "x86_64")]
    {
        let result: isize;
        // SAFETY: the kernel reads what the caller vouches for, and changes but these three registers.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_execve as isize => result,
                in("rdi") path.as_ptr(),
                in("rsi") argv,
                in("rdx") envp,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        i32::try_from(-result).unwrap_or(libc::EINVAL)
    }
    #[cfg(target_arch = "aarch64")]
    {
        let result: isize;
        // SAFETY: the kernel reads what the caller vouches for, and changes but the first register.
        unsafe {
            std::arch::asm!(
                "svc 0",
                in("x8") libc::SYS_execve as isize,
                inlateout("x0") path.as_ptr() => result,
                in("x1") argv,
                in("x2") envp,
                options(nostack),
            );
        }
        i32::try_from(-result).unwrap_or(libc::EINVAL)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // SAFETY: as the caller vouches.
        unsafe { libc::execve(path.as_ptr(), argv, envp) };
        io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
    }
}

/// Has what this process says, on both streams, go to this file. Where that fails it goes on as before.
pub fn say_into(file: impl AsFd) {
    // Nobody is left to tell when even this fails.
    let _ = rustix::stdio::dup2_stdout(&file);
    let _ = rustix::stdio::dup2_stderr(&file);
}

/// Closes every descriptor from number `first` on. For the very start of a program.
pub fn close_from(first: RawFd) {
    close_between(first, RawFd::MAX);
}

/// Closes every descriptor from 3 on except those in `keep`. For a forked process that goes its own
/// way and forgets all that its parent owned.
pub fn close_all_but(keep: &mut [RawFd]) {
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.iter().copied().filter(|fd| *fd >= 3).chain([RawFd::MAX]) {
        if fd > from {
            close_between(from, fd - 1);
        }
        from = from.max(fd.saturating_add(1));
    }
}

/// Gives this process a table of descriptors of its own, where it shares one with others; numbers from `above`
/// on are left behind.
///
/// # Errors
/// When memory runs out, or before Linux 5.9.
pub(crate) fn leave_table(above: RawFd) -> io::Result<()> {
    // SAFETY: the caller forgets whatever owned the numbers that are left behind.
    let done = unsafe { libc::syscall(libc::SYS_close_range, above, RawFd::MAX, libc::CLOSE_RANGE_UNSHARE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves a descriptor to a number from `least` on, out of the way of those that come and go. Where there is
/// no such number it stays.
pub fn raise(fd: OwnedFd, least: RawFd) -> OwnedFd {
    if fd.as_raw_fd() >= least {
        return fd;
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, least).unwrap_or(fd)
}

fn close_between(first: RawFd, last: RawFd) {
    // SAFETY: the caller forgets whatever owned these numbers before the fork.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done != 0 {
        // Before Linux 5.9.
        let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
            .map(|d| d.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
            .unwrap_or_default();
        for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
}

/// Sets an environment variable of this process.
pub fn set_env(_proof: crate::process::SingleThread, name: &str, value: impl AsRef<std::ffi::OsStr>) {
    // SAFETY: the proof says that no other thread reads the environment.
    unsafe { std::env::set_var(name, value) };
}

/// Removes an environment variable of this process.
pub fn remove_env(_proof: crate::process::SingleThread, name: &str) {
    // SAFETY: as above.
    unsafe { std::env::remove_var(name) };
}
