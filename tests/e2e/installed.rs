//! What npm and pip install for tests: once for all test runs, into the folder that cargo keeps for tests.
//!
//! Invariant: an installation that was broken off counts as none, and who comes meanwhile waits, be it a process of
//! its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of that name, after `install` has filled it. Another name is another installation.
pub(crate) fn installed(folder: &str, install: impl FnOnce(&Path) -> Command) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let turn = File::create(folder.join("turn")).expect("a file");
    turn.lock().expect("its turn comes");
    if !folder.join("installed").exists() {
        let output = install(&folder).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(folder.join("installed"), "").expect("noted");
    }
    folder
}

/// What makes npm install these packages.
pub(crate) fn npm(folder: &Path, packages: &[&str]) -> Command {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(folder)
        .args(packages);
    npm
}
