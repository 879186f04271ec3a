//! A small primary around the state machine, with real sockets and real processes: one poll loop.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, accept_with, acceptfrom_with, recvmsg, sendmsg,
    socketpair,
};
use serde_json::Value;
use wpm_cluster::activation::{self, Ipc, Runtime};
use wpm_cluster::primary::{Address, BindTo, Saved};
use wpm_cluster::{Balance, Input, ListenerId, Output, Primary, Run};

use crate::bind;

/// What a test waits at most; it fails then.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between clearing close-on-exec and the fork, no other test may fork.
static FORK: Mutex<()> = Mutex::new(());

/// For as long as this is held no test forks: until it executes, a child has every socket that is closed meanwhile.
pub(crate) fn without_forks() -> MutexGuard<'static, ()> {
    FORK.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) type Fd = Rc<OwnedFd>;

struct Worker {
    child: Child,
    channel: Option<OwnedFd>,
    outbox: VecDeque<(Vec<u8>, Option<Fd>)>,
}

struct Socket {
    fd: Fd,
    to: BindTo,
    accepting: bool,
}

pub(crate) struct Cluster {
    pub(crate) primary: Primary<Fd>,
    workers: BTreeMap<Run, Worker>,
    sockets: BTreeMap<ListenerId, Socket>,
    /// Sockets that workers may name by number.
    pub(crate) handed: BTreeMap<i32, Fd>,
    pub(crate) events: VecDeque<Output<Fd>>,
    next: u64,
    deadline: Instant,
}

