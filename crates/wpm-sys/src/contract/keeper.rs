//! What daemon and keeper say to each other.

use super::RunKey;
use crate::codec::{DecodeError, Reader, Writer};

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
    /// A file of the home was taken away and made again: the descriptor beside it counts from now on.
    Renew(Thing),
}

/// What a keeper has open of its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// The lock that it holds for life, held already.
    Lock,
    /// The listening socket at which it hears that the daemon is mute.
    Complaints,
    /// The file that its own words go to.
    Log,
    /// The listening socket of a run's shim.
    Door(RunKey),
}

/// Reports of the keeper to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromKeeper {
    /// First record after the daemon has been started.
    Hello {
        /// [`CONTRACT`](super::CONTRACT) of the keeper.
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
            Self::Renew(Thing::Lock) => w.u8(9).u8(0),
            Self::Renew(Thing::Complaints) => w.u8(9).u8(1),
            Self::Renew(Thing::Log) => w.u8(9).u8(2),
            Self::Renew(Thing::Door(run)) => w.u8(9).u8(3).u64(run.0),
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
            9 => Self::Renew(match r.u8()? {
                0 => Thing::Lock,
                1 => Thing::Complaints,
                2 => Thing::Log,
                3 => Thing::Door(RunKey(r.u64()?)),
                _ => return Err(DecodeError),
            }),
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
