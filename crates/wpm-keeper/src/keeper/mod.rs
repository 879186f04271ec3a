//! The keeper: fork server, nearest subreaper of all, and the one that starts the daemon again.
//!
//! Owns the table of runs (one shim each) and the daemon's process. Deliberately does no disk I/O in
//! its loop, parses nothing beyond the fixed records, and has no policy. Invariant: whatever a shim
//! needs to be replaced — pipes, socket, slot, launch description — the keeper holds a copy of.

mod daemon;
mod orphans;
mod pages;
mod second;
mod spawn;
mod upgrade;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wpm_sys::contract::{End, HANDOVER, MAX_RECORD, Thing, ToKeeper};
use wpm_sys::poll::{self, Watch};
use wpm_sys::process::{self, Children, Ended, SingleThread};
use wpm_sys::signals::{self, SignalFd};
use wpm_sys::slot::ORPHANED;
use wpm_sys::{clock, exec, heap, limits, lock, memory, parting, peer, record, start, unit};

use crate::shim::Born;
use crate::wires::{PARKED, Unmapped, Wires};
use daemon::Daemon;
use pages::Pages;
use spawn::Birth;

/// Name of the lock that a keeper holds for life.
const LOCK_NAME: &str = "keeper.lock";
/// Name of the file with its process id, for people.
const PID_NAME: &str = "keeper.pid";
/// Name of the socket on which it hears that the daemon does not answer.
const SOCKET_NAME: &str = "keeper.sock";

/// How often orphans are looked for before the keeper sees to everything else.
const LOOKS_AT_ONCE: u32 = 4;

/// One run and its shim.
#[derive(Debug)]
struct Run {
    wires: Wires<Unmapped>,
    /// Process id of the shim; 0 while a replacement is held back.
    shim: i32,
    /// When that shim was forked, in monotonic milliseconds.
    shim_since: u64,
    /// How many shims of this run died young, one after the other.
    young_deaths: u32,
    /// When the next replacement is due, where one is held back.
    replace_at: Option<u64>,
}

/// The keeper's state.
#[derive(Debug)]
pub(crate) struct Keeper {
    proof: SingleThread,
    home: Vec<u8>,
    lock: File,
    signals: SignalFd,
    /// Whoever connects here got no answer from the daemon; nothing is said.
    complaints: OwnedFd,
    /// Soft limit of descriptors before the keeper raised it.
    descriptors_soft: u64,
    /// Whether a shim can be forked without a copy of all descriptors.
    parts: bool,
    daemon: Daemon,
    runs: Vec<Run>,
    /// Listening sockets that daemons have given into its care, by name.
    held: Vec<(u64, OwnedFd)>,
    /// Whether the daemon may have asked more than was heard yet.
    hearing: bool,
    /// When it last looked who is ready, in monotonic milliseconds. What falls due later waits for the next look:
    /// shims that are killed without end must not keep it from the daemon.
    looked_at: u64,
    quitting: bool,
    /// Whether the service manager, if there is one, knows that the daemon is up.
    announced: bool,
}

/// How a keeper begins.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// In place of another program, whose state is behind this descriptor.
    Resumed(RawFd),
    /// As the main process of a service manager's unit.
    Unit,
    /// In the background, with sockets that a daemon has saved from a dead keeper.
    Background(Vec<(u64, RawFd)>),
}

/// Runs the keeper until it has been told to quit and no run is left. In each process that is forked to be a
/// shim, this returns with what the shim has from the keeper. Not inlined: the keeper itself is on its frame.
#[inline(never)]
pub(crate) fn run(proof: SingleThread, home: &Path, beginning: Beginning) -> io::Result<Option<Born>> {
    let started = match beginning {
        Beginning::Resumed(fd) => Some(Keeper::resume(proof, home, fd)?),
        Beginning::Unit => {
            exec::close_from(3);
            start::use_log(home)?;
            unit::adopt(proof);
            second::take_place(home)?.map(|lock| Keeper::start(proof, home, lock, vec![])).transpose()?
        }
        Beginning::Background(held) => {
            let mut keep: Vec<RawFd> = held.iter().map(|(_, fd)| *fd).collect();
            exec::close_all_but(&mut keep);
            let held =
                held.into_iter().filter_map(|(key, fd)| Some((key, exec::inherited(fd).ok()?))).collect();
            let lock = lock::for_life(&home.join(LOCK_NAME))?;
            lock.map(|lock| Keeper::start(proof, home, lock, held)).transpose()?
        }
    };
    // What it has allocated is not there in a shim, where none of it may be dropped.
    let Some(mut keeper) = started.map(ManuallyDrop::new) else { return Ok(None) };
    // Anew after each change of program: whoever asked for that change need not have known of the forms.
    exec::set_env(proof, start::HANDOVER_FORM, HANDOVER.to_string());
    process::set_name("wpm-keeper");
    process::become_subreaper()?;
    heap::set_apart(proof);
    while let Some(birth) = keeper.serve()? {
        // Here, and not where it was asked for: a shim keeps the frames that it was forked under.
        if let Some(born) = keeper.bear(birth) {
            return Ok(Some(born));
        }
    }
    Ok(None)
}

