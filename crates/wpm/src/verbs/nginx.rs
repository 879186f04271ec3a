//! `wpm nginx`: an upstream of an app's instances and a server in front of it, as text for nginx.
//!
//! Prints and touches nothing; what the text says is in `wpm-cluster`.

use wpm_cluster::nginx::{Member, Method, Site, Target, render};
use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::reach::{nowhere, one_app, reached};

pub(crate) const VERB: Verb = Verb {
    name: "nginx",
    aliases: &[],
    about: "Print a configuration for nginx in front of an app",
    examples: "  wpm nginx chat --listen 8080              balanced by the address of the client\n  \
               wpm nginx chat > /etc/nginx/conf.d/chat.conf && nginx -t && nginx -s reload",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Name or id of an app
    #[arg(value_name = "APP", add = complete::apps())]
    target: String,
    /// What nginx listens on: a port, or an address and a port
    #[arg(long, value_name = "ADDRESS", default_value = "80")]
    listen: String,
    /// Name of the server [default: every name]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Balance by `ip_hash`, which looks at the first three numbers of an IPv4 address only
    #[arg(long, conflicts_with = "round_robin")]
    ip_hash: bool,
    /// Balance in turn; only for apps that keep nothing between requests
    #[arg(long)]
    round_robin: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { target, listen, server_name, ip_hash, round_robin } = arguments(matches)?;
    let app = one_app(&mut context.daemon()?, &target)?;
    let members: Vec<Member> = reached(&app)
        .into_iter()
        .map(|it| {
            let target = Target::Tcp { host: it.address.ip().to_string(), port: it.address.port() };
            Member { index: it.index, target, up: true }
        })
        .collect();
    if members.is_empty() {
        return Err(nowhere(&app));
    }
    if members.len() < app.instances.len() {
        let left = app.instances.len() - members.len();
        context.warn(&format!("{left} of {} instances listen nowhere and are left out", app.instances.len()));
    }
    let method = match (ip_hash, round_robin) {
        (true, _) => Method::IpHash,
        (_, true) => Method::RoundRobin,
        _ => Method::AddressHash,
    };
    let site = Site { app: app.name, listen, server_name, method, members };
    output::data(&render(&site).map_err(|why| Failure::new(Code::Usage, why.to_string()))?)?;
    Ok(ExitCode::Ok)
}
