//! Shared ports: the primary of Node's cluster workers, and the sockets of `--listen`.
//!
//! Drives `wpm-cluster`, which decides, with real sockets and channels. Listening sockets are held
//! while their app should be up, by this daemon and by the keeper, so that neither a crash of every
//! instance nor the end of a daemon drops a queued connection.

mod bind;
mod channel;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::mpsc::UnboundedSender;
use wpm_cluster::activation::{self, Ipc, Listen, ListenTo, Plan};
use wpm_cluster::primary::{BindTo, Saved};
use wpm_cluster::{Balance, Input, ListenerId, Output, Primary, Run};
use wpm_core::{App, Event, InstanceId, RunId, Spec};
use wpm_sys::contract::ToKeeper;

pub(crate) use channel::{Fd, Said};

use crate::daemon::{Daemon, Message};
use channel::Channel;

/// Queue of connections of a `--listen` socket, as Node has it.
const BACKLOG: u32 = 511;
/// Accepted connections that may wait for the loop.
const AHEAD: usize = 16;
/// Pause after a failed accept (no descriptor left): the clients wait in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Bits of a held socket's name that tell it from others of its app.
const LISTENER_BITS: u32 = 24;
/// Marks the names of `--listen` sockets.
const LISTEN_MARK: u64 = 1 << (LISTENER_BITS - 1);

/// One app that shares sockets, by the name of the app.
#[derive(Default)]
pub(crate) struct Clusters {
    apps: HashMap<String, Cluster>,
    /// App of each run with a channel.
    runs: HashMap<RunId, String>,
    /// Sockets that the keeper held for this daemon and nobody has claimed yet.
    held: HashMap<u64, Fd>,
}

struct Cluster {
    primary: Primary<Fd>,
    sockets: HashMap<ListenerId, Socket>,
    channels: HashMap<RunId, Channel>,
    listen: Vec<(Listen, Fd)>,
}

struct Socket {
    fd: Fd,
    to: BindTo,
    /// The task that accepts, while it shall.
    accepting: Option<tokio::task::JoinHandle<()>>,
}

/// A name for the keeper: the same in every daemon.
fn key(app: &str, local: u64) -> u64 {
    let hash =
        app.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (hash << LISTENER_BITS) | (local & ((1 << LISTENER_BITS) - 1))
}

/// The policy that an app's runtime can do.
fn policy(spec: &Spec) -> Balance {
    let asked = spec.balance.map_or(Balance::Shared, |b| b.to_string().parse().unwrap_or(Balance::Shared));
    program(spec).and_then(activation::runtime).map_or(asked, |runtime| runtime.policy(asked))
}

fn program(spec: &Spec) -> Option<&str> {
    (!spec.shell).then(|| spec.interpreter.as_deref().unwrap_or(&spec.script))
}

/// Whether and how an instance gets a channel.
fn ipc(spec: &Spec, index: u32) -> Ipc {
    match program(spec).and_then(activation::runtime) {
        None => Ipc::No,
        Some(_) if spec.cluster => Ipc::Worker { index },
        // As under pm2, every program of such a runtime can `process.send`.
        Some(_) => Ipc::Messages,
    }
}

/// Numbers and variables of the descriptors that an instance gets.
pub(crate) fn plan(spec: &Spec, index: u32) -> Plan {
    let listens: Vec<Listen> = spec.listen.iter().filter_map(|text| text.parse().ok()).collect();
    activation::plan(listens.iter().map(|l| l.name.as_str()), ipc(spec, index))
}

impl Clusters {
    /// Takes what the keeper held.
    pub(crate) fn hold(&mut self, held: Vec<(u64, OwnedFd)>) {
        self.held.extend(held.into_iter().map(|(key, fd)| (key, Rc::new(fd))));
    }

    /// Takes back a socket that the keeper held.
    pub(crate) fn claim(&mut self, key: u64) -> Option<Fd> {
        self.held.remove(&key)
    }

    /// Whether messages reach a run.
    pub(crate) fn has_channel(&self, run: RunId) -> bool {
        let cluster = self.runs.get(&run).and_then(|app| self.apps.get(app));
        cluster.is_some_and(|cluster| cluster.channels.contains_key(&run))
    }

    /// Where the instance of a run listens.
    pub(crate) fn addresses(&self, run: RunId) -> Vec<String> {
        let Some(cluster) = self.runs.get(&run).and_then(|app| self.apps.get(app)) else { return vec![] };
        cluster.primary.addresses(Run(run.0)).iter().map(ToString::to_string).collect()
    }

    /// Everything that is held, for the next keeper.
    pub(crate) fn all_held(&self) -> Vec<(u64, Fd)> {
        let mut all = Vec::new();
        for (app, cluster) in &self.apps {
            all.extend(cluster.sockets.iter().map(|(id, s)| (key(app, id.0), Rc::clone(&s.fd))));
            let listens = (0_u64..).zip(&cluster.listen);
            all.extend(listens.map(|(i, (_, fd))| (key(app, LISTEN_MARK | i), Rc::clone(fd))));
        }
        all
    }
}

