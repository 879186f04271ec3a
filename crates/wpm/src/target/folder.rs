//! What a folder is started by: its executable `main`, `main.js`, the `main` of its `package.json`,
//! `main.py`, `index.js`, in this order.

use std::fs;
use std::path::{Path, PathBuf};

use super::path::is_executable;

/// The file that runs a folder, or what was looked for.
pub(super) fn entry(folder: &Path) -> Result<PathBuf, String> {
    let main = folder.join("main");
    if is_executable(&main) {
        return Ok(main);
    }
    let package = package(folder);
    let of_package = package.as_ref().and_then(|package| main_of(folder, package));
    let candidates = [
        Some(folder.join("main.js")),
        of_package,
        Some(folder.join("main.py")),
        Some(folder.join("index.js")),
    ];
    if let Some(found) = candidates.into_iter().flatten().find(|path| path.is_file()) {
        return Ok(found);
    }
    let mut looked =
        "an executable `main`, `main.js`, the `main` of `package.json`, `main.py` and `index.js`".to_owned();
    if main.is_file() {
        looked.push_str(" (`main` is there, but not executable)");
    }
    Err(looked)
}

fn package(folder: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&fs::read(folder.join("package.json")).ok()?).ok()
}

/// `main` of a package as Node finds it: the file, with `.js`, or its `index.js`.
fn main_of(folder: &Path, package: &serde_json::Value) -> Option<PathBuf> {
    let main = folder.join(package.get("main")?.as_str().filter(|main| !main.is_empty())?);
    let with_extension = {
        let mut name = main.clone().into_os_string();
        name.push(".js");
        PathBuf::from(name)
    };
    [main.clone(), with_extension, main.join("index.js")].into_iter().find(|path| path.is_file())
}

/// Version in the nearest `package.json` at or above a folder, for display.
pub(super) fn version(folder: &Path) -> Option<String> {
    let package = folder.ancestors().take(8).find_map(package)?;
    package.get("version")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_order_of_entries() {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = dir.path();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
        let found =
            || entry(folder).map(|path| path.file_name().expect("named").to_string_lossy().into_owned());
        assert!(found().expect_err("empty").contains("main.py"));
        write("index.js", "");
        assert_eq!(found().as_deref(), Ok("index.js"));
        write("main.py", "");
        assert_eq!(found().as_deref(), Ok("main.py"));
        write("package.json", r#"{"main":"server","version":"1.4.2"}"#);
        assert_eq!(found().as_deref(), Ok("main.py"), "its main is missing");
        write("server.js", "");
        assert_eq!(found().as_deref(), Ok("server.js"));
        write("main.js", "");
        assert_eq!(found().as_deref(), Ok("main.js"));
        write("main", "");
        assert_eq!(found().as_deref(), Ok("main.js"), "not executable");
        fs::set_permissions(folder.join("main"), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(found().as_deref(), Ok("main"));
        assert_eq!(version(&folder.join("a/b")).as_deref(), Some("1.4.2"));
    }

    #[test]
    fn a_main_that_is_not_executable_is_mentioned() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("main"), "").expect("written");
        assert!(entry(dir.path()).expect_err("nothing").contains("not executable"));
    }
}
