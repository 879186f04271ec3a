//! `wpm update`: daemon, keeper and shims take another program, under running apps.
//!
//! The new program is asked first whether it can: it has to run, and to speak the contracts of what is
//! running. Going back where it dies at once is the keeper's affair; here it is only told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wpm_client::Client;
use wpm_proto::ExitCode;
use wpm_proto::request::Op;
use wpm_proto::response::Body;
use wpm_proto::view::DaemonView;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::{Context, unexpected};
use crate::failure::{Code, Failure};

pub(crate) const VERB: Verb = Verb {
    name: "update",
    aliases: &["upgrade", "updatePM2"],
    about: "Let the running daemon become this wpm, without touching an app",
    examples: "  wpm update                 after a new wpm was installed\n  wpm update /opt/wpm/wpm    to this program",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Program that takes over [default: this one]
    #[arg(value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// What a program says of itself when it is asked (`wpm __self-test`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SelfTest {
    /// Version.
    version: String,
    /// Contract between client and daemon.
    contract: u32,
    /// Newest state file that it reads.
    state: u32,
    /// Form in which its keeper and shims hand over to another program; 1 where nothing is said.
    #[serde(default = "first_handover")]
    handover: u32,
}

const fn first_handover() -> u32 {
    1
}

impl SelfTest {
    /// Of this program.
    pub(crate) fn own() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            contract: wpm_proto::CONTRACT,
            state: wpm_proto::state::VERSION,
            handover: wpm_keeper::HANDOVER,
        }
    }
}

/// How long the change may take, from the request to the last shim.
const PATIENCE: Duration = Duration::from_secs(15);
/// What can be done where a program cannot take over.
const AGAIN: &str =
    "`wpm save`, `wpm kill`, then `wpm resurrect` with the new program restarts the apps under it";
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { program } = arguments(matches)?;
    let Some(mut client) = context.running_daemon()? else {
        context.note("no daemon runs: the next command starts this wpm");
        return Ok(ExitCode::Ok);
    };
    let program = absolute(program)?;
    let new = self_test(&program)?;
    let own = SelfTest::own();
    if new.contract != own.contract || new.state < own.state {
        let text =
            format!("{} (wpm {}) cannot take over from wpm {}", program.display(), new.version, own.version);
        return Err(Failure::new(Code::Failed, text).help(AGAIN));
    }
    let before = status(&mut client)?;
    if new.handover != before.handover {
        let text = format!(
            "{} (wpm {}) cannot take over in place from wpm {}: keeper and shims hand over in form {}, it \
             reads form {}",
            program.display(),
            new.version,
            before.version,
            before.handover,
            new.handover
        );
        return Err(Failure::new(Code::Failed, text).help(AGAIN));
    }
    match client.call(Op::Update { exe: program.display().to_string() }, |_| ())? {
        Body::Outcomes { .. } => {}
        other => return Err(unexpected(&other)),
    }
    client.await_end();
    let after = settled(context, &before, &program)?;
    context.note(&format!(
        "daemon {} → {}, pid {} → {}; the keeper and every shim follow in place, no app was touched",
        before.version, after.version, before.pid, after.pid
    ));
    Ok(ExitCode::Ok)
}

/// Waits until a daemon of the new program has handed it on, or the old one is back.
fn settled(context: &mut Context, before: &DaemonView, program: &Path) -> Result<DaemonView, Failure> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut client = context.daemon()?;
        let now = status(&mut client)?;
        if let Some(why) = &now.update_failed {
            let text =
                format!("{} died before it was up ({why}): wpm {} goes on", program.display(), now.version);
            return Err(Failure::new(Code::Failed, text)
                .help("its last words are in the daemon's log, `wpm env` says where"));
        }
        if now.pid != before.pid && !now.updating {
            return Ok(now);
        }
        // The new daemon is on trial for a moment; nothing can be waited for meanwhile.
        std::thread::sleep(PAUSE);
    }
    Err(Failure::new(
        Code::TimedOut,
        format!("the change to {} is not finished after {} s", program.display(), PATIENCE.as_secs()),
    ))
}

fn status(client: &mut Client) -> Result<DaemonView, Failure> {
    match client.call(Op::Status, |_| ())? {
        Body::Daemon { daemon } => Ok(*daemon),
        other => Err(unexpected(&other)),
    }
}

/// The program by a path that stays true in the daemon.
fn absolute(program: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let path = match program {
        Some(path) => path,
        None => std::env::current_exe()
            .map_err(|e| Failure::new(Code::Failed, format!("cannot tell where this program is: {e}")))?,
    };
    path.canonicalize().map_err(|e| Failure::new(Code::Usage, format!("cannot use {}: {e}", path.display())))
}

/// Runs the program once, for it to say what it is.
fn self_test(program: &Path) -> Result<SelfTest, Failure> {
    let failed = |why: String| {
        Failure::new(Code::Failed, format!("{} cannot take over: {why}", program.display()))
            .help("nothing was changed")
    };
    let output = Command::new(program).arg("__self-test").output().map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("its self-test ended with {}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|_| failed("it is not a wpm that can".to_owned()))
}
