//! Requests of clients. A closed set: what is not here cannot be asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::AppSpec;

/// First frame of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::CONTRACT`] of the client.
    pub contract: u32,
    /// Version of the client, for messages only.
    pub version: String,
}

/// One request. A client may send several without waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Number that the responses repeat.
    pub id: u64,
    /// Random key of a changing request: sent again with the same key after a lost connection, it is
    /// not done twice.
    #[serde(default)]
    pub key: Option<String>,
    /// What is asked.
    pub op: Op,
}

/// Number of instances to scale to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Exactly.
    Exactly(u32),
    /// So many more.
    More(u32),
    /// So many fewer.
    Fewer(u32),
}

/// How much is told of apps: each says what those before it say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// How they are.
    #[default]
    State,
    /// Which files they have.
    Files,
    /// Their specs, environment included.
    Spec,
}

/// What `restart` changes. Absent = left as it is; `Some(None)` = removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// The caller's environment (`--update-env`).
    pub env: Option<BTreeMap<String, String>>,
    /// What the `env_files` of apps hold now, by the app's name.
    pub file_env: BTreeMap<String, BTreeMap<String, String>>,
    /// Arguments after `--`.
    pub args: Option<Vec<String>>,
    /// Interpreter arguments.
    pub interpreter_args: Option<Vec<String>>,
    /// Name.
    pub name: Option<String>,
    /// Kill timeout.
    pub kill_timeout_ms: Option<u64>,
    /// Memory limit; 0 removes it.
    pub max_memory_restart: Option<u64>,
    /// Restart delay; 0 removes it.
    pub restart_delay_ms: Option<u64>,
    /// Growing delay; 0 removes it.
    pub exp_backoff_restart_delay_ms: Option<u64>,
    /// Restart limit.
    pub max_restarts: Option<u32>,
    /// Restart by itself.
    pub autorestart: Option<bool>,
    /// Stop codes.
    pub stop_exit_codes: Option<Vec<i32>>,
    /// Cron rule; `0` removes it.
    pub cron_restart: Option<String>,
    /// Time prefix; empty removes it.
    pub log_date_format: Option<String>,
    /// What is watched, absolute; empty: the working directory, or nothing where something is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<Vec<String>>,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// Are you there?
    Ping,
    /// Apps and instances.
    List {
        /// Only these; empty = all.
        #[serde(default)]
        targets: Vec<String>,
        /// What is told of them.
        #[serde(default)]
        detail: Detail,
    },
    /// Starts new apps.
    Start {
        /// The apps.
        apps: Vec<AppSpec>,
        /// A second time under a free name if it exists.
        #[serde(default)]
        force: bool,
        /// Whether they are to be up; none: as each says by `autostart`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rise: Option<bool>,
        /// Reply when the outcome is known (else at once).
        wait: bool,
    },
    /// Starts known apps that are down.
    StartKnown {
        /// Which.
        targets: Vec<String>,
        /// What changes.
        #[serde(default)]
        change: Box<Change>,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Stops and starts again.
    Restart {
        /// Which.
        targets: Vec<String>,
        /// What changes.
        #[serde(default)]
        change: Box<Change>,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Replaces specs by name and restarts; starts unknown ones (`restart FILE`).
    RestartWith {
        /// The apps.
        apps: Vec<AppSpec>,
        /// Whether they are to be up; none: as each says by `autostart`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rise: Option<bool>,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Replaces runs instance by instance, new before old; goes back if a new one does not come up.
    Reload {
        /// Which.
        targets: Vec<String>,
        /// What changes.
        #[serde(default)]
        change: Box<Change>,
        /// How many instances of an app at once; 0 = one.
        #[serde(default)]
        parallel: u32,
        /// Even if a reload of the app is under way, which is given up then.
        #[serde(default)]
        force: bool,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// The same with new specs by name; starts unknown ones (`reload FILE`).
    ReloadWith {
        /// The apps.
        apps: Vec<AppSpec>,
        /// How many instances of an app at once; 0 = one.
        #[serde(default)]
        parallel: u32,
        /// Whether they are to be up; none: as each says by `autostart`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rise: Option<bool>,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// What `apply` would do.
    Compare {
        /// The apps.
        apps: Vec<AppSpec>,
        /// Also name the apps that came from this file and are not among them.
        #[serde(default)]
        prune: Option<String>,
        /// Whether known apps take the caller's environment, too.
        #[serde(default)]
        update_env: bool,
    },
    /// Makes apps what a file says, touching only what differs.
    Apply {
        /// The apps.
        apps: Vec<AppSpec>,
        /// Remove apps that came from this file and are not among them.
        #[serde(default)]
        prune: Option<String>,
        /// Whether known apps take the caller's environment, too.
        #[serde(default)]
        update_env: bool,
        /// How many instances of an app at once; 0 = one.
        #[serde(default)]
        parallel: u32,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Stops.
    Stop {
        /// Which.
        targets: Vec<String>,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Stops and forgets.
    Delete {
        /// Which.
        targets: Vec<String>,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Changes the number of instances.
    Scale {
        /// App.
        target: String,
        /// Number.
        to: Scale,
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Zeroes counters.
    Reset {
        /// Which.
        targets: Vec<String>,
    },
    /// Sends a signal to main processes.
    Signal {
        /// Which.
        targets: Vec<String>,
        /// Signal number.
        signal: i32,
    },
    /// Writes a line to an app's standard input.
    Send {
        /// One instance.
        target: String,
        /// The line, without its newline.
        line: String,
    },
    /// Empties log files.
    Flush {
        /// Which; empty = all.
        targets: Vec<String>,
    },
    /// Opens log files again.
    ReloadLogs,
    /// Keeps the list for `resurrect`.
    Save {
        /// Even if it is empty.
        #[serde(default)]
        force: bool,
    },
    /// Starts what was saved and is not in the list.
    Resurrect {
        /// Reply when the outcome is known.
        wait: bool,
    },
    /// Forgets what was saved.
    Cleardump,
    /// Stops every app, then ends daemon and keeper.
    Kill {
        /// The list on disk stays: whoever comes next starts what was running.
        #[serde(default)]
        keep_list: bool,
    },
    /// Replaces the program of daemon, keeper and shims by this executable, under running apps.
    Update {
        /// Absolute path.
        exe: String,
    },
    /// These settings are in force from here on, all others have their defaults.
    Settings {
        /// As `settings.json` has them.
        values: BTreeMap<String, String>,
    },
    /// About the daemon.
    Status,
    /// Streams events until the connection ends.
    Subscribe {
        /// First those that are remembered since then, milliseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_ms: Option<u64>,
    },
}

impl Op {
    /// Whether it changes anything.
    pub const fn changes(&self) -> bool {
        !matches!(
            self,
            Self::Compare { .. } | Self::Ping | Self::List { .. } | Self::Status | Self::Subscribe { .. }
        )
    }

    /// Whether it may add to the list, take out of it, or have something run that did not: what is better
    /// refused than done where it cannot be saved. What relieves a full disk is not among them.
    pub const fn changes_the_list(&self) -> bool {
        matches!(
            self,
            Self::Start { .. }
                | Self::StartKnown { .. }
                | Self::RestartWith { .. }
                | Self::ReloadWith { .. }
                | Self::Delete { .. }
                | Self::Scale { .. }
                | Self::Resurrect { .. }
        )
    }
}
