//! Which changes of files concern an app: patterns, its own output, and how often it may restart.
//!
//! Looks at names only, never at contents. Invariant: what wpm or the app's own output writes is no
//! change.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Never watched, unless a pattern with `!` takes it back: hidden files, installed packages, what
/// compilers, editors and interpreters leave behind.
const DEFAULT: [&str; 9] =
    [".*", "node_modules/", "__pycache__/", "target/", "*.pyc", "*.swp", "*~", "#*#", "4913"];
/// So many restarts ...
const LOOP: usize = 10;
/// ... in such a time are a loop.
const LOOP_TIME: Duration = Duration::from_secs(30);

/// What is watched below one path.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// A folder, or a file.
    pub(super) path: PathBuf,
    rules: Arc<Gitignore>,
}

impl Root {
    /// With the patterns of the user, which are seen from the path.
    pub(super) fn new(path: &Path, patterns: &[String]) -> Self {
        let mut builder = GitignoreBuilder::new(path);
        for pattern in DEFAULT.iter().copied().chain(patterns.iter().map(String::as_str)) {
            if let Err(error) = builder.add_line(None, &relative(pattern, path)) {
                tracing::warn!("the pattern {pattern:?} of ignore_watch is not understood: {error}");
            }
        }
        let _missing = builder.add(path.join(".gitignore"));
        let rules = builder.build().unwrap_or_else(|_| Gitignore::empty());
        Self { path: path.to_owned(), rules: Arc::new(rules) }
    }

    /// Whether something that lies below this path is watched.
    pub(super) fn covers(&self, path: &Path, is_folder: bool) -> bool {
        path == self.path
            || (path.starts_with(&self.path)
                && !self.rules.matched_path_or_any_parents(path, is_folder).is_ignore())
    }
}

/// A pattern as `.gitignore` has it: `./logs` and absolute paths are what people write, too.
fn relative(pattern: &str, root: &Path) -> String {
    let root = root.to_string_lossy();
    if let Some(inside) = pattern.strip_prefix(root.as_ref()).filter(|rest| rest.starts_with('/')) {
        return inside.to_owned();
    }
    pattern.strip_prefix('.').filter(|rest| rest.starts_with('/')).unwrap_or(pattern).to_owned()
}

/// Files that wpm writes for an app: their names, with whatever rotation adds to them.
#[derive(Debug, Default)]
pub(super) struct Own {
    files: Vec<PathBuf>,
    home: PathBuf,
}

impl Own {
    /// Log and pid files of all instances, and the home.
    pub(super) fn new(files: impl IntoIterator<Item = String>, home: &Path) -> Self {
        Self { files: files.into_iter().map(PathBuf::from).collect(), home: home.to_owned() }
    }

    /// Whether a path is one of them.
    pub(super) fn has(&self, path: &Path) -> bool {
        let rotated = |file: &Path| {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            path.parent() == file.parent()
                && name.strip_prefix(&stem).is_some_and(|rest| rest.starts_with("__"))
        };
        path.starts_with(&self.home) || self.files.iter().any(|file| path == file || rotated(file))
    }
}

/// Tells a loop: an app that changes by itself what it is watched for.
#[derive(Debug, Default)]
pub(super) struct LoopBreaker {
    recent: VecDeque<Instant>,
}

impl LoopBreaker {
    /// Takes note of a restart; false where it is one too many.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        while self.recent.front().is_some_and(|at| now.duration_since(*at) > LOOP_TIME) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.recent.len() <= LOOP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_gitignore() {
        let patterns =
            ["dist".to_owned(), "./cache/**".to_owned(), "/srv/app/tmp".to_owned(), "!.env".to_owned()];
        let root = Root::new(Path::new("/srv/app"), &patterns);
        let covers = |path: &str| root.covers(Path::new(path), false);
        assert!(covers("/srv/app/server.js") && covers("/srv/app/src/a/b.ts") && covers("/srv/app/.env"));
        for ignored in
            ["node_modules/x/y.js", ".git/HEAD", "src/.a.swp", "dist/a.js", "src/dist/b", "cache/c", "tmp/d"]
        {
            assert!(!covers(&format!("/srv/app/{ignored}")), "{ignored}");
        }
        assert!(!covers("/srv/other.js"));
    }

    #[test]
    fn own_output_is_no_change() {
        let own = Own::new(["/srv/app/out.log".to_owned()], Path::new("/home/a/.wpm"));
        for path in ["/srv/app/out.log", "/srv/app/out__2026-01-01.log.gz", "/home/a/.wpm/logs/x.log"] {
            assert!(own.has(Path::new(path)), "{path}");
        }
        for path in ["/srv/app/server.js", "/srv/app/sub/out.log", "/srv/app/out.js", "/srv/app/outline.html"]
        {
            assert!(!own.has(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn ten_restarts_in_half_a_minute_are_enough() {
        let (start, mut breaker) = (Instant::now(), LoopBreaker::default());
        assert!((0..10).all(|n| breaker.allows(start + Duration::from_secs(n))));
        assert!(!breaker.allows(start + Duration::from_secs(11)));
        assert!(breaker.allows(start + Duration::from_secs(60)));
    }
}
