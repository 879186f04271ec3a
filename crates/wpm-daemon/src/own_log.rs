//! What the daemon says of itself, kept from growing without end.
//!
//! Keeper and shims append to the same open file. So a long one is not given another name: what it holds is
//! copied aside and the file emptied, and all of them go on at its beginning. Invariant: where that fails, it
//! only grows further. A line that one of the others appends between the copy and the emptying is lost.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::fmt::MakeWriter;
use wpm_proto::home::Home;

/// Length in bytes at which the log is long.
const LONG: u64 = 8 << 20;

/// The log behind stderr.
#[derive(Debug)]
pub(crate) struct OwnLog {
    path: PathBuf,
    earlier: PathBuf,
    /// Bytes that this process has written since it last looked at the length.
    unlooked: AtomicU64,
}

impl OwnLog {
    /// The log of this home.
    pub(crate) fn of(home: &Home) -> Self {
        // The first line looks how long it was before.
        Self { path: home.daemon_log(), earlier: home.earlier_daemon_log(), unlooked: AtomicU64::new(LONG) }
    }

    /// Copies the log aside and empties it, if that is the file behind `stream` and it is `long`.
    fn turn_over(&self, stream: impl AsFd, long: u64) -> io::Result<()> {
        let own = rustix::fs::fstat(stream)?;
        let there = fs::metadata(&self.path)?;
        if (own.st_dev, own.st_ino) != (there.dev(), there.ino()) || there.len() < long {
            return Ok(());
        }
        let fresh = self.earlier.with_extension("new");
        let _bytes = fs::copy(&self.path, &fresh).inspect_err(|_| drop(fs::remove_file(&fresh)))?;
        fs::rename(&fresh, &self.earlier)?;
        File::options().write(true).open(&self.path)?.set_len(0)
    }
}

impl Write for &OwnLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.unlooked.fetch_add(line.len() as u64, Ordering::Relaxed) >= LONG {
            self.unlooked.store(0, Ordering::Relaxed);
            if let Err(error) = self.turn_over(io::stderr(), LONG) {
                let (path, earlier) = (self.path.display(), self.earlier.display());
                writeln!(io::stderr(), "{path} is long and cannot be kept as {earlier}: {error}")?;
            }
        }
        io::stderr().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for OwnLog {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_put_aside_and_whoever_appends_goes_on() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        let log = OwnLog::of(&home);
        let open = || File::options().create(true).append(true).open(home.daemon_log()).expect("opened");
        let (mut daemon, mut keeper) = (open(), open());
        let say = |who: &mut File, what: &str| who.write_all(what.as_bytes()).expect("written");
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        for round in 0..2 {
            say(&mut daemon, &format!("round {round}\n"));
            say(&mut keeper, "too\n");
            log.turn_over(&daemon, 100).expect("looked");
            assert!(!read(home.earlier_daemon_log()).contains("round 1"), "it is short");
            log.turn_over(io::stdin(), 1).expect("looked");
            assert!(!read(home.daemon_log()).is_empty(), "somebody else's file");
            log.turn_over(&daemon, 12).expect("turned over");
            assert_eq!(read(home.earlier_daemon_log()), format!("round {round}\ntoo\n"));
            assert_eq!(read(home.daemon_log()), "");
        }
        say(&mut keeper, "after\n");
        assert_eq!(read(home.daemon_log()), "after\n");
    }
}
