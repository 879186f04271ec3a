//! Names of rotated log files: `web-out__2026-01-31_23-59-59.log`, and `….1.log` for the next one of the
//! same second.
//!
//! Finds which one came after another. Reads none, and passes over compressed ones.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Length of the time in a name.
const STAMP: usize = "2026-01-31_23-59-59".len();

/// When a file was rotated, and which of several in that second.
pub(super) type Age = (String, u32);

/// The age of a file that was opened as `log` and rotated since; `None` where it has another name.
pub(super) fn age_of(file: &File, log: &Path) -> Option<Age> {
    let now = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let name = now.file_name()?.to_str()?;
    // So the kernel marks one that was removed.
    age(name.strip_suffix(" (deleted)").unwrap_or(name), log)
}

/// The rotated file of `log` that came next after one of this age.
pub(super) fn next_after(log: &Path, after: &Age) -> Option<PathBuf> {
    let entries = std::fs::read_dir(log.parent()?).ok()?.flatten();
    entries
        .filter_map(|entry| Some((age(entry.file_name().to_str()?, log)?, entry.path())))
        .filter(|(age, _)| age > after)
        .min()
        .map(|(_, path)| path)
}

/// The age that a name tells; `None` where it is not one of a rotated file of `log`.
pub(super) fn age(name: &str, log: &Path) -> Option<Age> {
    let rest = name.strip_prefix(log.file_stem()?.to_str()?)?.strip_prefix("__")?;
    let middle = match log.extension() {
        Some(extension) => rest.strip_suffix(extension.to_str()?)?.strip_suffix('.')?,
        None => rest,
    };
    let (stamp, number) = middle.split_at_checked(STAMP)?;
    let is_stamp = stamp.bytes().enumerate().all(|(i, b)| match i {
        4 | 7 | 13 | 16 => b == b'-',
        10 => b == b'_',
        _ => b.is_ascii_digit(),
    });
    let number = match number.strip_prefix('.') {
        Some(n) => n.parse().ok()?,
        None if number.is_empty() => 0,
        None => return None,
    };
    is_stamp.then(|| (stamp.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_found_among_all() {
        let dir = tempfile::tempdir().expect("temp dir");
        let log = dir.path().join("a.log");
        let of = |middle: &str| dir.path().join(format!("a__{middle}.log"));
        let (first, second) = ("2026-01-31_23-59-59", "2026-02-01_00-00-00");
        for name in [first, "2026-01-31_23-59-59.9", "2026-01-31_23-59-59.10", second, "2026-x"] {
            std::fs::write(of(name), "").expect("written");
        }
        std::fs::write(dir.path().join("b__2026-01-31_23-59-59.log"), "").expect("written");
        let after = |number| next_after(&log, &(first.to_owned(), number));
        assert_eq!(after(0), Some(of("2026-01-31_23-59-59.9")));
        assert_eq!(after(9), Some(of("2026-01-31_23-59-59.10")));
        assert_eq!(after(10), Some(of(second)));
        assert_eq!(next_after(&log, &(second.to_owned(), 0)), None);
        std::fs::write(&log, "").expect("written");
        let file = File::open(&log).expect("opened");
        assert_eq!(age_of(&file, &log), None);
        std::fs::rename(&log, of("2026-02-01_00-00-00.1")).expect("renamed");
        assert_eq!(age_of(&file, &log), Some((second.to_owned(), 1)));
        std::fs::remove_file(of("2026-02-01_00-00-00.1")).expect("removed");
        assert_eq!(age_of(&file, &log), Some((second.to_owned(), 1)));
    }
}
