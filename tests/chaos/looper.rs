//! The app that crashes again and again with an exit code that the test has chosen.

use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::world::{Puppet, World};

/// Name of the app.
const NAME: &str = "looper";

/// Its present run, and what is known of the earlier ones.
pub(crate) struct Looper {
    run: Option<Puppet>,
    /// Exit code that the present run was told to end with.
    told: Option<u64>,
    /// Runs that have ended.
    pub(crate) ended: u64,
    /// How the last one ended; `None`: killed while nobody had told it to end.
    last: Option<u64>,
    down_since: Option<Instant>,
    /// Ends, of those looked at after a round, of which nobody could tell how.
    pub(crate) unknown: u64,
    /// Longest time from an end to the next run.
    pub(crate) slowest: Duration,
}

impl Looper {
    /// Starts it.
    pub(crate) fn start(world: &World) -> Self {
        let options = "--restart-delay 10 --max-restarts 1000000 --start-check 0";
        let run = world.start(NAME, options, 1).pop();
        Self {
            run,
            told: None,
            ended: 0,
            last: Some(0),
            down_since: None,
            unknown: 0,
            slowest: Duration::ZERO,
        }
    }

    /// Its life line, for waiting on.
    pub(crate) fn line(&self) -> Option<&std::os::unix::net::UnixStream> {
        self.run.as_ref().map(|p| &p.line)
    }

    /// Tells it to exit, if it was not told already.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        if self.told.is_none()
            && let Some(run) = &mut self.run
        {
            let code = chance.between(1, 250);
            // One that is just being killed does not hear it.
            if run.order(&format!("exit {code}")) {
                self.told = Some(code);
            }
        }
    }

    /// Its line has something to say: that it is dead.
    pub(crate) fn died(&mut self) {
        if let Some(run) = self.run.take() {
            run.dead();
            self.ended += 1;
            self.last = self.told.take();
            self.down_since = Some(Instant::now());
        }
    }

    /// Somebody has connected: it must be the next run of this app.
    #[track_caller]
    pub(crate) fn came(&mut self, puppet: Puppet, world: &World) {
        assert_eq!(puppet.name, NAME, "a second copy; the daemon's log:\n{}", world.log());
        if self.told.is_some() {
            // The end of the run before was not noted yet; one that goes on would not come to it.
            self.died();
        }
        assert!(self.run.is_none(), "a second copy of the looper; the daemon's log:\n{}", world.log());
        if let Some(since) = self.down_since.take() {
            self.slowest = self.slowest.max(since.elapsed());
        }
        self.run = Some(puppet);
    }

    /// Waits until it runs, untold.
    #[track_caller]
    pub(crate) fn settle(&mut self, world: &World) {
        if self.told.is_some() {
            self.died();
        }
        if self.run.is_none() {
            self.came(world.puppet(), world);
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.run.as_ref().map(|p| p.pid)
    }

    /// Compares what wpm says of it with what happened. `unseen`: it may have ended while nobody was
    /// left who could see how, and that must be said.
    pub(crate) fn check(&mut self, entry: &serde_json::Value, unseen: bool) -> Result<(), String> {
        let env = &entry["pm2_env"];
        let said = (env["status"].as_str(), env["restart_time"].as_u64(), env["exit_code"].as_u64());
        let pid = entry["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let exit = match self.last {
            Some(0) => None,
            // SIGKILL, as a shell tells it.
            None => Some(137),
            code => code,
        };
        let unknown = unseen && exit.is_some() && said.2.is_none();
        self.unknown += u64::from(unknown);
        let exact = said.2 == exit || unknown;
        if said.0 == Some("online") && said.1 == Some(self.ended) && exact && pid == self.pid() {
            return Ok(());
        }
        Err(format!(
            "looper: said (status, restarts, exit, pid) {said:?} {pid:?}; true: {} restarts, {exit:?}, {:?}",
            self.ended,
            self.pid()
        ))
    }
}
