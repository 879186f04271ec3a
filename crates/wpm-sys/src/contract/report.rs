//! What a shim tells of its run.

use super::RunKey;
use crate::codec::{DecodeError, Reader, Writer};

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
    /// A resource limit that has no stage of its own below.
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
    /// The control group of the run.
    ControlGroup = 10,
    /// The limit `as`.
    LimitAs = 11,
    /// The limit `core`.
    LimitCore = 12,
    /// The limit `cpu`.
    LimitCpu = 13,
    /// The limit `data`.
    LimitData = 14,
    /// The limit `fsize`.
    LimitFsize = 15,
    /// The limit `memlock`.
    LimitMemlock = 16,
    /// The limit `msgqueue`.
    LimitMsgqueue = 17,
    /// The limit `nice`.
    LimitNice = 18,
    /// The limit `nofile`.
    LimitNofile = 19,
    /// The limit `nproc`.
    LimitNproc = 20,
    /// The limit `rtprio`.
    LimitRtprio = 21,
    /// The limit `sigpending`.
    LimitSigpending = 22,
    /// The limit `stack`.
    LimitStack = 23,
}

impl Stage {
    /// Every stage, in order of its number.
    pub const ALL: [Self; 24] = [
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
        Self::ControlGroup,
        Self::LimitAs,
        Self::LimitCore,
        Self::LimitCpu,
        Self::LimitData,
        Self::LimitFsize,
        Self::LimitMemlock,
        Self::LimitMsgqueue,
        Self::LimitNice,
        Self::LimitNofile,
        Self::LimitNproc,
        Self::LimitRtprio,
        Self::LimitSigpending,
        Self::LimitStack,
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
            Self::ControlGroup => "setting up the control group",
            Self::LimitAs => "setting the limit as",
            Self::LimitCore => "setting the limit core",
            Self::LimitCpu => "setting the limit cpu",
            Self::LimitData => "setting the limit data",
            Self::LimitFsize => "setting the limit fsize",
            Self::LimitMemlock => "setting the limit memlock",
            Self::LimitMsgqueue => "setting the limit msgqueue",
            Self::LimitNice => "setting the limit nice",
            Self::LimitNofile => "setting the limit nofile",
            Self::LimitNproc => "setting the limit nproc",
            Self::LimitRtprio => "setting the limit rtprio",
            Self::LimitSigpending => "setting the limit sigpending",
            Self::LimitStack => "setting the limit stack",
        }
    }

    /// The stage of setting the limit with this number of the kernel.
    pub const fn of_limit(resource: u32) -> Self {
        match resource {
            libc::RLIMIT_AS => Self::LimitAs,
            libc::RLIMIT_CORE => Self::LimitCore,
            libc::RLIMIT_CPU => Self::LimitCpu,
            libc::RLIMIT_DATA => Self::LimitData,
            libc::RLIMIT_FSIZE => Self::LimitFsize,
            libc::RLIMIT_MEMLOCK => Self::LimitMemlock,
            libc::RLIMIT_MSGQUEUE => Self::LimitMsgqueue,
            libc::RLIMIT_NICE => Self::LimitNice,
            libc::RLIMIT_NOFILE => Self::LimitNofile,
            libc::RLIMIT_NPROC => Self::LimitNproc,
            libc::RLIMIT_RTPRIO => Self::LimitRtprio,
            libc::RLIMIT_SIGPENDING => Self::LimitSigpending,
            libc::RLIMIT_STACK => Self::LimitStack,
            _ => Self::Limits,
        }
    }

    fn from_u8(n: u8) -> Result<Self, DecodeError> {
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
    /// Descriptors beside this record: bit 0 stdin, bit 1 IPC channel. Bit 2 is none: the kernel killed
    /// it because memory was short.
    pub carries: u8,
}

const STDIN_BIT: u8 = 1;
const IPC_BIT: u8 = 2;
const MEMORY_BIT: u8 = 4;

impl RunReport {
    /// Marks the descriptors that ride beside the record.
    pub fn set_carries(&mut self, stdin: bool, ipc: bool) {
        let others = self.carries & !(STDIN_BIT | IPC_BIT);
        self.carries = others | if stdin { STDIN_BIT } else { 0 } | if ipc { IPC_BIT } else { 0 };
    }
    /// Says that it was killed because memory was short.
    pub const fn set_out_of_memory(&mut self) {
        self.carries |= MEMORY_BIT;
    }
    /// Whether the kernel killed it because memory was short.
    pub const fn is_out_of_memory(&self) -> bool {
        self.carries & MEMORY_BIT != 0
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
