//! Signals as events, and the clean slate that a new program deserves.
//!
//! Owns blocking, the signal descriptor and the reset before exec. Invariant: what keeper and shims
//! change of their signals never reaches an app.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Signals that keeper and shims read from a descriptor: a child changed, or one was woken.
const READ: [i32; 2] = [libc::SIGCHLD, libc::SIGUSR1];
/// Signals that must not end keeper and shims: they are ended by the daemon's word only.
const IGNORED: [i32; 11] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGPIPE,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGXFSZ,
    libc::SIGUSR2,
    libc::SIGALRM,
];

/// The signal by which the keeper wakes a shim.
pub const WAKE: i32 = libc::SIGUSR1;
/// `SIGKILL`.
pub const KILL: i32 = libc::SIGKILL;
/// `SIGSTOP`.
pub const STOP: i32 = libc::SIGSTOP;
/// `SIGCONT`.
pub const CONT: i32 = libc::SIGCONT;

/// The descriptor that becomes readable when a child changes or [`WAKE`] arrives. It survives fork:
/// a child reads its own signals from it.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl SignalFd {
    /// Blocks the signals that are read, ignores those that must not matter, opens the descriptor.
    ///
    /// What is ignored is blocked, too, for the sake of a child on its way to its program: what it is sent
    /// then waits until it is no longer ignored, instead of being lost.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn open() -> io::Result<Self> {
        // Whatever the caller of this program ignored: a child undoes only what is changed here.
        (1..=64).filter(|signal| is_ignored(*signal)).for_each(default);
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set; the other calls get valid pointers and numbers.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for s in READ {
                libc::sigaddset(set.as_mut_ptr(), s);
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            for s in IGNORED {
                libc::signal(s, libc::SIG_IGN);
                libc::sigaddset(set.as_mut_ptr(), s);
            }
            libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(OwnedFd::from_raw_fd(fd))) }
        }
    }

    /// Takes over the descriptor of the process that this one was forked from.
    ///
    /// # Errors
    /// When the number is not open.
    pub fn inherited(fd: std::os::fd::RawFd) -> io::Result<Self> {
        crate::exec::inherited(fd).map(Self)
    }

    /// Takes everything that has arrived.
    pub fn drain(&self) {
        let mut buf = [MaybeUninit::<libc::signalfd_siginfo>::uninit(); 8];
        // SAFETY: the buffer is writable for its whole size.
        while unsafe { libc::read(self.0.as_raw_fd(), buf.as_mut_ptr().cast(), size_of_val(&buf)) } > 0 {}
    }
}

/// Default dispositions, nothing blocked: what a program expects at its start. Async-signal-safe.
pub fn reset_all() {
    default_all();
    unblock_all();
}

/// The same for a descendant of a process that has opened a [`SignalFd`]: undoes what that has changed, which
/// is a fifth of all signals.
pub fn reset_own() {
    IGNORED.into_iter().for_each(default);
    unblock_all();
}

fn default_all() {
    // Two numbers are used by the C library itself; a parent may have left those ignored, too.
    (1..=64).for_each(default);
}

fn default(signal: libc::c_int) {
    // The raw call, because the C library refuses two numbers. All zeroes: default disposition, no flags,
    // empty mask.
    let default = [0_u64; 8];
    // SAFETY: the structure that the kernel reads is shorter than the zeroed array; a null old action is
    // allowed; SIGKILL and SIGSTOP are refused without effect.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u8>(), 8) };
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut old = [0_u64; 8];
    // SAFETY: the structure that the kernel writes is shorter than the array; a null new action is allowed.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::null::<u8>(), old.as_mut_ptr(), 8) };
    old[0] == libc::SIG_IGN as u64
}

fn unblock_all() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that sigprocmask then reads.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}
