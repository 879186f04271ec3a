//! Turning a launch description into a child that waits at its gate.
//!
//! Owns the order: log files, the app's descriptors and group, the fork. Deliberately does not open the gate. Invariant: a failure of any step is the run's end, named by its stage.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use wpm_sys::cgroup::Group;
use wpm_sys::child::{self, Born, Task};
use wpm_sys::contract::{End, Stage, Usage};
use wpm_sys::launch::{ControlGroup, Launch, Words};
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
    fresh: &Fresh,
    (launch, words): (&Launch, Words<'_>),
) -> App {
    let forked = pump.open().map_err(|e| (Stage::LogFile, e)).and_then(|()| {
        let sides = app_sides(wires, pump.is_merged()).map_err(|e| (Stage::Descriptors, e))?;
        let group = make_group(&launch.group).map_err(|e| (Stage::ControlGroup, e))?;
        let task = Task {
            slot: wires.slot.keep(),
            group: group.as_ref().map(|(group, needed)| (group, *needed)),
            places: &places(launch, fresh, &sides).map_err(|e| (Stage::Descriptors, e))?,
            limits: &launch.limits,
            descriptors_soft: context.descriptors_soft,
            nice: launch.nice,
            umask: launch.umask,
            credentials: launch.credentials.as_ref(),
            folder: &launch.cwd,
            program: &launch.program,
            words,
            listen_pid: launch.listen_pid,
            socket: &launch.socket,
        };
        child::fork(context.proof, &task)
    });
    match forked {
        Ok(Born { pid, gate, lodger }) => {
            wires.slot.register(pid, procfs::start_time(pid).unwrap_or(0));
            App::child(gate, lodger)
        }
        Err((stage, e)) => {
            wires.slot.fail(stage, e.raw_os_error().unwrap_or(EINVAL));
            wires.slot.record_end(End::Unknown, Usage::default(), clock::boottime_ms());
            App::unborn()
        }
    }
}

/// The control group of the run. One without settings is only an addition: it may fail.
fn make_group(group: &ControlGroup) -> io::Result<Option<(Group, bool)>> {
    let Some(made) = Group::at(&group.path) else { return Ok(None) };
    let needed = !group.settings.is_empty();
    match made.make(&group.settings) {
        Ok(()) => Ok(Some((made, needed))),
        Err(e) if needed => {
            made.remove();
            Err(e)
        }
        Err(_) => Ok(None),
    }
}

/// The app's sides of its standard streams, opened before the fork: at no moment are the pipes without
/// a writer, which would look like their end. Open both ways: the app never sees the end of its input
/// nor a broken pipe, whoever of wpm dies.
fn app_sides(wires: &Wires, merged: bool) -> io::Result<[OwnedFd; 3]> {
    let null = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let side = |pipe: Option<&OwnedFd>| pipe.map_or_else(null, |p| splice::reopen(p, Access::Both));
    let [out, err] = [wires.pipes[0].as_ref(), wires.pipes[1].as_ref()];
    Ok([side(wires.stdin.as_ref())?, side(out)?, side(if merged { out } else { err })?])
}

/// The descriptors of the child, and the numbers that they get.
fn places(launch: &Launch, fresh: &Fresh, sides: &[OwnedFd; 3]) -> io::Result<Vec<(RawFd, i32)>> {
    if launch.fds.len() != fresh.passed.len() || launch.fds.iter().any(|n| *n < 3) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let ipc = fresh.ipc_app.iter().zip(launch.ipc_fd);
    let passed = fresh.passed.iter().zip(launch.fds.iter().copied());
    Ok(sides.iter().zip(0..).chain(ipc).chain(passed).map(|(fd, number)| (fd.as_raw_fd(), number)).collect())
}

/// Writes the pid file of a run whose app has just been executed.
pub(super) fn write_pid_file(path: &Path, pid: i32) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if path.as_os_str().is_empty() {
        return;
    }
    let open = || std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path);
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
