//! The way of a forked child from its gate to the program.
//!
//! Owns the order of the stages. Everything is laid out before the fork, in the room of the child, which lives in
//! its parent's memory ([`crate::lodging`]): it allocates, locks and returns nothing, and what may fail is asked of
//! the kernel itself. Invariant: the child runs the program only after the gate was opened, and says in the slot
//! which stage stopped it.

use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::{Gid, Uid};

use crate::cgroup::{self, Group};
use crate::contract::{MAX_FDS, Phase, Stage};
use crate::image::Image;
use crate::launch::{Credentials, Limit, Words};
use crate::lodging::{self, Lodger, Memory, Room};
use crate::process::SingleThread;
use crate::slot::Slot;
use crate::{exec, limits, process, signals, splice};

/// Exit code of a child that did not become its program.
pub const FAILED: i32 = 127;
/// Passed descriptors, three standard streams and the IPC channel.
const PLACES: usize = MAX_FDS + 4;
/// Bytes of room for what has a size of its own.
const FIXED: usize = 1024;

/// What is asked of a child.
#[derive(Debug)]
pub struct Task<'a> {
    /// The run's shared page.
    pub slot: &'static Slot,
    /// The control group that it enters before anything else, and whether it must.
    pub group: Option<(&'a Group, bool)>,
    /// Descriptors and the numbers that they get: standard streams first.
    pub places: &'a [(RawFd, i32)],
    /// Limits to set.
    pub limits: &'a [Limit],
    /// Soft limit of descriptors to go back to, unless `limits` names another.
    pub descriptors_soft: u64,
    /// Added to the nice value.
    pub nice: i32,
    /// umask.
    pub umask: u32,
    /// User and groups.
    pub credentials: Option<&'a Credentials>,
    /// Working directory.
    pub folder: &'a [u8],
    /// The program.
    pub program: &'a [u8],
    /// Its arguments and environment.
    pub words: Words<'a>,
    /// Whether the environment gets `LISTEN_PID`.
    pub listen_pid: bool,
    /// The socket of its shim; see [`unrun_mark`].
    pub socket: &'a [u8],
}

/// What the name of a shim's socket is followed by in that of the mark of its run.
pub const UNRUN: &[u8] = b".unrun";

/// An empty file beside the socket of its shim, made by a child that finds its gate closed: where nobody was left
/// to see it end, it says that it has not run.
pub fn unrun_mark(socket: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec([socket, UNRUN].concat()))
}

/// A child that waits at its gate.
#[derive(Debug)]
pub struct Born {
    /// Its process id.
    pub pid: i32,
    /// Write end of the gate: one byte opens it; when it is closed, the child ends.
    pub gate: OwnedFd,
    /// Tells when it has left.
    pub lodger: Lodger,
}

impl Task<'_> {
    /// In whose memory the child lives until it executes its program.
    ///
    /// One that gives up its user has a copy: the process of another user, whatever that one is let do to it, must
    /// not have the memory of wpm. So has one in a group with limits: where the kernel kills for lack of memory, it
    /// kills all who share it.
    fn memory(&self) -> Memory {
        let apart = self.credentials.is_some() || self.group.is_some_and(|(_, needed)| needed);
        if apart || !exec::IS_BARE { Memory::Own } else { Memory::Shared }
    }

    fn size(&self) -> usize {
        FIXED
            + size_of::<Preparation>()
            + self.group.map_or(0, |(group, _)| group.path().as_os_str().len())
            + size_of_val(self.places)
            + size_of_val(self.limits)
            + self.credentials.map_or(0, |c| size_of_val(c.groups.as_slice()))
            + self.folder.len()
            + self.socket.len()
            + Image::size(self.program, &self.words)
    }
}

