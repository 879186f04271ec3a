//! What happens when the rule of a job fires while it still runs.

use std::fmt;
use std::str::FromStr;

/// The choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ScheduleOverlap {
    /// The job runs on, this time is left out.
    #[default]
    Skip,
    /// The job runs once more when it has ended, however often the rule fired meanwhile.
    Queue,
    /// The job is stopped and runs anew.
    Kill,
}

impl ScheduleOverlap {
    /// Its word on the command line, on the wire and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Kill => "kill",
        }
    }
}

impl fmt::Display for ScheduleOverlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ScheduleOverlap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Skip, Self::Queue, Self::Kill]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("must be skip, queue or kill, not `{text}`"))
    }
}