impl Cluster {
    pub(crate) fn new(balance: Balance) -> Self {
        let mut primary = Primary::new(balance);
        primary.set_pipeline(Runtime::Node.pipeline(balance));
        Self {
            primary,
            workers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            handed: BTreeMap::new(),
            events: VecDeque::new(),
            next: 1,
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Starts an instance that does what `task` says.
    pub(crate) fn spawn(&mut self, index: u32, task: &Value) -> Run {
        self.spawn_with(index, task, true, &[])
    }

    pub(crate) fn spawn_with(
        &mut self,
        index: u32,
        task: &Value,
        worker: bool,
        env: &[(&str, String)],
    ) -> Run {
        let node = std::env::var("WPM_TEST_NODE").unwrap_or_else(|_| "node".to_owned());
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let mut command = Command::new(node);
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/app.cjs");
        command.arg(app).arg(task.to_string()).stdin(Stdio::null());
        let plan = activation::plan([], if worker { Ipc::Worker { index } } else { Ipc::Messages });
        plan.unset.iter().for_each(|name| {
            command.env_remove(name);
        });
        plan.set.iter().for_each(|(name, value)| {
            command.env(name, value);
        });
        // The shim gives it the planned number; here it keeps its own.
        command.env("NODE_CHANNEL_FD", theirs.as_raw_fd().to_string());
        env.iter().for_each(|(name, value)| {
            command.env(name, value);
        });
        let child = {
            let _alone = without_forks();
            fcntl_setfd(&theirs, FdFlags::empty()).unwrap();
            let child = command.spawn().expect("node is installed");
            drop(theirs);
            child
        };
        let run = Run(self.next);
        self.next += 1;
        self.workers.insert(run, Worker { child, channel: Some(ours), outbox: VecDeque::new() });
        self.handle(Input::Joined { run, index });
        run
    }

    pub(crate) fn handle(&mut self, input: Input<'_, Fd>) {
        self.primary.handle(input);
        self.carry_out();
    }

    pub(crate) fn send(&mut self, run: Run, message: Value) {
        self.handle(Input::Send { run, message });
    }

    /// Kills a worker and waits for the end of its channel.
    pub(crate) fn kill(&mut self, run: Run) {
        self.workers.get_mut(&run).unwrap().child.kill().unwrap();
        self.until(|event| {
            matches!(event, Output::Disconnected { run: gone, .. } if *gone == run).then_some(())
        });
        self.ended(run);
    }

    /// Waits for the end of a process whose channel has ended.
    pub(crate) fn ended(&mut self, run: Run) -> ExitStatus {
        self.workers.remove(&run).unwrap().child.wait().unwrap()
    }

    /// The first event that the question finds an answer in; the others stay.
    pub(crate) fn until<T>(&mut self, question: impl Fn(&Output<Fd>) -> Option<T>) -> T {
        let mut seen = 0;
        loop {
            while let Some(event) = self.events.get(seen) {
                if let Some(answer) = question(event) {
                    drop(self.events.remove(seen));
                    return answer;
                }
                seen += 1;
            }
            self.step(None);
        }
    }

    pub(crate) fn message(&mut self, run: Run, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until(|event| match event {
            Output::Message { run: from, message } if *from == run && wanted(message) => {
                Some(message.clone())
            }
            _ => None,
        })
    }

    /// Port on which a worker says that it listens.
    pub(crate) fn port(&mut self, run: Run) -> u16 {
        self.until(|event| match event {
            Output::Listening { run: of, address: Address::Tcp { port, .. } | Address::Udp { port, .. } }
                if *of == run =>
            {
                Some(*port)
            }
            _ => None,
        })
    }

    /// Goes on while a client works in a thread of its own.
    pub(crate) fn during<T: Send>(&mut self, client: impl FnOnce() -> T + Send) -> T {
        let (done, mine) = std::os::unix::net::UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let result = client();
                drop(done);
                result
            });
            while !self.step(Some(mine.as_fd())) {}
            thread.join().unwrap()
        })
    }

    /// Another primary goes on with the same workers and sockets.
    pub(crate) fn restart(&mut self) {
        let text = serde_json::to_string(&self.primary.save()).unwrap();
        let saved: Saved = serde_json::from_str(&text).unwrap();
        let balance = self.primary.balance();
        self.sockets.values_mut().for_each(|socket| socket.accepting = false);
        let sockets = &self.sockets;
        self.primary =
            Primary::restore(balance, saved, |id, _| sockets.get(&id).map(|s| Rc::clone(&s.fd))).unwrap();
        self.primary.set_pipeline(Runtime::Node.pipeline(balance));
        self.carry_out();
    }

    /// Waits for something to happen; whether `extra` was ready.
    fn step(&mut self, extra: Option<BorrowedFd<'_>>) -> bool {
        #[derive(Clone, Copy)]
        enum What {
            Channel(Run),
            Listener(ListenerId),
            Extra,
        }
        let mut what = Vec::new();
        let mut fds = Vec::new();
        for (run, worker) in &self.workers {
            if let Some(channel) = &worker.channel {
                let writes = if worker.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                fds.push(PollFd::new(channel, PollFlags::IN | writes));
                what.push(What::Channel(*run));
            }
        }
        for (id, socket) in self.sockets.iter().filter(|(_, s)| s.accepting) {
            fds.push(PollFd::from_borrowed_fd(socket.fd.as_fd(), PollFlags::IN));
            what.push(What::Listener(*id));
        }
        if let Some(extra) = extra {
            fds.push(PollFd::from_borrowed_fd(extra, PollFlags::IN));
            what.push(What::Extra);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing came within {PATIENCE:?}");
        let timeout = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap(), tv_nsec: 0 };
        poll(&mut fds, Some(&timeout)).unwrap();
        let ready: Vec<(What, PollFlags)> =
            what.iter().zip(&fds).map(|(w, fd)| (*w, fd.revents())).filter(|(_, r)| !r.is_empty()).collect();
        let mut extra_ready = false;
        for (what, flags) in ready {
            match what {
                What::Channel(run) => {
                    if flags.contains(PollFlags::OUT) {
                        self.write(run);
                    }
                    if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                        self.read(run);
                    }
                }
                What::Listener(id) => self.accept(id),
                What::Extra => extra_ready = true,
            }
        }
        extra_ready
    }

    fn read(&mut self, run: Run) {
        let Some(channel) = self.workers.get(&run).and_then(|w| w.channel.as_ref()) else { return };
        let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; 64 * 1024];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let read = match recvmsg(channel, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(read) => read.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return,
            // A worker that is killed with something unread.
            Err(Errno::CONNRESET) => 0,
            Err(error) => panic!("cannot read a channel: {error}"),
        };
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(list) = part {
                fds.extend(list.map(Rc::new));
            }
        }
        if read == 0 {
            self.workers.get_mut(&run).unwrap().channel = None;
            self.handle(Input::Closed { run });
        } else {
            self.handle(Input::Received { run, bytes: &bytes[..read], fds });
        }
    }

    fn write(&mut self, run: Run) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        while let (Some(channel), Some((bytes, fd))) = (&worker.channel, worker.outbox.front_mut()) {
            let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let borrowed = fd.as_ref().map(|fd| [fd.as_fd()]);
            if let Some(fds) = &borrowed {
                assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(channel, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(n) if n < bytes.len() => {
                    bytes.drain(..n);
                    *fd = None;
                }
                Ok(_) => drop(worker.outbox.pop_front()),
                Err(Errno::AGAIN) => return,
                // It is gone; the end of the channel is read soon.
                Err(_) => worker.outbox.clear(),
            }
        }
    }

    fn accept(&mut self, listener: ListenerId) {
        while let Some(socket) = self.sockets.get(&listener).filter(|s| s.accepting) {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let accepted = if matches!(socket.to, BindTo::Path { .. } | BindTo::Abstract { .. }) {
                accept_with(&socket.fd, flags).map(|fd| (fd, None))
            } else {
                acceptfrom_with(&socket.fd, flags)
            };
            let Ok((fd, peer)) = accepted else { return };
            let peer =
                peer.and_then(|p| SocketAddr::try_from(p).ok()).map(|p: SocketAddr| -> IpAddr { p.ip() });
            self.handle(Input::Accepted { listener, connection: Rc::new(fd), peer });
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.primary.poll_output() {
            match output {
                Output::Write { run, bytes, fd } => {
                    if let Some(worker) = self.workers.get_mut(&run) {
                        worker.outbox.push_back((bytes, fd));
                        self.write(run);
                    }
                }
                Output::Bind { listener, to, backlog, .. } => {
                    let made = match &to {
                        BindTo::Inherited { fd, .. } => {
                            // As the daemon does it.
                            let fd = self.handed.get(fd).cloned().ok_or(Errno::INVAL);
                            fd.and_then(|fd| rustix::io::ioctl_fionbio(&*fd, true).map(|()| fd))
                        }
                        to => bind::make(to, backlog).map(Rc::new),
                    };
                    let result = made.map_err(Errno::raw_os_error).map(|fd| {
                        let bound = bind::bound(Rc::clone(&fd), &fd);
                        self.sockets.insert(listener, Socket { fd, to, accepting: false });
                        bound
                    });
                    self.primary.handle(Input::Bound { listener, result });
                }
                Output::StartAccepting { listener } => {
                    self.sockets.get_mut(&listener).unwrap().accepting = true;
                }
                Output::StopAccepting { listener } => {
                    self.sockets.get_mut(&listener).unwrap().accepting = false;
                }
                Output::Close { listener } => {
                    bind::unlink(&self.sockets.remove(&listener).unwrap().to).unwrap();
                    self.events.push_back(Output::Close { listener });
                }
                Output::Refused { .. } => {}
                event => self.events.push_back(event),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for worker in self.workers.values_mut() {
            drop(worker.child.kill());
            drop(worker.child.wait());
        }
    }
}
