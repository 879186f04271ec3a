//! Sockets of workers that nobody of wpm holds any more: keeper and daemon were killed together.
//!
//! Looks for them at the workers, which have them still. Invariant: what is taken back is a socket that a
//! process of the app listens on, at an address that wpm had bound for that app.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::net::{SocketAddrAny, SocketAddrUnix, getsockname, sockopt};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use wpm_cluster::Primary;
use wpm_cluster::primary::{BindTo, Saved};
use wpm_core::App;
use wpm_sys::pidfd::PidFd;

use super::{Fd, file_name, key, policy};
use crate::daemon::Daemon;

impl Daemon {
    /// Takes the lost sockets of an app back, without which no new worker could bind their ports.
    pub(super) fn take_lost_sockets_back(&mut self, app: &App) {
        let name = &app.spec.name;
        let saved = std::fs::read(self.home.run().join(file_name(&app.spec))).ok();
        let saved = saved.and_then(|bytes| serde_json::from_slice::<Saved>(&bytes).ok());
        let mut lost = Vec::new();
        drop(saved.map(|saved| {
            Primary::<Fd>::restore(policy(&app.spec), saved, |id, to| {
                lost.push((key(name, id.0), to.clone()));
                None
            })
        }));
        lost.retain(|(key, _)| !self.clusters.held.contains_key(key));
        let runs = app.instances.values().filter_map(|id| self.core.instance(*id)?.run());
        let processes: Vec<(i32, u64)> = runs.map(|run| (run.pid, run.start_time)).collect();
        for (key, to) in lost {
            if let Some(fd) = processes.iter().find_map(|process| held_by(*process, &to)) {
                let fd = Rc::new(fd);
                self.keep(key, &fd);
                self.clusters.held.insert(key, fd);
            }
        }
    }
}

/// The socket of an address that a process has and listens on; none where the kernel lets nobody look.
fn held_by((pid, start_time): (i32, u64), to: &BindTo) -> Option<OwnedFd> {
    let process = PidFd::open_checked(pid, start_time).ok()?;
    let numbers = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|fd| pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()).ok()).find(|fd| {
        sockopt::socket_acceptconn(fd).unwrap_or(false) && getsockname(fd).is_ok_and(|at| is_at(at, to))
    })
}

fn is_at(at: SocketAddrAny, to: &BindTo) -> bool {
    match to {
        BindTo::Tcp { address, port, .. } => SocketAddr::try_from(at).is_ok_and(|at| {
            at.port() == *port && address.map_or(at.ip().is_unspecified(), |address| at.ip() == address)
        }),
        BindTo::Path { path, .. } => {
            SocketAddrUnix::try_from(at).is_ok_and(|at| at.path_bytes() == Some(path.as_bytes()))
        }
        _ => false,
    }
}
