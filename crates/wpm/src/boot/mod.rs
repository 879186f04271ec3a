//! Starting wpm with the machine: the files that a service manager reads, and what they call.
//!
//! The texts are pure functions of a [`Service`]; [`place`] says where they go, [`hook`] is what a unit
//! runs beside the keeper. Nothing here decides when anything starts. Invariant: no text of the user
//! gets into a file unquoted, and what cannot be quoted is refused.

pub(crate) mod hook;
pub(crate) mod launchd;
pub(crate) mod openrc;
pub(crate) mod place;
pub(crate) mod systemd;

use std::path::PathBuf;

use crate::failure::{Code, Failure};

/// What a service manager has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name, without an ending.
    pub(crate) name: String,
    /// Whose apps these are; `None` in a unit of that user's own manager.
    pub(crate) user: Option<String>,
    /// Whose apps these are, for people.
    pub(crate) owner: String,
    /// The user's home directory.
    pub(crate) user_home: PathBuf,
    /// Home of wpm.
    pub(crate) home: PathBuf,
    /// This program.
    pub(crate) program: PathBuf,
    /// Whether to wait until the machine has an address.
    pub(crate) wait_ip: bool,
    /// Whether the manager can put wpm's own processes into a control group of their own.
    pub(crate) subgroup: bool,
}

impl Service {
    /// Refuses what no file could hold.
    pub(crate) fn check(self) -> Result<Self, Failure> {
        for (what, name) in [("service name", &self.name), ("user name", &self.owner)] {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
            if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(fits) {
                let text = format!("`{}` is no {what}", name.escape_default());
                return Err(Failure::new(Code::Usage, text).help("letters, digits, `_`, `-`, `.` and `@`"));
            }
        }
        for path in [&self.user_home, &self.home, &self.program] {
            let fits = path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
            if !fits || !path.is_absolute() {
                let text = format!("{path:?} cannot stand in a file of a service manager");
                return Err(Failure::new(Code::Usage, text)
                    .help("an absolute path of UTF-8 text without control characters can"));
            }
        }
        Ok(self)
    }

    /// A path as text; [`Service::check`] has seen that it is some.
    fn text(path: &std::path::Path) -> String {
        path.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Service {
    Service {
        name: "wpm-web".to_owned(),
        user: Some("web".to_owned()),
        owner: "web".to_owned(),
        user_home: "/home/web".into(),
        home: "/home/web/.wpm".into(),
        program: "/usr/local/bin/wpm".into(),
        wait_ip: false,
        subgroup: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_can_hold_is_refused() {
        assert!(sample().check().is_ok());
        for name in ["", "-x", "a b", "a\nb", "a/b", "..", "%n"] {
            assert!(Service { name: name.to_owned(), ..sample() }.check().is_err(), "{name:?}");
            assert!(Service { owner: name.to_owned(), ..sample() }.check().is_err(), "{name:?}");
        }
        for path in ["relative", "/a\nExecStart=/bin/sh", "/a\u{7f}"] {
            assert!(Service { home: path.into(), ..sample() }.check().is_err(), "{path:?}");
        }
    }
}
