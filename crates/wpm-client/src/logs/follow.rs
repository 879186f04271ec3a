//! Follows log files with inotify: growth, rotation, truncation, deletion, files that come later.
//!
//! Reads only what a change has announced. Invariant: every whole line of every file is reported once;
//! when a file is replaced, the old one is read to its end first, and after it those that were rotated
//! away meanwhile, compressed or not.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use super::{Line, rotated};

/// Most bytes that one file is read for before the others have their turn.
const TURN: usize = 1024 * 1024;
/// Bytes of one read.
const CHUNK: usize = 64 * 1024;
/// A line longer than this is reported in pieces.
const MAX_LINE: usize = 1024 * 1024;
/// Pause between looks where the kernel has no watch left to give.
const BLIND_PAUSE: Duration = Duration::from_millis(250);

/// From where a file is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// From this offset.
    Offset(u64),
    /// From the end that it has now.
    End,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wake {
    /// Files may have changed.
    pub files: bool,
    /// The caller's own descriptor is readable.
    pub other: bool,
    /// Nobody reads the output any more.
    pub closed: bool,
}

#[derive(Debug)]
struct Followed {
    path: PathBuf,
    file: Option<File>,
    /// The way to read it where it is a compressed one: from its start, once.
    packed: Option<MultiGzDecoder<BufReader<File>>>,
    identity: (u64, u64),
    offset: u64,
    partial: Vec<u8>,
    watch: Option<i32>,
    due: bool,
}

/// Follows any number of files.
#[derive(Debug)]
pub struct Follower {
    inotify: OwnedFd,
    files: Vec<Followed>,
    folders: HashMap<PathBuf, i32>,
    blind: bool,
}

impl Follower {
    /// Follows nothing yet.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, files: Vec::new(), folders: HashMap::new(), blind: false })
    }

    /// Adds a file, which need not exist yet; its lines carry the number of files added before it.
    pub fn add(&mut self, path: &Path, from: From) {
        // The folder is watched before the file is opened: a replacement in between is seen.
        if let Some(folder) = path.parent().filter(|folder| !self.folders.contains_key(*folder)) {
            let mask = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            match inotify::add_watch(&self.inotify, folder, mask) {
                Ok(watch) => {
                    self.folders.insert(folder.to_owned(), watch);
                }
                Err(_) => self.blind = true,
            }
        }
        let mut followed = Followed {
            path: path.to_owned(),
            file: None,
            packed: None,
            identity: (0, 0),
            offset: 0,
            partial: Vec::new(),
            watch: None,
            due: true,
        };
        self.blind |= !followed.open(&self.inotify);
        if let Some(file) = &followed.file {
            followed.offset = match from {
                From::Offset(offset) => offset,
                From::End => file.metadata().map_or(0, |data| data.len()),
            };
        }
        self.files.push(followed);
    }

    /// Waits until a file changes, `other` is readable, or the reader of `output` has gone, at most
    /// `limit`.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(
        &self,
        other: Option<BorrowedFd<'_>>,
        output: Option<BorrowedFd<'_>>,
        limit: Option<Duration>,
    ) -> io::Result<Wake> {
        let mut limit = limit;
        if self.blind {
            limit = Some(limit.unwrap_or(BLIND_PAUSE).min(BLIND_PAUSE));
        }
        let due = self.files.iter().any(|file| file.due);
        if due {
            limit = Some(Duration::ZERO);
        }
        let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut fds = Vec::with_capacity(3);
        fds.push(PollFd::new(&self.inotify, PollFlags::IN));
        let other_at = other.as_ref().map(|other| {
            fds.push(PollFd::new(other, PollFlags::IN));
            fds.len() - 1
        });
        let output_at = output.as_ref().map(|output| {
            // Nothing is asked for: an error is reported all the same.
            fds.push(PollFd::new(output, PollFlags::empty()));
            fds.len() - 1
        });
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Wake::default()),
            Err(errno) => return Err(errno.into()),
        }
        let reported = |at: Option<usize>| at.map_or(PollFlags::empty(), |at| fds[at].revents());
        Ok(Wake {
            files: self.blind || due || !fds[0].revents().is_empty(),
            other: !reported(other_at).is_empty(),
            closed: reported(output_at).intersects(PollFlags::ERR | PollFlags::NVAL),
        })
    }

    /// The lines that have come since the last call.
    pub fn lines(&mut self) -> Vec<Line> {
        self.mark_changed();
        let mut lines = Vec::new();
        let mut blind = self.blind;
        for (source, file) in self.files.iter_mut().enumerate() {
            if file.due || self.blind {
                blind |= !file.read(&self.inotify, source, &mut lines);
            }
        }
        self.blind = blind;
        lines
    }

    /// What stands behind the last line end of each file, for the end of following.
    pub fn take_partial(&mut self) -> Vec<Line> {
        let files = self.files.iter_mut().enumerate();
        files
            .filter(|(_, file)| !file.partial.is_empty())
            .map(|(source, file)| Line { source, bytes: std::mem::take(&mut file.partial) })
            .collect()
    }

    fn mark_changed(&mut self) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                self.files.iter_mut().for_each(|file| file.due = true);
                continue;
            }
            let wd = event.wd();
            if let Some(file) = self.files.iter_mut().find(|file| file.watch == Some(wd)) {
                file.due = true;
                continue;
            }
            let Some(folder) = self.folders.iter().find(|(_, watch)| **watch == wd).map(|(folder, _)| folder)
            else {
                continue;
            };
            let Some(name) = event.file_name() else { continue };
            let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
            let path = folder.join::<&std::ffi::OsStr>(name);
            self.files.iter_mut().filter(|file| file.path == path).for_each(|file| file.due = true);
        }
    }
}