/// Forks a child that waits at its gate. It need not enter itself in the slot: its parent does before it tells
/// anybody of it, and only the parent can open the gate.
///
/// # Errors
/// With the stage to which it belongs, as if the child had failed in it.
pub fn fork(proof: SingleThread, task: &Task<'_>) -> Result<Born, (Stage, io::Error)> {
    let forking = |e| (Stage::Fork, e);
    let mut room = Room::new(task.size()).map_err(forking)?;
    let image = Image::lay_out(&mut room, task.program, &task.words, task.listen_pid)
        .map_err(|e| (Stage::Exec, e))?;
    let folder = room.text([task.folder, b""]).map_err(|e| (Stage::Exec, e))?;
    let unrun = room.text([task.socket, UNRUN]).map_err(forking)?;
    let places = task.places.get(..PLACES.min(task.places.len())).unwrap_or_default();
    let (gate, gate_parent) = splice::blocking_pipe().map_err(forking)?;
    let (errors, errors_child) = splice::pipe().map_err(forking)?;
    // Its end says that the child has left: no descriptor of the app may take its number before that.
    let top = places.iter().map(|place| place.1).max().unwrap_or(2);
    let errors_child = exec::raise(errors_child, top.saturating_add(1));
    if errors_child.as_raw_fd() <= top {
        return Err((Stage::Descriptors, io::Error::from_raw_os_error(libc::EMFILE)));
    }
    let lay_out = || -> io::Result<Preparation> {
        let group = match task.group {
            Some((group, needed)) => Some((group.door(&mut room)?, needed)),
            None => None,
        };
        let user = match task.credentials {
            Some(c) => {
                let groups = room.list(c.groups.iter().map(|gid| Gid::from_raw(*gid)))?;
                Some((Uid::from_raw(c.uid), Gid::from_raw(c.gid), &*groups))
            }
            None => None,
        };
        Ok(Preparation {
            slot: task.slot,
            gate: gate.as_raw_fd(),
            gate_parent: gate_parent.as_raw_fd(),
            group,
            places: room.list(places.iter().copied())?,
            limits: room.list(task.limits.iter().copied())?,
            descriptors_soft: task.descriptors_soft,
            nice: task.nice,
            umask: task.umask,
            user,
            folder,
            unrun,
            image,
        })
    };
    let preparation = lay_out().map_err(forking)?;
    // SAFETY: `run` reads only what was laid out, and its slot, which stays mapped; it writes only its stack, its
    // preparation and that slot, which is of atomics. What it calls goes by rustix or asm, but for the resetting of
    // signals and the exit, which cannot fail. It ends in exec or exit. `errors_child` is not inherited by
    // anybody else, and closed here right below. No reference to what was laid out is left: they are in the
    // preparation. Nothing that the child opens or places gets the number of `errors_child`.
    let forked = unsafe { lodging::fork(proof, room, task.memory(), errors, preparation, Preparation::run) };
    drop(errors_child);
    let (pid, lodger) = forked.map_err(forking)?;
    Ok(Born { pid, gate: gate_parent, lodger })
}

