//! Log files: which there are, their last lines, what is added to them.
//!
//! Only ever reads, and treats lines as bytes. Invariant: the lines of one file keep their order.

mod find;
mod follow;
mod merge;
pub mod older;
mod rotated;
mod stamp;
mod tail;

use std::path::PathBuf;

pub use find::{from_disk, from_views, merge_sources};
pub use follow::{Follower, From, Wake};
pub use merge::merge;
pub use stamp::stamp;
pub use tail::{Tail, tail};

/// Which output of an app a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// stdout.
    Out,
    /// stderr.
    Err,
    /// Both in one file.
    Both,
}

impl Stream {
    /// pm2's word for it, as in `--log-type json`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Both => "log",
        }
    }
}

/// One log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// App.
    pub app: String,
    /// Namespace of the app.
    pub namespace: String,
    /// Public id of the (first) instance that writes it, where known.
    pub id: Option<u32>,
    /// Index of the instance, where the file belongs to one of several.
    pub index: Option<u32>,
    /// Which output.
    pub stream: Stream,
    /// Where.
    pub path: PathBuf,
}

/// One line with where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Position of the source in the caller's list.
    pub source: usize,
    /// Bytes without the line end.
    pub bytes: Vec<u8>,
}
