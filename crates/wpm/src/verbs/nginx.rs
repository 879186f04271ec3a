//! `wpm nginx`: an upstream of an app's instances and a server in front of it, as text for nginx; printed,
//! or kept in a file.
//!
//! Gathers who is there; what the text says is in `wpm-cluster`. Invariant: an instance that is down, or
//! not yet up again, keeps the line that it had, so that nobody else's clients move.

mod file;
mod follow;

use std::path::PathBuf;

use wpm_cluster::nginx::{Member, Method, Site, Target, members, render};
use wpm_proto::ExitCode;
use wpm_proto::view::{AppView, InstanceView, Status};

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::reach::{At, nowhere, one_app, reached};
use file::Kept;

pub(crate) const VERB: Verb = Verb {
    name: "nginx",
    aliases: &[],
    about: "Write a configuration for nginx in front of an app",
    examples: "  wpm nginx chat --listen 8080       print it; balanced by the address of the client\n  \
               wpm nginx chat --write /etc/nginx/conf.d/chat.conf --reload             test it, put it there\n  \
               wpm nginx chat --write /etc/nginx/conf.d/chat.conf --reload --follow    and keep it true",
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
    /// Only the upstream, for a server of your own
    #[arg(long, conflicts_with_all = ["listen", "server_name"])]
    upstream_only: bool,
    /// Write it to this file, once `nginx -t` has found it good
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Have nginx read it; if it refuses, the file becomes what it was
    #[arg(long, requires = "write")]
    reload: bool,
    /// Go on, and write it again as instances come and go
    #[arg(short, long, requires = "write")]
    follow: bool,
    /// The program nginx
    #[arg(long, value_name = "PROGRAM", default_value = "nginx", requires = "write")]
    nginx: String,
    /// The configuration that nginx runs with [default: its own]
    #[arg(long, value_name = "FILE", requires = "reload")]
    config: Option<PathBuf>,
}

/// What stays the same while instances come and go.
struct Wanted {
    listen: String,
    server_name: Option<String>,
    method: Method,
    upstream_only: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments {
        target,
        listen,
        server_name,
        ip_hash,
        round_robin,
        upstream_only,
        write,
        reload,
        follow,
        nginx,
        config,
    } = arguments(matches)?;
    let method = match (ip_hash, round_robin) {
        (true, _) => Method::IpHash,
        (_, true) => Method::RoundRobin,
        _ => Method::AddressHash,
    };
    let wanted = Wanted { listen, server_name, method, upstream_only };
    let Some(path) = write else {
        let app = one_app(&mut context.daemon()?, &target)?;
        let (text, missing) = text(&app, &wanted, &[])?;
        warn_of_missing(context, missing, app.instances.len());
        output::data(&text)?;
        return Ok(ExitCode::Ok);
    };
    let kept = Kept::new(path, reload, nginx, config)?;
    if follow {
        return follow::follow(context, &kept, &wanted, &target);
    }
    let app = one_app(&mut context.daemon()?, &target)?;
    let (missing, changed) = update(context, &kept, &wanted, &app)?;
    if !changed {
        context.note(&format!("{} is as it should be", kept.path().display()));
    }
    warn_of_missing(context, missing, app.instances.len());
    Ok(ExitCode::Ok)
}

/// Makes the file what it should be; gives the number of instances of which nothing is known, and whether
/// it was something else before.
fn update(context: &Context, kept: &Kept, wanted: &Wanted, app: &AppView) -> Result<(usize, bool), Failure> {
    let before = kept.text()?;
    let (text, missing) = text(app, wanted, &members(&before))?;
    if text == before {
        return Ok((missing, false));
    }
    kept.replace(&text, &before)?;
    let reloaded = if kept.reloads() { ", nginx has read it" } else { "" };
    let up = members(&text).iter().filter(|member| member.up).count();
    context.note(&format!("{}: {up} of {} up{reloaded}", kept.path().display(), app.instances.len()));
    Ok((missing, true))
}

/// The text, and the number of instances that are wanted and of which nobody knows where they listen.
fn text(app: &AppView, wanted: &Wanted, before: &[Member]) -> Result<(String, usize), Failure> {
    let reached = reached(app);
    let mut missing = 0;
    let mut members = Vec::new();
    for instance in &app.instances {
        let now = reached.iter().find(|it| it.index == instance.index).map(|it| match &it.at {
            At::Tcp(address) => Target::Tcp { host: address.ip().to_string(), port: address.port() },
            At::Unix(path) => Target::Unix { path: path.clone() },
        });
        let last = || before.iter().find(|it| it.index == instance.index).map(|it| it.target.clone());
        match now.or_else(last) {
            Some(target) => members.push(Member { index: instance.index, target, up: is_wanted(instance) }),
            None if is_wanted(instance) => missing += 1,
            None => {}
        }
    }
    if members.is_empty() {
        return Err(nowhere(app));
    }
    let site = Site {
        app: app.name.clone(),
        listen: wanted.listen.clone(),
        server_name: wanted.server_name.clone(),
        method: wanted.method,
        upstream_only: wanted.upstream_only,
        members,
    };
    let text = render(&site).map_err(|why| Failure::new(Code::Usage, why.to_string()))?;
    Ok((text, missing))
}

/// Whether it serves, or will in a moment: nginx itself finds out that it does not for now.
fn is_wanted(instance: &InstanceView) -> bool {
    !matches!(instance.status, Status::Stopped | Status::Stopping | Status::Errored)
}

fn warn_of_missing(context: &Context, missing: usize, of: usize) {
    if missing > 0 {
        context.warn(&format!("{missing} of {of} instances listen nowhere and are left out"));
    }
}
