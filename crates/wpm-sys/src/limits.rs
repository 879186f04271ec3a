//! Resource limits of this process.
//!
//! Owns raising the number of descriptors and remembering what it was. Invariant: apps never see the
//! raised limit unless they ask for it.

use std::io;

use rustix::process::{Resource, Rlimit};

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
    let now = rustix::process::getrlimit(known(resource)?);
    let [soft, hard] = [now.current, now.maximum].map(|limit| limit.unwrap_or(u64::MAX));
    Ok(Limit { resource, soft, hard })
}

/// Sets a limit of this process. Async-signal-safe, and leaves `errno` alone.
///
/// # Errors
/// When it may not be raised.
pub fn set(limit: Limit) -> io::Result<()> {
    let finite = |limit: u64| Some(limit).filter(|limit| *limit != u64::MAX);
    let new = Rlimit { current: finite(limit.soft), maximum: finite(limit.hard) };
    Ok(rustix::process::setrlimit(known(limit.resource)?, new)?)
}

/// All limits that there are.
const ALL: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

fn known(resource: u32) -> io::Result<Resource> {
    let found = ALL.into_iter().find(|known| *known as u32 == resource);
    found.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
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
    if let Ok(now) = get(NOFILE)
        && now.soft != soft.min(now.hard)
    {
        drop(set(Limit { soft: soft.min(now.hard), ..now }));
    }
}
