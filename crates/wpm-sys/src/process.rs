//! Processes: forking, waiting, names and signals.
//!
//! Owns the calls that make and reap processes. Invariant: only a process that has proved to have a
//! single thread forks, so the child may do whatever the parent might.

use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::contract::{End, Usage};

/// Proof that this process has one thread; it never leaves that thread.
#[derive(Debug, Clone, Copy)]
pub struct SingleThread(PhantomData<*const ()>);

impl SingleThread {
    /// Counts the threads.
    ///
    /// # Errors
    /// When there are several, or `/proc` is not there to tell.
    pub fn prove() -> io::Result<Self> {
        // A folder has two links of its own and one for each folder in it: here, for each thread. Listing
        // it would take a large buffer, of which every process forked later keeps a share.
        if rustix::fs::stat("/proc/self/task")?.st_nlink == 3 {
            return Ok(Self(PhantomData));
        }
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(PhantomData)),
            _ => Err(io::Error::other("the process has several threads")),
        }
    }
}

/// Where a fork has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// In the child.
    Child,
    /// In the parent: the child's process id.
    Parent(i32),
}

fn forked(pid: libc::c_long) -> io::Result<Fork> {
    match i32::try_from(pid) {
        Ok(0) => Ok(Fork::Child),
        Ok(pid) if pid > 0 => Ok(Fork::Parent(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks a child.
///
/// # Errors
/// When the system or a limit refuses another process.
pub fn fork(_proof: SingleThread) -> io::Result<Fork> {
    clone(0)
}

/// Forks a child that has the descriptors of this process, not a copy of them: what either opens or closes, the
/// other has opened or closed too, until the child leaves the table.
pub(crate) fn fork_onto_descriptors(_proof: SingleThread) -> io::Result<Fork> {
    clone(libc::CLONE_FILES)
}

/// The bare call: what the C library does around it is for programs with threads, and writes to pages that
/// parent and child would otherwise go on to share.
fn clone(flags: libc::c_int) -> io::Result<Fork> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without a new stack and without CLONE_VM this is fork(2); who calls has the proof that no other
    // thread can hold a lock that the child would miss.
    let fork = forked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) });
    if matches!(fork, Ok(Fork::Child)) {
        crate::heap::leave_parent();
    }
    fork
}

/// Forks a sibling: its parent is this process's parent, so it is never a descendant of this one
/// and nobody here has to reap it.
///
/// # Errors
/// When the system or a limit refuses another process.
pub fn fork_sibling(_proof: SingleThread) -> io::Result<Fork> {
    clone(libc::CLONE_PARENT)
}

/// Ends this process at once, without running anything on the way out.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Process id of this process.
pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Process id of the parent, 0 where it lives in another pid namespace.
pub fn parent_pid() -> i32 {
    rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get())
}

/// Makes this process the one that orphaned descendants fall to.
///
/// # Errors
/// On kernels before 3.4.
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Starts a session of its own.
///
/// # Errors
/// When this process already leads a group.
pub fn start_session() -> io::Result<()> {
    Ok(rustix::process::setsid().map(drop)?)
}

/// Sets the name that `ps` shows, of which 15 bytes are visible.
pub fn set_name(name: &str) {
    let mut buf = [0_u8; 16];
    let mut len = name.len().min(15);
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    buf[..len].copy_from_slice(&name.as_bytes()[..len]);
    if let Ok(name) = CStr::from_bytes_until_nul(&buf) {
        // A name is a courtesy; that it was refused changes nothing.
        let _ = rustix::thread::set_name(name);
    }
}

/// Makes this process yield to all others (nice 19).
pub fn lower_priority() {
    let _ = rustix::process::nice(19);
}

/// A child that has ended and still waits to be reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its process id.
    pub pid: i32,
    /// How it ended.
    pub end: End,
    /// What it used, its own reaped children included.
    pub usage: Usage,
}

/// What the kernel knows of the children of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// One has ended; it stays a zombie until [`reap`].
    Ended(Ended),
    /// There are some, none has ended.
    Alive,
    /// There is no child, and so, in a subreaper, no descendant at all.
    None,
}

/// Looks for a child that has ended, without reaping it. Reap it before looking again: the same one
/// is shown until then.
pub fn look_at_children() -> Children {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: both structures are large enough and writable; the raw call fills them or leaves them
    // zeroed. (The C library's waitid drops the fifth argument.)
    let done = unsafe {
        libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, info.as_mut_ptr(), options, usage.as_mut_ptr())
    };
    if done != 0 {
        return Children::None;
    }
    // SAFETY: zeroed at least, and all-zero bytes are valid for both.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: waitid fills the fields of SIGCHLD, or leaves the zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Children::Alive;
    }
    let end = match info.si_code {
        libc::CLD_EXITED => End::Code(status),
        libc::CLD_DUMPED => End::Signal { signal: status, core: true },
        _ => End::Signal { signal: status, core: false },
    };
    let micros = |t: libc::timeval| {
        u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(t.tv_usec).unwrap_or(0)
    };
    let usage = Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    };
    Children::Ended(Ended { pid, end, usage })
}

/// Reaps a child that [`look_at_children`] has shown. Its process id is free from then on.
pub fn reap(pid: i32) {
    // SAFETY: a null status pointer is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}

/// Waits until a child that is about to end has ended, and reaps it.
pub fn wait_for(pid: i32) {
    // SAFETY: a null status pointer is allowed.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Sends a signal to a process that cannot have been reaped yet (a child, or its descendant read
/// just now).
///
/// # Errors
/// When it is gone or belongs to another user.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill has no memory preconditions.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to a process group that has a member that cannot have been reaped yet.
///
/// # Errors
/// When no member is left or none may be signalled.
pub fn kill_group(group: i32, signal: i32) -> io::Result<()> {
    if group <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill has no memory preconditions.
    if unsafe { libc::kill(-group, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs a test in a process of its own, for which `cargo test` has too many threads.
#[cfg(test)]
pub(crate) fn in_a_process(act: impl FnOnce(SingleThread) -> bool) {
    // SAFETY: the child calls only what needs no lock of another thread: the allocator of the C library
    // survives a fork, and nothing else is shared.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // A panic would end this thread, which here is the process, with code 0.
        let good =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| SingleThread::prove().is_ok_and(act)));
        exit_now(i32::from(!good.unwrap_or(false)));
    }
    let mut status = 0;
    // SAFETY: the status is a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_threads_are_no_proof() {
        // The test harness runs this on a thread of its own beside the main one.
        assert!(SingleThread::prove().is_err());
    }

    #[test]
    fn nobody_signals_everybody() {
        assert!(kill(-1, 0).is_err() && kill(0, 0).is_err() && kill_group(1, 0).is_err());
    }
}
