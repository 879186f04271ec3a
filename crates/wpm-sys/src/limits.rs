//! Resource limits of this process.
//!
//! Owns raising the number of descriptors and remembering what it was. Invariant: apps never see the
//! raised limit unless they ask for it.

use std::io;

use crate::launch::Limit;

/// `RLIMIT_NOFILE` as [`Limit::resource`] counts.
pub const NOFILE: u32 = libc::RLIMIT_NOFILE;

/// The kernel's number of a limit, by its word in `limits.conf`.
pub fn number(word: &str) -> Option<u32> {
    Some(match word {
        "as" => libc::RLIMIT_AS,
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        _ => return None,
    })
}

/// Reads a limit of this process.
///
/// # Errors
/// When there is no such limit.
pub fn get(resource: u32) -> io::Result<Limit> {
    let mut now = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is writable for the call.
    if unsafe { libc::prlimit64(0, resource as _, std::ptr::null(), &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Limit { resource, soft: now.rlim_cur, hard: now.rlim_max })
}

/// Sets a limit of this process. Async-signal-safe.
///
/// # Errors
/// When it may not be raised.
pub fn set(limit: Limit) -> io::Result<()> {
    let new = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: the structure is valid for the call.
    if unsafe { libc::prlimit64(0, limit.resource as _, &raw const new, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Raises the soft limit of open descriptors to the hard one and returns what the soft one was.
pub fn raise_descriptors() -> u64 {
    let Ok(now) = get(NOFILE) else { return 1024 };
    // Refused means that things stay as they are, which is no worse than not having asked.
    drop(set(Limit { soft: now.hard, ..now }));
    now.soft
}

/// Sets the soft limit of open descriptors, as far as the hard one allows. Async-signal-safe.
pub fn restore_descriptors(soft: u64) {
    if let Ok(now) = get(NOFILE) {
        drop(set(Limit { soft: soft.min(now.hard), ..now }));
    }
}
