//! Limits that the kernel keeps for each process of an app: their names and their values.
//!
//! Numbers only; sizes such as `64M` are read before. Invariant: the text of a limit is parsed into the
//! same limit again.

use std::fmt;
use std::str::FromStr;

/// What is limited, in the words of `limits.conf` and `ulimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Address space in bytes.
    As,
    /// Size of a core file in bytes.
    Core,
    /// CPU time in seconds.
    Cpu,
    /// Data segment in bytes.
    Data,
    /// Size of a file that it writes, in bytes.
    Fsize,
    /// Locked memory in bytes.
    Memlock,
    /// Bytes in POSIX message queues.
    Msgqueue,
    /// Highest nice value that it may take, as 20 less the value.
    Nice,
    /// Open files.
    Nofile,
    /// Processes and threads of the user.
    Nproc,
    /// Highest real-time priority.
    Rtprio,
    /// Pending signals of the user.
    Sigpending,
    /// Stack in bytes.
    Stack,
}

impl Resource {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::As,
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nice,
        Self::Nofile,
        Self::Nproc,
        Self::Rtprio,
        Self::Sigpending,
        Self::Stack,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::Data => "data",
            Self::Fsize => "fsize",
            Self::Memlock => "memlock",
            Self::Msgqueue => "msgqueue",
            Self::Nice => "nice",
            Self::Nofile => "nofile",
            Self::Nproc => "nproc",
            Self::Rtprio => "rtprio",
            Self::Sigpending => "sigpending",
            Self::Stack => "stack",
        }
    }
}

/// A soft and a hard limit; `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceLimit {
    /// In force.
    pub soft: u64,
    /// To which the app may raise it.
    pub hard: u64,
}

/// A word that is no resource, or a text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLimit(String);

impl fmt::Display for BadLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BadLimit {}

impl FromStr for Resource {
    type Err = BadLimit;

    fn from_str(word: &str) -> Result<Self, BadLimit> {
        Self::ALL.into_iter().find(|one| one.as_str() == word).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
            BadLimit(format!("a limit is one of {}", known.join(", ")))
        })
    }
}

impl FromStr for ResourceLimit {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        let number = |word: &str| match word {
            "unlimited" => Ok(u64::MAX),
            word => word
                .parse()
                .map_err(|_| BadLimit(format!("must be a number, `unlimited`, or SOFT:HARD, not `{text}`"))),
        };
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let limit = Self { soft: number(soft)?, hard: number(hard)? };
        if limit.soft > limit.hard {
            return Err(BadLimit(format!("the soft limit is above the hard one in `{text}`")));
        }
        Ok(limit)
    }
}

impl fmt::Display for ResourceLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |number: u64| if number == u64::MAX { "unlimited".to_owned() } else { number.to_string() };
        f.write_str(&word(self.soft))?;
        if self.hard == self.soft { Ok(()) } else { write!(f, ":{}", word(self.hard)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_limits() {
        for text in ["0", "1024", "1024:4096", "unlimited", "10:unlimited"] {
            assert_eq!(text.parse::<ResourceLimit>().expect("a limit").to_string(), text);
        }
        for text in ["", "x", "2:1", "unlimited:1", "-1", "1:2:3"] {
            assert!(text.parse::<ResourceLimit>().is_err(), "{text}");
        }
        for one in Resource::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
        }
        assert!("nofiles".parse::<Resource>().is_err());
    }
}
