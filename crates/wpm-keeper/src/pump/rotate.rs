//! Rotation: the file gets a name with the time, a new one takes its place, old ones go.
//!
//! Owns names and the number of files. Whoever calls holds the file's lock and has seen to it that the
//! file ends with a whole line. Invariant: only files with exactly the pattern of rotated names are
//! ever removed, and a rotated file is never overwritten.
//!
//! The folder of the logs may hold tens of thousands of files, of hundreds of apps. So it is looked through
//! once, and what was found is remembered for as long as nobody else rotates.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use wpm_sys::clock;
use wpm_sys::process::SingleThread;

use super::compress;
use super::logfile::LogFile;
use super::shared::Held;

/// Length of the time in a name.
const STAMP: usize = "2026-01-31_23-59-59".len();

/// Rotated files of one log that are remembered at most.
const REMEMBERED: usize = 1000;

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
    put_aside(log, held, &names, keep.retain)?;
    if keep.compress {
        compress::start(keep.proof, &names, keep.retain);
    }
    Ok(())
}

fn put_aside(log: &mut LogFile, held: &mut Held<'_>, names: &Names, retain: u32) -> io::Result<()> {
    let known = log.rotated.take().filter(|known| known.is_of(&log.real, held.generation()));
    let mut ages = known.map_or_else(|| names.ages(), |known| known.ages);
    // Said before it is done: a writer that opens the same file once more does no harm.
    held.announce_rotation(clock::boottime_ms())?;
    let stamp = jiff::Zoned::now().strftime("%Y-%m-%d_%H-%M-%S").to_string();
    let age = names.free(&stamp, &ages);
    std::fs::rename(&log.real, names.path(&age, ""))?;
    log.set_generation(held.generation());
    log.close();
    let opened = log.open();
    let at = ages.partition_point(|other| *other < age);
    ages.insert(at, age);
    names.thin(&mut ages, retain);
    if ages.len() <= REMEMBERED {
        log.rotated = Some(Rotated { real: log.real.clone(), generation: held.generation(), ages });
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
type Age = (Box<str>, u32);

/// The rotated files of a log, as one of its writers has left them.
#[derive(Debug)]
pub(super) struct Rotated {
    /// The log.
    real: PathBuf,
    /// Number of its rotations then: with another, somebody else has rotated it.
    generation: u64,
    /// Oldest first.
    ages: VecDeque<Age>,
}

impl Rotated {
    fn is_of(&self, real: &Path, generation: u64) -> bool {
        (self.real.as_path(), self.generation) == (real, generation)
    }
}

impl Names {
    /// The names for the log at `path`; `None` where it has no name in UTF-8.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        let tail = path.extension().map_or(Some(String::new()), |e| Some(format!(".{}", e.to_str()?)))?;
        Some(Self { folder: path.parent()?.to_owned(), head: format!("{stem}__"), tail })
    }

    /// Where the file of this age stands.
    fn path(&self, (stamp, number): &Age, suffix: &str) -> PathBuf {
        let (head, tail) = (&self.head, &self.tail);
        self.folder.join(match number {
            0 => format!("{head}{stamp}{tail}{suffix}"),
            number => format!("{head}{stamp}.{number}{tail}{suffix}"),
        })
    }

    /// The age of what is rotated at that time: greater than every other of the same second, those that
    /// were removed already included, since the names tell which is the oldest.
    fn free(&self, stamp: &str, ages: &VecDeque<Age>) -> Age {
        let age = |number| (Box::from(stamp), number);
        let is_taken = |number: &u32| {
            let exists = |suffix| self.path(&age(*number), suffix).symlink_metadata().is_ok();
            exists("") || exists(".gz")
        };
        let last = ages.iter().filter(|(other, _)| **other == *stamp).map(|(_, number)| *number).max();
        let first = last.map_or(0, |number| number.saturating_add(1));
        age((first..u32::MAX).find(|number| !is_taken(number)).unwrap_or(u32::MAX))
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
        is_stamp.then(|| (stamp.into(), number))
    }

    /// The names in the folder that are those of rotated files.
    fn entries(&self) -> impl Iterator<Item = (Age, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|e| Some((self.age(e.file_name().to_str()?)?, e.path())))
    }

    /// The ages of all rotated files, oldest first.
    fn ages(&self) -> VecDeque<Age> {
        let mut ages: Vec<Age> = self.entries().map(|(age, _)| age).collect();
        ages.sort_unstable();
        ages.dedup();
        ages.into()
    }

    /// Every rotated file, oldest first.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let mut found: Vec<(Age, PathBuf)> = self.entries().collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Removes the oldest files beyond `retain`.
    pub(super) fn prune(&self, retain: u32) {
        self.thin(&mut self.ages(), retain);
    }

    fn thin(&self, ages: &mut VecDeque<Age>, retain: u32) {
        let retain = usize::try_from(retain).unwrap_or(usize::MAX);
        while ages.len() > retain {
            let Some(oldest) = ages.pop_front() else { return };
            // Compressed or not. One that stays is tried again when the folder is next looked through.
            drop(std::fs::remove_file(self.path(&oldest, "")));
            drop(std::fs::remove_file(self.path(&oldest, ".gz")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::logfile::Target;
    use super::*;

    #[test]
    fn names_follow_each_other_and_only_they_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::of(&dir.path().join("a.b.log")).unwrap();
        let stamp = "2026-01-31_23-59-59";
        let free = |stamp: &str| names.path(&names.free(stamp, &names.ages()), "");
        for expected in ["", ".1", ".2"] {
            let path = free(stamp);
            assert_eq!(path, dir.path().join(format!("a.b__{stamp}{expected}.log")));
            std::fs::write(path, "x").unwrap();
        }
        std::fs::rename(
            dir.path().join(format!("a.b__{stamp}.log")),
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
        assert_eq!(free(stamp), dir.path().join(format!("a.b__{stamp}.3.log")));
        let before = std::fs::read_dir(dir.path()).unwrap().count();
        names.prune(1);
        assert_eq!(names.all(), [dir.path().join(format!("a.b__{stamp}.2.log"))]);
        // The names before it are free again, but would make the next file the oldest one.
        assert_eq!(free(stamp), dir.path().join(format!("a.b__{stamp}.3.log")));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before - 2);
    }

    #[test]
    fn what_was_found_is_believed_until_somebody_else_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::of(&dir.path().join("a.log")).unwrap();
        let mut log = Target::new(dir.path().join("a.log"), dir.path());
        let mut rotate_once = |strangers: bool| {
            let (log, ledger) = log.parts();
            log.open().unwrap();
            let mut held = ledger.lock().unwrap().unwrap();
            if strangers {
                held.announce_rotation(1).unwrap();
            }
            put_aside(log, &mut held, &names, 2).unwrap();
        };
        rotate_once(false);
        rotate_once(false);
        // Older than any other, and put there behind its back.
        let old = dir.path().join("a__2001-01-01_00-00-00.log");
        std::fs::write(&old, "x").unwrap();
        rotate_once(false);
        assert_eq!(names.all().len(), 3, "the two newest, and the one that it does not know of");
        assert!(old.exists());
        rotate_once(true);
        assert_eq!(names.all().len(), 2);
        assert!(!old.exists());
    }

    #[test]
    fn a_log_without_extension_is_rotated_too() {
        let names = Names::of(Path::new("/l/app")).unwrap();
        assert_eq!(names.age("app__2026-01-31_23-59-59"), Some(("2026-01-31_23-59-59".into(), 0)));
        assert_eq!(names.age("app__2026-01-31_23-59-59.7.gz"), Some(("2026-01-31_23-59-59".into(), 7)));
    }
}