impl Daemon {
    /// The sockets that an app's instances share by `--listen`, bound once.
    pub(crate) fn listen_sockets(&mut self, app: &App) -> Result<Vec<Fd>, Errno> {
        if app.spec.listen.is_empty() {
            return Ok(vec![]);
        }
        let name = app.spec.name.clone();
        let cluster = self.cluster(app);
        if cluster.listen.is_empty() {
            let mut bound = Vec::new();
            for (i, listen) in (0_u64..).zip(app.spec.listen.iter().filter_map(|t| t.parse::<Listen>().ok()))
            {
                let held = self.clusters.held.remove(&key(&name, LISTEN_MARK | i));
                let fd = match held {
                    Some(fd) => fd,
                    None => {
                        let fd = Rc::new(bind::make(&to_bind(&listen, &app.spec.cwd), BACKLOG)?);
                        // As systemd hands them down: blocking. The flag is shared by all holders.
                        rustix::io::ioctl_fionbio(&*fd, false)?;
                        fd
                    }
                };
                self.keep(key(&name, LISTEN_MARK | i), &fd);
                bound.push((listen, fd));
            }
            self.cluster(app).listen = bound;
        }
        Ok(self.cluster(app).listen.iter().map(|(_, fd)| Rc::clone(fd)).collect())
    }

    /// Has the keeper hold a socket.
    pub(crate) fn keep(&self, key: u64, fd: &Fd) {
        match fd.try_clone() {
            Ok(fd) => self.keeper.send(ToKeeper::Hold { key }.encode(), vec![fd]),
            Err(error) => tracing::warn!(%error, "a listening socket cannot be given to the keeper"),
        }
    }

    fn cluster(&mut self, app: &App) -> &mut Cluster {
        let (path, clusters) = (self.home.run().join(file_name(&app.spec)), &mut self.clusters);
        let (name, held, balance) = (&app.spec.name, &mut clusters.held, policy(&app.spec));
        clusters.apps.entry(name.clone()).or_insert_with(|| {
            let mut sockets = HashMap::new();
            let saved: Option<Saved> =
                std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let primary = saved.and_then(|saved| {
                let restored = Primary::restore(balance, saved, |id, to| {
                    let fd = held.remove(&key(name, id.0))?;
                    sockets.insert(id, Socket { fd: Rc::clone(&fd), to: to.clone(), accepting: None });
                    Some(fd)
                });
                restored.ok()
            });
            let primary = primary.unwrap_or_else(|| Primary::new(balance));
            Cluster { primary, sockets, channels: HashMap::new(), listen: vec![] }
        })
    }

    /// A run is about to be spawned, or was found alive: its worker may speak soon.
    pub(crate) fn worker_joins(&mut self, run: RunId, instance: InstanceId) {
        let Some((index, app)) = self.core.instance(instance).map(|i| (i.index, i.app)) else { return };
        let Some(app) = self.core.app(app).cloned() else { return };
        match ipc(&app.spec, index) {
            Ipc::No => return,
            Ipc::Messages | Ipc::Worker { .. } => {}
        }
        self.clusters.runs.insert(run, app.spec.name.clone());
        let _made = self.cluster(&app);
        self.primary(run, Input::Joined { run: Run(run.0), index });
    }

    /// The channel of a run has come from its shim.
    pub(crate) fn channel_opens(&mut self, run: RunId, fd: OwnedFd) {
        let inbox = self.inbox.clone();
        let Some(cluster) = self.clusters.runs.get(&run).and_then(|app| self.clusters.apps.get_mut(app))
        else {
            return;
        };
        if cluster.channels.contains_key(&run) {
            // The same channel again, after its shim was replaced.
            return;
        }
        match Channel::open(run, fd, inbox) {
            Ok(channel) => drop(cluster.channels.insert(run, channel)),
            Err(error) => tracing::warn!(%error, run = run.0, "cannot use the channel of an app"),
        }
    }

    /// A channel was read.
    pub(crate) fn channel_said(&mut self, run: RunId, said: Said) {
        let Said { bytes, fds, .. } = said;
        let fds = fds.into_iter().map(Rc::new).collect();
        self.primary(run, Input::Received { run: Run(run.0), bytes: &bytes, fds });
    }

    /// A channel, or its run, has ended.
    pub(crate) fn channel_ends(&mut self, run: RunId) {
        self.primary(run, Input::Closed { run: Run(run.0) });
        if let Some(app) = self.clusters.runs.remove(&run)
            && let Some(cluster) = self.clusters.apps.get_mut(&app)
        {
            drop(cluster.channels.remove(&run));
        }
    }

