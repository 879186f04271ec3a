//! What the daemon asks of a shim.

use crate::codec::{DecodeError, Reader, Writer};

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
    /// The socket at which daemons connect was taken away; the one beside it counts from now on.
    Door,
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
            Self::Door => w.u8(10),
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
            10 => Self::Door,
            _ => return Err(DecodeError),
        };
        r.end(message)
    }
}
