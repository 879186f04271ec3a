//! Users and groups by name or number, from `/etc/passwd` and `/etc/group`.
//!
//! Owns reading those two files: wpm is a static program, and the C library's lookup would load
//! others. Deliberately knows no directory services. Invariant: a name that is not there is an error,
//! never root.

use std::io;
use std::path::{Path, PathBuf};

use crate::launch::Credentials;

/// A user as the system knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home folder.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

/// The two files, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    passwd: String,
    group: String,
}

impl Directory {
    /// Reads the system's files.
    ///
    /// # Errors
    /// When `/etc/passwd` cannot be read.
    pub fn read() -> io::Result<Self> {
        Self::read_from(Path::new("/etc/passwd"), Path::new("/etc/group"))
    }

    fn read_from(passwd: &Path, group: &Path) -> io::Result<Self> {
        let text = |path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
        Ok(Self { passwd: text(passwd)?, group: text(group).unwrap_or_default() })
    }

    fn users(&self) -> impl Iterator<Item = User> + '_ {
        self.passwd.lines().filter_map(|line| {
            let mut f = line.split(':');
            let (name, _, uid, gid, _) = (f.next()?, f.next()?, f.next()?, f.next()?, f.next()?);
            Some(User {
                name: name.to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: f.next().unwrap_or("/").into(),
                shell: f.next().unwrap_or("/bin/sh").into(),
            })
        })
    }

    /// Groups as name, id and members.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut f = line.split(':');
            let (name, _, gid) = (f.next()?, f.next()?, f.next()?);
            Some((name, gid.parse().ok()?, f.next().unwrap_or("")))
        })
    }

    /// Finds a user by name, or by number where no user has that name.
    pub fn user(&self, name_or_id: &str) -> Option<User> {
        self.users().find(|u| u.name == name_or_id).or_else(|| self.user_of(name_or_id.parse().ok()?))
    }

    /// Finds a user by number.
    pub fn user_of(&self, uid: u32) -> Option<User> {
        self.users().find(|u| u.uid == uid)
    }

    /// Finds a group by name, or takes the number.
    pub fn group(&self, name_or_id: &str) -> Option<u32> {
        self.groups().find(|g| g.0 == name_or_id).map(|g| g.1).or_else(|| name_or_id.parse().ok())
    }

    /// Everything that a program run as `user` gets: ids and supplementary groups. `gid` replaces the
    /// primary group.
    pub fn credentials(&self, user: &User, gid: Option<u32>) -> Credentials {
        let gid = gid.unwrap_or(user.gid);
        let mut groups = vec![gid];
        for (_, id, members) in self.groups() {
            if members.split(',').any(|m| m == user.name) && !groups.contains(&id) {
                groups.push(id);
            }
        }
        Credentials { uid: user.uid, gid, groups }
    }
}

/// Who a program is to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The user's home folder, where the user is known.
    pub home: Option<String>,
}

/// Resolves a user and a group, each by name or number; `None` = this process's own. A number that no
/// user has stands for itself, with no group but `gid`.
///
/// # Errors
/// `NotFound`, naming what was not found and where.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> io::Result<Resolved> {
    Directory::read()?.resolve(user, group)
}

impl Directory {
    fn resolve(&self, user: Option<&str>, group: Option<&str>) -> io::Result<Resolved> {
        let missing = |what: &str, name: &str, file: &str| {
            io::Error::new(io::ErrorKind::NotFound, format!("no {what} `{name}` in {file}"))
        };
        let gid = match group {
            None => None,
            Some(g) => Some(self.group(g).ok_or_else(|| missing("group", g, "/etc/group"))?),
        };
        let own = rustix::process::geteuid().as_raw();
        let known = match user {
            None => self.user_of(own),
            Some(u) => self.user(u),
        };
        if let Some(user) = known {
            let Credentials { uid, gid, groups } = self.credentials(&user, gid);
            return Ok(Resolved { uid, gid, groups, home: user.home.into_os_string().into_string().ok() });
        }
        let uid = match user {
            None => own,
            Some(u) => u.parse().map_err(|_| missing("user", u, "/etc/passwd"))?,
        };
        let gid = gid.unwrap_or_else(|| rustix::process::getegid().as_raw());
        Ok(Resolved { uid, gid, groups: vec![gid], home: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_supplementary_groups() {
        let d = Directory {
            passwd: "root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:100:A:/home/ann:/bin/sh\n".into(),
            group: "root:x:0:\nusers:x:100:\nwww:x:33:bob,ann\nanna:x:34:anna\n".into(),
        };
        let ann = d.user("ann").unwrap();
        assert_eq!(d.user("1000"), Some(ann.clone()));
        assert_eq!((d.user("nobody"), d.user("")), (None, None));
        assert_eq!(d.credentials(&ann, None), Credentials { uid: 1000, gid: 100, groups: vec![100, 33] });
        assert_eq!(d.credentials(&ann, d.group("www")).groups, [33]);
        let found = d.resolve(Some("ann"), Some("www")).unwrap();
        assert_eq!((found.uid, found.gid, found.home.as_deref()), (1000, 33, Some("/home/ann")));
        assert_eq!(d.resolve(Some("4242"), Some("7")).unwrap().groups, [7]);
        assert!(d.resolve(Some("bob"), None).unwrap_err().to_string().contains("`bob`"));
        assert_eq!((d.group("www"), d.group("77"), d.group("x")), (Some(33), Some(77), None));
    }
}
