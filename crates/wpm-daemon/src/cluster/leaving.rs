//! Runs that are about to leave, and the connections that they must not take with them.
//!
//! Many a server (Node from 26 on) closes connections on which no request has come as it leaves. One that
//! accepts for itself cannot be told to take no more of them; but the kernel can hold back those on which
//! nothing has come. Invariant: a socket gives out silent connections at once whenever nobody leaves.

use wpm_cluster::Run;
use wpm_core::RunId;
use wpm_sys::listener::defer_silent;

use super::{Cluster, Fd};
use crate::daemon::Daemon;

/// How long silent connections are held back for the sake of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until it has closed its servers, as a worker tells.
    Closed,
    /// Until it has ended.
    Ended,
}

impl Cluster {
    /// Notes that a run is about to leave, or is out of the way. Its sockets hold silent connections back
    /// while there is one.
    fn set_leaving(&mut self, run: RunId, until: Option<Until>) {
        let before = self.leaving.is_empty();
        match until {
            Some(until) => self.leaving.insert(run, until),
            None => self.leaving.remove(&run),
        };
        let now = self.leaving.is_empty();
        if now != before {
            let own =
                self.sockets.values().filter(|socket| socket.acceptor.is_none()).map(|socket| &socket.fd);
            own.chain(self.listen.iter().map(|(_, fd)| fd)).for_each(|fd| defer(fd, !now));
        }
    }
}

/// Has a socket hold silent connections back, or not. Those that are not TCP have no such thing.
pub(super) fn defer(fd: &Fd, on: bool) {
    if let Err(error) = defer_silent(&**fd, on) {
        tracing::trace!(%error, on, "silent connections of a socket");
    }
}

impl Daemon {
    /// A run will be asked to leave soon. `false`: it shares no socket.
    pub(crate) fn hold_silent_connections_back(&mut self, run: RunId) -> bool {
        let worker = self.core.spec_of_run(run).is_some_and(|spec| spec.is_clustered());
        let Some(cluster) = self.cluster_of(run) else { return false };
        if cluster.sockets.is_empty() && cluster.listen.is_empty() {
            return false;
        }
        let until = if worker { Until::Closed } else { Until::Ended };
        cluster.set_leaving(run, Some(until));
        true
    }

    /// Lets silent connections through again where a run that leaves has closed its servers, or has ended.
    pub(super) fn let_silent_connections_through(&mut self, run: RunId, ended: bool) {
        let Some(cluster) = self.cluster_of(run) else { return };
        let through = match cluster.leaving.get(&run) {
            None => false,
            Some(Until::Closed) => ended || !cluster.primary.holds_any(Run(run.0)),
            Some(Until::Ended) => ended,
        };
        if through {
            cluster.set_leaving(run, None);
        }
    }

    fn cluster_of(&mut self, run: RunId) -> Option<&mut Cluster> {
        let app = self.core.app(self.core.instance_of(run)?.app)?;
        self.clusters.apps.get_mut(&app.spec.name)
    }
}