    /// A worker is being stopped: what it closes is held for its successor.
    pub(crate) fn worker_retires(&mut self, run: RunId) {
        self.primary(run, Input::Retire { run: Run(run.0) });
    }

    /// Asks a worker to end its connections. `false`: it has no channel to be asked through.
    pub(crate) fn worker_drains(&mut self, run: RunId) -> bool {
        let there = self
            .clusters
            .runs
            .get(&run)
            .and_then(|app| self.clusters.apps.get(app))
            .is_some_and(|cluster| cluster.channels.contains_key(&run));
        if there {
            self.primary(run, Input::Disconnect { run: Run(run.0) });
        }
        there
    }

    /// Sends a message to an app through its channel.
    pub(crate) fn message_to(&mut self, run: RunId, text: &str) {
        self.primary(run, Input::Send { run: Run(run.0), message: text.into() });
    }

    /// Closes the sockets of apps that are not meant to be up.
    pub(crate) fn release_idle_sockets(&mut self) {
        let names: Vec<String> = self.clusters.apps.keys().cloned().collect();
        for name in names {
            let up = self.core.app_named(&name).is_some_and(|app| {
                app.instances.values().filter_map(|id| self.core.instance(*id)).any(|i| {
                    i.run().is_some()
                        || (i.desired == wpm_core::Desired::Up && i.state != wpm_core::State::Errored)
                })
            });
            if !up {
                self.release_sockets(&name);
            }
        }
    }

