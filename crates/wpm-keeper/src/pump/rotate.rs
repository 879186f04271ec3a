//! Rotation: the file gets a name with the time, a new one takes its place, old ones go.
//!
//! Owns names and the number of files. Whoever calls holds the file's lock and has seen to it that the
//! file ends with a whole line. Invariant: only files with exactly the pattern of rotated names are
//! ever removed, and a rotated file is never overwritten.

use std::io;
use std::path::{Path, PathBuf};

use wpm_sys::clock;
use wpm_sys::process::SingleThread;

use super::compress;
use super::logfile::LogFile;
use super::shared::Held;

/// Length of the time in a name.
const STAMP: usize = "2026-01-31_23-59-59".len();

/// How files are rotated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    /// Size in bytes at which a file is rotated, 0 = never.
    pub(super) max_size: u64,
    /// Rotated files that stay.
    pub(super) retain: u32,
    /// Whether they are compressed.
    pub(super) compress: bool,
    /// Needed to fork the compressor.
    pub(super) proof: SingleThread,
}

/// Rotates `log`, which becomes a new, empty file.
pub(super) fn rotate(log: &mut LogFile, held: &mut Held<'_>, keep: Keep) -> io::Result<()> {
    let Some(names) = Names::of(&log.real) else { return Ok(()) };
    // Said before it is done: a writer that opens the same file once more does no harm.
    held.announce_rotation(clock::boottime_ms())?;
    let stamp = jiff::Zoned::now().strftime("%Y-%m-%d_%H-%M-%S").to_string();
    std::fs::rename(&log.real, names.free(&stamp))?;
    log.set_generation(held.generation());
    log.close();
    let opened = log.open();
    names.prune(keep.retain);
    if keep.compress {
        compress::start(keep.proof, &names, keep.retain);
    }
    opened
}

/// The names of one log's rotated files.
#[derive(Debug)]
pub(super) struct Names {
    folder: PathBuf,
    /// Name up to the time, with the two underscores.
    head: String,
    /// Extension with its dot, or nothing.
    tail: String,
}

/// A rotated file: when, and which of several in one second.
type Age = (String, u32);

impl Names {
    /// The names for the log at `path`; `None` where it has no name in UTF-8.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        let tail = path.extension().map_or(Some(String::new()), |e| Some(format!(".{}", e.to_str()?)))?;
        Some(Self { folder: path.parent()?.to_owned(), head: format!("{stem}__"), tail })
    }

    /// A name for what is rotated at that time: later than every other of the same second, those that
    /// were removed already included, since the names tell which is the oldest.
    fn free(&self, stamp: &str) -> PathBuf {
        let name = |n: u32| match n {
            0 => format!("{}{stamp}{}", self.head, self.tail),
            n => format!("{}{stamp}.{n}{}", self.head, self.tail),
        };
        let taken = |n: u32| {
            let exists = |name: String| self.folder.join(name).symlink_metadata().is_ok();
            exists(name(n)) || exists(name(n) + ".gz")
        };
        let last = self.ages().filter(|((s, _), _)| s == stamp).map(|((_, n), _)| n).max();
        let first = last.map_or(0, |n| n.saturating_add(1));
        let n = (first..u32::MAX).find(|n| !taken(*n)).unwrap_or(u32::MAX);
        self.folder.join(name(n))
    }

    /// When the file of that name was rotated; `None` where it is no rotated file of this log.
    fn age(&self, name: &str) -> Option<Age> {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let middle = name.strip_prefix(&self.head)?.strip_suffix(&self.tail)?;
        let (stamp, rest) = middle.split_at_checked(STAMP)?;
        let is_stamp = stamp.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 | 13 | 16 => b == b'-',
            10 => b == b'_',
            _ => b.is_ascii_digit(),
        });
        let number = match rest.strip_prefix('.') {
            Some(n) => n.parse().ok()?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        is_stamp.then(|| (stamp.to_owned(), number))
    }

    fn ages(&self) -> impl Iterator<Item = (Age, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|e| Some((self.age(e.file_name().to_str()?)?, e.path())))
    }

    /// Every rotated file, oldest first.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let mut found: Vec<(Age, PathBuf)> = self.ages().collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Removes the oldest files beyond `retain`.
    pub(super) fn prune(&self, retain: u32) {
        let all = self.all();
        let surplus = all.len().saturating_sub(usize::try_from(retain).unwrap_or(usize::MAX));
        for path in all.iter().take(surplus) {
            // One that stays is tried again at the next rotation.
            drop(std::fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_each_other_and_only_they_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::of(&dir.path().join("a.b.log")).unwrap();
        let stamp = "2026-01-31_23-59-59";
        for expected in ["", ".1", ".2"] {
            let path = names.free(stamp);
            assert_eq!(path, dir.path().join(format!("a.b__{stamp}{expected}.log")));
            std::fs::write(path, "x").unwrap();
        }
        std::fs::rename(
            names.free("2026-01-30_00-00-00").with_file_name(format!("a.b__{stamp}.log")),
            dir.path().join(format!("a.b__{stamp}.log.gz")),
        )
        .unwrap();
        for other in [
            "a.b.log",
            "a.b__x.log",
            "a.b__2026-01-31_23-59-5x.log",
            "c__2026-01-31_23-59-59.log",
            "a.b__2026-01-31_23-59-59.log.gz.tmp",
            "a.b__2026-01-31_23-59-59.x.log",
            "a.b__2026-01-31_23-59-59",
        ] {
            std::fs::write(dir.path().join(other), "x").unwrap();
        }
        assert_eq!(names.free(stamp), dir.path().join(format!("a.b__{stamp}.3.log")));
        let before = std::fs::read_dir(dir.path()).unwrap().count();
        names.prune(1);
        assert_eq!(names.all(), [dir.path().join(format!("a.b__{stamp}.2.log"))]);
        // The names before it are free again, but would make the next file the oldest one.
        assert_eq!(names.free(stamp), dir.path().join(format!("a.b__{stamp}.3.log")));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before - 2);
    }

    #[test]
    fn a_log_without_extension_is_rotated_too() {
        let names = Names::of(Path::new("/l/app")).unwrap();
        assert_eq!(names.age("app__2026-01-31_23-59-59"), Some(("2026-01-31_23-59-59".into(), 0)));
        assert_eq!(names.age("app__2026-01-31_23-59-59.7.gz"), Some(("2026-01-31_23-59-59".into(), 7)));
    }
}
