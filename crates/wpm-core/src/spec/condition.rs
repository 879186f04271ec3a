//! How far an app must have come before those that depend on it start.

use std::fmt;
use std::str::FromStr;

/// How far a dependency must have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Every instance runs.
    Started,
    /// Every instance is ready: as its own rule says, or past its start check.
    Ready,
    /// Every instance is ready, and its check of health has succeeded.
    Healthy,
    /// Every instance has ended with exit code 0.
    Completed,
}

/// A word that is no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCondition;

impl fmt::Display for BadCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a condition is `started`, `ready`, `healthy` or `completed`")
    }
}

impl Condition {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Healthy => "healthy",
            Self::Completed => "completed",
        }
    }
}

impl FromStr for Condition {
    type Err = BadCondition;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Started, Self::Ready, Self::Healthy, Self::Completed]
            .into_iter()
            .find(|condition| condition.as_str() == word)
            .ok_or(BadCondition)
    }
}
