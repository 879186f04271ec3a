//! Where the files of each service manager stand, and which manager this machine has.
//!
//! Looks, writes and removes; starts nothing. Invariant: a file of somebody else under the same name is
//! never overwritten or removed.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Service, launchd, openrc, systemd};
use crate::failure::{Code, Failure};

/// Words by which a file of ours is known.
const MARK: &str = "`wpm startup`";

/// Service managers that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Manager {
    /// Most distributions of Linux.
    Systemd,
    /// Alpine, Gentoo.
    Openrc,
    /// macOS.
    Launchd,
}

impl Manager {
    /// The one that runs here.
    pub(crate) fn here() -> Option<Self> {
        if cfg!(target_os = "macos") {
            Some(Self::Launchd)
        } else if Path::new("/run/systemd/system").exists() {
            Some(Self::Systemd)
        } else if Path::new("/run/openrc").exists() {
            Some(Self::Openrc)
        } else {
            None
        }
    }
}

/// A file of a service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Where it stands.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) text: String,
    /// The link that enables it, and where it leads.
    link: Option<(PathBuf, PathBuf)>,
    mode: u32,
}

impl Placed {
    /// The file of a service, below `root`.
    pub(crate) fn new(manager: Manager, service: &Service, root: &Path) -> Self {
        let below = |path: PathBuf| root.join(path.strip_prefix("/").unwrap_or(&path));
        let name = &service.name;
        match manager {
            Manager::Systemd => {
                let (folder, target) = match service.user {
                    Some(_) => (PathBuf::from("/etc/systemd/system"), "multi-user.target.wants"),
                    None => (service.user_home.join(".config/systemd/user"), "default.target.wants"),
                };
                let unit = format!("{name}.service");
                Self {
                    path: below(folder.join(&unit)),
                    text: systemd::unit(service),
                    link: Some((below(folder.join(target).join(&unit)), Path::new("..").join(&unit))),
                    mode: 0o644,
                }
            }
            Manager::Openrc => Self {
                path: below(Path::new("/etc/init.d").join(name)),
                text: openrc::script(service),
                link: Some((
                    below(Path::new("/etc/runlevels/default").join(name)),
                    Path::new("/etc/init.d").join(name),
                )),
                mode: 0o755,
            },
            Manager::Launchd => {
                let folder = match service.user {
                    Some(_) => PathBuf::from("/Library/LaunchDaemons"),
                    None => service.user_home.join("Library/LaunchAgents"),
                };
                Self {
                    path: below(folder.join(format!("{}.plist", launchd::label(service)))),
                    text: launchd::list(service).replacen("<plist", &format!("<!-- {MARK} -->\n<plist"), 1),
                    link: None,
                    mode: 0o644,
                }
            }
        }
    }

    /// Writes it and enables it.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        self.is_ours()?;
        let failed = |what: &str, path: &Path, cause: &io::Error| {
            Failure::new(Code::Storage, format!("cannot {what} {}: {cause}", path.display()))
        };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
        }
        // Under another name first: a manager that reads meanwhile finds one of the two whole.
        let fresh = self.path.with_extension("wpm-new");
        drop(fs::remove_file(&fresh));
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(self.mode)
            .open(&fresh)
            .map_err(|e| failed("write", &fresh, &e))?;
        io::Write::write_all(&mut file, self.text.as_bytes()).map_err(|e| failed("write", &fresh, &e))?;
        fs::rename(&fresh, &self.path).map_err(|e| failed("write", &self.path, &e))?;
        let Some((link, target)) = &self.link else { return Ok(()) };
        if let Some(folder) = link.parent() {
            fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
        }
        match symlink(target, link) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed("link", link, &e)),
            _ => Ok(()),
        }
    }

    /// Removes it. Says whether it was there.
    pub(crate) fn remove(&self) -> Result<bool, Failure> {
        if !self.is_ours()? {
            return Ok(false);
        }
        for path in self.link.iter().map(|(link, _)| link).chain([&self.path]) {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    let text = format!("cannot remove {}: {e}", path.display());
                    return Err(Failure::new(Code::Storage, text));
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// Whether it is there; an error if it is somebody else's.
    fn is_ours(&self) -> Result<bool, Failure> {
        match fs::read_to_string(&self.path) {
            Ok(text) if text.contains(MARK) => Ok(true),
            Ok(_) => {
                Err(Failure::new(Code::Usage, format!("{} was not written by wpm", self.path.display()))
                    .help("move it away, or choose another name with --service-name"))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Failure::new(Code::Storage, format!("cannot read {}: {e}", self.path.display()))),
        }
    }
}
