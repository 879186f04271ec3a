//! Files of runs that are no more: journals of their lines, notes beside the locks of log files.
//!
//! A shim takes its files away when it goes; one that was killed together with everything that could
//! replace it does not. Nor does a child that leaves a mark, as it did not run ([`wpm_sys::child::unrun_mark`]). Deliberately touches nothing whose name it does not know, and no lock.
//! Invariant: no file of a live run is removed.

use std::os::unix::ffi::OsStrExt;

use wpm_proto::home::Home;
use wpm_sys::child::UNRUN;

/// Removes what is left of runs that are not in `live`.
pub(crate) fn remove(home: &Home, live: &[u64]) {
    for entry in std::fs::read_dir(home.log_locks()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(run_of).is_some_and(|run| !live.contains(&run)) {
            // Only space is lost with one that stays.
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

/// Removes what children of runs that are not in `live` have left to say that they did not run. Only once the
/// journal knows it.
pub(crate) fn remove_marks(home: &Home, live: &[u64]) {
    for entry in std::fs::read_dir(home.run()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let socket = name.as_bytes().strip_suffix(UNRUN).and_then(|name| std::str::from_utf8(name).ok());
        let run = socket.and_then(Home::parse_shim_socket).map(|(_, run)| run);
        if run.is_some_and(|run| !live.contains(&run)) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

/// The run of a file: `RUN.LANE.lines`, or `HASH.RUN.LANE` (`HASH.RUN.part` while it is written).
fn run_of(name: &str) -> Option<u64> {
    let parts: Vec<&str> = name.split('.').collect();
    let [first, second, third] = parts[..] else { return None };
    let lane = |word: &str| matches!(word, "0" | "1");
    if third == "lines" && lane(second) {
        first.parse().ok()
    } else if first.len() == 16 && (lane(third) || third == "part") {
        second.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_dead_runs_are_removed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let home = Home::new(dir.path());
        std::fs::create_dir_all(home.log_locks()).expect("mkdir");
        let hash = "0123456789abcdef";
        let stay = [
            "7.0.lines".to_owned(),
            format!("{hash}.lock"),
            format!("{hash}.7.1"),
            "8.2.lines".into(),
            "x.0.lines".into(),
            "8.0.lines.gz".into(),
        ];
        let go = ["8.0.lines".to_owned(), format!("{hash}.8.0"), format!("{hash}.8.part")];
        for name in stay.iter().chain(&go) {
            std::fs::write(home.log_locks().join(name), "").expect("write");
        }
        let marks = ["1.7.sock", "1.7.sock.unrun", "1.8.sock", "1.8.sock.unrun", "x.unrun"];
        for name in marks {
            std::fs::write(home.run().join(name), "").expect("write");
        }
        remove(&home, &[7]);
        remove_marks(&home, &[7]);
        let gone = |name: &&str| !home.run().join(name).exists();
        assert_eq!(marks.into_iter().filter(gone).collect::<Vec<_>>(), ["1.8.sock.unrun"]);
        for name in &stay {
            assert!(home.log_locks().join(name).exists(), "{name}");
        }
        assert_eq!(std::fs::read_dir(home.log_locks()).expect("dir").count(), stay.len());
    }
}
