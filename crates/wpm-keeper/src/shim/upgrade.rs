//! Replacing the shim's program in place.
//!
//! Owns the list of what the new program needs beside the run's objects. Invariant: the process id
//! stays, so the app stays a child, and nothing is closed or lost if the new program cannot be executed.

use std::convert::Infallible;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use wpm_sys::cgroup::Group;
use wpm_sys::codec::Reader;
use wpm_sys::exec::inherited;
use wpm_sys::launch::Launch;
use wpm_sys::lodging::Lodger;
use wpm_sys::memfd;
use wpm_sys::process::{self, SingleThread};
use wpm_sys::signals::SignalFd;

use super::app::App;
use super::lonely::Lonely;
use super::talk::Talk;
use super::{Facts, Shim};
use crate::pump::Pump;
use crate::resume;

fn number(fd: Option<&impl AsRawFd>) -> RawFd {
    fd.map_or(-1, AsRawFd::as_raw_fd)
}

impl Shim {
    /// Executes `exe` in place. Returns only on failure.
    pub(super) fn upgrade(&self, exe: BorrowedFd<'_>) -> io::Error {
        let mut w = resume::begin();
        resume::put_wires(&mut w, &self.wires);
        let connection = self.talk.connection().map_or(-1, |c| c.as_raw_fd());
        let own = [number(self.app.gate.as_ref()), number(self.app.lodger.as_ref()), connection];
        for fd in own {
            w.i32(fd);
        }
        w.u64(self.descriptors_soft).i32(self.lonely.keeper()).u8(u8::from(self.app.parent));
        let keep: Vec<RawFd> = self.wires.numbers().into_iter().chain(own).collect();
        resume::hand_over(exe, &[c"wpm", c"__shim"], w, &keep)
    }
}

/// Goes on where the old program left off.
pub(crate) fn resume(proof: SingleThread, fd: RawFd) -> io::Result<Infallible> {
    let state = resume::take(fd)?;
    let mut r = Reader::new(&state);
    let bad = io::Error::other::<wpm_sys::codec::DecodeError>;
    let wires = resume::take_wires(&mut r)?.map()?;
    let mut optional = || -> io::Result<Option<OwnedFd>> {
        let fd = r.i32().map_err(bad)?;
        (fd >= 0).then(|| inherited(fd)).transpose()
    };
    let (gate, errors, connection) = (optional()?, optional()?, optional()?);
    let descriptors_soft = r.u64().map_err(bad)?;
    let keeper = r.i32().map_err(bad)?;
    let parent = r.u8().map_err(bad)? == 1;
    let signals = SignalFd::open()?;
    let mut buffer = [const { MaybeUninit::uninit() }; memfd::USUAL];
    let launch =
        Launch::decode_frame(&memfd::contents(&wires.launch, &mut buffer)?).map_err(io::Error::other)?;
    process::set_name(&launch.title);
    let pump = Pump::new(launch.log, &launch.home, &wires, false, proof);
    let app = if parent {
        App::resumed_child(gate, errors.map(Lodger::resumed))
    } else {
        App::foreign(&wires.slot)
    };
    let group = Group::of_run(&launch.group.path, &wires.slot, (&launch.home, wires.run.0));
    let starved = group.as_ref().map_or(0, Group::out_of_memory);
    let facts = Facts {
        home: launch.home,
        socket: launch.socket,
        pid_file: launch.pid_file,
        tree: launch.tree,
        group,
        starved,
    };
    let mut shim = Shim {
        proof,
        signals,
        descriptors_soft,
        lonely: Lonely::new(wires.run, keeper),
        wires,
        facts,
        app,
        talk: Talk::new(connection),
        pump,
        settled: false,
    };
    shim.serve()
}
