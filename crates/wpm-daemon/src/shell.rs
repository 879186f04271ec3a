//! Commands of users that the daemon runs beside an app: exec checks and hooks.
//!
//! They run in a shell as the app's user, in its folder, with its environment. Invariant: a command that
//! is given up leaves nothing behind; it dies with its process group.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wpm_core::Spec;
use wpm_proto::home::Home;

use crate::identity;

/// Most of what a command says that is kept, in bytes.
const KEPT: u64 = 4096;

/// Where and as whom a command runs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) cwd: String,
    pub(crate) env: BTreeMap<String, String>,
    uid: Option<String>,
    gid: Option<String>,
}

impl Place {
    /// The place of an instance.
    pub(crate) fn of(spec: &Spec, index: u32, id: wpm_core::InstanceId, home: &Home) -> Self {
        let mut env = spec.instance_env(index, id);
        env.insert(wpm_proto::env::HOME.to_owned(), home.path().to_string_lossy().into_owned());
        Self { cwd: spec.cwd.clone(), env, uid: spec.uid.clone(), gid: spec.gid.clone() }
    }

    /// Runs a command to its end; gives how it ended, and the beginning of what it said to stderr.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn run(&self, command: &str, input: &[u8]) -> std::io::Result<(ExitStatus, String)> {
        let mut sh = tokio::process::Command::new("/bin/sh");
        sh.args(["-c", command]).env_clear().envs(&self.env).current_dir(&self.cwd);
        sh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        sh.process_group(0).kill_on_drop(true);
        match identity::resolve(self.uid.as_deref(), self.gid.as_deref()) {
            Ok(Some(who)) => {
                sh.uid(who.credentials.uid).gid(who.credentials.gid);
            }
            Ok(None) => {}
            Err(why) => return Err(std::io::Error::other(why)),
        }
        let mut child = sh.spawn()?;
        let group = Group(child.id().and_then(|pid| i32::try_from(pid).ok()));
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let give = async {
            if let Some(mut stdin) = stdin {
                // Who does not read what it is given does not want it.
                drop(stdin.write_all(input).await);
            }
        };
        let hear = async {
            let mut said = Vec::new();
            if let Some(mut stderr) = stderr {
                let _read = (&mut stderr).take(KEPT).read_to_end(&mut said).await;
                // It must not die of a full pipe.
                let _rest = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
            said
        };
        // A descendant that stays in the background may hold the pipe open for ever.
        let mut hear = std::pin::pin!(hear);
        let mut heard = None;
        let ended = async { tokio::join!(give, child.wait()).1 };
        let mut ended = std::pin::pin!(ended);
        let status = loop {
            tokio::select! {
                said = &mut hear, if heard.is_none() => heard = Some(said),
                status = &mut ended => break status?,
            }
        };
        if heard.is_none() {
            heard = tokio::time::timeout(std::time::Duration::from_millis(100), hear).await.ok();
        }
        drop(group);
        Ok((status, String::from_utf8_lossy(&heard.unwrap_or_default()).into_owned()))
    }
}

/// What a command has started ends with it.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}
