//! One log file: opened by its name, opened again when that name means another file.
//!
//! Owns the descriptor and the size bookkeeping of one target. Knows nothing of lines. Invariant: a
//! write goes to the end of the file that has the name now, wherever others have cut, moved or removed
//! it.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::rotate::Rotated;
use super::shared::Ledger;

/// Makes a folder and those above it, readable by the owner alone.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A target of output: the file, its lock, and what was asked for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) log: LogFile,
    ledger: Ledger,
    locks: PathBuf,
    /// A rotation was asked for.
    pub(super) rotate: bool,
    /// It is to be emptied.
    pub(super) flush: bool,
}

impl Target {
    /// Names the file; nothing is opened yet. `locks` is the folder of the lock files.
    pub(super) fn new(path: PathBuf, locks: &Path) -> Self {
        Self {
            ledger: Ledger::of(&path, locks),
            log: LogFile::new(path),
            locks: locks.to_owned(),
            rotate: false,
            flush: false,
        }
    }

    /// The file and the ledger of the file that it really is.
    pub(super) fn parts(&mut self) -> (&mut LogFile, &mut Ledger) {
        if !self.ledger.is_of(&self.log.real) {
            self.ledger = Ledger::of(&self.log.real, &self.locks);
        }
        (&mut self.log, &mut self.ledger)
    }

    /// Whether its ledger was ever looked at.
    pub(super) fn is_used(&self) -> bool {
        self.ledger.is_open()
    }

    /// Whether the file ends in the middle of a line.
    pub(super) fn is_mid_line(&mut self) -> bool {
        let generation = self.log.generation();
        self.log.regular && self.log.current(generation).is_ok_and(|(file, now)| !ends_line(file, now.len()))
    }
}

/// A file that is written at its end.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// Path without symbolic links, by which the file is locked and rotated.
    pub(super) real: PathBuf,
    /// Whether it is a file at all, not a device or pipe.
    pub(super) regular: bool,
    /// Whether it takes spliced bytes.
    pub(super) splices: bool,
    /// Number of rotations when it was opened; `None` before it was first used.
    generation: Option<u64>,
    /// Until when rotating is not tried, because it has failed, in milliseconds of `CLOCK_BOOTTIME`.
    pub(super) no_rotation_until: u64,
    /// Its rotated files, where they are known.
    pub(super) rotated: Option<Rotated>,
    /// Size at which it was to be rotated and was in the middle of a line.
    unended_at: Option<u64>,
}

/// A line that goes on for so much longer is cut by a rotation.
const PATIENCE: u64 = 1 << 20;

impl LogFile {
    fn new(path: PathBuf) -> Self {
        Self {
            real: path.clone(),
            path,
            file: None,
            regular: true,
            splices: true,
            generation: None,
            no_rotation_until: 0,
            rotated: None,
            unended_at: None,
        }
    }

    /// Whether this is its name.
    pub(super) fn is_named(&self, path: &Path) -> bool {
        self.path == path
    }

    /// Opens the file by its name, and makes it and its folder where they are missing.
    pub(super) fn open(&mut self) -> io::Result<()> {
        const NONBLOCK: i32 = 0o4000;
        let open = || {
            // Non-blocking matters for a pipe or terminal in the place of a file only.
            let mut options = File::options();
            options.create(true).truncate(false).write(true).mode(0o600).custom_flags(NONBLOCK);
            // Reading is needed at a rotation alone, and a pipe or device may refuse it.
            match options.clone().read(true).open(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => options.open(&self.path),
                other => other,
            }
        };
        let file = open().or_else(|e| match self.path.parent() {
            Some(folder) if e.kind() == io::ErrorKind::NotFound => {
                make_folder(folder)?;
                open()
            }
            _ => Err(e),
        })?;
        let kind = file.metadata()?.file_type();
        self.regular = kind.is_file();
        self.splices = !kind.is_char_device() || self.path == Path::new("/dev/null");
        if let Ok(real) = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
            && self.regular
        {
            self.real = real;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Closes it; the next use opens it by its name.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.unended_at = None;
    }

    /// Whether the open file, which has this size and is to be rotated, may be: it ends with a line, or
    /// with one that has gone on for too long since that was first wanted. How large the file is says
    /// nothing of that, for rotating may have failed for a while.
    pub(super) fn may_be_cut(&mut self, size: u64) -> bool {
        if self.file.as_ref().is_some_and(|file| ends_line(file, size)) {
            return true;
        }
        size > self.unended_at.get_or_insert(size).saturating_add(PATIENCE)
    }

    /// The open file and what it is now. `generation` is what the ledger says; another number than the
    /// last one seen means that the file was rotated.
    pub(super) fn current(&mut self, generation: u64) -> io::Result<(&File, Metadata)> {
        // Opened before the first look at the ledger: somebody may have rotated it in between.
        if self.generation.unwrap_or(0) != generation {
            self.close();
        }
        self.generation = Some(generation);
        let now = match &self.file {
            Some(file) => Some(file.metadata()?).filter(|now| now.nlink() > 0),
            None => None,
        };
        let now = match now {
            Some(now) => now,
            None => {
                self.open()?;
                self.stream()?.metadata()?
            }
        };
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok((file, now))
    }

    /// The open file, of a target that is no regular file.
    pub(super) fn stream(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            self.open()?;
        }
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Notes the number of a rotation that this writer made itself.
    pub(super) fn set_generation(&mut self, generation: u64) {
        self.generation = Some(generation);
    }

    /// The number of rotations that was seen last.
    pub(super) fn generation(&self) -> u64 {
        self.generation.unwrap_or(0)
    }
}

/// Whether the last byte of a file ends a line; an empty file does, too.
pub(super) fn ends_line(file: &File, size: u64) -> bool {
    let mut last = [0];
    size == 0 || file.read_exact_at(&mut last, size - 1).is_ok_and(|()| last == *b"\n")
}
