//! The duties of the first process of a container: signals are taken and handed on, strangers are reaped.
//!
//! Knows no apps. Invariant: no signal is lost between two looks, as each is a byte in a pipe.

use std::io::{PipeReader, Read as _};
use std::os::fd::AsFd as _;

use rustix::event::epoll;
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::failure::{Code, Failure};

/// Signals that ask for the end.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGQUIT];
/// Signals that are meant for the apps.
const FORWARDED: [i32; 3] = [SIGHUP, SIGUSR1, SIGUSR2];

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The end.
    End,
    /// To hand it on.
    Forward(i32),
    /// To reap.
    Reap,
}

/// The pipes through which signals come.
#[derive(Debug)]
pub(super) struct Signals {
    pipes: Vec<(Asked, PipeReader)>,
}

impl Signals {
    /// From here on signals come through the pipes, and orphans come to this process.
    pub(super) fn take() -> Result<Self, Failure> {
        let failed = |cause: std::io::Error| {
            Failure::new(Code::Storage, format!("cannot take the signals of this process: {cause}"))
        };
        let mut pipes = Vec::new();
        let asked = ENDING.iter().map(|signal| (*signal, Asked::End));
        let asked = asked.chain(FORWARDED.iter().map(|signal| (*signal, Asked::Forward(*signal))));
        for (signal, asked) in asked.chain([(SIGCHLD, Asked::Reap)]) {
            let (reader, writer) = std::io::pipe().map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, writer).map_err(failed)?;
            pipes.push((asked, reader));
        }
        set_child_subreaper(Some(getpid())).map_err(|errno| failed(errno.into()))?;
        Ok(Self { pipes })
    }

    /// Adds the pipes to a set of descriptors that is waited on, numbered from `first`.
    pub(super) fn watch(&self, set: impl std::os::fd::AsFd, first: u64) -> Result<(), Failure> {
        for (number, (_, pipe)) in (first..).zip(&self.pipes) {
            epoll::add(&set, pipe.as_fd(), epoll::EventData::new_u64(number), epoll::EventFlags::IN)
                .map_err(|errno| Failure::new(Code::Storage, format!("cannot wait for signals: {errno}")))?;
        }
        Ok(())
    }

    /// What the pipe of this number says, which is readable.
    pub(super) fn read(&mut self, number: u64) -> Option<Asked> {
        let (asked, pipe) = self.pipes.get_mut(usize::try_from(number).ok()?)?;
        let mut bytes = [0; 64];
        let read = pipe.read(&mut bytes).unwrap_or(0);
        (read > 0).then_some(*asked)
    }
}

/// Takes note of the end of every child that has ended.
pub(super) fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
