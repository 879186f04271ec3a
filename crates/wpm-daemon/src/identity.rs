//! Who an app runs as: names become numbers here, at each spawn, from the system's files.

use wpm_sys::launch::Credentials;
use wpm_sys::users::Directory;

/// A resolved user and group.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Numbers.
    pub(crate) credentials: Credentials,
    /// Home and login name of the user, where the system knows one.
    pub(crate) user: Option<(String, String)>,
}

/// Resolves names or numbers; `None` where neither is given.
///
/// # Errors
/// With a sentence fragment that names what is unknown.
pub(crate) fn resolve(uid: Option<&str>, gid: Option<&str>) -> Result<Option<Identity>, String> {
    if uid.is_none() && gid.is_none() {
        return Ok(None);
    }
    let directory = Directory::read().map_err(|e| format!("cannot read /etc/passwd: {e}"))?;
    let group = gid.map(|g| directory.group(g).ok_or_else(|| format!("no group `{g}`"))).transpose()?;
    let own = rustix::process::geteuid().as_raw();
    let user = match uid {
        Some(name) => directory.user(name),
        None => directory.user_of(own),
    };
    let Some(user) = user else {
        // A number without an account is allowed, as `chown` allows it.
        let number =
            uid.and_then(|u| u.parse().ok()).ok_or_else(|| format!("no user `{}`", uid.unwrap_or("")))?;
        let credentials = Credentials { uid: number, gid: group.unwrap_or(number), groups: vec![] };
        return Ok(Some(Identity { credentials, user: None }));
    };
    let credentials = directory.credentials(&user, group);
    let user = Some((user.home.to_string_lossy().into_owned(), user.name));
    Ok(Some(Identity { credentials, user }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_resolved_and_unknown_ones_named() {
        assert!(resolve(None, None).expect("nothing to do").is_none());
        let root = resolve(Some("root"), None).expect("root exists").expect("given");
        assert_eq!((root.credentials.uid, root.credentials.gid), (0, 0));
        let number = resolve(Some("4242424"), None).expect("a number").expect("given");
        assert_eq!(number.credentials.uid, 4_242_424);
        assert_eq!(resolve(Some("no-such-user"), None).expect_err("unknown"), "no user `no-such-user`");
        assert_eq!(resolve(None, Some("no-such-group")).expect_err("unknown"), "no group `no-such-group`");
    }
}