    fn release_sockets(&mut self, name: &str) {
        let Some(cluster) = self.clusters.apps.get_mut(name) else { return };
        let sockets = cluster.sockets.values().map(|s| &s.fd).chain(cluster.listen.iter().map(|(_, fd)| fd));
        for socket in sockets {
            // At once for every holder: the keeper closes its own only when it gets round to it.
            let _datagram = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
        cluster.primary.handle(Input::ReleaseAll);
        let count = cluster.listen.len() as u64;
        cluster.listen.clear();
        self.carry_out_primary(name);
        for i in 0..count {
            self.keeper.send(ToKeeper::Drop { key: key(name, LISTEN_MARK | i) }.encode(), vec![]);
        }
        drop(self.clusters.apps.remove(name));
        let file = self.home.run().join(cluster_file(name));
        drop(std::fs::remove_file(file));
    }

    fn primary(&mut self, run: RunId, input: Input<'_, Fd>) {
        let Some(name) = self.clusters.runs.get(&run).cloned() else { return };
        if let Some(cluster) = self.clusters.apps.get_mut(&name) {
            cluster.primary.handle(input);
            self.carry_out_primary(&name);
        }
    }

    /// A connection of a listening socket was accepted.
    pub(crate) fn accepted(&mut self, accepted: Accepted) {
        let Accepted { app, listener, connection, peer, .. } = accepted;
        if let Some(cluster) = self.clusters.apps.get_mut(&app) {
            cluster.primary.handle(Input::Accepted { listener, connection: Rc::new(connection), peer });
            self.carry_out_primary(&app);
        }
    }

    fn carry_out_primary(&mut self, name: &str) {
        loop {
            let Some(cluster) = self.clusters.apps.get_mut(name) else { return };
            let Some(output) = cluster.primary.poll_output() else { break };
            match output {
                Output::Write { run, bytes, fd } => {
                    if let Some(channel) = cluster.channels.get(&RunId(run.0)) {
                        channel.send(bytes, fd);
                    }
                }
                Output::Bind { listener, to, backlog, .. } => {
                    let result = self.bind(name, listener, to, backlog);
                    if let Some(cluster) = self.clusters.apps.get_mut(name) {
                        cluster.primary.handle(Input::Bound { listener, result });
                    }
                }
                Output::StartAccepting { listener } => {
                    if let Some(socket) = cluster.sockets.get_mut(&listener)
                        && socket.accepting.is_none()
                    {
                        match Listening::new(&socket.fd, &socket.to) {
                            Ok(on) => {
                                let task = accept(name.to_owned(), listener, on, self.inbox.clone());
                                socket.accepting = Some(tokio::task::spawn_local(task));
                            }
                            Err(error) => tracing::error!(%error, "cannot accept for {name:?}"),
                        }
                    }
                }
                Output::StopAccepting { listener } => {
                    if let Some(task) = cluster.sockets.get_mut(&listener).and_then(|s| s.accepting.take()) {
                        task.abort();
                    }
                }
                Output::Close { listener } => {
                    if let Some(socket) = cluster.sockets.remove(&listener) {
                        if let Some(task) = socket.accepting {
                            task.abort();
                        }
                        drop(bind::unlink(&socket.to));
                    }
                    self.keeper.send(ToKeeper::Drop { key: key(name, listener.0) }.encode(), vec![]);
                }
                Output::Listening { run, .. } => {
                    let run = RunId(run.0);
                    let by_port = self
                        .core
                        .instance_of(run)
                        .and_then(|i| self.core.app(i.app))
                        .is_some_and(|a| !a.spec.wait_ready && a.spec.ready.is_none());
                    if by_port {
                        let _gone = self.inbox.send(Message::Event(run, Event::BecameReady));
                    }
                }
                Output::Message { run, message } if message.as_str() == Some("ready") => {
                    let _gone = self.inbox.send(Message::Event(RunId(run.0), Event::BecameReady));
                }
                Output::Disconnected { run, .. } => {
                    let _gone = self.inbox.send(Message::Drained(RunId(run.0)));
                }
                Output::Trouble { run, trouble } => {
                    tracing::debug!(run = run.0, ?trouble, "an app's channel");
                }
                Output::Refused { .. }
                | Output::Online { .. }
                | Output::Message { .. }
                | Output::Leaving { .. } => {}
            }
        }
        self.save_cluster(name);
    }

    fn bind(
        &mut self,
        name: &str,
        listener: ListenerId,
        to: BindTo,
        backlog: u32,
    ) -> Result<wpm_cluster::primary::Bound<Fd>, i32> {
        let Some(cluster) = self.clusters.apps.get_mut(name) else { return Err(Errno::INVAL.raw_os_error()) };
        let fd = match &to {
            BindTo::Inherited { fd, .. } => usize::try_from(*fd - activation::FIRST_FD)
                .ok()
                .and_then(|i| cluster.listen.get(i))
                .map(|(_, fd)| Rc::clone(fd))
                .ok_or(Errno::INVAL),
            to => bind::make(to, backlog).map(Rc::new),
        }
        .map_err(Errno::raw_os_error)?;
        let bound = bind::bound(Rc::clone(&fd), &fd);
        cluster.sockets.insert(listener, Socket { fd: Rc::clone(&fd), to, accepting: None });
        self.keep(key(name, listener.0), &fd);
        Ok(bound)
    }

    /// Writes what the next daemon has to know of the workers' listeners; without fsync, as the journal.
    fn save_cluster(&mut self, name: &str) {
        let Some(cluster) = self.clusters.apps.get_mut(name) else { return };
        if cluster.primary.take_changed() {
            let content = serde_json::to_vec(&cluster.primary.save()).unwrap_or_default();
            self.store
                .write(crate::store::Job::Small { path: self.home.run().join(cluster_file(name)), content });
        }
    }
}

fn file_name(spec: &Spec) -> String {
    cluster_file(&spec.name)
}

/// The file of an app's listeners in the run folder; the name never becomes a path unchecked.
fn cluster_file(name: &str) -> String {
    format!("cluster-{:016x}.json", key(name, 0))
}

fn to_bind(listen: &Listen, cwd: &str) -> BindTo {
    match &listen.to {
        ListenTo::Tcp { host, .. } => {
            let ip = host.as_deref().and_then(|h| match h {
                "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
                h => h.parse().ok(),
            });
            listen.to.to_bind(ip)
        }
        ListenTo::Unix { path } => BindTo::Path {
            path: std::path::Path::new(cwd).join(path).to_string_lossy().into_owned(),
            add_mode: 0,
        },
    }
}

/// A connection that was accepted, for the primary to hand on.
#[derive(Debug)]
pub(crate) struct Accepted {
    app: String,
    listener: ListenerId,
    connection: OwnedFd,
    peer: Option<IpAddr>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Accepts until it is aborted, never more than a few connections ahead of the loop.
async fn accept(app: String, listener: ListenerId, socket: Listening, inbox: UnboundedSender<Message>) {
    let ahead = std::sync::Arc::new(tokio::sync::Semaphore::new(AHEAD));
    loop {
        let Ok(permit) = std::sync::Arc::clone(&ahead).acquire_owned().await else { return };
        match socket.accept().await {
            Ok((connection, peer)) => {
                let accepted = Accepted { app: app.clone(), listener, connection, peer, _permit: permit };
                let _gone = inbox.send(Message::Accepted(accepted));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for the moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A listening socket on the event loop.
enum Listening {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listening {
    fn new(fd: &Fd, to: &BindTo) -> io::Result<Self> {
        let own = fd.try_clone()?;
        rustix::io::ioctl_fionbio(&own, true)?;
        Ok(match to {
            BindTo::Path { .. } | BindTo::Abstract { .. } => {
                Self::Unix(tokio::net::UnixListener::from_std(own.into())?)
            }
            _ => Self::Tcp(tokio::net::TcpListener::from_std(own.into())?),
        })
    }

    async fn accept(&self) -> io::Result<(OwnedFd, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((stream.into_std()?.into(), Some(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((stream.into_std()?.into(), None))
            }
        }
    }
}
