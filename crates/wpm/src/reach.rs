//! Where the instances of an app can be reached, and which of them is lightly loaded.
//!
//! Gathers the figures of one moment from the kernel; the rule is in `wpm-cluster`. Invariant: an
//! instance that is not online, or listens nowhere, is never named.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};
use wpm_client::Client;
use wpm_client::metrics::{Sockets, Survey};
use wpm_cluster::balance::{Load, least_loaded};
use wpm_proto::request::Detail;
use wpm_proto::view::{AppView, InstanceView, Status};

use crate::context::list;
use crate::failure::{Code, Failure};
use crate::render::escape;

/// An address that can be connected to: the first that wpm was told of, else the lowest port that the kernel
/// knows of, else the first path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// TCP.
    Tcp(SocketAddr),
    /// A path.
    Unix(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Where an instance can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Public id of the instance.
    id: u32,
    /// Index of the instance.
    pub(crate) index: u32,
    /// Where.
    pub(crate) at: At,
    /// Open connections to what it listens on.
    connections: u64,
}

/// The instance that is named to a client, with what the choice was made by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picked {
    /// Name of the app.
    pub(crate) app: String,
    /// The instance.
    pub(crate) of: Reached,
    /// Percent of one CPU.
    cpu: f64,
}

impl Picked {
    /// As programs read it.
    pub(crate) fn json(&self) -> Value {
        let Reached { index, at, connections, .. } = &self.of;
        let (host, port) = match at {
            At::Tcp(address) => (json!(address.ip()), json!(address.port())),
            At::Unix(_) => (Value::Null, Value::Null),
        };
        json!({
            "app": self.app, "index": index, "address": at.to_string(), "host": host, "port": port,
            "connections": connections, "cpu": (self.cpu * 10.0).round() / 10.0,
        })
    }
}

/// The lightly loaded instance of an app: fewest connections, then least CPU, then the first.
///
/// `awaited` are the connections of clients that were sent to an instance and are still on their way.
pub(crate) fn pick(
    client: &mut Client,
    target: &str,
    awaited: impl Fn(&AppView, u32) -> u64,
) -> Result<Picked, Failure> {
    let app = one_app(client, target)?;
    let mut survey = Survey::some(client.home(), app.instances.iter());
    let usage = survey.usage(client.home());
    let reached = of(&app, &survey);
    let cpu = |id: u32| usage.get(&id).map_or(0.0, |used| used.cpu);
    let loads: Vec<Load> = reached
        .iter()
        .map(|r| Load {
            index: r.index,
            connections: r.connections + awaited(&app, r.index),
            cpu: thousandths(cpu(r.id)),
        })
        .collect();
    let chosen = least_loaded(&loads).and_then(|load| reached.iter().find(|r| r.index == load.index));
    match chosen.cloned() {
        Some(of) => Ok(Picked { cpu: cpu(of.id), app: app.name, of }),
        None => Err(nowhere(&app)),
    }
}

/// The instances of an app that are up and listen.
pub(crate) fn reached(app: &AppView) -> Vec<Reached> {
    of(app, &Survey::new(app.instances.iter()))
}

fn of(app: &AppView, survey: &Survey<'_>) -> Vec<Reached> {
    let sockets = survey.sockets();
    app.instances
        .iter()
        .filter(|instance| instance.status == Status::Online)
        .filter_map(|instance| {
            let Sockets { listening, paths, connections } =
                sockets.get(&instance.id).cloned().unwrap_or_default();
            // What wpm knows by itself is what it is for; an app may listen at more (to be controlled, say).
            let found = || listening.first().copied().map(|address| At::Tcp(connectable(address)));
            let at = told(instance).or_else(found).or_else(|| paths.into_iter().next().map(At::Unix))?;
            Some(Reached { id: instance.id, index: instance.index, at, connections })
        })
        .collect()
}

/// What an instance was handed, or a worker of a cluster tells: an address, a port on every one, or a path.
fn told(instance: &InstanceView) -> Option<At> {
    instance.ports.iter().find_map(|text| {
        let every = || Some(SocketAddr::from((Ipv4Addr::LOCALHOST, text.parse().ok()?)));
        match text.strip_prefix("unix:") {
            Some(path) => path.starts_with('/').then(|| At::Unix(path.to_owned())),
            None => text.parse().ok().or_else(every).map(|address| At::Tcp(connectable(address))),
        }
    })
}

/// Every address is this machine's, too.
fn connectable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The one app that a target names.
pub(crate) fn one_app(client: &mut Client, target: &str) -> Result<AppView, Failure> {
    let mut apps = list(client, vec![target.to_owned()], Detail::State)?;
    match (apps.pop(), apps.len()) {
        (Some(app), 0) => Ok(app),
        (_, others) => {
            Err(Failure::new(Code::Ambiguous, format!("{} apps are meant; one is wanted", others + 1)))
        }
    }
}

/// That nothing of an app can be connected to.
pub(crate) fn nowhere(app: &AppView) -> Failure {
    let name = escape::clean(&app.name);
    Failure::new(
        Code::NotRunning,
        format!("no instance of {name} is online and listens at a port or a Unix socket"),
    )
    .help(format!("wpm describe {name}"))
}

/// Percent of a core as thousandths of one.
fn thousandths(percent: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits, and a figure for a comparison"
    )]
    let whole = (percent * 10.0).clamp(0.0, 4e9) as u32;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_can_be_connected_to() {
        for (listens, reached) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "127.0.0.1:80"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            assert_eq!(connectable(listens.parse().expect("an address")).to_string(), reached);
        }
        assert_eq!((thousandths(12.34), thousandths(-1.0)), (123, 0));
    }
}
