//! Reads and replaces `state.json` and `dump.json`.
//!
//! Replacing is: temporary file, fsync, rename, fsync of the folder; the generation before stays as
//! `.bak`. A file that cannot be read is set aside under a name of its own, never overwritten, and
//! the last good generation is used. Disk full: the reserve becomes the temporary file, so that nobody
//! else can take its room on the way.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use wpm_proto::state::{StateFile, VERSION};

/// Largest file that is read, in bytes; a larger one is not wpm's.
const MAX_SIZE: u64 = 256 * 1024 * 1024;
/// Disk space held for the day on which the disk is full, in bytes; more where the state is large.
const RESERVE: u64 = 128 * 1024;
/// Between the name of a file that was set aside and the time.
const ASIDE: &str = ".corrupt-";
/// Errors that say nothing about the file: trying again may help.
const PASSING: [rustix::io::Errno; 7] = [
    rustix::io::Errno::NOSPC,
    rustix::io::Errno::DQUOT,
    rustix::io::Errno::MFILE,
    rustix::io::Errno::NFILE,
    rustix::io::Errno::NOMEM,
    rustix::io::Errno::AGAIN,
    rustix::io::Errno::INTR,
];

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The state; `None` where there was none.
    pub(crate) state: Option<StateFile>,
    /// Sentences for the log and for `wpm doctor`.
    pub(crate) remarks: Vec<String>,
}

impl Loaded {
    /// Whether there was a state and nothing of it could be read.
    pub(crate) fn is_lost(&self) -> bool {
        self.state.is_none() && !self.remarks.is_empty()
    }
}

/// Why one file gave no state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// It is not there.
    #[error("it does not exist")]
    Absent,
    /// The system said no.
    #[error("{0}")]
    Io(io::Error),
    /// It is not what wpm writes.
    #[error("it is not a state file: {0}")]
    Foreign(String),
    /// The system said no for now.
    #[error("{0}")]
    Passing(io::Error),
    /// A newer wpm wrote it.
    #[error("it has version {0}, and this wpm reads up to version {VERSION}")]
    Newer(u32),
}

/// Reads one file.
pub(crate) fn read(path: &Path) -> Result<StateFile, LoadError> {
    let failed = |e: io::Error| match e.raw_os_error() {
        Some(errno) if PASSING.iter().any(|p| p.raw_os_error() == errno) => LoadError::Passing(e),
        _ if e.kind() == io::ErrorKind::NotFound => LoadError::Absent,
        _ => LoadError::Io(e),
    };
    // A pipe in its place would be waited for.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = file.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(LoadError::Foreign("it is not a regular file".into()));
    }
    if meta.len() > MAX_SIZE {
        return Err(LoadError::Foreign(format!("{} bytes are too many", meta.len())));
    }
    let mut text = Vec::new();
    let _ = file.take(MAX_SIZE).read_to_end(&mut text).map_err(failed)?;
    let version = serde_json::from_slice::<serde_json::Value>(&text)
        .map_err(|e| LoadError::Foreign(e.to_string()))?
        .get("version")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(|| LoadError::Foreign("it has no version number".into()))?;
    if version > u64::from(VERSION) {
        return Err(LoadError::Newer(u32::try_from(version).unwrap_or(u32::MAX)));
    }
    serde_json::from_slice(&text).map_err(|e| LoadError::Foreign(e.to_string()))
}

/// Reads the file or, where it cannot be read, its last good generation.
///
/// # Errors
/// For a file of a newer wpm, since starting with less would lose what it holds; and where the system
/// had no room to open it just now.
pub(crate) fn load(path: &Path, backup: &Path) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    let why = match read(path) {
        Ok(state) => {
            loaded.state = Some(state);
            return Ok(loaded);
        }
        Err(e @ (LoadError::Newer(_) | LoadError::Passing(_))) => return Err(e),
        Err(e) => e,
    };
    let absent = matches!(why, LoadError::Absent);
    if !absent {
        loaded.remarks.push(quarantine(path, &why));
    }
    match read(backup) {
        Ok(state) => {
            loaded.remarks.push(format!(
                "using the last good generation {} with {} apps",
                backup.display(),
                state.apps.len()
            ));
            loaded.state = Some(state);
        }
        Err(LoadError::Absent) => {}
        Err(e @ (LoadError::Newer(_) | LoadError::Passing(_))) => return Err(e),
        Err(e) => loaded.remarks.push(quarantine(backup, &e)),
    }
    Ok(loaded)
}

