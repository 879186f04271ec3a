//! Names of rotated log files: `web-out__2026-01-31_23-59-59.log`, and `….1.log` for the next one of the
//! same second.
//!
//! Finds which one came after another, compressed (`….log.gz`) or not. Reads none.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Length of the time in a name.
const STAMP: usize = "2026-01-31_23-59-59".len();

/// Ending of a compressed file.
const PACKED: &str = ".gz";
/// How often a folder is looked at again where it changes meanwhile.
const LOOKS: u32 = 5;

/// When a file was rotated, and which of several in that second.
pub(super) type Age = (String, u32);

/// The age of a file that was opened as `log` and rotated since; `None` where it has another name.
pub(super) fn age_of(file: &File, log: &Path) -> Option<Age> {
    let now = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let name = now.file_name()?.to_str()?;
    // So the kernel marks one that was removed.
    age(unpacked(name.strip_suffix(" (deleted)").unwrap_or(name)), log)
}

/// A name without the ending of compressed files.
pub(super) fn unpacked(name: &str) -> &str {
    name.strip_suffix(PACKED).unwrap_or(name)
}

/// Opens the rotated file of `log` that came next after one of this age; says whether it is compressed.
pub(super) fn open_next(log: &Path, after: &Age) -> Option<(File, bool)> {
    // One that is compressed between the look and the opening is there under its other name.
    (0..LOOKS).find_map(|_| {
        let path = next_after(log, after)?;
        let is_packed = path.to_str().is_some_and(|path| path.ends_with(PACKED));
        Some((File::open(&path).ok()?, is_packed))
    })
}

/// The rotated file of `log` that came next after one of this age.
fn next_after(log: &Path, after: &Age) -> Option<PathBuf> {
    let look = || {
        let entries = std::fs::read_dir(log.parent()?).ok()?.flatten();
        entries
            .filter_map(|entry| Some((age(unpacked(entry.file_name().to_str()?), log)?, entry.path())))
            .filter(|(age, _)| age > after)
            .min()
            .map(|(_, path)| path)
    };
    // A list that is read while a file gets its other name may have neither: two have to agree.
    let mut found = look();
    for _ in 0..LOOKS {
        let again = look();
        if again == found {
            break;
        }
        found = again;
    }
    found
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

    #[test]
    fn a_compressed_one_comes_in_its_turn() {
        let dir = tempfile::tempdir().expect("temp dir");
        let log = dir.path().join("a.log");
        let stamp = |second: u32| format!("2026-01-31_23-59-{second:02}");
        let of = |second: u32, end: &str| dir.path().join(format!("a__{}.log{end}", stamp(second)));
        for path in [of(1, ".gz"), of(2, ""), of(2, ".gz"), of(3, ".gz.tmp"), of(3, ""), of(4, ".gz")] {
            std::fs::write(path, "").expect("written");
        }
        let after = |second: u32| next_after(&log, &(stamp(second), 0));
        assert_eq!(after(0), Some(of(1, ".gz")));
        // Not removed yet: no need to unpack it.
        assert_eq!(after(1), Some(of(2, "")));
        assert_eq!(after(2), Some(of(3, "")));
        assert_eq!(after(3), Some(of(4, ".gz")));
        let (file, is_packed) = open_next(&log, &(stamp(3), 0)).expect("opened");
        assert!(is_packed);
        assert_eq!(age_of(&file, &log), Some((stamp(4), 0)));
    }
}
