//! The file that nginx reads: tested before it is put in place, and taken back where nginx refuses it.
//!
//! Invariant: at every moment the file is a whole text, and one that `nginx -t` has found good.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Code, Failure};

/// A file that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// Links resolved: a link in `sites-enabled` stays one.
    path: PathBuf,
    reload: bool,
    nginx: String,
    config: Option<PathBuf>,
}

impl Kept {
    /// A file, which need not exist, and how nginx is told of it.
    pub(super) fn new(
        path: PathBuf,
        reload: bool,
        nginx: String,
        config: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let path = fs::canonicalize(&path).unwrap_or(path);
        if path.is_dir() {
            return Err(Failure::new(Code::Usage, format!("{} is a folder", path.display()))
                .help("name a file in it that nginx includes, such as `chat.conf`"));
        }
        Ok(Self { path, reload, nginx, config })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nginx is made to read it.
    pub(super) const fn reloads(&self) -> bool {
        self.reload
    }

    /// What it says now; nothing where it is not there.
    pub(super) fn text(&self) -> Result<String, Failure> {
        match fs::read_to_string(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|cause| self.failed("read", &cause)),
        }
    }

    /// Puts a text in its place that nginx can read, and has nginx read it, where that is wanted.
    pub(super) fn replace(&self, text: &str, before: &str) -> Result<(), Failure> {
        self.test_alone(text)?;
        self.put(text)?;
        if !self.reload {
            return Ok(());
        }
        // Now together with everything else that nginx reads.
        let refused = self.call(&["-t"]).and_then(|()| self.call(&["-s", "reload"]));
        if let Err(why) = refused {
            let back = if before.is_empty() {
                fs::remove_file(&self.path)
            } else {
                self.put(before).map_err(|_| io::ErrorKind::Other.into())
            };
            let state = if back.is_ok() { "is what it was before" } else { "could not be put back" };
            return Err(why.help(format!("{} {state}", self.path.display())));
        }
        Ok(())
    }

    /// Tests a text within a configuration that includes nothing else.
    fn test_alone(&self, text: &str) -> Result<(), Failure> {
        let folder = Temporary::new().map_err(|cause| self.failed("test", &cause))?;
        let path = |name: &str| folder.0.join(name).display().to_string();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = kinds.map(|kind| format!("{kind}_temp_path {};", path(kind))).concat();
        let main = format!(
            "pid {}; error_log stderr; events {{}} http {{ access_log off; {temporary} include {}; }}",
            path("pid"),
            path("site")
        );
        fs::write(path("site"), text)
            .and_then(|()| fs::write(path("main"), main))
            .map_err(|cause| self.failed("test", &cause))?;
        self.nginx(&["-t", "-c", &path("main")])
    }

    fn call(&self, words: &[&str]) -> Result<(), Failure> {
        let config = self.config.as_ref().map(|path| path.display().to_string());
        let mut all: Vec<&str> = config.iter().flat_map(|path| ["-c", path.as_str()]).collect();
        all.extend(words);
        self.nginx(&all)
    }

    fn nginx(&self, words: &[&str]) -> Result<(), Failure> {
        // Debian keeps it where the PATH of a user may not look.
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(&self.nginx)
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
            .args(words)
            .output();
        let output = output.map_err(|cause| {
            Failure::new(Code::NoTarget, format!("cannot run `{}`: {cause}", self.nginx))
                .help("install nginx, or name the program with --nginx")
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<String> = said.lines().map(crate::render::escape::clean).collect();
        let failure = Failure::new(Code::Failed, format!("`{} {}` failed", self.nginx, words.join(" ")));
        let failure = if words.ends_with(&["-s", "reload"]) {
            failure.help("nginx must run; with another configuration than its own, name it with --config")
        } else {
            failure
        };
        Err(failure.excerpt(lines))
    }

    /// Renamed into place: nginx never reads half of it.
    fn put(&self, text: &str) -> Result<(), Failure> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        // Not a name that `include *.conf` finds.
        let beside = self.path.with_file_name(format!(".{name}.{}", std::process::id()));
        let written = fs::File::create(&beside).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            if let Ok(there) = fs::metadata(&self.path) {
                file.set_permissions(there.permissions())?;
            }
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        });
        written.map_err(|cause| {
            drop(fs::remove_file(&beside));
            self.failed("write", &cause)
        })
    }

    fn failed(&self, what: &str, cause: &io::Error) -> Failure {
        Failure::new(Code::Storage, format!("cannot {what} {}: {cause}", self.path.display()))
    }
}

/// A folder of one's own that goes when it is done with.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> io::Result<Self> {
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("wpm-nginx-{:016x}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