impl Followed {
    /// Opens the file that stands under the path now. Says whether it can be watched.
    fn open(&mut self, inotify: &OwnedFd) -> bool {
        if let Some(watch) = self.watch.take() {
            // The kernel has removed the watch of a deleted file already.
            let _gone = inotify::remove_watch(inotify, watch);
        }
        self.offset = 0;
        self.identity = (0, 0);
        self.packed = None;
        self.file = File::open(&self.path).ok();
        let Some(file) = &self.file else { return true };
        self.identity = file.metadata().map_or((0, 0), |data| (data.dev(), data.ino()));
        let mask =
            inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVE_SELF | inotify::WatchFlags::DELETE_SELF;
        self.watch = inotify::add_watch(inotify, &self.path, mask).ok();
        self.due = true;
        self.watch.is_some()
    }

    /// Reads what is new; says whether the file can be watched.
    fn read(&mut self, inotify: &OwnedFd, source: usize, lines: &mut Vec<Line>) -> bool {
        self.due = false;
        // Looked at before reading: whoever replaced the file wrote his last to the old one before.
        let replaced = fs::metadata(&self.path).is_ok_and(|data| (data.dev(), data.ino()) != self.identity);
        self.read_new(source, lines);
        if !replaced || self.due {
            return true;
        }
        if !self.partial.is_empty() {
            lines.push(Line { source, bytes: std::mem::take(&mut self.partial) });
        }
        let age = self.file.as_ref().and_then(|file| rotated::age_of(file, &self.path));
        let mut watched = self.open(inotify);
        // After that: what is rotated from now on is the file that was opened, or a later one.
        let rotated = age.is_some_and(|age| self.open_rotated(inotify, &age));
        watched |= rotated;
        self.read_new(source, lines);
        // Behind the end of a rotated one comes another.
        self.due |= rotated;
        watched
    }

    /// Opens the rotated file that came next after one of this age, unless it is the one that is open.
    fn open_rotated(&mut self, inotify: &OwnedFd, age: &rotated::Age) -> bool {
        let Some((next, is_packed)) = rotated::open_next(&self.path, age) else { return false };
        let identity = next.metadata().map_or((0, 0), |data| (data.dev(), data.ino()));
        if identity == self.identity {
            return false;
        }
        if let Some(watch) = self.watch.take() {
            let _gone = inotify::remove_watch(inotify, watch);
        }
        let Ok(packed) = is_packed.then(|| next.try_clone()).transpose() else { return false };
        self.packed = packed.map(|file| MultiGzDecoder::new(BufReader::new(file)));
        (self.file, self.identity, self.offset) = (Some(next), identity, 0);
        true
    }

    fn read_new(&mut self, source: usize, lines: &mut Vec<Line>) {
        let Some(file) = &self.file else { return };
        if self.packed.is_none() && file.metadata().is_ok_and(|data| data.len() < self.offset) {
            self.offset = 0;
            self.partial.clear();
        }
        let mut chunk = vec![0; CHUNK];
        let mut turn = 0;
        loop {
            let read = match &mut self.packed {
                Some(packed) => packed.read(&mut chunk),
                None => file.read_at(&mut chunk, self.offset),
            };
            let read = match read {
                Ok(read) => read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            if read == 0 {
                self.due = false;
                return;
            }
            self.offset += read as u64;
            for piece in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(piece);
                if self.partial.last() == Some(&b'\n') {
                    self.partial.pop();
                    lines.push(Line { source, bytes: std::mem::take(&mut self.partial) });
                } else if self.partial.len() >= MAX_LINE {
                    lines.push(Line { source, bytes: std::mem::take(&mut self.partial) });
                }
            }
            turn += read;
            if turn >= TURN {
                self.due = true;
                return;
            }
        }
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests;
