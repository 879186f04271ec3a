//! Names of an app's files: logs and pid files.
//!
//! It makes names and no files. Invariant: default files of two apps are never the same file,
//! whatever their names are.

use super::fingerprint::Fingerprint;
use crate::Spec;

/// Longest part of a file name that comes from an app's name, in bytes.
const LONGEST_STEM: usize = 64;

/// Name of a file that each instance of an app has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// What is before the number.
    pub head: String,
    /// What is behind it: the extension.
    pub tail: String,
    /// The index from which it is numbered; none: all instances have the same file.
    pub numbered_from: Option<u32>,
}

impl FileName {
    /// A path whose number goes before the extension: `x.log` with number 2 is `x-2.log`.
    fn new(path: &str, numbered_from: Option<u32>) -> Self {
        let base = path.rfind('/').map_or(0, |slash| slash + 1);
        let dot = path[base..].rfind('.').filter(|dot| *dot > 0).map_or(path.len(), |dot| base + dot);
        Self { head: path[..dot].to_owned(), tail: path[dot..].to_owned(), numbered_from }
    }

    /// That of the instance with this index.
    pub fn of(&self, index: u32) -> String {
        let Self { head, tail, numbered_from } = self;
        if numbered_from.is_some_and(|from| index >= from) {
            format!("{head}-{index}{tail}")
        } else {
            format!("{head}{tail}")
        }
    }
}

/// Log files of an app; `None` where nothing is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogNames {
    /// stdout.
    pub out: Option<FileName>,
    /// stderr.
    pub err: Option<FileName>,
    /// Both together, beside the other two.
    pub both: Option<FileName>,
}

impl Spec {
    /// The app's name as a part of file names: letters, digits, `.`, `_` and `-`, at most 64 bytes
    /// and a suffix that tells apart what became the same.
    pub fn file_stem(&self) -> String {
        file_stem(&self.name)
    }

    /// Log files: `NAME-out.log` and `NAME-error.log`, with `-INDEX` where instances were asked for (pm2 puts the
    /// public id there, which changes whenever the app is added anew).
    pub fn log_names(&self, logs_dir: &str) -> LogNames {
        if self.log.disabled {
            return LogNames::default();
        }
        let numbered_from = (!self.log.merge).then_some(self.numbered_from());
        let name = |given: Option<&str>, kind: &str| match given {
            Some(null) if is_null(null) => None,
            Some(given) if !given.is_empty() => Some(FileName::new(given, numbered_from)),
            _ => Some(FileName::new(&format!("{logs_dir}/{}-{kind}.log", self.file_stem()), numbered_from)),
        };
        LogNames {
            out: name(self.log.out.as_deref(), "out"),
            err: name(self.log.err.as_deref(), "error"),
            both: self.log.both.as_deref().and_then(|given| name(Some(given), "all")),
        }
    }

    /// Pid files: `NAME-INDEX.pid`, or the given one, with `-INDEX` where instances were asked for.
    pub fn pid_name(&self, pids_dir: &str) -> FileName {
        match self.pid_file.as_deref().filter(|given| !given.is_empty()) {
            Some(given) => FileName::new(given, Some(self.numbered_from())),
            None => FileName {
                head: format!("{pids_dir}/{}", self.file_stem()),
                tail: ".pid".to_owned(),
                numbered_from: Some(0),
            },
        }
    }
}

/// pm2's ways to say that nothing is to be written.
fn is_null(path: &str) -> bool {
    matches!(path, "/dev/null" | "NULL" | "null")
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
        let of = |name: Option<FileName>, index| name.map(|name| name.of(index));
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        let names = spec.log_names("/h/logs");
        assert_eq!(of(names.out.clone(), 0).as_deref(), Some("/h/logs/web-out.log"));
        assert_eq!(of(names.err, 0).as_deref(), Some("/h/logs/web-error.log"));
        assert_eq!(names.both, None);
        assert_eq!(of(names.out, 1).as_deref(), Some("/h/logs/web-out-1.log"), "scaled up later");
        spec.instances_asked = true;
        spec.log.err = Some("/var/log/web.err.log".to_owned());
        spec.log.both = Some(String::new());
        let names = spec.log_names("/h/logs");
        assert_eq!(of(names.out, 0).as_deref(), Some("/h/logs/web-out-0.log"));
        assert_eq!(of(names.err, 1).as_deref(), Some("/var/log/web.err-1.log"));
        assert_eq!(of(names.both, 1).as_deref(), Some("/h/logs/web-all-1.log"));
        spec.log.merge = true;
        assert_eq!(of(spec.log_names("/h").err, 1).as_deref(), Some("/var/log/web.err.log"));
        spec.log.out = Some("/dev/null".to_owned());
        assert_eq!(spec.log_names("/h").out, None);
        spec.log.disabled = true;
        assert_eq!(spec.log_names("/h"), LogNames::default());
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
            let name = FileName::new(path, Some(1));
            assert_eq!((name.of(0).as_str(), name.of(2).as_str()), (path, expected));
        }
    }

    #[test]
    fn pid_files() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        assert_eq!(spec.pid_name("/h/pids").of(0), "/h/pids/web-0.pid");
        spec.name = "web.js".to_owned();
        assert_eq!(spec.pid_name("/h").of(1), "/h/web.js-1.pid");
        spec.pid_file = Some("/run/web.pid".to_owned());
        assert_eq!(spec.pid_name("/h").of(0), "/run/web.pid");
        assert_eq!(spec.pid_name("/h").of(1), "/run/web-1.pid");
    }
}
