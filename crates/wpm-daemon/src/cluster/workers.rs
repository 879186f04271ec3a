//! Runs with a channel: they come, speak, are asked to leave, and go.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use wpm_cluster::activation::Ipc;
use wpm_cluster::primary::Address;
use wpm_cluster::{Balance, Input, Run};
use wpm_core::{InstanceId, RunId};

use super::channel::Channel;
use super::{Fd, Said, ipc};
use crate::daemon::Daemon;

impl Daemon {
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
        // What it told an earlier daemon, which may have had no time to journal that it is ready.
        if self.tell_ports(&app.spec.name, run) {
            self.worker_listens(run);
        }
    }

    /// Has the checks of a run know where it says that it listens; whether it listens anywhere.
    pub(super) fn tell_ports(&self, name: &str, run: RunId) -> bool {
        let Some((cluster, held)) = self.clusters.apps.get(name).zip(self.runs.get(&run)) else {
            return false;
        };
        let told = cluster.primary.addresses(Run(run.0));
        let tcp = |address: &Address| match address {
            Address::Tcp { port, .. } => Some(*port),
            _ => None,
        };
        held.ports.set(told.iter().filter_map(tcp).collect());
        !told.is_empty()
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
            Ok(channel) => {
                let unsent = cluster.unsent.remove(&run).unwrap_or_default();
                unsent.into_iter().for_each(|(bytes, fd)| channel.send(bytes, fd));
                cluster.channels.insert(run, channel);
            }
            Err(error) => tracing::warn!(%error, run = run.0, "cannot use the channel of an app"),
        }
    }

    /// A channel was read.
    pub(crate) fn channel_said(&mut self, run: RunId, said: Said) {
        let Said { bytes, fds, .. } = said;
        let fds = fds.into_iter().map(Rc::new).collect();
        self.primary(run, Input::Received { run: Run(run.0), bytes: &bytes, fds });
        self.let_silent_connections_through(run, false);
    }

    /// A channel, or its run, has ended.
    pub(crate) fn channel_ends(&mut self, run: RunId) {
        self.primary(run, Input::Closed { run: Run(run.0) });
        self.let_silent_connections_through(run, true);
        if let Some(app) = self.clusters.runs.remove(&run)
            && let Some(cluster) = self.clusters.apps.get_mut(&app)
        {
            drop(cluster.channels.remove(&run));
            drop(cluster.unsent.remove(&run));
        }
    }

    /// A worker is being stopped: what it closes is held for its successor.
    pub(crate) fn worker_retires(&mut self, run: RunId) {
        self.primary(run, Input::Retire { run: Run(run.0) });
    }

    /// Whether wpm hands connections to a worker, instead of the worker taking them itself.
    pub(crate) fn hands_connections_to(&self, run: RunId) -> bool {
        let cluster = self.clusters.runs.get(&run).and_then(|app| self.clusters.apps.get(app));
        cluster.is_some_and(|cluster| cluster.primary.balance() != Balance::Shared)
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

    pub(super) fn primary(&mut self, run: RunId, input: Input<'_, Fd>) {
        let Some(name) = self.clusters.runs.get(&run).cloned() else { return };
        if let Some(cluster) = self.clusters.apps.get_mut(&name) {
            cluster.primary.handle(input);
            self.carry_out_primary(&name);
        }
    }
}
