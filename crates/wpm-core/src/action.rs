//! What comes out of the core: what must be done, in the imperative.

use crate::{Cause, CommandError, Exit, InstanceId, RunId, RunInfo, Ticket};

/// Which processes of a run a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The main process.
    Main,
    /// It, its process group and all descendants.
    Tree,
}

/// What must be done by the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Spawn this instance as this run; its spec is [`crate::Core::spec_of_run`]'s.
    Spawn {
        /// The run.
        run: RunId,
        /// The instance.
        instance: InstanceId,
        /// Whether another run of the instance writes the same log files.
        shared: bool,
    },
    /// Journal the run (pid, start time), then open its gate.
    Go {
        /// The run.
        run: RunId,
    },
    /// Send a signal.
    Signal {
        /// The run.
        run: RunId,
        /// Signal number.
        signal: i32,
        /// To whom.
        scope: Scope,
    },
    /// Ask it to end by a message over its channel; where it has none, by its stop signal.
    SendMessage {
        /// The run.
        run: RunId,
        /// The message, a string of JavaScript.
        text: String,
    },
    /// Keep new work from it and, where that can be asked of it (cluster: `disconnect`), have it finish
    /// what it has begun; then report [`crate::Event::Drained`].
    Drain {
        /// The run.
        run: RunId,
    },
    /// It runs: find out when it is ready, as its spec says.
    AwaitReady {
        /// The run.
        run: RunId,
    },
    /// It is up, ready or no longer waited for: watch its health, as its spec says.
    WatchHealth {
        /// The run.
        run: RunId,
    },
    /// It has come up: said that it is ready, or taken the place of the run before it. Journal that, for a
    /// daemon that comes after this one.
    Remember {
        /// The run.
        run: RunInfo,
        /// Its instance, where it has taken the place of another run. What follows for that instance is done only
        /// once this is journaled: a daemon that knows nothing of it would have the old run serve on.
        replaced: Option<InstanceId>,
    },
    /// Another run begins, or has ceased, to write the same log files.
    Share {
        /// The run that is to share them.
        run: RunId,
        /// Whether it does so from now on.
        on: bool,
    },
    /// Kill all that is left of the run; cancel it if it is at its gate.
    KillTree {
        /// The run.
        run: RunId,
    },
    /// The exit is accounted for: journal it, then let the shim go.
    Release {
        /// The run.
        run: RunId,
    },
    /// The desired state has changed: write it. Replies that follow wait until it is durable.
    Persist,
    /// Something happened that watchers may want to know (event stream, daemon log).
    Note {
        /// The instance.
        instance: InstanceId,
        /// App name at that moment.
        app: String,
        /// Instance index.
        index: u32,
        /// What.
        note: Note,
    },
    /// One instance of a waiting command has reached its outcome (progress).
    Progress {
        /// Whose command.
        ticket: Ticket,
        /// The outcome.
        outcome: InstanceOutcome,
    },
    /// The command is done.
    Reply {
        /// Whose command.
        ticket: Ticket,
        /// Its result.
        reply: Reply,
    },
    /// End the daemon (and keeper); after `StopAll`.
    ///
    /// Where one of them did not die of any kill ([`Outcome::StillAlive`]) its end is waited for all the same: the
    /// next daemon would start again what is wanted up.
    Quit,
}

/// A line of history, past tense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Exec succeeded.
    Online {
        /// Process id.
        pid: i32,
    },
    /// It is ready.
    Ready,
    /// The main process ended.
    Exited {
        /// How.
        exit: Exit,
        /// Milliseconds that it was up.
        uptime_ms: u64,
    },
    /// A restart was planned in so many milliseconds (0 = at once).
    RestartPlanned {
        /// Delay.
        delay_ms: u64,
        /// Why it restarts.
        cause: Cause,
    },
    /// A stop began.
    Stopping {
        /// Why.
        cause: Cause,
    },
    /// It is down as wanted.
    Stopped,
    /// It was given up.
    Errored {
        /// Why.
        cause: Cause,
    },
    /// A reload put a new run in the place of the old one.
    Replaced {
        /// Process id of the new run.
        pid: i32,
    },
    /// A new run did not come up: the old one serves on.
    NotReplaced {
        /// Why.
        cause: Cause,
    },
    /// It was removed from the list.
    Deleted,
    /// Its schedule said that it is to run, but its last run still does.
    Skipped,
    /// Its logs cannot be written, or can again (0).
    LogTrouble {
        /// Kernel error number, 0 when it works again.
        errno: i32,
    },
}

/// How one instance came out of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Up, and past its start check.
    Up {
        /// Process id.
        pid: i32,
    },
    /// Up again after a reload that could not overlap: for a moment nobody served.
    Restarted {
        /// Process id.
        pid: i32,
    },
    /// Down as asked, tree gone.
    Down,
    /// Removed.
    Deleted,
    /// It ended during its start check as a job that is done: successfully, and it is not to be started
    /// again.
    Finished {
        /// How.
        exit: Exit,
        /// Milliseconds after exec.
        after_ms: u64,
    },
    /// It ended during its start check.
    Died {
        /// How.
        exit: Exit,
        /// Milliseconds after exec.
        after_ms: u64,
    },
    /// It could not be spawned.
    SpawnFailed {
        /// Stage phrase.
        stage: &'static str,
        /// Kernel error number.
        errno: i32,
    },
    /// It was alive, but did not become ready in time.
    NotReady {
        /// Milliseconds after exec.
        after_ms: u64,
    },
    /// The reload of another instance failed: this one runs with the old spec again, or still.
    RolledBack,
    /// The reload of another instance failed before this one's turn: nothing was done to it.
    NotTried,
    /// Processes of it are left although they were killed several times (a disk or a network file
    /// system that hangs); wpm goes on trying, the command waits no longer.
    StillAlive {
        /// Process id of its main process.
        pid: i32,
    },
    /// It starts once an app that it depends on is there, which will not be by itself.
    Waits {
        /// The app's name.
        app: String,
    },
    /// It is a job, which waits for the clock.
    Scheduled,
    /// Another command decided otherwise meanwhile.
    Superseded,
    /// Listed, not started (`autostart: false`); reset; signalled: nothing to wait for.
    Done,
}

/// The outcome of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceOutcome {
    /// Which.
    pub instance: InstanceId,
    /// App name.
    pub app: String,
    /// Index within the app.
    pub index: u32,
    /// How.
    pub outcome: Outcome,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Refused: nothing was done.
    Refused(CommandError),
    /// Done, with the outcome of every instance that it concerned.
    Done(Vec<InstanceOutcome>),
}
