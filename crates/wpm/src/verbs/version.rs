//! `wpm version`: the versions of this program and of the running daemon.

use serde_json::json;
use wpm_proto::ExitCode;
use wpm_proto::request::Op;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::output;

pub(crate) const VERB: Verb = Verb {
    name: "version",
    aliases: &[],
    about: "Print the versions of wpm and of the running daemon",
    examples: "  wpm version\n  wpm version --json",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { json } = arguments(matches)?;
    let daemon = context.running_daemon().ok().flatten().and_then(|mut client| {
        client.call(Op::Ping, |_| ()).ok()?;
        client.welcome().map(|welcome| (welcome.version.clone(), welcome.pid))
    });
    let own = env!("CARGO_PKG_VERSION");
    if json {
        let daemon = daemon.map(|(version, pid)| json!({ "version": version, "pid": pid }));
        output::json(&json!({ "schema": 1, "wpm": own, "contract": wpm_proto::CONTRACT, "daemon": daemon }))?;
        return Ok(ExitCode::Ok);
    }
    output::line(&format!("wpm {own}"))?;
    match daemon {
        Some((version, pid)) => output::line(&format!("daemon {version}, pid {pid}"))?,
        None => output::line("daemon not running")?,
    }
    Ok(ExitCode::Ok)
}