/// What the child needs, laid out.
#[derive(Debug)]
struct Preparation {
    slot: &'static Slot,
    /// Read end of the gate: one byte opens it, its end means that the parent is dead.
    gate: RawFd,
    gate_parent: RawFd,
    group: Option<(&'static CStr, bool)>,
    places: &'static mut [(RawFd, i32)],
    limits: &'static [Limit],
    descriptors_soft: u64,
    nice: i32,
    umask: u32,
    user: Option<(Uid, Gid, &'static [Gid])>,
    folder: &'static CStr,
    unrun: &'static CStr,
    image: Image,
}

impl Preparation {
    /// Waits at the gate and goes the rest of the way.
    fn run(&mut self) -> ! {
        // SAFETY: the child's copy of a descriptor that only the parent uses: with it the gate would never end.
        unsafe { rustix::io::close(self.gate_parent) };
        // Before the gate: whatever the app will be or fork is in it.
        if let Some((door, needed)) = self.group
            && let Err(e) = cgroup::enter(door)
            && needed
        {
            self.give_up(Stage::ControlGroup, number(&e));
        }
        // Too: where wpm is stopped and its leader dies, the kernel hangs up on its whole session.
        if let Err(e) = process::start_session() {
            self.give_up(Stage::Session, number(&e));
        }
        if !pass(self.gate) {
            // Where it is not made, an end too many may be counted.
            let _ = rustix::fs::mknodat(CWD, self.unrun, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0);
            process::exit_now(FAILED);
        }
        self.slot.advance(Phase::Launching);
        self.image.set_listen_pid(process::own_pid);
        match self.prepare() {
            Ok(()) => self.give_up(Stage::Exec, self.image.exec()),
            Err((stage, e)) => self.give_up(stage, number(&e)),
        }
    }

    /// The child's last act where a stage has failed. Its parent is woken by its end.
    fn give_up(&self, stage: Stage, errno: i32) -> ! {
        self.slot.fail(stage, errno);
        process::exit_now(FAILED)
    }

    fn prepare(&mut self) -> Result<(), (Stage, io::Error)> {
        signals::reset_own();
        if !self.limits.iter().any(|l| l.resource == limits::NOFILE) {
            limits::restore_descriptors(self.descriptors_soft);
        }
        for limit in self.limits {
            limits::set(*limit).map_err(|e| (Stage::of_limit(limit.resource), e))?;
        }
        if self.nice != 0 {
            be_nice(self.nice).map_err(|e| (Stage::Nice, e))?;
        }
        rustix::process::umask(Mode::from_raw_mode(self.umask & 0o777));
        if let Some(user) = self.user {
            become_user(user).map_err(|e| (Stage::Credentials, e.into()))?;
        }
        rustix::process::chdir(self.folder).map_err(|e| (Stage::WorkingDirectory, e.into()))?;
        place(self.places).map_err(|e| (Stage::Descriptors, e))
    }
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// Waits for the byte that opens the gate.
fn pass(gate: RawFd) -> bool {
    // SAFETY: the reading end, which nobody closes before exec.
    let gate = unsafe { BorrowedFd::borrow_raw(gate) };
    let mut byte = [0_u8; 1];
    loop {
        match rustix::io::read(gate, &mut byte) {
            Ok(n) => return n == 1,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn be_nice(add: i32) -> io::Result<()> {
    let own = rustix::process::getpriority_process(None)?;
    Ok(rustix::process::setpriority_process(None, (own + add).clamp(-20, 19))?)
}

/// The bare calls, which are of one thread: this process has no other.
fn become_user((uid, gid, groups): (Uid, Gid, &[Gid])) -> rustix::io::Result<()> {
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_gid(gid)?;
    rustix::thread::set_thread_uid(uid)
}

/// Gives every descriptor its number. Those that are in the way of a number move up first.
fn place(places: &mut [(RawFd, i32)]) -> io::Result<()> {
    let top = places.iter().map(|p| p.1).max().unwrap_or(2);
    for (fd, _) in places.iter_mut().filter(|(fd, _)| *fd <= top) {
        // SAFETY: a descriptor of the parent that was open at the fork; nothing has closed the child's copy.
        let old = unsafe { BorrowedFd::borrow_raw(*fd) };
        *fd = rustix::io::fcntl_dupfd_cloexec(old, top.saturating_add(1))?.into_raw_fd();
    }
    for (fd, number) in places.iter() {
        exec::put(*fd, *number)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::End;
    use crate::launch::Launch;
    use crate::memfd;
    use crate::process::{Children, in_a_process};
    use crate::slot::SlotMap;

    /// A number that no call gives.
    const SENTINEL: i32 = 12345;

    fn errno() -> *mut i32 {
        // SAFETY: the address of this thread's own variable.
        unsafe { libc::__errno_location() }
    }

    fn task<'a>(
        launch: &'a Launch,
        bytes: &'a [u8],
        places: &'a [(RawFd, i32)],
        slot: &'static Slot,
    ) -> Task<'a> {
        Task {
            slot,
            group: None,
            places,
            limits: &launch.limits,
            descriptors_soft: 64,
            nice: 0,
            umask: 0o022,
            credentials: launch.credentials.as_ref(),
            folder: &launch.cwd,
            program: &launch.program,
            words: Launch::decode_parts(bytes).unwrap().1,
            listen_pid: launch.listen_pid,
            socket: b"/no/such",
        }
    }

    /// Forks, opens the gate or closes it, and waits until the child has left.
    fn live(proof: SingleThread, task: &Task<'_>, open: bool) -> Option<End> {
        let Born { pid, gate, mut lodger } = fork(proof, task).unwrap();
        task.slot.register(pid, 1);
        let waits = !lodger.has_left();
        if open {
            rustix::io::write(&gate, b"G").unwrap();
        }
        drop(gate);
        while !lodger.has_left() {
            std::thread::yield_now();
        }
        let code = loop {
            match process::look_at_children() {
                Children::Ended(ended) => break ended.end,
                _ => std::thread::yield_now(),
            }
        };
        process::reap(pid);
        let failed = task.slot.failure().map(|(stage, errno)| End::NotStarted { stage, errno });
        waits.then_some(failed.unwrap_or(code))
    }

    fn fresh_slot() -> &'static Slot {
        SlotMap::of(&memfd::empty("slot").unwrap()).unwrap().keep()
    }

    #[test]
    fn whatever_fails_the_errno_of_the_parent_is_its_own() {
        in_a_process(|proof| {
            let base = Launch { program: b"/bin/true".to_vec(), cwd: b"/".to_vec(), ..Launch::default() };
            let program = |program: &[u8]| Launch { program: program.to_vec(), ..base.clone() };
            let limit = Limit { resource: limits::NOFILE, soft: 2, hard: 1 };
            let none: &[(RawFd, i32)] = &[];
            let cases = [
                (program(b"/no/such"), none, Stage::Exec, libc::ENOENT),
                (program(b"/"), none, Stage::Exec, libc::EACCES),
                (
                    Launch { cwd: b"/no".to_vec(), ..base.clone() },
                    none,
                    Stage::WorkingDirectory,
                    libc::ENOENT,
                ),
                (Launch { limits: vec![limit], ..base.clone() }, none, Stage::LimitNofile, libc::EINVAL),
                (base.clone(), &[(77, 200)], Stage::Descriptors, libc::EBADF),
            ];
            cases.into_iter().all(|(launch, places, stage, number)| {
                let bytes = launch.encode();
                let task = task(&launch, &bytes, places, fresh_slot());
                // SAFETY: this thread's own.
                unsafe { *errno() = SENTINEL };
                let end = live(proof, &task, true);
                // SAFETY: as above.
                let untouched = unsafe { *errno() } == SENTINEL;
                end == Some(End::NotStarted { stage, errno: number }) && untouched
            })
        });
    }

    #[test]
    fn a_gate_that_closes_ends_the_child_and_one_that_opens_lets_it_go() {
        in_a_process(|proof| {
            let launch = Launch { program: b"/bin/true".to_vec(), cwd: b"/".to_vec(), ..Launch::default() };
            let bytes = launch.encode();
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("socket");
            let socket = socket.as_os_str().as_encoded_bytes();
            let ways = [(true, 0, Phase::Launching), (false, FAILED, Phase::AtGate)];
            ways.into_iter().all(|(open, code, phase)| {
                let task = Task { socket, ..task(&launch, &bytes, &[], fresh_slot()) };
                live(proof, &task, open) == Some(End::Code(code))
                    && task.slot.phase() == phase
                    && unrun_mark(socket).exists() != open
            })
        });
    }

    #[test]
    fn whatever_numbers_an_app_wants_its_child_has_left_only_when_it_has() {
        in_a_process(|proof| {
            let launch = Launch { program: b"/bin/true".to_vec(), cwd: b"/".to_vec(), ..Launch::default() };
            let bytes = launch.encode();
            let free = splice::pipe().unwrap().0.as_raw_fd();
            // Those that the pipes of the child would have, and many more.
            let places: Vec<_> = (free..free + 40).map(|number| (0, number)).collect();
            let task = Task { descriptors_soft: 1024, ..task(&launch, &bytes, &places, fresh_slot()) };
            let Born { pid, gate, mut lodger } = fork(proof, &task).unwrap();
            task.slot.register(pid, 1);
            rustix::io::write(&gate, b"G").unwrap();
            while !lodger.has_left() {
                std::thread::yield_now();
            }
            let executed = crate::procfs::stat(pid).is_some_and(|stat| !stat.forked_only);
            process::wait_for(pid);
            executed
        });
    }

    #[test]
    fn who_gives_up_its_user_or_has_limits_lives_apart() {
        let launch = Launch::default();
        let bytes = launch.encode();
        let plain = || task(&launch, &bytes, &[], fresh_slot());
        assert_eq!(plain().memory() == Memory::Shared, exec::IS_BARE);
        let somebody = Credentials { uid: 1, gid: 1, groups: vec![] };
        assert_eq!(Task { credentials: Some(&somebody), ..plain() }.memory(), Memory::Own);
        let group = Group::at(b"/g").unwrap();
        assert_eq!(Task { group: Some((&group, true)), ..plain() }.memory(), Memory::Own);
        assert_eq!(Task { group: Some((&group, false)), ..plain() }.memory(), plain().memory());
    }
}
