//! `wpm report`: what somebody needs who is to help: versions, the machine, the daemon, its last words.
//!
//! Text on stdout, to be copied. Holds no environment and no arguments of apps.

use std::fs::File;

use wpm_client::logs;
use wpm_proto::ExitCode;
use wpm_proto::request::{Detail, Op};
use wpm_proto::response::Body;

use super::Outcome;
use super::sysinfos::figures;
use crate::cli::Verb;
use crate::context::{Context, list};
use crate::output;
use crate::render::escape;

pub(crate) const VERB: Verb = Verb {
    name: "report",
    aliases: &[],
    about: "Print what somebody needs to know who is to help",
    examples: "  wpm report          versions, the machine, the daemon and the end of its log; no secrets of apps",
    args: |command| command,
    run,
};

/// Lines of the daemon's log.
const LAST_LINES: usize = 20;

fn run(_: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let home = context.home()?;
    let mut text = format!("wpm {}\n", env!("CARGO_PKG_VERSION"));
    if let serde_json::Value::Object(figures) = figures() {
        text.extend(figures.iter().map(|(name, value)| format!("{name}: {value}\n")));
    }
    text.push_str(&format!("home: {}\n", home.path().display()));
    match context.running_daemon()? {
        None => text.push_str("daemon: none runs\n"),
        Some(mut client) => {
            if let Ok(Body::Daemon { daemon }) = client.call(Op::Status, |_| ()) {
                text.push_str(&format!(
                    "daemon: {} pid {}, keeper {}, started {} times, {} clients, descriptors {} of {}\n",
                    daemon.version,
                    daemon.pid,
                    daemon.keeper_pid,
                    daemon.starts,
                    daemon.clients,
                    daemon.descriptors.0,
                    daemon.descriptors.1
                ));
                text.extend(daemon.storage_trouble.map(|trouble| format!("storage: {trouble}\n")));
            }
            for app in list(&mut client, Vec::new(), Detail::State).unwrap_or_default() {
                for instance in &app.instances {
                    let exit = instance.last_exit.map(crate::outcome::ended).unwrap_or_default();
                    text.push_str(&format!(
                        "app: {}/{} {} restarts {} {exit}\n",
                        escape::clean(&app.name),
                        instance.index,
                        instance.status,
                        instance.restarts
                    ));
                }
            }
        }
    }
    let log = home.daemon_log();
    if let Ok(tail) = File::open(&log).and_then(|file| logs::tail(&file, 0, LAST_LINES)) {
        text.push_str(&format!("{}:\n", log.display()));
        text.extend(tail.lines.iter().map(|line| format!("  {}\n", escape::line(line))));
    }
    output::data(&text)?;
    Ok(ExitCode::Ok)
}