/// Whether a daemon that was not content with these files would be now. Changes nothing.
pub(crate) fn is_usable(path: &Path, backup: &Path) -> bool {
    let taken_away = || !path.exists() && !was_set_aside(path);
    read(path).is_ok() || read(backup).is_ok() || taken_away()
}

/// Whether a file of this name was set aside once, and is still there. A folder that cannot be looked
/// through may hold one.
pub(crate) fn was_set_aside(path: &Path) -> bool {
    let Some((folder, name)) = path.parent().zip(path.file_name()) else { return false };
    let mut start = name.to_string_lossy().into_owned();
    start.push_str(ASIDE);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
    };
    entries.flatten().map(|e| e.file_name()).any(|name| name.to_string_lossy().starts_with(&start))
}

/// Sets a file aside.
fn quarantine(path: &Path, why: &LoadError) -> String {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!("{ASIDE}{}", crate::clock::wall_ms()));
    let aside = PathBuf::from(aside);
    match fs::rename(path, &aside) {
        Ok(()) => format!("cannot use {}: {why}; kept it as {}", path.display(), aside.display()),
        Err(e) => {
            format!("cannot use {}: {why}; it could not be set aside either: {e}", path.display())
        }
    }
}

/// Replaces the file durably, keeping the generation before as `backup`. Says whether a reserve is held
/// for the next time.
///
/// # Errors
/// When any step fails; the old file is untouched then.
pub(crate) fn replace(path: &Path, backup: &Path, reserve: &Path, content: &[u8]) -> io::Result<bool> {
    let temporary = path.with_extension("json.tmp");
    let written = write_whole(&temporary, content).or_else(|e| {
        let full = [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT];
        if !full.iter().any(|errno| e.raw_os_error() == Some(errno.raw_os_error())) {
            return Err(e);
        }
        fs::rename(reserve, &temporary).map_err(|_| e)?;
        write_over(&temporary, content)
    });
    if let Err(e) = written {
        drop(fs::remove_file(&temporary));
        return Err(e);
    }
    if path.exists() {
        drop(fs::remove_file(backup));
        // A hard link, not a rename: at no moment is there no file under the proper name.
        if fs::hard_link(path, backup).is_err() && fs::copy(path, backup).is_err() {
            // Half of one is none.
            drop(fs::remove_file(backup));
        }
    }
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(hold_reserve(reserve, content.len() as u64))
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes into room that a file has already, and gives back what is too much.
fn write_over(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// Allocates the reserve for a state of this size unless it is there. Whether it is there now.
pub(crate) fn hold_reserve(path: &Path, state: u64) -> bool {
    let wanted = RESERVE.max(state * 2);
    if fs::metadata(path).is_ok_and(|data| data.len() >= wanted) {
        return true;
    }
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let Ok(file) = open else { return false };
    let held = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, wanted).is_ok();
    if !held {
        drop(fs::remove_file(path));
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(n: u64) -> Vec<u8> {
        serde_json::to_vec(&StateFile {
            version: VERSION,
            written_by: "test".into(),
            generation: n,
            recent_keys: vec![],
            recent_runs: vec![],
            apps: vec![],
        })
        .expect("plain data")
    }

    #[test]
    fn bad_files_are_set_aside_and_the_last_good_generation_is_used() {
        for bad in
            [&b""[..], b"\0\0\0\0", b"{\"version\":1,\"apps\":[{", b"[1,2]", b"{\"version\":1,\"apps\":7}"]
        {
            let dir = tempfile::tempdir().expect("tempdir");
            let (path, bak, reserve) = (
                dir.path().join("state.json"),
                dir.path().join("state.json.bak"),
                dir.path().join("reserve"),
            );
            replace(&path, &bak, &reserve, &state(1)).expect("first");
            replace(&path, &bak, &reserve, &state(2)).expect("second");
            fs::write(&path, bad).expect("damage");
            let loaded = load(&path, &bak).expect("loads");
            assert_eq!(loaded.state.expect("from the backup").generation, 1);
            assert_eq!(loaded.remarks.len(), 2);
            let kept = fs::read_dir(dir.path())
                .expect("dir")
                .flatten()
                .find(|e| e.file_name().to_string_lossy().contains("corrupt"))
                .expect("the bad file is kept");
            assert_eq!(fs::read(kept.path()).expect("readable"), bad);
        }
    }

    #[test]
    fn the_reserve_grows_with_the_state_and_becomes_the_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let reserve = dir.path().join("reserve");
        assert!(hold_reserve(&reserve, 10));
        assert_eq!(fs::metadata(&reserve).expect("there").len(), RESERVE);
        assert!(hold_reserve(&reserve, RESERVE));
        assert_eq!(fs::metadata(&reserve).expect("there").len(), 2 * RESERVE);
        assert!(!hold_reserve(&dir.path().join("no/such"), 1));
        write_over(&reserve, b"content").expect("room is there");
        assert_eq!(fs::read(&reserve).expect("there"), b"content");
    }

    #[test]
    fn what_waits_is_too_large_or_cannot_be_opened_is_no_state() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("state.json");
        // A pipe that nobody writes: reading must not wait for it.
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("mkfifo");
        assert!(matches!(read(&path), Err(LoadError::Foreign(_) | LoadError::Io(_))));
        fs::remove_file(&path).expect("there");
        File::create(&path).expect("made").set_len(1 << 30).expect("sparse");
        let loaded = load(&path, &dir.path().join("none")).expect("starts");
        assert!(loaded.is_lost() && loaded.remarks[0].contains("1073741824 bytes are too many"));
        assert!(!path.exists(), "it was set aside");
        std::os::unix::fs::symlink("state.json", &path).expect("a loop");
        assert!(load(&path, &dir.path().join("none")).expect("starts").is_lost());
        let fresh = load(&dir.path().join("x"), &dir.path().join("y")).expect("starts");
        assert!(!fresh.is_lost(), "a home without a list has lost none");
    }

    #[test]
    fn a_file_of_a_newer_wpm_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("state.json");
        fs::write(&path, "{\"version\":99,\"apps\":[]}").expect("write");
        assert!(matches!(load(&path, &dir.path().join("none")), Err(LoadError::Newer(99))));
        assert!(path.exists());
    }

    #[test]
    fn a_folder_or_link_in_its_place_does_not_crash() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("state.json");
        fs::create_dir(&path).expect("mkdir");
        assert!(load(&path, &dir.path().join("none")).expect("no newer").state.is_none());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        /// Whatever is in the files: the daemon starts or refuses, the backup is used, and nothing is lost.
        #[test]
        fn any_file_is_used_refused_or_set_aside(
            at in 0_usize..200,
            with in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..30),
            cut in 0_usize..60,
        ) {
            let dir = tempfile::tempdir().expect("tempdir");
            let (path, bak) = (dir.path().join("state.json"), dir.path().join("state.json.bak"));
            let mut bytes = state(2);
            let at = at % bytes.len();
            let end = (at + cut).min(bytes.len());
            drop(bytes.splice(at..end, with));
            fs::write(&path, &bytes).expect("write");
            fs::write(&bak, state(1)).expect("write");
            match load(&path, &bak) {
                Ok(loaded) => {
                    let state = loaded.state.expect("the file or its backup");
                    proptest::prop_assert!(loaded.remarks.is_empty() || state.generation == 1);
                    proptest::prop_assert_eq!(loaded.remarks.is_empty(), path.exists());
                    proptest::prop_assert!(loaded.remarks.is_empty() || was_set_aside(&path));
                }
                Err(LoadError::Newer(version)) => proptest::prop_assert!(version > VERSION && path.exists()),
                Err(other) => proptest::prop_assert!(false, "{other}"),
            }
        }
    }
}
