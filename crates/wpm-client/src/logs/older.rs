//! The files that a log was before it was rotated, and their lines, compressed or not.
//!
//! Reads each whole, up to a limit, which is that of a file's tail too. Invariant: the newest comes first.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::rotated::{Age, age, unpacked};

/// Most that is read of one file, in bytes once unpacked.
const MAX_READ: u64 = 64 * 1024 * 1024;

/// Rotated files of a log, compressed ones too, the newest first.
pub fn rotated(log: &Path) -> Vec<PathBuf> {
    let entries = log.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let mut found: Vec<(Age, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((age(unpacked(&name), log)?, entry.path()))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The lines of a rotated file, without their ends.
///
/// # Errors
/// When it cannot be read.
pub fn lines(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        MultiGzDecoder::new(file).take(MAX_READ).read_to_end(&mut bytes)?;
    } else {
        file.take(MAX_READ).read_to_end(&mut bytes)?;
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Ok(if bytes.is_empty() {
        Vec::new()
    } else {
        text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_newest_comes_first_and_others_do_not_count() {
        let dir = tempfile::tempdir().expect("temp dir");
        let write = |name: &str| std::fs::write(dir.path().join(name), "a\nb\n").expect("written");
        for name in [
            "web-out.log",
            "web-out__2026-01-31_10-00-00.log",
            "web-out__2026-01-31_10-00-00.2.log",
            "web-out__2026-01-31_10-00-00.10.log",
            "web-out__2025-01-31_10-00-00.log",
            "web-out__2026-01-31_11-00-00.txt",
            "web-out__of-something-else.log",
            "web-out-1__2026-01-31_10-00-00.log",
        ] {
            write(name);
        }
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(b"x\ny\n").expect("packed");
        let name = "web-out__2026-02-01_00-00-00.log.gz";
        std::fs::write(dir.path().join(name), zipped.finish().expect("packed")).expect("written");
        let found = rotated(&dir.path().join("web-out.log"));
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(
            names,
            [
                name,
                "web-out__2026-01-31_10-00-00.10.log",
                "web-out__2026-01-31_10-00-00.2.log",
                "web-out__2026-01-31_10-00-00.log",
                "web-out__2025-01-31_10-00-00.log",
            ]
        );
        assert_eq!(lines(&found[0]).expect("read"), [b"x", b"y"]);
        assert_eq!(lines(&found[1]).expect("read"), [b"a", b"b"]);
    }
}
