//! `wpm pick`: the address of a lightly loaded instance.
//!
//! Gathers the figures; which is the least loaded is decided in `wpm-cluster`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wpm_client::metrics;
use wpm_cluster::balance::{Load, least_loaded};
use wpm_proto::ExitCode;
use wpm_proto::view::{AppView, InstanceView};

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, list};
use crate::failure::{Code, Failure};
use crate::output;
use crate::render::escape;

pub(crate) const VERB: Verb = Verb {
    name: "pick",
    aliases: &[],
    about: "Print the address of a lightly loaded instance",
    examples: "  wpm pick chat           127.0.0.1:3002\n  wpm pick chat --json    with what the choice was made by",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name or id of an app
    #[arg(value_name = "APP", add = complete::apps())]
    target: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Where an instance can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reached {
    /// Index of the instance.
    pub(super) index: u32,
    /// The lowest port that it listens on, by an address that can be connected to.
    pub(super) address: SocketAddr,
    /// Open connections to its ports.
    pub(super) connections: u64,
}

/// The instances of an app that are up and listen.
pub(super) fn reached(app: &AppView) -> Vec<Reached> {
    let sockets = metrics::sockets(app.instances.iter());
    app.instances
        .iter()
        .filter(|instance| instance.status == "online")
        .filter_map(|instance| {
            let own = sockets.get(&instance.id).cloned().unwrap_or_default();
            let address = own.listening.first().copied().or_else(|| shared(instance))?;
            Some(Reached {
                index: instance.index,
                address: connectable(address),
                connections: own.connections,
            })
        })
        .collect()
}

/// The port that a worker of a cluster shares with the others: an address, or a port on every one.
fn shared(instance: &InstanceView) -> Option<SocketAddr> {
    let every = |text: &String| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, text.parse().ok()?)));
    instance.ports.iter().find_map(|text| text.parse().ok().or_else(|| every(text)))
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
pub(super) fn one_app(context: &mut Context, target: String) -> Result<AppView, Failure> {
    let mut client = context.daemon()?;
    let mut apps = list(&mut client, vec![target], false)?;
    match (apps.pop(), apps.len()) {
        (Some(app), 0) => Ok(app),
        (_, others) => {
            Err(Failure::new(Code::Ambiguous, format!("{} apps are meant; one is wanted", others + 1)))
        }
    }
}

/// That nothing of an app can be connected to.
pub(super) fn nowhere(app: &AppView) -> Failure {
    let name = escape::clean(&app.name);
    Failure::new(Code::NotRunning, format!("no instance of {name} is online and listens on a TCP port"))
        .help(format!("wpm describe {name}"))
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, json } = arguments(matches)?;
    let app = one_app(context, target)?;
    let usage = metrics::measure(context.daemon()?.home(), app.instances.iter());
    let reached = reached(&app);
    let cpu = |index: u32| {
        let id = app.instances.iter().find(|instance| instance.index == index).map(|instance| instance.id);
        id.and_then(|id| usage.get(&id)).map_or(0.0, |used| used.cpu)
    };
    let loads: Vec<Load> = reached
        .iter()
        .map(|r| Load { index: r.index, connections: r.connections, cpu: thousandths(cpu(r.index)) })
        .collect();
    let chosen = least_loaded(&loads).and_then(|load| reached.iter().find(|r| r.index == load.index));
    let Some(Reached { index, address, connections }) = chosen else { return Err(nowhere(&app)) };
    if json {
        output::json(&serde_json::json!({
            "app": app.name, "index": index, "address": address.to_string(), "host": address.ip().to_string(),
            "port": address.port(), "connections": connections, "cpu": cpu(*index),
        }))?;
    } else {
        output::line(&address.to_string())?;
    }
    Ok(ExitCode::Ok)
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
