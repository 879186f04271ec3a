//! The sockets of `--listen`: bound once for an app, by whatever name its runtime finds them.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;
use wpm_cluster::activation::{Listen, ListenTo};
use wpm_cluster::primary::BindTo;
use wpm_core::{App, Spec};
use wpm_sys::contract::ToKeeper;

use super::{Fd, LISTEN_MARK, LISTENER_BITS, bind, key};
use crate::daemon::Daemon;

/// Queue of connections of a `--listen` socket, as Node has it.
const BACKLOG: u32 = 511;

impl Daemon {
    /// The sockets that an app's instances share by `--listen`, in the order of its configuration, each
    /// bound once. Those that an earlier configuration had stay while a run has it.
    pub(crate) fn listen_sockets(&mut self, app: &App) -> Result<Vec<Fd>, Errno> {
        if app.spec.listen.is_empty() {
            return Ok(vec![]);
        }
        let name = app.spec.name.clone();
        let mut wanted = Vec::new();
        for listen in of(&app.spec) {
            let there = self.cluster(app).listen.iter().find(|(one, _)| one.to == listen.to);
            let fd = match there.map(|(_, fd)| Rc::clone(fd)) {
                Some(fd) => fd,
                None => {
                    let fd = match self.clusters.held.remove(&listen_key(&name, &listen)) {
                        Some(fd) => fd,
                        None => Rc::new(make(&to_bind(&listen, &app.spec.cwd))?),
                    };
                    self.keep(listen_key(&name, &listen), &fd);
                    fd
                }
            };
            wanted.push((listen, fd));
        }
        let fds = wanted.iter().map(|(_, fd)| Rc::clone(fd)).collect();
        let listen = &mut self.cluster(app).listen;
        listen.retain(|(one, _)| !wanted.iter().any(|(listen, _)| listen.to == one.to));
        // The number of a descriptor is that of the configuration.
        wanted.append(listen);
        *listen = wanted;
        Ok(fds)
    }

    /// Closes the sockets of an app that its configuration names no more, once no run has the old one.
    pub(crate) fn release_old_listens(&mut self, name: &str) {
        let Some(app) = self.core.app_named(name) else { return };
        let Some(cluster) = self.clusters.apps.get(name) else { return };
        if cluster.listen.len() <= app.spec.listen.len() {
            return;
        }
        let app_id = app.id;
        let specs: Vec<_> = self
            .runs
            .keys()
            .filter(|run| self.core.instance_of(**run).is_some_and(|it| it.app == app_id))
            .filter_map(|run| self.core.spec_of_run(*run))
            .collect();
        let named: Vec<Listen> = std::iter::once(&app.spec).chain(&specs).flat_map(|spec| of(spec)).collect();
        let cwd = app.spec.cwd.clone();
        let Some(cluster) = self.clusters.apps.get_mut(name) else { return };
        let old: Vec<(Listen, Fd)> =
            cluster.listen.extract_if(.., |(one, _)| !named.iter().any(|it| it.to == one.to)).collect();
        self.close_listens(name, &cwd, old);
    }

    /// Closes sockets for every holder.
    pub(super) fn close_listens(&self, name: &str, cwd: &str, sockets: Vec<(Listen, Fd)>) {
        for (listen, fd) in sockets {
            // At once: the keeper closes its own only when it gets round to it.
            let _gone = rustix::net::shutdown(&fd, rustix::net::Shutdown::Both);
            drop(bind::unlink(&to_bind(&listen, cwd)));
            self.keeper.send(ToKeeper::Drop { key: listen_key(name, &listen) }.encode(), vec![]);
        }
    }
}

/// What a configuration says.
pub(super) fn of(spec: &Spec) -> impl Iterator<Item = Listen> + '_ {
    spec.listen.iter().filter_map(|text| text.parse().ok())
}

/// An address as those who look see it; paths are absolute.
pub(super) fn shown(listen: &Listen, cwd: &str) -> String {
    match to_bind(listen, cwd) {
        BindTo::Path { path, .. } => format!("unix:{path}"),
        _ => listen.to.to_string(),
    }
}

/// The keeper's name for a socket: the same in every daemon, whatever stands beside it.
pub(super) fn listen_key(app: &str, listen: &Listen) -> u64 {
    key(app, LISTEN_MARK | (key(&listen.to.to_string(), 0) >> LISTENER_BITS & (LISTEN_MARK - 1)))
}

/// Binds and listens; a path that a dead program has left is taken over.
fn make(to: &BindTo) -> Result<OwnedFd, Errno> {
    let made = match (bind::make(to, BACKLOG), to) {
        (Err(Errno::ADDRINUSE), BindTo::Path { path, .. }) if is_abandoned(path) => {
            drop(bind::unlink(to));
            bind::make(to, BACKLOG)
        }
        (made, _) => made,
    }?;
    // As systemd hands them down: blocking. The flag is shared by all holders.
    rustix::io::ioctl_fionbio(&made, false)?;
    Ok(made)
}

/// Whether a path is a socket that nobody serves.
fn is_abandoned(path: &str) -> bool {
    std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn to_bind(listen: &Listen, cwd: &str) -> BindTo {
    let ip = match &listen.to {
        ListenTo::Tcp { host: Some(host), .. } if host == "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        ListenTo::Tcp { host: Some(host), .. } => host.parse().ok(),
        ListenTo::Tcp { host: None, .. } | ListenTo::Unix { .. } => None,
    };
    match listen.to.to_bind(ip) {
        BindTo::Path { path, add_mode } => {
            let path = std::path::Path::new(cwd).join(path).to_string_lossy().into_owned();
            BindTo::Path { path, add_mode }
        }
        other => other,
    }
}