/// Writes the process id, for people.
fn note_pid(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, format!("{}\n", process::own_pid()).as_bytes())
}

impl Keeper {
    /// Becomes the keeper of `home`.
    fn start(proof: SingleThread, home: &Path, lock: File, held: Vec<(u64, OwnedFd)>) -> io::Result<Self> {
        if let Err(e) = note_pid(&home.join(PID_NAME)) {
            // On a full disk there has to be a keeper all the same.
            crate::complain(&format!("cannot write the keeper's pid file: {e}"));
        }
        // A daemon that starts a keeper has the raised limit already; the variable tells the real one.
        let told = std::env::var(start::DESCRIPTORS_SOFT).ok().and_then(|v| v.parse().ok());
        let raised = limits::raise_descriptors();
        let descriptors_soft = told.unwrap_or(raised);
        exec::set_env(proof, start::DESCRIPTORS_SOFT, descriptors_soft.to_string());
        exec::set_env(proof, start::KEEPER_FD, "3");
        // One that a daemon or a shim has started tells the manager that the old one is not the main
        // process any more.
        unit::tell(&format!("MAINPID={}", process::own_pid()));
        Ok(Self {
            proof,
            home: home.as_os_str().as_bytes().to_vec(),
            lock,
            signals: SignalFd::open()?,
            complaints: record::listen_at(&home.join(SOCKET_NAME))?,
            descriptors_soft,
            parts: parting::is_possible(),
            daemon: Daemon::default(),
            runs: Vec::new(),
            held,
            hearing: false,
            looked_at: clock::monotonic_ms(),
            quitting: false,
            announced: false,
        })
    }

