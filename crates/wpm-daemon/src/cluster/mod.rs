//! Shared ports: the primary of Node's cluster workers, and the sockets of `--listen`.
//!
//! Drives `wpm-cluster`, which decides, with real sockets and channels. Listening sockets are held
//! while their app should be up, by this daemon and by the keeper, so that neither a crash of every
//! instance nor the end of a daemon drops a queued connection.

mod accept;
mod bind;
mod channel;
mod hands;
mod leaving;
mod listen;
mod lost;
mod workers;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use wpm_cluster::activation::{self, Ipc, Listen, Plan};
use wpm_cluster::primary::{BindTo, Saved};
use wpm_cluster::{Balance, Input, ListenerId, Primary, Run};
use wpm_core::{App, RunId, Spec};
use wpm_sys::contract::ToKeeper;

pub(crate) use channel::{Fd, Said};

use crate::daemon::Daemon;
use accept::Acceptor;
use channel::{Channel, Outgoing};
use leaving::Until;

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
    /// Where relative paths begin.
    cwd: String,
    primary: Primary<Fd>,
    sockets: HashMap<ListenerId, Socket>,
    channels: HashMap<RunId, Channel>,
    /// What was said to workers that an earlier daemon has started, before their channels are here.
    unsent: HashMap<RunId, Vec<Outgoing>>,
    /// Runs for whose sake silent connections are held back.
    leaving: HashMap<RunId, Until>,
    listen: Vec<(Listen, Fd)>,
}

struct Socket {
    fd: Fd,
    to: BindTo,
    /// How its connections are taken, once the primary wants them.
    acceptor: Option<Acceptor>,
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

    /// Where the instance of a run listens: what it was handed, and what it says as a worker.
    pub(crate) fn addresses(&self, spec: &Spec, run: RunId) -> Vec<String> {
        let mut all: Vec<String> = listen::of(spec).map(|listen| listen::shown(&listen, &spec.cwd)).collect();
        if let Some(cluster) = self.runs.get(&run).and_then(|app| self.apps.get(app)) {
            let told = cluster.primary.addresses(Run(run.0));
            all.extend(told.iter().map(ToString::to_string).filter(|text| !text.starts_with("fd:")));
        }
        all
    }

    /// Everything that is held, for the next keeper.
    pub(crate) fn all_held(&self) -> Vec<(u64, Fd)> {
        let mut all = Vec::new();
        for (app, cluster) in &self.apps {
            all.extend(cluster.sockets.iter().map(|(id, s)| (key(app, id.0), Rc::clone(&s.fd))));
            all.extend(cluster.listen.iter().map(|(one, fd)| (listen::listen_key(app, one), Rc::clone(fd))));
        }
        all
    }
}

impl Daemon {
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
                    // The daemon before may have been killed while it held some back.
                    leaving::defer(&fd, false);
                    sockets.insert(id, Socket { fd: Rc::clone(&fd), to: to.clone(), acceptor: None });
                    Some(fd)
                });
                restored.ok()
            });
            let mut primary = primary.unwrap_or_else(|| Primary::new(balance));
            let runtime = program(&app.spec).and_then(activation::runtime);
            primary.set_pipeline(runtime.map_or(1, |runtime| runtime.pipeline(balance)));
            let cwd = app.spec.cwd.clone();
            Cluster {
                cwd,
                primary,
                sockets,
                channels: HashMap::new(),
                unsent: HashMap::new(),
                leaving: HashMap::new(),
                listen: vec![],
            }
        })
    }

    /// Gives what the keeper held to the apps that are meant to be up; what nobody wants is closed.
    pub(crate) fn claim_sockets(&mut self) {
        let apps: Vec<App> = self.core.apps().filter(|app| self.is_up(app)).cloned().collect();
        for app in apps.iter().filter(|app| !app.spec.listen.is_empty() || ipc(&app.spec, 0) != Ipc::No) {
            self.take_lost_sockets_back(app);
            let mut listens = Vec::new();
            for listen in listen::of(&app.spec) {
                let held = self.clusters.held.remove(&listen::listen_key(&app.spec.name, &listen));
                held.iter().for_each(|fd| leaving::defer(fd, false));
                listens.extend(held.map(|fd| (listen, fd)));
            }
            self.cluster(app).listen = listens;
        }
        // Its socket is claimed when an app is told of it.
        let notes = self.clusters.held.remove(&crate::notify::KEY);
        for (key, _) in std::mem::take(&mut self.clusters.held) {
            self.keeper.send(ToKeeper::Drop { key }.encode(), vec![]);
        }
        self.clusters.held.extend(notes.map(|fd| (crate::notify::KEY, fd)));
    }

    /// Tells the primaries of workers that have ended while there was no daemon.
    pub(crate) fn forget_dead_workers(&mut self) {
        let names: Vec<String> = self.clusters.apps.keys().cloned().collect();
        for name in names {
            let Some(cluster) = self.clusters.apps.get_mut(&name) else { continue };
            let runs: Vec<Run> = cluster.primary.runs().collect();
            for run in runs.into_iter().filter(|run| !self.runs.contains_key(&RunId(run.0))) {
                cluster.primary.handle(Input::Closed { run });
            }
            self.carry_out_primary(&name);
        }
    }

    /// Whether an app holds its sockets.
    fn is_up(&self, app: &App) -> bool {
        app.instances.values().filter_map(|id| self.core.instance(*id)).any(|i| {
            i.run().is_some() || (i.desired == wpm_core::Desired::Up && i.state != wpm_core::State::Errored)
        })
    }

    /// Closes the sockets of apps that are not meant to be up.
    pub(crate) fn release_idle_sockets(&mut self) {
        let names: Vec<String> = self.clusters.apps.keys().cloned().collect();
        for name in names {
            let up = self.core.app_named(&name).is_some_and(|app| self.is_up(app));
            if up {
                self.release_old_listens(&name);
            } else {
                self.release_sockets(&name);
            }
        }
    }

    fn release_sockets(&mut self, name: &str) {
        let Some(cluster) = self.clusters.apps.get_mut(name) else { return };
        for socket in cluster.sockets.values() {
            // At once for every holder: the keeper closes its own only when it gets round to it.
            let _datagram = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Both);
        }
        cluster.primary.handle(Input::ReleaseAll);
        let (listens, cwd) = (std::mem::take(&mut cluster.listen), cluster.cwd.clone());
        self.close_listens(name, &cwd, listens);
        self.carry_out_primary(name);
        drop(self.clusters.apps.remove(name));
        let file = self.home.run().join(cluster_file(name));
        drop(std::fs::remove_file(file));
    }
}

fn file_name(spec: &Spec) -> String {
    cluster_file(&spec.name)
}

/// The file of an app's listeners in the run folder; the name never becomes a path unchecked.
fn cluster_file(name: &str) -> String {
    format!("cluster-{:016x}.json", key(name, 0))
}
