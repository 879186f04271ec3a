//! A process beside a foreground run that stops its apps where the run itself was killed and cannot.
//!
//! Only where no container ends them with it. It waits for the end of a pipe and does nothing else. Invariant: a
//! run that has ended by itself leaves nothing for it to do.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use wpm_proto::home::Home;
use wpm_proto::request::Op;

use crate::context::{Context, next_daemon};

/// Name of the hidden entry.
pub(crate) const ENTRY: &str = "__guard";

/// How long a daemon may take to come that was killed together with the run.
const NEXT_DAEMON: Duration = Duration::from_secs(10);

/// The process, as the run holds it.
pub(super) struct Guard(Child);

impl Guard {
    /// Sets it up; none where this is the first process of a container.
    pub(super) fn set(home: &Home, context: &Context) -> Option<Self> {
        if std::process::id() == 1 {
            return None;
        }
        let begun = std::env::current_exe().and_then(|program| {
            let mut command = Command::new(program);
            command.arg(ENTRY).arg(home.path()).env(wpm_proto::env::HOME, home.path());
            // A signal to the group of the run is not meant for it.
            command.process_group(0);
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        });
        match begun {
            Ok(child) => Some(Self(child)),
            Err(cause) => {
                context.warn(&format!("nobody stops the apps if this process is killed by SIGKILL: {cause}"));
                None
            }
        }
    }

    /// Ends it: everything has been stopped.
    pub(super) fn dismiss(mut self) {
        // One that was killed, or that was reaped already, needs no word.
        let _gone = self.0.stdin.take().map(|mut line| line.write_all(b"."));
        let _gone = self.0.wait();
    }
}

/// The process itself: waits for a word or for the end of the run, and then does what the run could not.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(home) = arguments.next() else { return ExitCode::FAILURE };
    let mut word = [0];
    if std::io::stdin().read(&mut word).is_ok_and(|count| count > 0) {
        return ExitCode::SUCCESS;
    }
    match next_daemon(&Home::new(home), NEXT_DAEMON) {
        Ok(mut client) => {
            // Without an answer there is nobody left who could be told.
            let _told = client.call(Op::Kill { keep_list: false }, |_| ());
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}
