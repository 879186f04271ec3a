//! Names of an app's files: logs and pid files.
//!
//! It makes names and no files. Invariant: default files of two apps are never the same file,
//! whatever their names are.

use super::fingerprint::Fingerprint;
use crate::{InstanceId, Spec};

/// Longest part of a file name that comes from an app's name, in bytes.
const LONGEST_STEM: usize = 64;

/// Log files of one instance; `None` where nothing is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPaths {
    /// stdout.
    pub out: Option<String>,
    /// stderr.
    pub err: Option<String>,
    /// Both together, beside the other two.
    pub both: Option<String>,
}

impl Spec {
    /// The app's name as a part of file names: letters, digits, `.`, `_` and `-`, at most 64 bytes
    /// and a suffix that tells apart what became the same.
    pub fn file_stem(&self) -> String {
        file_stem(&self.name)
    }

    /// Log files of the instance with this index: `NAME-out.log` and `NAME-error.log`, with
    /// `-INDEX` where instances were asked for.
    pub fn log_paths(&self, index: u32, id: InstanceId, logs_dir: &str) -> LogPaths {
        // pm2 puts the public id there, which changes whenever the app is added anew.
        let _ = id;
        if self.log.disabled {
            return LogPaths::default();
        }
        let number = (self.is_numbered(index) && !self.log.merge).then_some(index);
        let path = |given: Option<&str>, kind: &str| match given {
            Some(null) if is_null(null) => None,
            Some(given) if !given.is_empty() => Some(with_number(given, number)),
            _ => Some(with_number(&format!("{logs_dir}/{}-{kind}.log", self.file_stem()), number)),
        };
        LogPaths {
            out: path(self.log.out.as_deref(), "out"),
            err: path(self.log.err.as_deref(), "error"),
            both: self.log.both.as_deref().and_then(|given| path(Some(given), "all")),
        }
    }

    /// The pid file of the instance with this index: `NAME-INDEX.pid`, or the given one, with
    /// `-INDEX` where instances were asked for.
    pub fn pid_path(&self, index: u32, id: InstanceId, pids_dir: &str) -> String {
        let _ = id;
        match self.pid_file.as_deref().filter(|given| !given.is_empty()) {
            Some(given) => with_number(given, self.is_numbered(index).then_some(index)),
            None => format!("{pids_dir}/{}-{index}.pid", self.file_stem()),
        }
    }
}

/// pm2's ways to say that nothing is to be written.
fn is_null(path: &str) -> bool {
    matches!(path, "/dev/null" | "NULL" | "null")
}

/// `x.log` with number 2 is `x-2.log`.
fn with_number(path: &str, number: Option<u32>) -> String {
    let Some(number) = number else { return path.to_owned() };
    let base = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[base..].rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => format!("{}-{number}{}", &path[..base + dot], &path[base + dot..]),
        None => format!("{path}-{number}"),
    }
}

fn file_stem(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut stem: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    if stem.is_empty() {
        stem.push_str("app");
    } else if stem.starts_with(['-', '.']) {
        stem.replace_range(..1, "_");
    }
    stem.truncate(LONGEST_STEM);
    if stem == name {
        return stem;
    }
    let mut hash = Fingerprint::new();
    hash.text(name);
    format!("{stem}-{:08x}", hash.finish() & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_safe_and_tell_apart() {
        assert_eq!(file_stem("web.api_2-x"), "web.api_2-x");
        for (name, start) in [
            ("a b", "a-b-"),
            ("a/b", "a-b-"),
            ("..", "_.-"),
            (".x", "_x-"),
            ("-x", "_x-"),
            ("", "app-"),
            ("é", "_-"),
        ] {
            let stem = file_stem(name);
            assert!(stem.starts_with(start), "{name} gave {stem}");
            assert!(!stem.contains('/') && stem.len() > 8, "{stem}");
        }
        assert_ne!(file_stem("a b"), file_stem("a/b"));
        let (long, longer) = ("x".repeat(65), "x".repeat(66));
        assert_ne!(file_stem(&long), file_stem(&longer));
        assert!(file_stem(&longer).len() <= LONGEST_STEM + 9);
    }

    #[test]
    fn logs_carry_the_index_where_instances_were_asked_for() {
        let id = InstanceId(9);
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        let paths = spec.log_paths(0, id, "/h/logs");
        assert_eq!(paths.out.as_deref(), Some("/h/logs/web-out.log"));
        assert_eq!(paths.err.as_deref(), Some("/h/logs/web-error.log"));
        assert_eq!(paths.both, None);
        assert_eq!(spec.log_paths(1, id, "/h").out.as_deref(), Some("/h/web-out-1.log"), "scaled up later");
        spec.instances_asked = true;
        spec.log.err = Some("/var/log/web.err.log".to_owned());
        spec.log.both = Some(String::new());
        let paths = spec.log_paths(1, id, "/h/logs");
        assert_eq!(paths.out.as_deref(), Some("/h/logs/web-out-1.log"));
        assert_eq!(paths.err.as_deref(), Some("/var/log/web.err-1.log"));
        assert_eq!(paths.both.as_deref(), Some("/h/logs/web-all-1.log"));
        spec.log.merge = true;
        assert_eq!(spec.log_paths(1, id, "/h").err.as_deref(), Some("/var/log/web.err.log"));
        spec.log.out = Some("/dev/null".to_owned());
        assert_eq!(spec.log_paths(1, id, "/h").out, None);
        spec.log.disabled = true;
        assert_eq!(spec.log_paths(1, id, "/h"), LogPaths::default());
    }

    #[test]
    fn numbers_go_before_the_extension() {
        for (path, expected) in [
            ("/a/x.log", "/a/x-2.log"),
            ("/a/x", "/a/x-2"),
            ("/a.d/x", "/a.d/x-2"),
            ("/a/.x", "/a/.x-2"),
            ("x.tar.gz", "x.tar-2.gz"),
        ] {
            assert_eq!(with_number(path, Some(2)), expected);
        }
    }

    #[test]
    fn pid_files() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        assert_eq!(spec.pid_path(0, InstanceId(4), "/h/pids"), "/h/pids/web-0.pid");
        spec.pid_file = Some("/run/web.pid".to_owned());
        assert_eq!(spec.pid_path(0, InstanceId(4), "/h"), "/run/web.pid");
        assert_eq!(spec.pid_path(1, InstanceId(5), "/h"), "/run/web-1.pid");
    }
}
