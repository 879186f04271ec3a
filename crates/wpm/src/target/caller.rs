//! Who asks, from where, with which environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::failure::{Code, Failure};

/// The caller of a command.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Working directory, with the symbolic links that the shell shows.
    pub(crate) cwd: PathBuf,
    /// Environment, as far as it is text.
    pub(crate) env: BTreeMap<String, String>,
    /// User name, for display.
    pub(crate) username: String,
    /// CPUs that it may use.
    pub(crate) cpus: u32,
}

/// Variables of this command itself, not of the apps that it starts.
const OWN: [&str; 3] = [wpm_proto::env::KEEPER_FD, "COMPLETE", "_"];

impl Caller {
    /// The caller of this process.
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let actual = match std::env::current_dir() {
            // Known apps need no folder, and what is at its path now is what the shell would show.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => removed().ok_or(cause),
            found => found,
        };
        let actual = actual.map_err(|cause| {
            Failure::new(Code::Storage, format!("cannot tell the working directory: {cause}"))
        })?;
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .collect();
        // A shell that came through a symbolic link (a release folder) says so in PWD.
        let shown = env.get("PWD").map(PathBuf::from).filter(|shown| {
            shown.is_absolute()
                && matches!((shown.canonicalize(), actual.canonicalize()), (Ok(a), Ok(b)) if a == b)
        });
        Ok(Self { cwd: shown.unwrap_or(actual), username: username(&env), env, cpus: crate::cpus::usable() })
    }
}

/// Where a working directory was that somebody has removed, as a new release of an app is put in the place
/// of the old one.
fn removed() -> Option<PathBuf> {
    let shown = std::fs::read_link("/proc/self/cwd").ok()?.into_os_string().into_string().ok()?;
    shown.strip_suffix(" (deleted)").map(PathBuf::from)
}

/// Name of the effective user: from the user database, which is a text file.
fn username(env: &BTreeMap<String, String>) -> String {
    let id = rustix::process::geteuid().as_raw();
    let database = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&database, id)
        .or_else(|| env.get("USER").cloned().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| id.to_string())
}

fn name_of(database: &str, id: u32) -> Option<String> {
    database.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named() {
        let database = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(database, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(database, 7), None);
    }
}
