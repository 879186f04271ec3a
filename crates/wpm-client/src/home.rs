//! Finds the home of wpm and makes sure that it is private.
//!
//! Reads `WPM_HOME` and the user's home directory, nothing else. Invariant: no socket in a folder that
//! another user owns or may write to is ever connected to.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wpm_proto::env;
use wpm_proto::home::Home;

use crate::Error;

/// The home of this user: `WPM_HOME`, else `~/.wpm`.
///
/// # Errors
/// When neither is known, or `WPM_HOME` is relative.
pub fn locate() -> Result<Home, Error> {
    locate_from(std::env::var_os(env::HOME).as_deref(), dirs::home_dir)
}

fn locate_from(set: Option<&OsStr>, user_home: impl FnOnce() -> Option<PathBuf>) -> Result<Home, Error> {
    match set.filter(|value| !value.is_empty()) {
        Some(value) => {
            let path = PathBuf::from(value);
            if path.is_absolute() { Ok(Home::new(path)) } else { Err(Error::RelativeHome { path }) }
        }
        None => user_home()
            .filter(|path| path.is_absolute())
            .map(|path| Home::new(path.join(".wpm")))
            .ok_or(Error::NoHome),
    }
}

/// Whether the home exists; where it does, it has been found to be private.
///
/// # Errors
/// When it belongs to someone else, others may write to it, or it is no folder.
pub fn check(home: &Home) -> Result<bool, Error> {
    let path = home.path();
    let user = rustix::process::geteuid().as_raw();
    // A link of one's own may lead to another disk; one of somebody else may lead anywhere tomorrow.
    if let Ok(link) = fs::symlink_metadata(path)
        && link.is_symlink()
        && ![user, 0].contains(&link.uid())
    {
        return Err(Error::ForeignHome { path: path.to_owned(), owner: link.uid(), user });
    }
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => return Err(Error::file("look at", path)(cause)),
    };
    if !data.is_dir() {
        return Err(Error::file("use", path)(io::ErrorKind::NotADirectory.into()));
    }
    if data.uid() != user {
        return Err(Error::ForeignHome { path: path.to_owned(), owner: data.uid(), user });
    }
    let mode = data.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(Error::OpenHome { path: path.to_owned(), mode });
    }
    Ok(true)
}

/// Creates the home (0700) where it is missing, and checks it where it is there.
///
/// # Errors
/// As [`check`], and when it cannot be created.
pub fn prepare(home: &Home) -> Result<(), Error> {
    if check(home)? {
        return Ok(());
    }
    let path = home.path();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        // Another client was faster.
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(Error::file("create", path)(cause)),
    }
    check(home).map(drop)
}

/// Writes a path with `~` for the user's home directory, for people to read.
pub fn shorten(path: &Path) -> String {
    match dirs::home_dir().filter(|home| home.parent().is_some()) {
        Some(home) => match path.strip_prefix(&home) {
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        },
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_users_home() {
        let home = locate_from(Some(OsStr::new("/srv/wpm")), || Some("/home/a".into()));
        assert_eq!(home.expect("absolute").path(), Path::new("/srv/wpm"));
        let home = locate_from(Some(OsStr::new("")), || Some("/home/a".into()));
        assert_eq!(home.expect("empty is unset").path(), Path::new("/home/a/.wpm"));
        assert!(matches!(locate_from(Some(OsStr::new("wpm")), || None), Err(Error::RelativeHome { .. })));
        assert!(matches!(locate_from(None, || None), Err(Error::NoHome)));
    }

    #[test]
    fn a_new_home_is_private_and_an_open_one_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path().join("a/b"));
        prepare(&home).expect("created");
        let mode = fs::metadata(home.path()).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
        assert!(matches!(prepare(&home), Err(Error::OpenHome { mode: 0o777, .. })));
    }

    #[test]
    fn a_file_in_place_of_the_home_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("f"), "").expect("written");
        assert!(matches!(check(&Home::new(dir.path().join("f"))), Err(Error::File { .. })));
    }
}
