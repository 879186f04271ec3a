//! What daemon, keeper and shim say to each other.
//!
//! One `SOCK_SEQPACKET` record is one message, encoded by hand with fixed little-endian integers: the
//! keeper and the shims parse nothing else. Every message names the run it speaks of, and every
//! request is idempotent: a daemon that does not know whether its predecessor sent it sends it again.
//!
//! Invariant: a record is at most [`MAX_RECORD`] bytes. What may be larger (the launch description,
//! with arguments and environment) travels as a sealed memfd beside the record.

use crate::codec::{DecodeError, Reader, Writer};

/// Number of this contract; a keeper refuses a daemon that speaks another one.
pub const CONTRACT: u16 = 1;
/// Upper bound of one record in bytes.
pub const MAX_RECORD: usize = 512;
/// Upper bound of descriptors beside one record (`SCM_MAX_FD` is 253).
pub const MAX_FDS: usize = 64;

/// Identity of one spawn: never used twice in a home, not even after a crash or a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey(pub u64);

/// Requests of the daemon to the keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToKeeper {
    /// Forks a shim that launches an app. Descriptors beside it, in this order: the shim's end of a
    /// connection to the daemon, the bound and listening shim socket, the launch memfd, then every
    /// descriptor that [`crate::launch::Launch::fds`] refers to by position.
    Spawn {
        /// The new run.
        run: RunKey,
    },
    /// Forks a shim for an app that is alive but has lost its own shim and keeper. Descriptors as
    /// for `Spawn`. The shim checks `start_time` through a pidfd before it believes in `pid`.
    Adopt {
        /// The run as it was journaled.
        run: RunKey,
        /// Process id as it was journaled.
        pid: i32,
        /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat`.
        start_time: u64,
    },
    /// Replaces the keeper's program in place by the executable beside it (one descriptor); its
    /// shims follow with their own `Upgrade`.
    Upgrade,
    /// Ends the keeper (and with it the restarting of the daemon) once no shim is left.
    Quit,
    /// Keeps the descriptor beside it (a listening socket) for the daemons to come.
    Hold {
        /// Its name.
        key: u64,
    },
    /// Closes a descriptor that is held.
    Drop {
        /// Its name.
        key: u64,
    },
    /// Answer to [`FromKeeper::AreYouThere`].
    Here,
    /// The next daemon executes the program beside it (one descriptor). Until that daemon has shown
    /// with an `Upgrade` that it is up, its death brings the old program back.
    TryProgram,
}

/// Reports of the keeper to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromKeeper {
    /// First record after the daemon has been started.
    Hello {
        /// [`CONTRACT`] of the keeper.
        contract: u16,
        /// Process id of the keeper.
        pid: i32,
        /// How often this keeper has started a daemon, this one included.
        daemon_starts: u32,
        /// How many [`FromKeeper::Held`] follow.
        held: u32,
    },
    /// A descriptor that an earlier daemon had held; it is beside the record.
    Held {
        /// Its name.
        key: u64,
    },
    /// The shim could not be forked; nothing of the run exists.
    ForkFailed {
        /// The run that was asked for.
        run: RunKey,
        /// What `fork` or the preparation said.
        errno: i32,
    },
    /// Second record after a candidate (`ToKeeper::TryProgram`) has died: this daemon is the old program.
    CandidateFailed {
        /// How the candidate ended, as `waitpid` counts: exit code, or 256 + signal.
        status: u32,
    },
    /// Somebody got no answer from the daemon: it has to answer `Here` within a few seconds, or is
    /// killed and started anew.
    AreYouThere,
}

/// Which processes of a run a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The main process alone.
    Main,
    /// The main process, its process group and every descendant, each once.
    Tree,
}

/// Requests of the daemon to a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToShim {
    /// Opens the gate: the waiting child may exec. Sent after the run has been journaled.
    Go,
    /// Sends a signal.
    Signal {
        /// Signal number.
        signal: i32,
        /// Who gets it.
        scope: Scope,
    },
    /// Stops and kills every descendant, again and again until none is left (`ECHILD`). On a run
    /// still at its gate: cancels it, unrun.
    KillTree,
    /// The daemon has durably taken note of the exit: the shim may go once the output is written.
    Release,
    /// Starts new log files now (scheduled rotation).
    Rotate,
    /// Opens the log files again by their names.
    Reopen,
    /// Empties the log files.
    Flush,
    /// Another run writes (or no longer writes) the same files: append whole lines under a lock.
    Share {
        /// Whether the files are shared from now on.
        on: bool,
    },
    /// Replaces the shim's program in place by the executable beside it (one descriptor).
    Upgrade,
}

/// Where a run stands, from the shim's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// No child exists yet.
    Preparing = 0,
    /// The child exists and waits at the gate.
    AtGate = 1,
    /// The gate was opened; whether exec succeeds is not known yet.
    Launching = 2,
    /// Exec succeeded: the app runs.
    Running = 3,
    /// The main process is gone; see [`RunReport::end`].
    Ended = 4,
}

/// Step of the child's preparation; named in the error when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Forking the child.
    Fork = 0,
    /// `setsid`.
    Session = 1,
    /// Resource limits.
    Limits = 2,
    /// `setpriority`.
    Nice = 3,
    /// `umask`.
    Umask = 4,
    /// Supplementary groups, gid, uid.
    Credentials = 5,
    /// `chdir`.
    WorkingDirectory = 6,
    /// Standard streams and passed descriptors.
    Descriptors = 7,
    /// Opening a log file (done by the shim).
    LogFile = 8,
    /// `execve`.
    Exec = 9,
}

impl Stage {
    /// Every stage, in order of its number.
    pub const ALL: [Self; 10] = [
        Self::Fork,
        Self::Session,
        Self::Limits,
        Self::Nice,
        Self::Umask,
        Self::Credentials,
        Self::WorkingDirectory,
        Self::Descriptors,
        Self::LogFile,
        Self::Exec,
    ];

    /// What was being done, as the object of "failed while …".
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Fork => "forking the process",
            Self::Session => "starting a session",
            Self::Limits => "setting resource limits",
            Self::Nice => "setting the nice value",
            Self::Umask => "setting the umask",
            Self::Credentials => "setting user and group",
            Self::WorkingDirectory => "entering the working directory",
            Self::Descriptors => "setting up descriptors",
            Self::LogFile => "opening the log file",
            Self::Exec => "executing the program",
        }
    }

    pub(crate) fn from_u8(n: u8) -> Result<Self, DecodeError> {
        Self::ALL.get(usize::from(n)).copied().ok_or(DecodeError)
    }
}

/// How the main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal {
        /// Signal number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It is gone and nobody can say how (every process of wpm was dead when it ended).
    Unknown,
    /// It never became the app: a stage failed.
    NotStarted {
        /// Which stage.
        stage: Stage,
        /// What the kernel said.
        errno: i32,
    },
    /// It was cancelled at the gate and never ran.
    Cancelled,
}

/// Resources that the run used, from `wait4`; zero where unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// User CPU time in microseconds.
    pub user_us: u64,
    /// System CPU time in microseconds.
    pub system_us: u64,
    /// Greatest resident set in KiB.
    pub max_rss_kib: u64,
}

/// State of the run's log files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogHealth {
    /// Error number of the last failed write, 0 while writing works (`ENOSPC` for a full disk).
    pub errno: i32,
    /// Bytes given up after the disk had been full for too long, since the run began.
    pub dropped: u64,
}

/// Everything a shim knows of its run. Sent whole on connection and at each change: the last one is
/// the truth, and none has to be remembered.
///
/// On the first report of a connection two descriptors may ride beside it: the app's stdin (write
/// end) and the IPC channel, as [`RunReport::carries`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunReport {
    /// The run.
    pub run: RunKey,
    /// Process id of the shim.
    pub shim_pid: i32,
    /// Process id of the main process, 0 before it exists.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_time: u64,
    /// Where it stands.
    pub phase: Phase,
    /// How it ended, from `Ended` on.
    pub end: Option<End>,
    /// Milliseconds of `CLOCK_BOOTTIME` at which exec succeeded, 0 before.
    pub running_since_ms: u64,
    /// Milliseconds of `CLOCK_BOOTTIME` at which the main process was seen to end, 0 before.
    pub ended_at_ms: u64,
    /// Resources used, from `Ended` on.
    pub usage: Usage,
    /// Whether no descendant is left: proved by `ECHILD` where the shim is the parent.
    pub tree_gone: bool,
    /// The log files.
    pub log: LogHealth,
    /// Descriptors beside this record: bit 0 stdin, bit 1 IPC channel.
    pub carries: u8,
}

const STDIN_BIT: u8 = 1;
const IPC_BIT: u8 = 2;

impl RunReport {
    /// Marks the descriptors that ride beside the record.
    pub fn set_carries(&mut self, stdin: bool, ipc: bool) {
        self.carries = if stdin { STDIN_BIT } else { 0 } | if ipc { IPC_BIT } else { 0 };
    }
    /// Whether the first descriptor is the app's stdin.
    pub const fn carries_stdin(&self) -> bool {
        self.carries & STDIN_BIT != 0
    }
    /// Whether the next descriptor is the app's IPC channel.
    pub const fn carries_ipc(&self) -> bool {
        self.carries & IPC_BIT != 0
    }
}

impl ToKeeper {
    /// Encodes the message into one record.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Spawn { run } => w.u8(1).u64(run.0),
            Self::Adopt { run, pid, start_time } => w.u8(2).u64(run.0).i32(*pid).u64(*start_time),
            Self::Upgrade => w.u8(3),
            Self::Quit => w.u8(4),
            Self::Here => w.u8(5),
            Self::TryProgram => w.u8(6),
            Self::Hold { key } => w.u8(7).u64(*key),
            Self::Drop { key } => w.u8(8).u64(*key),
        };
        w.finish()
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// When it is not a message of this contract.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(record);
        let message = match r.u8()? {
            1 => Self::Spawn { run: RunKey(r.u64()?) },
            2 => Self::Adopt { run: RunKey(r.u64()?), pid: r.i32()?, start_time: r.u64()? },
            3 => Self::Upgrade,
            4 => Self::Quit,
            5 => Self::Here,
            6 => Self::TryProgram,
            7 => Self::Hold { key: r.u64()? },
            8 => Self::Drop { key: r.u64()? },
            _ => return Err(DecodeError),
        };
        r.end(message)
    }
}

impl FromKeeper {
    /// Encodes the message into one record.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Hello { contract, pid, daemon_starts, held } => {
                w.u8(1).u32(u32::from(*contract)).i32(*pid).u32(*daemon_starts).u32(*held)
            }
            Self::Held { key } => w.u8(5).u64(*key),
            Self::ForkFailed { run, errno } => w.u8(2).u64(run.0).i32(*errno),
            Self::AreYouThere => w.u8(3),
            Self::CandidateFailed { status } => w.u8(4).u32(*status),
        };
        w.finish()
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// When it is not a message of this contract.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(record);
        let message = match r.u8()? {
            1 => Self::Hello {
                contract: u16::try_from(r.u32()?).map_err(|_| DecodeError)?,
                pid: r.i32()?,
                daemon_starts: r.u32()?,
                held: r.u32()?,
            },
            5 => Self::Held { key: r.u64()? },
            2 => Self::ForkFailed { run: RunKey(r.u64()?), errno: r.i32()? },
            3 => Self::AreYouThere,
            4 => Self::CandidateFailed { status: r.u32()? },
            _ => return Err(DecodeError),
        };
        r.end(message)
    }
}

impl ToShim {
    /// Encodes the message into one record.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Go => w.u8(1),
            Self::Signal { signal, scope } => w.u8(2).i32(*signal).u8(u8::from(*scope == Scope::Tree)),
            Self::KillTree => w.u8(3),
            Self::Release => w.u8(4),
            Self::Rotate => w.u8(5),
            Self::Reopen => w.u8(6),
            Self::Flush => w.u8(7),
            Self::Share { on } => w.u8(8).u8(u8::from(*on)),
            Self::Upgrade => w.u8(9),
        };
        w.finish()
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// When it is not a message of this contract.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(record);
        let message = match r.u8()? {
            1 => Self::Go,
            2 => {
                Self::Signal { signal: r.i32()?, scope: if r.u8()? == 1 { Scope::Tree } else { Scope::Main } }
            }
            3 => Self::KillTree,
            4 => Self::Release,
            5 => Self::Rotate,
            6 => Self::Reopen,
            7 => Self::Flush,
            8 => Self::Share { on: r.u8()? == 1 },
            9 => Self::Upgrade,
            _ => return Err(DecodeError),
        };
        r.end(message)
    }
}

impl RunReport {
    /// Encodes the report into one record.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(1).u64(self.run.0).i32(self.shim_pid).i32(self.pid).u64(self.start_time).u8(self.phase as u8);
        match self.end {
            None => w.u8(0),
            Some(End::Code(code)) => w.u8(1).i32(code),
            Some(End::Signal { signal, core }) => w.u8(2).i32(signal).u8(u8::from(core)),
            Some(End::Unknown) => w.u8(3),
            Some(End::NotStarted { stage, errno }) => w.u8(4).u8(stage as u8).i32(errno),
            Some(End::Cancelled) => w.u8(5),
        };
        w.u64(self.running_since_ms).u64(self.ended_at_ms);
        w.u64(self.usage.user_us).u64(self.usage.system_us).u64(self.usage.max_rss_kib);
        w.u8(u8::from(self.tree_gone)).i32(self.log.errno).u64(self.log.dropped).u8(self.carries);
        w.finish()
    }

    /// Decodes one record.
    ///
    /// # Errors
    /// When it is not a report of this contract.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(record);
        if r.u8()? != 1 {
            return Err(DecodeError);
        }
        let (run, shim_pid, pid, start_time) = (RunKey(r.u64()?), r.i32()?, r.i32()?, r.u64()?);
        let phase = match r.u8()? {
            0 => Phase::Preparing,
            1 => Phase::AtGate,
            2 => Phase::Launching,
            3 => Phase::Running,
            4 => Phase::Ended,
            _ => return Err(DecodeError),
        };
        let end = match r.u8()? {
            0 => None,
            1 => Some(End::Code(r.i32()?)),
            2 => Some(End::Signal { signal: r.i32()?, core: r.u8()? == 1 }),
            3 => Some(End::Unknown),
            4 => Some(End::NotStarted { stage: Stage::from_u8(r.u8()?)?, errno: r.i32()? }),
            5 => Some(End::Cancelled),
            _ => return Err(DecodeError),
        };
        let report = Self {
            run,
            shim_pid,
            pid,
            start_time,
            phase,
            end,
            running_since_ms: r.u64()?,
            ended_at_ms: r.u64()?,
            usage: Usage { user_us: r.u64()?, system_us: r.u64()?, max_rss_kib: r.u64()? },
            tree_gone: r.u8()? == 1,
            log: LogHealth { errno: r.i32()?, dropped: r.u64()? },
            carries: r.u8()?,
        };
        r.end(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        for m in [
            ToKeeper::Spawn { run: RunKey(7) },
            ToKeeper::Adopt { run: RunKey(u64::MAX), pid: 1, start_time: 2 },
            ToKeeper::Upgrade,
            ToKeeper::Quit,
            ToKeeper::Here,
            ToKeeper::TryProgram,
            ToKeeper::Hold { key: 9 },
            ToKeeper::Drop { key: u64::MAX },
        ] {
            assert_eq!(ToKeeper::decode(&m.encode()), Ok(m));
        }
        for m in [
            ToShim::Go,
            ToShim::Signal { signal: 15, scope: Scope::Tree },
            ToShim::Signal { signal: 2, scope: Scope::Main },
            ToShim::KillTree,
            ToShim::Release,
            ToShim::Rotate,
            ToShim::Reopen,
            ToShim::Flush,
            ToShim::Share { on: true },
            ToShim::Upgrade,
        ] {
            assert_eq!(ToShim::decode(&m.encode()), Ok(m));
        }
        for m in [
            FromKeeper::Hello { contract: CONTRACT, pid: 5, daemon_starts: 2, held: 1 },
            FromKeeper::Held { key: 3 },
            FromKeeper::ForkFailed { run: RunKey(1), errno: 11 },
            FromKeeper::AreYouThere,
            FromKeeper::CandidateFailed { status: 256 + 11 },
        ] {
            assert_eq!(FromKeeper::decode(&m.encode()), Ok(m));
        }
    }

    #[test]
    fn every_end_survives_the_wire() {
        for end in [
            None,
            Some(End::Code(-1)),
            Some(End::Signal { signal: 9, core: true }),
            Some(End::Unknown),
            Some(End::NotStarted { stage: Stage::Credentials, errno: 1 }),
            Some(End::Cancelled),
        ] {
            let report = RunReport {
                run: RunKey(3),
                shim_pid: 4,
                pid: 5,
                start_time: 6,
                phase: Phase::Ended,
                end,
                running_since_ms: 7,
                ended_at_ms: 8,
                usage: Usage { user_us: 9, system_us: 10, max_rss_kib: 11 },
                tree_gone: true,
                log: LogHealth { errno: 28, dropped: 12 },
                carries: 3,
            };
            let record = report.encode();
            assert!(record.len() <= MAX_RECORD);
            assert_eq!(RunReport::decode(&record), Ok(report));
            for cut in 0..record.len() {
                assert!(RunReport::decode(&record[..cut]).is_err(), "a cut record must not decode");
            }
        }
    }
}
