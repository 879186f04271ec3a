//! Reads and replaces `state.json` and `dump.json`.
//!
//! Replacing is: temporary file, fsync, rename, fsync of the folder; the generation before stays as
//! `.bak`. A file that cannot be read is set aside under a name of its own, never overwritten, and
//! the last good generation is used. Disk full: the reserve is given up for the temporary file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use wpm_proto::state::{StateFile, VERSION};

/// Largest file that is read, in bytes; a larger one is not wpm's.
const MAX_SIZE: u64 = 256 * 1024 * 1024;
/// Disk space held for the day on which the disk is full, in bytes.
const RESERVE: u64 = 128 * 1024;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The state; `None` where there was none.
    pub(crate) state: Option<StateFile>,
    /// Sentences for the log and for `wpm doctor`.
    pub(crate) remarks: Vec<String>,
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
    /// A newer wpm wrote it.
    #[error("it has version {0}, and this wpm reads up to version {VERSION}")]
    Newer(u32),
}

/// Reads one file.
pub(crate) fn read(path: &Path) -> Result<StateFile, LoadError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(LoadError::Absent),
        Err(e) => return Err(LoadError::Io(e)),
    };
    let meta = file.metadata().map_err(LoadError::Io)?;
    if !meta.is_file() {
        return Err(LoadError::Foreign("it is not a regular file".into()));
    }
    if meta.len() > MAX_SIZE {
        return Err(LoadError::Foreign(format!("{} bytes are too many", meta.len())));
    }
    let mut text = Vec::new();
    let _ = file.take(MAX_SIZE).read_to_end(&mut text).map_err(LoadError::Io)?;
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
/// Only for a file of a newer wpm: starting with less would lose what it holds.
pub(crate) fn load(path: &Path, backup: &Path) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    let why = match read(path) {
        Ok(state) => {
            loaded.state = Some(state);
            return Ok(loaded);
        }
        Err(e @ LoadError::Newer(_)) => return Err(e),
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
        Err(e @ LoadError::Newer(_)) => return Err(e),
        Err(e) => loaded.remarks.push(quarantine(backup, &e)),
    }
    Ok(loaded)
}

/// Sets a file aside.
fn quarantine(path: &Path, why: &LoadError) -> String {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".corrupt-{}", crate::clock::wall_ms()));
    let aside = PathBuf::from(aside);
    match fs::rename(path, &aside) {
        Ok(()) => format!("cannot use {}: {why}; kept it as {}", path.display(), aside.display()),
        Err(e) => {
            format!("cannot use {}: {why}; it could not be set aside either: {e}", path.display())
        }
    }
}

/// Replaces the file durably, keeping the generation before as `backup`.
///
/// # Errors
/// When any step fails; the old file is untouched then.
pub(crate) fn replace(path: &Path, backup: &Path, reserve: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    match write_whole(&temporary, content) {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => {
            drop(fs::remove_file(reserve));
            if let Err(e) = write_whole(&temporary, content) {
                drop(fs::remove_file(&temporary));
                return Err(e);
            }
        }
        other => other?,
    }
    if path.exists() {
        drop(fs::remove_file(backup));
        // A hard link, not a rename: at no moment is there no file under the proper name.
        if fs::hard_link(path, backup).is_err() {
            drop(fs::copy(path, backup));
        }
    }
    fs::rename(&temporary, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    if !reserve.exists() {
        hold_reserve(reserve);
    }
    Ok(())
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Allocates the reserve; a failure only means that there is none.
pub(crate) fn hold_reserve(path: &Path) {
    if let Ok(file) = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
        && rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE).is_err()
    {
        drop(fs::remove_file(path));
    }
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
}
