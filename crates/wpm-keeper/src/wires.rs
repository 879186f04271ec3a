//! The kernel objects of one run that outlive any single process of wpm.
//!
//! Owns making, listing and handing on. Keeper and shim each hold a copy of every descriptor, so
//! either may be killed. Invariant: reading ends only — the app's side of each pipe is opened
//! through `/proc/self/fd` for the child alone, both ways, so it never sees a closed pipe.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use wpm_sys::contract::{Phase, RunKey};
use wpm_sys::exec::{self, inherited};
use wpm_sys::launch::outline;
use wpm_sys::slot::SlotMap;
use wpm_sys::splice::{self, Access};
use wpm_sys::{memfd, procfs, record};

/// Capacity of an app's standard input in bytes: what is written there is small.
const STDIN_SIZE: usize = 4096;

/// Least number of a descriptor that the keeper holds for a run whose shim is there: below are its own, and
/// those of a run that is about to be forked, which are all that a shim has to copy.
pub(crate) const PARKED: RawFd = 128;

/// In the place of the shared page where it is not mapped: each mapping makes every fork dearer.
#[derive(Debug)]
pub(crate) struct Unmapped;

/// The objects of one run.
#[derive(Debug)]
pub(crate) struct Wires<Page = SlotMap> {
    /// The run.
    pub(crate) run: RunKey,
    /// The shared page.
    pub(crate) slot: Page,
    /// File of the shared page.
    pub(crate) slot_file: File,
    /// Reading ends of stdout and stderr. stderr has none where it shares the pipe of stdout.
    pub(crate) pipes: [Option<OwnedFd>; 2],
    /// Writing end of the app's stdin.
    pub(crate) stdin: Option<OwnedFd>,
    /// wpm's end of the IPC channel.
    pub(crate) ipc: Option<OwnedFd>,
    /// Where daemons connect to the shim.
    pub(crate) listener: OwnedFd,
    /// The sealed launch description.
    pub(crate) launch: OwnedFd,
}

/// Numbers of the descriptors of a run, in the order of the fields; -1 where there is none.
pub(crate) const NUMBERS: usize = 7;

fn read_pipe() -> io::Result<OwnedFd> {
    splice::pipe().map(|(read, _write)| read)
}

impl Wires {
    /// Makes the objects of a new run, and the app's end of the IPC channel.
    pub(crate) fn new(
        run: RunKey,
        listener: OwnedFd,
        launch: OwnedFd,
    ) -> io::Result<(Self, Option<OwnedFd>)> {
        let outline = {
            let bytes = memfd::Sealed::map(&launch)?;
            outline(&bytes).map_err(io::Error::other)?
        };
        let slot_file = memfd::empty("wpm-slot")?;
        let own_err = outline.err && !outline.merged;
        let (_, stdin) = splice::pipe()?;
        splice::set_pipe_size(&stdin, STDIN_SIZE)?;
        let (ipc, ipc_app) = if outline.ipc { Some(record::stream_pair()?).unzip() } else { (None, None) };
        let wires = Self {
            run,
            slot: SlotMap::of(&slot_file)?,
            slot_file,
            pipes: [outline.out.then(read_pipe).transpose()?, own_err.then(read_pipe).transpose()?],
            stdin: Some(stdin),
            ipc,
            listener,
            launch,
        };
        Ok((wires, ipc_app))
    }

    /// Finds the objects of a run whose keeper and shim are both gone, as far as the app holds them.
    pub(crate) fn adopt(
        run: RunKey,
        (pid, start_time): (i32, u64),
        listener: OwnedFd,
        launch: OwnedFd,
    ) -> io::Result<Self> {
        let slot_file = memfd::empty("wpm-slot")?;
        let slot = SlotMap::of(&slot_file)?;
        slot.register(pid, start_time);
        slot.advance(Phase::Launching);
        let same = procfs::start_time(pid) == Some(start_time);
        // An app may have put something else at these numbers; wpm's own pipes are open both ways.
        let ours = |fd, access| {
            (same && procfs::is_open_both_ways(pid, fd))
                .then(|| splice::reopen_pipe_of(pid, fd, access).ok())
                .flatten()
        };
        let out = ours(1, Access::Read);
        let shared = |err: &OwnedFd| {
            out.as_ref().is_some_and(|out| splice::identity(out).ok() == splice::identity(err).ok())
        };
        let err = ours(2, Access::Read).filter(|err| !shared(err));
        Ok(Self {
            run,
            slot,
            slot_file,
            pipes: [out, err],
            stdin: ours(0, Access::Write),
            ipc: None,
            listener,
            launch,
        })
    }

    /// Lets go of the shared page and moves the descriptors out of the way of the next fork.
    pub(crate) fn park(self) -> Wires<Unmapped> {
        let raise = |fd| exec::raise(fd, PARKED);
        Wires {
            run: self.run,
            slot: Unmapped,
            slot_file: File::from(raise(self.slot_file.into())),
            pipes: self.pipes.map(|pipe| pipe.map(raise)),
            stdin: self.stdin.map(raise),
            ipc: self.ipc.map(raise),
            listener: raise(self.listener),
            launch: raise(self.launch),
        }
    }

    /// Whether nothing waits in the pipe of stream `i`, if it has one.
    pub(crate) fn has_no_output(&self, i: usize) -> bool {
        self.pipes.get(i).and_then(Option::as_ref).is_none_or(|p| splice::waiting(p).is_ok_and(|n| n == 0))
    }
}

impl Wires<Unmapped> {
    /// The shared page, mapped for as long as the result lives.
    pub(crate) fn page(&self) -> io::Result<SlotMap> {
        SlotMap::of(&self.slot_file)
    }

    /// Maps the page for good.
    pub(crate) fn map(self) -> io::Result<Wires> {
        let page = self.page()?;
        Ok(self.with_page(page))
    }

    /// The same objects with this mapping of their page.
    pub(crate) fn with_page(self, slot: SlotMap) -> Wires {
        Wires {
            run: self.run,
            slot,
            slot_file: self.slot_file,
            pipes: self.pipes,
            stdin: self.stdin,
            ipc: self.ipc,
            listener: self.listener,
            launch: self.launch,
        }
    }

    /// Takes the objects over after exec, by their numbers.
    pub(crate) fn inherit(run: RunKey, numbers: [RawFd; NUMBERS]) -> io::Result<Self> {
        let [slot, out, err, stdin, ipc, listener, launch] = numbers;
        let optional = |fd: RawFd| (fd >= 0).then(|| inherited(fd)).transpose();
        Ok(Self {
            run,
            slot: Unmapped,
            slot_file: File::from(inherited(slot)?),
            pipes: [optional(out)?, optional(err)?],
            stdin: optional(stdin)?,
            ipc: optional(ipc)?,
            listener: inherited(listener)?,
            launch: inherited(launch)?,
        })
    }
}

impl<Page> Wires<Page> {
    /// Numbers of all descriptors, -1 where there is none.
    pub(crate) fn numbers(&self) -> [RawFd; NUMBERS] {
        let number = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd());
        [
            self.slot_file.as_raw_fd(),
            number(self.pipes[0].as_ref().map(AsFd::as_fd)),
            number(self.pipes[1].as_ref().map(AsFd::as_fd)),
            number(self.stdin.as_ref().map(AsFd::as_fd)),
            number(self.ipc.as_ref().map(AsFd::as_fd)),
            self.listener.as_raw_fd(),
            self.launch.as_raw_fd(),
        ]
    }
}
