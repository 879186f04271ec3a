//! The moments in the life of an instance at which a user's own command or webhook may run.

use std::fmt;
use std::str::FromStr;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Before a run: it starts when the hook has succeeded.
    PreStart,
    /// It is up and ready.
    PostReady,
    /// It is about to be stopped.
    PreStop,
    /// Its main process has ended.
    OnExit,
    /// It was given up.
    OnErrored,
}

/// A word that is no moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadHook;

impl fmt::Display for BadHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a hook is `pre_start`, `post_ready`, `pre_stop`, `on_exit` or `on_errored`")
    }
}

impl Hook {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreStart => "pre_start",
            Self::PostReady => "post_ready",
            Self::PreStop => "pre_stop",
            Self::OnExit => "on_exit",
            Self::OnErrored => "on_errored",
        }
    }
}

impl FromStr for Hook {
    type Err = BadHook;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::PreStart, Self::PostReady, Self::PreStop, Self::OnExit, Self::OnErrored]
            .into_iter()
            .find(|hook| hook.as_str() == word)
            .ok_or(BadHook)
    }
}
