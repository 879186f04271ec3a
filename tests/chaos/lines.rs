//! Reading what the writers printed out of the logs: every line once, in order, whatever happened.
//!
//! Reads on where it stopped, over rotated files, by the file's inode and an offset. A line that is
//! missing, double, torn or strange is an error at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How the lines of a log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As printed.
    Raw,
    /// `TIME: ` before each.
    Stamped,
    /// One JSON object each.
    Json,
}

/// One log over all its files.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    form: Form,
    /// File and offset up to which everything was read.
    at: Option<(u64, u64)>,
    /// The next number of each writer's stream.
    next: BTreeMap<String, u64>,
    /// Bytes read so far.
    pub(crate) bytes: u64,
}

impl Log {
    /// The log whose current file is `path`.
    pub(crate) fn new(path: PathBuf, form: Form) -> Self {
        Self { path, form, at: None, next: BTreeMap::new(), bytes: 0 }
    }

    /// Every file, oldest first, open; none of them rotated while they were opened.
    fn files(&self) -> Vec<(PathBuf, File)> {
        loop {
            let names = self.names();
            let open: Vec<(PathBuf, File)> =
                names.iter().filter_map(|p| Some((p.clone(), File::open(p).ok()?))).collect();
            if self.names() == names && open.len() == names.len() {
                return open;
            }
        }
    }

    fn names(&self) -> Vec<PathBuf> {
        let stem = self.path.file_stem().and_then(|s| s.to_str()).expect("a name");
        let folder = self.path.parent().expect("a folder");
        let mut rotated: Vec<((String, u32), PathBuf)> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| {
                let name = e.file_name().into_string().ok()?;
                let middle = name.strip_prefix(stem)?.strip_prefix("__")?.strip_suffix(".log")?;
                let (stamp, number) = middle.split_once('.').unwrap_or((middle, "0"));
                Some(((stamp.to_owned(), number.parse().ok()?), e.path()))
            })
            .collect();
        rotated.sort();
        let current = self.path.exists().then(|| self.path.clone());
        rotated.into_iter().map(|(_, path)| path).chain(current).collect()
    }

    /// Takes in what is new. Whether every stream has got to where it is to be.
    ///
    /// # Errors
    /// With the first line that is wrong.
    pub(crate) fn read_on(&mut self, wanted: &BTreeMap<String, u64>) -> Result<bool, String> {
        let files = self.files();
        let inode = |file: &File| file.metadata().map_or(0, |m| m.ino());
        let from = match self.at {
            None => 0,
            Some((ino, _)) => files
                .iter()
                .position(|(_, f)| inode(f) == ino)
                .ok_or_else(|| format!("{}: the file that was read last is gone", self.path.display()))?,
        };
        let last = files.len().saturating_sub(1);
        for (i, (path, file)) in files.into_iter().enumerate().skip(from) {
            let ino = inode(&file);
            let offset = self.at.filter(|at| at.0 == ino).map_or(0, |at| at.1);
            self.read_file(&path, file, ino, offset, i < last)?;
        }
        Ok(wanted.iter().all(|(tag, n)| self.next.get(tag).copied().unwrap_or(0) >= *n))
    }

    fn read_file(
        &mut self,
        path: &Path,
        mut file: File,
        ino: u64,
        mut offset: u64,
        rotated: bool,
    ) -> Result<(), String> {
        let told = |e: std::io::Error| format!("{}: {e}", path.display());
        file.seek(SeekFrom::Start(offset)).map_err(told)?;
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = reader.read_until(b'\n', &mut line).map_err(told)?;
            if line.pop() != Some(b'\n') {
                if n > 0 && rotated {
                    return Err(format!("{}: rotated within a line, at {offset}", path.display()));
                }
                break;
            }
            self.take(&line).map_err(|why| {
                let line = String::from_utf8_lossy(&line);
                format!("{} at {offset}: {why}\n  in: {line:.300}", path.display())
            })?;
            offset += n as u64;
            self.bytes += n as u64;
        }
        self.at = Some((ino, offset));
        Ok(())
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|e| e.to_string())?;
        let text = match self.form {
            Form::Raw => text,
            Form::Stamped => text.split_once(": ").ok_or("no time")?.1,
            Form::Json => {
                text.strip_prefix("{\"message\":\"")
                    .and_then(|rest| rest.split_once("\\n\",\"timestamp\":\""))
                    .filter(|(_, rest)| rest.ends_with('}'))
                    .ok_or("not the JSON of one line")?
                    .0
            }
        };
        let mut words = text.splitn(3, ' ');
        let (Some(tag), Some(number), Some(pad)) = (words.next(), words.next(), words.next()) else {
            return Err("not a writer's line".into());
        };
        let n: u64 = number.parse().map_err(|e| format!("{e}"))?;
        // As `tests/puppet/flood.rs` has it.
        let letters = usize::try_from(n.wrapping_mul(37) % 160).expect("small");
        if pad.len() != letters || pad.bytes().any(|b| b != b'x') {
            return Err(format!("{} letters where {letters} were printed", pad.len()));
        }
        let next = match self.next.get_mut(tag) {
            Some(next) => next,
            None => self.next.entry(tag.to_owned()).or_insert(0),
        };
        if n != *next {
            let what = if n > *next { "lost" } else { "doubled" };
            return Err(format!("{tag} prints {n} where {next} is due: lines {what}"));
        }
        *next += 1;
        Ok(())
    }

    /// Removes the rotated files that were read.
    pub(crate) fn tidy(&self) {
        let keep = self.at.map(|at| at.0);
        for path in self.names() {
            let ino = std::fs::metadata(&path).ok().map(|m| m.ino());
            if path != self.path && ino != keep {
                drop(std::fs::remove_file(path));
            }
        }
    }

    /// Whether this is what was printed on stderr.
    pub(crate) fn is_error(&self) -> bool {
        self.path.to_string_lossy().ends_with("-error.log")
    }

    /// How far each stream was read.
    pub(crate) fn progress(&self) -> &BTreeMap<String, u64> {
        &self.next
    }
}
