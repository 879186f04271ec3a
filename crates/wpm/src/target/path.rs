//! Paths as users write them, and commands on PATH.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// An absolute path without `.` and `..`, seen from `base`; `~` is the user's home. Symbolic links stay
/// as they are: a link to the current release must stay one.
pub(crate) fn absolute(text: &str, base: &Path, env: &BTreeMap<String, String>) -> PathBuf {
    let home = || env.get("HOME").map(PathBuf::from).or_else(dirs::home_dir);
    let expanded = match text.strip_prefix('~') {
        Some("") => home(),
        Some(rest) if rest.starts_with('/') => home().map(|home| home.join(&rest[1..])),
        _ => None,
    };
    let joined = base.join(expanded.unwrap_or_else(|| PathBuf::from(text)));
    let mut clean = PathBuf::from("/");
    for component in joined.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Whether it is a file that may be executed by somebody.
pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Where PATH finds a command.
pub(crate) fn on_path(command: &str, env: &BTreeMap<String, String>, cwd: &Path) -> Option<PathBuf> {
    if command.is_empty() || command.contains('/') {
        return None;
    }
    let folders = env.get("PATH")?;
    std::env::split_paths(folders)
        .map(|folder| cwd.join(folder).join(command))
        .find(|path| is_executable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_without_following_links() {
        let env = BTreeMap::from([("HOME".to_owned(), "/home/a".to_owned())]);
        let clean = |text| absolute(text, Path::new("/srv/app"), &env).display().to_string();
        assert_eq!(clean("./x/../main.js"), "/srv/app/main.js");
        assert_eq!(clean("../../.."), "/");
        assert_eq!(clean("~/x"), "/home/a/x");
        assert_eq!(clean("~x"), "/srv/app/~x");
        assert_eq!(clean("/a//b/"), "/a/b");
    }

    #[test]
    fn commands_are_found_on_path() {
        let dir = tempfile::tempdir().expect("temp dir");
        let tool = dir.path().join("tool");
        fs::write(&tool, "").expect("written");
        let env = BTreeMap::from([("PATH".to_owned(), format!("/nonexistent:{}", dir.path().display()))]);
        assert_eq!(on_path("tool", &env, dir.path()), None, "not executable");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(on_path("tool", &env, dir.path()), Some(tool));
        assert_eq!(on_path("./tool", &env, dir.path()), None);
    }
}
