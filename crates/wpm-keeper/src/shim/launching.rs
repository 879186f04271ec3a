//! Turning a launch description into a child that waits at its gate.
//!
//! Owns the order: log files, the child's descriptors, fork. Deliberately does not open the gate.
//! Invariant: everything that the child will need is laid out before the fork, and a failure of any
//! step is the run's end, named by its stage.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use wpm_sys::child::Preparation;
use wpm_sys::contract::{End, Stage, Usage};
use wpm_sys::image::Image;
use wpm_sys::launch::Launch;
use wpm_sys::process::{self, Fork};
use wpm_sys::splice::{self, Access};
use wpm_sys::{clock, procfs};

use super::app::App;
use super::{Context, Fresh};
use crate::pump::Pump;
use crate::wires::Wires;

/// Said of an error that has no number of its own.
const EINVAL: i32 = 22;

/// Forks the child. A failure is noted in the slot as the run's end.
pub(super) fn launch(
    context: &Context,
    wires: &Wires,
    pump: &mut Pump,
    launch: &Launch,
    fresh: &Fresh,
) -> App {
    let forked =
        pump.open().map_err(|e| (Stage::LogFile, e)).and_then(|()| fork_child(context, wires, launch, fresh));
    match forked {
        Ok(app) => app,
        Err((stage, e)) => {
            wires.slot.fail(stage, e.raw_os_error().unwrap_or(EINVAL));
            wires.slot.record_end(End::Unknown, Usage::default(), clock::boottime_ms());
            App::unborn()
        }
    }
}

/// The descriptors of the child: what it gets, and at which number.
struct Streams {
    opened: Vec<OwnedFd>,
    places: Vec<(RawFd, i32)>,
}

impl Streams {
    fn put(&mut self, fd: OwnedFd, number: i32) {
        self.places.push((fd.as_raw_fd(), number));
        self.opened.push(fd);
    }
}

fn streams(wires: &Wires, launch: &Launch, fresh: &Fresh) -> io::Result<Streams> {
    let mut s = Streams { opened: Vec::new(), places: Vec::with_capacity(4 + fresh.passed.len()) };
    let null = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    // Both ways: the app never sees the end of its input nor a broken pipe, whoever of wpm dies.
    let side = |pipe: Option<&OwnedFd>| pipe.map_or_else(null, |p| splice::reopen(p, Access::Both));
    let merged = !launch.log.out.is_empty() && launch.log.out == launch.log.err;
    let [out, err] = [wires.pipes[0].as_ref(), wires.pipes[1].as_ref()];
    s.put(side(wires.stdin.as_ref())?, 0);
    s.put(side(out)?, 1);
    s.put(side(if merged { out } else { err })?, 2);
    if let (Some(fd), Some(number)) = (&fresh.ipc_app, launch.ipc_fd) {
        s.places.push((fd.as_raw_fd(), number));
    }
    if launch.fds.len() != fresh.passed.len() || launch.fds.iter().any(|n| *n < 3) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    s.places.extend(fresh.passed.iter().zip(&launch.fds).map(|(fd, number)| (fd.as_raw_fd(), *number)));
    Ok(s)
}

fn fork_child(
    context: &Context,
    wires: &Wires,
    launch: &Launch,
    fresh: &Fresh,
) -> Result<App, (Stage, io::Error)> {
    let image = Image::new(&launch.program, &launch.cwd, &launch.args, &launch.env, launch.listen_pid)
        .map_err(|e| (Stage::Exec, e))?;
    let streams = streams(wires, launch, fresh).map_err(|e| (Stage::Descriptors, e))?;
    let (gate, gate_shim) = splice::blocking_pipe().map_err(|e| (Stage::Fork, e))?;
    let (errors, errors_child) = splice::pipe().map_err(|e| (Stage::Fork, e))?;
    match process::fork(context.proof).map_err(|e| (Stage::Fork, e))? {
        Fork::Child => Preparation {
            slot: &wires.slot,
            gate: gate.as_fd(),
            gate_shim: gate_shim.as_fd(),
            errors: errors_child.as_fd(),
            places: streams.places,
            limits: &launch.limits,
            descriptors_soft: context.descriptors_soft,
            nice: launch.nice,
            umask: launch.umask,
            credentials: launch.credentials.as_ref(),
            image,
        }
        .run(),
        Fork::Parent(pid) => {
            // The child notes the same of itself: whoever is killed now, the slot is right.
            wires.slot.register(pid, procfs::start_time(pid).unwrap_or(0));
            drop(streams.opened);
            Ok(App::child(gate_shim, errors))
        }
    }
}

/// Writes the pid file of a run whose app has just been executed.
pub(super) fn write_pid_file(path: &Path, pid: i32) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if path.as_os_str().is_empty() {
        return;
    }
    let open = || std::fs::File::options().create(true).truncate(true).write(true).mode(0o644).open(path);
    let file = open().or_else(|e| match path.parent() {
        Some(folder) if e.kind() == io::ErrorKind::NotFound => {
            crate::pump::make_folder(folder)?;
            open()
        }
        _ => Err(e),
    });
    if let Err(e) = file.and_then(|mut f| write!(f, "{pid}")) {
        crate::complain(&format!("cannot write the pid file {}: {e}", path.display()));
    }
}

/// Removes the pid file if it still names this run: a later run may have written its own.
pub(super) fn remove_pid_file(path: &Path, pid: i32) {
    if !path.as_os_str().is_empty()
        && std::fs::read_to_string(path).is_ok_and(|text| text.trim() == pid.to_string())
    {
        drop(std::fs::remove_file(path));
    }
}
