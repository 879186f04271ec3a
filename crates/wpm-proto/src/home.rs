//! Names of the files in a home (`$WPM_HOME`, default `~/.wpm`, mode 0700).
//!
//! Only joins names; whoever uses a path opens it.

use std::path::{Path, PathBuf};

/// The folder of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// A home at this absolute path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// Socket of the daemon (0600). The contract number is part of its name.
    pub fn socket(&self) -> PathBuf {
        self.0.join(format!("wpm.{}.sock", crate::CONTRACT))
    }
    /// Link to the socket under the name that people look for.
    pub fn socket_link(&self) -> PathBuf {
        self.0.join("wpm.sock")
    }
    /// Mark of a home that foreground runs use: what is in its list is forgotten by the next.
    pub fn foreground(&self) -> PathBuf {
        self.0.join("foreground")
    }
    /// Lock that the daemon holds for life.
    pub fn daemon_lock(&self) -> PathBuf {
        self.0.join("daemon.lock")
    }
    /// Lock that a client holds while it starts the daemon.
    pub fn spawn_lock(&self) -> PathBuf {
        self.0.join("spawn.lock")
    }
    /// Socket of the keeper: whoever connects says that the daemon does not answer.
    pub fn keeper_socket(&self) -> PathBuf {
        self.0.join("keeper.sock")
    }
    /// Locked by the keeper for its whole life.
    pub fn keeper_lock(&self) -> PathBuf {
        self.0.join("keeper.lock")
    }
    /// Pid of the daemon, for people; never used for a decision.
    pub fn daemon_pid(&self) -> PathBuf {
        self.0.join("daemon.pid")
    }
    /// Pid of the keeper, likewise.
    pub fn keeper_pid(&self) -> PathBuf {
        self.0.join("keeper.pid")
    }
    /// The daemon's own log.
    pub fn daemon_log(&self) -> PathBuf {
        self.0.join("daemon.log")
    }
    /// What that held before it became long.
    pub fn earlier_daemon_log(&self) -> PathBuf {
        self.0.join("daemon.log.1")
    }
    /// Desired state, durable at each command.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }
    /// The generation of the state before the present one.
    pub fn state_backup(&self) -> PathBuf {
        self.0.join("state.json.bak")
    }
    /// Reserve of disk space, given up when the state must be written on a full disk.
    pub fn reserve(&self) -> PathBuf {
        self.0.join("reserve")
    }
    /// What `wpm save` kept.
    pub fn dump(&self) -> PathBuf {
        self.0.join("dump.json")
    }
    /// The dump before the present one.
    pub fn dump_backup(&self) -> PathBuf {
        self.0.join("dump.json.bak")
    }
    /// Settings (`wpm set`).
    pub fn settings(&self) -> PathBuf {
        self.0.join("settings.json")
    }
    /// Facts about live runs of this boot.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }
    /// The run journal.
    pub fn journal(&self) -> PathBuf {
        self.run().join("journal")
    }
    /// Locks of log files that several runs write.
    pub fn log_locks(&self) -> PathBuf {
        self.run().join("locks")
    }
    /// Socket of the shim of one run. Instance and run are in the name, so that a live run is
    /// recognised even where the journal is lost.
    pub fn shim_socket(&self, instance: u32, run: u64) -> PathBuf {
        self.run().join(format!("{instance}.{run}.sock"))
    }
    /// Instance and run of a file name that [`Home::shim_socket`] made.
    pub fn parse_shim_socket(name: &str) -> Option<(u32, u64)> {
        let (instance, run) = name.strip_suffix(".sock")?.split_once('.')?;
        Some((instance.parse().ok()?, run.parse().ok()?))
    }
    /// Log files of apps.
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }
    /// Pid files of apps.
    pub fn pids(&self) -> PathBuf {
        self.0.join("pids")
    }
    /// CPU times of the last `wpm list`, from which the next one computes a rate.
    pub fn cpu_samples(&self) -> PathBuf {
        self.run().join("cpu-samples")
    }
    /// Processes of which `wpm list` need know nothing: shims, and those that are none of wpm's.
    pub fn bystanders(&self) -> PathBuf {
        self.run().join("bystanders")
    }
    /// Listening sockets that the last `wpm list` found.
    pub fn listening(&self) -> PathBuf {
        self.run().join("listening")
    }
}
