//! What goes into the core: commands of clients and events of runs.

use crate::{Exit, InstanceId, RunId, Selector, Spec, SpecChange};

/// One app of a start request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartApp {
    /// What to run.
    pub spec: Spec,
    /// Whether to start its instances now (`autostart: false`: only list it).
    pub start_now: bool,
}

/// What to do when an app of this name exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The apps, in order.
    pub apps: Vec<StartApp>,
    /// `--force`: start it a second time under a free name.
    pub force: bool,
}

/// Apps as they shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// The apps.
    pub apps: Vec<StartApp>,
    /// Remove apps that came from this file and are not among them.
    pub prune: Option<String>,
    /// Whether known apps take the caller's environment, too.
    pub update_env: bool,
    /// How many instances of an app are replaced at once; 0 = one.
    pub parallel: u32,
    /// An earlier daemon has begun with this, before this run: what is left are reloads that it was in the middle of.
    pub since: Option<RunId>,
}

/// Number of instances to scale to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleTo {
    /// Exactly so many.
    Exactly(u32),
    /// So many more.
    More(u32),
    /// So many fewer; at least one stays.
    Fewer(u32),
}

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Starts new apps; an app of that name which is stopped or errored starts again with the new
    /// spec, one that is up is an error (pm2: "Script already launched") unless forced.
    Start(Start),
    /// Starts known apps that are down; ones that are up are left alone.
    StartKnown {
        /// Which.
        targets: Vec<Selector>,
        /// What changes in each spec; runs that are there keep what they have.
        change: SpecChange,
    },
    /// Stops, and starts again with the changes applied.
    Restart {
        /// Which.
        targets: Vec<Selector>,
        /// What the caller changes in each spec.
        change: SpecChange,
    },
    /// Replaces the spec of existing apps (by name) and restarts them; unknown ones are started.
    RestartWith(Vec<StartApp>),
    /// Replaces runs instance by instance, new before old where they can overlap; puts everything back
    /// when a new run does not come up.
    Reload {
        /// Which.
        targets: Vec<Selector>,
        /// What the caller changes in each spec.
        change: SpecChange,
        /// How many instances of an app at once; 0 = one.
        parallel: u32,
        /// Even if a reload of the app is under way, which is given up then.
        force: bool,
        /// It was begun under an earlier daemon: instances with a run of this number or a later one have
        /// had their turn.
        since: Option<RunId>,
    },
    /// The same with new specs for existing apps (by name); unknown ones are started.
    ReloadWith {
        /// The apps.
        apps: Vec<StartApp>,
        /// How many instances of an app at once; 0 = one.
        parallel: u32,
        /// As for [`Command::Reload`].
        since: Option<RunId>,
    },
    /// Makes apps what a file says, touching only what differs.
    Apply(Apply),
    /// Stops and keeps in the list.
    Stop(Vec<Selector>),
    /// Stops and forgets.
    Delete(Vec<Selector>),
    /// Changes the number of instances of one app.
    Scale {
        /// App name or a selector of one app.
        target: Selector,
        /// To how many.
        to: ScaleTo,
    },
    /// Sets restart counters to zero.
    Reset(Vec<Selector>),
    /// Sends a signal to the main processes.
    Signal {
        /// Which.
        targets: Vec<Selector>,
        /// Signal number.
        signal: i32,
    },
    /// Stops everything, forgets nothing; the daemon ends after the reply (`wpm kill`).
    StopAll,
}

/// Why a command was refused; nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// Nothing matches this selector; names that look like it.
    NoSuchApp {
        /// The selector as typed.
        target: String,
        /// Names within a small edit distance, best first.
        similar: Vec<String>,
    },
    /// `all` where the list is empty.
    NoApps,
    /// An app of that name is up already.
    AlreadyRunning {
        /// Its name.
        name: String,
    },
    /// `scale` to the number that is there.
    NothingToDo {
        /// The app.
        name: String,
        /// Its instances.
        count: u32,
    },
    /// A selector of `scale` that matches several apps.
    Ambiguous {
        /// The selector.
        target: String,
        /// What it matches.
        names: Vec<String>,
    },
    /// The spec cannot be run; field and reason.
    InvalidSpec {
        /// App name.
        name: String,
        /// Field.
        field: &'static str,
        /// Why, a full sentence fragment in lower case.
        reason: String,
    },
    /// `StopAll` was asked before: the daemon is about to end.
    ShuttingDown,
    /// A reload of that app is under way.
    ReloadInProgress {
        /// Its name.
        name: String,
    },
    /// No process to signal: the instances are down.
    NotRunning {
        /// The selector as typed.
        target: String,
    },
}

/// What happened to a run, in the past tense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The child exists and waits at its gate.
    Registered {
        /// Process id.
        pid: i32,
        /// Clock ticks since boot.
        start_time: u64,
    },
    /// Exec succeeded.
    Launched,
    /// The app is ready: it said so, its check succeeded, or it listens (a worker of a cluster).
    BecameReady,
    /// A check of its health has succeeded.
    BecameHealthy,
    /// Its checks of health failed as often as its spec allows.
    BecameUnhealthy,
    /// It missed its watchdog.
    WatchdogMissed,
    /// After [`crate::Action::Drain`]: it has nothing left to do, or cannot be asked; the stop sequence may
    /// begin.
    Drained,
    /// It says that it is about to end (notify: `STOPPING=1`).
    AskedToStop,
    /// It asks for more time to become ready or to end.
    ExtendTimeout {
        /// Milliseconds from now.
        ms: u64,
    },
    /// It never ran: a stage of its preparation failed.
    SpawnFailed {
        /// What was being done, as the object of "failed while …".
        stage: &'static str,
        /// Kernel error number.
        errno: i32,
        /// Whether trying again later can help (out of processes, memory, descriptors).
        transient: bool,
    },
    /// The main process ended.
    Exited {
        /// How.
        exit: Exit,
        /// Whether nothing of its tree is left.
        tree_gone: bool,
        /// Milliseconds from exec to the end, where the shim has measured them.
        ran_ms: Option<u64>,
    },
    /// No process of the tree is left.
    TreeGone,
    /// Shim and keeper lost this run, and it is not there any more: it was cancelled at its gate.
    Cancelled,
    /// Resident memory of the whole tree, in bytes.
    MemorySampled {
        /// Bytes.
        bytes: u64,
    },
    /// The log files cannot be written (error number), or can again (0).
    LogTrouble {
        /// Kernel error number, 0 when it works.
        errno: i32,
        /// Bytes given up so far.
        dropped: u64,
    },
}

/// One input.
#[expect(clippy::large_enum_variant, reason = "inputs live for one call and are never stored")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client's command.
    Command(crate::Ticket, Command),
    /// A run's event.
    Event(RunId, Event),
    /// The client of this ticket is gone: nobody waits for the reply; the work goes on.
    Forget(crate::Ticket),
    /// A deadline has come.
    Tick,
    /// A cron rule of this instance fired: restart it.
    CronFired(InstanceId),
    /// The schedule of this instance's job says that it is to run.
    ScheduleFired(InstanceId),
    /// A watched file of this app changed: restart it.
    FileChanged {
        /// The app.
        app: crate::AppId,
        /// The file.
        path: String,
    },
}
