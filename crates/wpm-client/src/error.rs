//! What can go wrong between a command and the daemon: one enum, each variant with what was tried, on
//! which path, and why it failed.
//!
//! Holds no advice for users; hints belong to the command line.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use wpm_proto::{ExitCode, WireError};

/// Why the client could not do its part, or what the daemon said no to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `WPM_HOME` nor a home directory of the user is known.
    #[error("cannot tell where wpm's home is: neither WPM_HOME nor HOME is set")]
    NoHome,
    /// `WPM_HOME` is relative.
    #[error("WPM_HOME must be an absolute path, it is `{}`", path.display())]
    RelativeHome {
        /// As it was given.
        path: PathBuf,
    },
    /// The home belongs to another user.
    #[error("refusing {}: it belongs to user {owner}, not to user {user}", path.display())]
    ForeignHome {
        /// The home.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// Others may write into the home, and so could plant a socket.
    #[error("refusing {}: other users may write into it (mode {mode:03o})", path.display())]
    OpenHome {
        /// The home.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file operation.
    #[error("cannot {action} {}: {cause}", path.display())]
    File {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// No daemon listens, and none was to be started.
    #[error("no daemon is running in {}", home.display())]
    NoDaemon {
        /// The home.
        home: PathBuf,
    },
    /// The socket is there but cannot be connected to.
    #[error("cannot connect to {}: {cause}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The daemon was started and did not come up.
    #[error("the daemon did not come up in {}: {reason}", home.display())]
    DaemonStart {
        /// The home.
        home: PathBuf,
        /// How it failed.
        reason: String,
        /// Last lines of its log.
        log: Vec<String>,
    },
    /// The connection ended before the answer.
    #[error("the daemon ended the connection before it answered")]
    Lost,
    /// Reading or writing failed.
    #[error("cannot talk to the daemon: {0}")]
    Talk(#[source] io::Error),
    /// No answer in time.
    #[error("the daemon did not answer within {}", seconds(*.0))]
    TimedOut(Duration),
    /// The answer cannot be understood.
    #[error("the daemon's answer is not understood: {0}")]
    Protocol(String),
    /// The request is larger than a frame may be.
    #[error("the request is {0} bytes long, more than a daemon accepts (8 MiB)")]
    TooLarge(usize),
    /// Client and daemon speak different contracts.
    #[error("the daemon speaks contract {daemon}, this wpm speaks {client}")]
    Contract {
        /// Number of the daemon.
        daemon: u32,
        /// Number of the client.
        client: u32,
    },
    /// The daemon refused, or it failed there.
    #[error("{0}")]
    Refused(WireError),
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

impl Error {
    /// Makes a file error; meant for `map_err`.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File { action, path, cause }
    }

    /// Exit code of a command that fails with it.
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            Self::TimedOut(_) => ExitCode::TimedOut,
            Self::TooLarge(_) => ExitCode::Failed,
            Self::Refused(error) => error.code.exit_code(),
            _ => ExitCode::DaemonUnreachable,
        }
    }

    /// Whether the same request may succeed over a new connection.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Lost => true,
            Self::Talk(cause) => {
                matches!(
                    cause.kind(),
                    io::ErrorKind::BrokenPipe
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::UnexpectedEof
                )
            }
            _ => false,
        }
    }
}