    /// A file of the home.
    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(std::ffi::OsStr::from_bytes(&self.home)).join(name)
    }

    /// Sees to everything until a shim is to be forked. `None`: until the end.
    #[inline(never)]
    fn serve(&mut self) -> io::Result<Option<Birth>> {
        loop {
            if self.hearing {
                if let Some(birth) = self.listen() {
                    return Ok(Some(birth));
                }
                self.hearing = false;
                self.daemon.hand_over(&self.held);
            }
            // Its answer was heard before.
            self.daemon.kill_if_mute(clock::monotonic_ms());
            let more = match self.reap() {
                ControlFlow::Break(birth) => return Ok(Some(birth)),
                ControlFlow::Continue(more) => more,
            };
            let now = clock::monotonic_ms();
            if let Some(birth) = self.replacement_due(self.looked_at) {
                return Ok(Some(birth));
            }
            if self.quitting && self.runs.is_empty() {
                // Tells one that waits for the lock that it is not wanted.
                lock::take_away(&self.lock, &self.path(LOCK_NAME));
                return Ok(None);
            }
            if self.daemon.is_due(now) {
                // A new daemon decides anew whether anything is to end.
                self.quitting = false;
                self.daemon.start(self.proof, &self.home, &self.held, now);
            }
            let due = self.runs.iter().filter_map(|r| r.replace_at);
            let due = due.chain(self.daemon.due()).chain(self.daemon.answer_due()).min();
            let socket = self.daemon.socket().map(AsFd::as_fd);
            let complaints = Some(self.complaints.as_fd());
            let watches = [
                Watch { fd: socket, write: self.daemon.waits_for_more() },
                Watch::read(Some(self.signals.as_fd())),
                Watch::read(complaints),
            ];
            let [from_daemon, signalled, complained] =
                poll::wait(watches, if more { Some(0) } else { due.map(|at| at.saturating_sub(now)) })?;
            self.looked_at = clock::monotonic_ms();
            if signalled.any() {
                self.signals.drain();
            }
            self.hearing = from_daemon.any();
            if complained.any() {
                self.hear_complaints();
            }
        }
    }

    /// Asks the daemon whether it is there, if somebody of this user or root connected.
    fn hear_complaints(&mut self) {
        while let Ok(complaint) = record::accept(self.complaints.as_fd()) {
            if peer::credentials(&complaint).is_ok_and(peer::Peer::is_trusted) {
                self.daemon.ask(clock::monotonic_ms());
            }
        }
    }

    /// Does what the daemon asks, until it asks nothing more or a shim is to be forked.
    fn listen(&mut self) -> Option<Birth> {
        let mut buf = [0; MAX_RECORD];
        while let Some(socket) = self.daemon.socket() {
            match record::receive(socket, &mut buf) {
                Ok(Some(got)) => {
                    let message = buf.get(..got.len).map(ToKeeper::decode);
                    match message {
                        Some(Ok(message)) => {
                            if let Some(birth) = self.obey(&message, got.fds) {
                                return Some(birth);
                            }
                        }
                        _ => crate::complain("the daemon sent a record that this keeper does not know"),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                // The daemon is going; its death follows as a signal.
                Ok(None) | Err(_) => self.daemon.hang_up(),
            }
        }
        None
    }

    fn obey(&mut self, message: &ToKeeper, fds: Vec<OwnedFd>) -> Option<Birth> {
        match *message {
            ToKeeper::Spawn { run } => return self.spawn(run, fds),
            ToKeeper::Adopt { run, pid, start_time } => return self.adopt(run, (pid, start_time), fds),
            ToKeeper::Hold { key } => {
                if let Some(fd) = fds.into_iter().next() {
                    self.held.retain(|(other, _)| *other != key);
                    self.held.push((key, exec::raise(fd, PARKED)));
                }
            }
            ToKeeper::Renew(thing) => {
                if let Some(fd) = fds.into_iter().next() {
                    self.renew(thing, fd);
                }
            }
            ToKeeper::Drop { key } => self.held.retain(|(other, _)| *other != key),
            ToKeeper::TryProgram => {
                if let Some(exe) = fds.into_iter().next() {
                    self.daemon.try_program(exe);
                }
            }
            ToKeeper::Upgrade => {
                self.daemon.proved();
                if let Some(exe) = fds.first() {
                    let error = self.upgrade(exe.as_fd());
                    crate::complain(&format!("the keeper could not execute its new program: {error}"));
                }
            }
            ToKeeper::Quit => {
                unit::tell("STOPPING=1");
                self.quitting = true;
            }
            ToKeeper::Here => {
                self.daemon.answered();
                self.daemon.proved();
                if !std::mem::replace(&mut self.announced, true) {
                    unit::tell("READY=1");
                    // What follows is the same few lines again and again.
                    memory::forget_program();
                    memory::trim_stack();
                }
            }
        }
        None
    }

    /// Goes on with another descriptor in the place of one whose file was taken away.
    fn renew(&mut self, thing: Thing, fd: OwnedFd) {
        match thing {
            Thing::Lock => self.lock = fd.into(),
            Thing::Complaints => self.complaints = fd,
            Thing::Log => exec::say_into(&fd),
            Thing::Door(run) => {
                if let Some(run) = self.runs.iter_mut().find(|r| r.wires.run == run) {
                    run.wires.listener = fd;
                }
            }
        }
    }

    /// Reaps children that have ended: daemon, shims, and apps whose shim had died before. Whether there may
    /// be more: a family that forks without end must not keep its next shim from being started. Breaks off where a
    /// shim is to be forked.
    fn reap(&mut self) -> ControlFlow<Birth, bool> {
        let mut pages = None;
        // Who had ended when it was last looked for orphans: what they have left was seen then.
        let mut looked = BTreeSet::new();
        let mut looks = 0;
        while let Children::Ended(ended) = process::look_at_children() {
            if self.daemon.is(ended.pid) {
                // What it said last may be that everybody quits: a new daemon would be one too many. It is not
                // reaped before all was heard, and so is found again.
                if let Some(birth) = self.listen() {
                    return ControlFlow::Break(birth);
                }
                process::reap(ended.pid);
                let done = self.quitting && ended.end == End::Code(0);
                self.daemon.died(clock::monotonic_ms(), ended.end, done);
                continue;
            }
            let shim = self.runs.iter().position(|r| r.shim == ended.pid);
            // A shim that goes by itself leaves nobody behind.
            if shim.is_none() || ended.end != End::Code(0) {
                let pages = pages.get_or_insert_with(|| Pages::of(&self.runs));
                if let Some(slot) = shim.and_then(|at| self.runs.get(at)).and_then(|run| pages.get(run)) {
                    slot.set(ORPHANED, true);
                }
                // Before its end is seen: who waits for the last one must know them all.
                if !looked.remove(&ended.pid) {
                    if looks == LOOKS_AT_ONCE {
                        return ControlFlow::Continue(true);
                    }
                    looks += 1;
                    looked = self.note_orphans(pages, ended.pid);
                }
                if shim.is_none() {
                    self.note_end_of_app(pages, &ended);
                }
            }
            process::reap(ended.pid);
            if let Some(at) = shim {
                self.shim_ended(at, &ended);
            }
        }
        ControlFlow::Continue(false)
    }

    /// If it was the main process of an app: puts its status where the shim finds it, before the
    /// process is really reaped, so that it is lost at no moment.
    fn note_end_of_app(&self, pages: &Pages, ended: &Ended) {
        for run in &self.runs {
            if let Some(slot) = pages.get(run).filter(|slot| slot.pid() == ended.pid) {
                slot.record_end(ended.end, ended.usage, clock::boottime_ms());
                if run.shim > 0 {
                    // A shim that has just died is replaced by one that reads the slot.
                    drop(process::kill(run.shim, signals::WAKE));
                }
            }
        }
    }
}
