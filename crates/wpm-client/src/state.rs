//! Reads the state file, for commands that work without a daemon.
//!
//! Never writes it. A file that cannot be read counts as an empty list: the daemon is the one that
//! complains about it.

use wpm_proto::home::Home;
use wpm_proto::state::{SavedApp, StateFile, VERSION};

/// The apps that the state file names; the last good generation where the file is damaged.
pub fn saved_apps(home: &Home) -> Vec<SavedApp> {
    [home.state(), home.state_backup()]
        .iter()
        .find_map(|path| {
            let file: StateFile = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
            (file.version <= VERSION).then_some(file.apps)
        })
        .unwrap_or_default()
}
