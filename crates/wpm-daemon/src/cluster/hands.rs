//! Does what the primary says, and tells it what came of it.

use std::rc::Rc;

use rustix::io::Errno;
use wpm_cluster::activation;
use wpm_cluster::primary::BindTo;
use wpm_cluster::{Input, ListenerId, Output};
use wpm_core::{Event, RunId};
use wpm_sys::contract::ToKeeper;

use super::{Fd, Socket, bind, cluster_file, key};
use crate::daemon::Daemon;
use crate::message::Message;

impl Daemon {
    /// Until there is nothing to do, and no connection to take that the primary wants.
    pub(super) fn carry_out_primary(&mut self, name: &str) {
        self.carry_out_outputs(name);
        while self.accept_one(name) {
            self.carry_out_outputs(name);
        }
        self.save_cluster(name);
    }

    fn carry_out_outputs(&mut self, name: &str) {
        loop {
            let Some(cluster) = self.clusters.apps.get_mut(name) else { return };
            let Some(output) = cluster.primary.poll_output() else { return };
            match output {
                Output::Write { run, bytes, fd } => {
                    let run = RunId(run.0);
                    match cluster.channels.get(&run) {
                        Some(channel) => channel.send(bytes, fd),
                        None => cluster.unsent.entry(run).or_default().push((bytes, fd)),
                    }
                }
                Output::Bind { listener, to, backlog, .. } => {
                    let result = self.bind(name, listener, to, backlog);
                    if let Some(cluster) = self.clusters.apps.get_mut(name) {
                        cluster.primary.handle(Input::Bound { listener, result });
                    }
                }
                Output::StartAccepting { listener } => self.want_connections(name, listener),
                Output::StopAccepting { listener } => {
                    if let Some(socket) = cluster.sockets.get_mut(&listener)
                        && let Some(acceptor) = &mut socket.acceptor
                    {
                        acceptor.wanted = false;
                    }
                }
                Output::Close { listener } => {
                    if let Some(socket) = cluster.sockets.remove(&listener) {
                        drop(bind::unlink(&socket.to));
                    }
                    self.keeper.send(ToKeeper::Drop { key: key(name, listener.0) }.encode(), vec![]);
                }
                Output::Listening { run, .. } => {
                    self.worker_listens(RunId(run.0));
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
    }

    /// A worker is ready when it listens, where nothing else says when it is.
    pub(super) fn worker_listens(&self, run: RunId) {
        let app = self.core.instance_of(run).and_then(|it| self.core.app(it.app));
        if app.is_some_and(|app| !app.spec.has_readiness_rule()) {
            let _gone = self.inbox.send(Message::Event(run, Event::BecameReady));
        }
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
                .ok_or(Errno::INVAL)
                // Older Nodes leave a socket that they were sent as it is, and would wait in accept(2) for
                // what another worker has taken.
                .and_then(|fd| rustix::io::ioctl_fionbio(&*fd, true).map(|()| fd)),
            to => bind::make(to, backlog).map(Rc::new),
        }
        .map_err(Errno::raw_os_error)?;
        let bound = bind::bound(Rc::clone(&fd), &fd);
        cluster.sockets.insert(listener, Socket { fd: Rc::clone(&fd), to, acceptor: None });
        self.keep(key(name, listener.0), &fd);
        Ok(bound)
    }

    /// Takes over what has changed: tells the checks where the workers listen, and writes what the next
    /// daemon has to know of their listeners; without fsync, as the journal.
    fn save_cluster(&mut self, name: &str) {
        let Some(cluster) = self.clusters.apps.get_mut(name) else { return };
        if !cluster.primary.take_changed() {
            return;
        }
        let content = serde_json::to_vec(&cluster.primary.save()).unwrap_or_default();
        for (id, _) in self.clusters.runs.iter().filter(|(_, app)| *app == name) {
            let _anywhere = self.tell_ports(name, *id);
        }
        self.persistence
            .store
            .write(crate::store::Job::Small { path: self.home.run().join(cluster_file(name)), content });
    }
}
