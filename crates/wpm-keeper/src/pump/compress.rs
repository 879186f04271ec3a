//! gzip of rotated files, in a process of its own that yields to all others.
//!
//! The process is a sibling of the shim: not a descendant, so it is in nobody's way when a tree is to
//! be proved gone. Invariant: a file is removed only when its compressed form is whole and on disk;
//! what a killed compressor leaves is done at the next rotation.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use wpm_sys::process::{self, Fork, SingleThread};
use wpm_sys::{exec, signals};

use super::rotate::Names;

/// Compresses every rotated file that is not compressed yet, and keeps `retain` of them.
pub(super) fn start(proof: SingleThread, names: &Names, retain: u32) {
    // Where no process can be forked the file stays as it is until the next rotation.
    if matches!(process::fork_sibling(proof), Ok(Fork::Child)) {
        drop(catch_unwind(AssertUnwindSafe(|| {
            // Locks and pipes of the shim must not live on in here.
            exec::close_all_but(&mut []);
            signals::reset_all();
            process::set_name("wpm-gzip");
            process::lower_priority();
            for path in names.all() {
                if path.extension().is_none_or(|e| e != "gz")
                    && let Err(e) = compress(&path)
                {
                    crate::complain(&format!("cannot compress {}: {e}", path.display()));
                }
            }
            // One that was removed while it was compressed has come back under its new name.
            names.prune(retain);
        })));
        process::exit_now(0);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn compress(path: &Path) -> io::Result<()> {
    let part = with_suffix(path, ".gz.tmp");
    let out = File::options().create(true).truncate(false).write(true).mode(0o600).open(&part)?;
    if out.try_lock().is_err() {
        // Another compressor is at it.
        return Ok(());
    }
    let done = write_compressed(path, &out).and_then(|()| std::fs::rename(&part, with_suffix(path, ".gz")));
    match done {
        Ok(()) => std::fs::remove_file(path).or_else(gone),
        Err(e) => {
            std::fs::remove_file(&part).or_else(gone)?;
            gone(e)
        }
    }
}

/// What is not there any more was done or removed by somebody else.
fn gone(e: io::Error) -> io::Result<()> {
    if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

fn write_compressed(path: &Path, out: &File) -> io::Result<()> {
    let mut from = File::open(path)?;
    out.set_len(0)?;
    let mut encoder = GzEncoder::new(out, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.flush()?;
    out.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_goes_in_comes_out_and_a_half_one_is_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a__2026-01-31_23-59-59.log");
        let text = "line\n".repeat(100_000);
        std::fs::write(&path, &text).unwrap();
        std::fs::write(with_suffix(&path, ".gz.tmp"), "half of an earlier attempt").unwrap();
        compress(&path).unwrap();
        let mut back = String::new();
        let file = File::open(with_suffix(&path, ".gz")).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut back).unwrap();
        assert!(back == text && !path.exists() && !with_suffix(&path, ".gz.tmp").exists());
        // Gone already.
        compress(&path).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_compressor_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "text").unwrap();
        let part = File::create(with_suffix(&path, ".gz.tmp")).unwrap();
        part.lock().unwrap();
        compress(&path).unwrap();
        assert!(path.exists());
    }
}
