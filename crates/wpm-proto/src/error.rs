//! Errors on the wire and exit codes of the command line, in one table.

use serde::{Deserialize, Serialize};

/// Exit codes of `wpm`. Stable; documented in `docs/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// The operation failed: an app died at start, a file cannot be read, a name is taken.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The target is not running.
    NotRunning = 3,
    /// No such app.
    NoSuchApp = 4,
    /// The daemon cannot be reached or started.
    DaemonUnreachable = 5,
    /// A configuration is invalid.
    Configuration = 6,
    /// No answer or no outcome in time.
    TimedOut = 7,
    /// Some instances did as asked, some did not.
    PartlyFailed = 8,
    /// Interrupted (Ctrl-C) while waiting.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code with its meaning, for the docs.
    pub const TABLE: [(Self, &'static str); 10] = [
        (Self::Ok, "done"),
        (Self::Failed, "the operation failed"),
        (Self::Usage, "the command line is wrong"),
        (Self::NotRunning, "the target is not running"),
        (Self::NoSuchApp, "no such app"),
        (Self::DaemonUnreachable, "the daemon cannot be reached"),
        (Self::Configuration, "a configuration is invalid"),
        (Self::TimedOut, "no answer or no outcome in time"),
        (Self::PartlyFailed, "some did as asked, some did not"),
        (Self::Interrupted, "interrupted while waiting"),
    ];
}

/// What kind of error a request came to. The strings are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Frame, JSON or field not understood.
    BadRequest,
    /// Contract numbers differ.
    ContractMismatch,
    /// No app matches.
    NoSuchApp,
    /// The list is empty.
    NoApps,
    /// An app of that name is up.
    AlreadyRunning,
    /// Nothing to do.
    NothingToDo,
    /// A target means several apps where one is needed.
    Ambiguous,
    /// A spec cannot be run.
    InvalidSpec,
    /// No process there.
    NotRunning,
    /// A reload of that app is under way.
    ReloadInProgress,
    /// State could not be written.
    Storage,
    /// The daemon is about to end.
    ShuttingDown,
    /// A defect of wpm.
    Internal,
}

impl ErrorCode {
    /// The exit code that the command line gives for it.
    pub const fn exit_code(self) -> ExitCode {
        match self {
            Self::NoSuchApp => ExitCode::NoSuchApp,
            Self::NotRunning => ExitCode::NotRunning,
            Self::InvalidSpec => ExitCode::Configuration,
            Self::ContractMismatch | Self::ShuttingDown => ExitCode::DaemonUnreachable,
            Self::BadRequest
            | Self::NoApps
            | Self::AlreadyRunning
            | Self::NothingToDo
            | Self::Ambiguous
            | Self::ReloadInProgress
            | Self::Storage
            | Self::Internal => ExitCode::Failed,
        }
    }
}

/// An error as the daemon sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// Kind.
    pub code: ErrorCode,
    /// One sentence, lower case, no full stop: what was tried, on what, why it failed.
    pub message: String,
    /// What the user can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Names that look like the one that was not found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<String>,
    /// What of an app's description is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Box<Entry>>,
}

/// An entry of an app's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the app.
    pub app: String,
    /// Key of an app file.
    pub key: String,
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WireError {}
