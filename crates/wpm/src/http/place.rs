//! Where a server listens: a Unix socket, or an address of TCP.
//!
//! Invariant: a Unix socket is its owner's alone from the moment it exists, and one that somebody
//! serves is never taken away from it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::fs::Mode;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::failure::{Code, Failure};

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A path.
    Unix(PathBuf),
    /// An address; without a host it is 127.0.0.1.
    Tcp(SocketAddr),
}

/// One that is listened at.
#[derive(Debug)]
pub(super) enum Socket {
    /// With its path.
    Unix(UnixListener, PathBuf),
    /// TCP.
    Tcp(TcpListener),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("a path must follow `unix:`".into())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let wrong = || format!("`{text}` is no address: use PORT, HOST:PORT or unix:PATH");
        if let Ok(port) = text.parse() {
            return Ok(Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            return port
                .parse()
                .map(|port| Self::Tcp((Ipv4Addr::LOCALHOST, port).into()))
                .map_err(|_| wrong());
        }
        text.parse().map(Self::Tcp).map_err(|_| wrong())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl Place {
    /// Whether other machines can reach it.
    pub(crate) const fn is_public(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(address) => !match address.ip() {
                IpAddr::V4(ip) => ip.is_loopback(),
                IpAddr::V6(ip) => ip.is_loopback(),
            },
        }
    }

    /// Listens.
    pub(super) async fn bind(&self) -> Result<Socket, Failure> {
        match self {
            Self::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => Ok(Socket::Tcp(listener)),
                Err(cause) => Err(self.cannot(&cause)),
            },
            Self::Unix(path) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(Failure::new(Code::AlreadyRunning, format!("somebody serves at {self}")));
                }
                // What a dead server has left is in the way; anything else is somebody's file.
                match path.symlink_metadata() {
                    Ok(data) if data.file_type().is_socket() => {
                        rustix::fs::unlink(path).map_err(|cause| self.cannot(&cause.into()))?;
                    }
                    Ok(_) => return Err(self.cannot(&io::Error::other("a file of this name is there"))),
                    Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                    Err(cause) => return Err(self.cannot(&cause)),
                }
                // One thread as yet: nobody else makes files under this mask.
                let before = rustix::process::umask(Mode::from_raw_mode(0o177));
                let bound = UnixListener::bind(path);
                rustix::process::umask(before);
                bound.map(|it| Socket::Unix(it, path.clone())).map_err(|cause| self.cannot(&cause))
            }
        }
    }

    fn cannot(&self, cause: &io::Error) -> Failure {
        let failure = Failure::new(Code::Storage, format!("cannot listen at {self}: {cause}"));
        match (self, cause.kind()) {
            (Self::Tcp(_), io::ErrorKind::AddrInUse) => failure.help("another program has this port"),
            (Self::Unix(_), io::ErrorKind::NotFound) => failure.help("its folder is not there"),
            _ => failure,
        }
    }
}

impl Socket {
    /// Path or address; the port is the real one.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Unix(_, path) => path.display().to_string(),
            Self::Tcp(listener) => listener.local_addr().map(|it| it.to_string()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_a_host_is_this_machine() {
        let tcp = |text: &str| Ok(Place::Tcp(text.parse().expect("an address")));
        assert_eq!("9700".parse(), tcp("127.0.0.1:9700"));
        assert_eq!("localhost:9700".parse(), tcp("127.0.0.1:9700"));
        assert_eq!("[::1]:9700".parse(), tcp("[::1]:9700"));
        assert_eq!("unix:/run/pick".parse(), Ok(Place::Unix("/run/pick".into())));
        for wrong in ["", "unix:", "70000", "example.org:80", "localhost:x"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_others_can_reach_is_known() {
        for (text, public) in [
            ("80", false),
            ("127.8.0.1:80", false),
            ("[::1]:80", false),
            ("0.0.0.0:80", true),
            ("[::]:80", true),
        ] {
            assert_eq!(text.parse::<Place>().expect("a place").is_public(), public, "{text}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_taken_over_from_the_dead_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Place::Unix(dir.path().join("s"));
        let Socket::Unix(first, path) = place.bind().await.expect("bound") else { unreachable!("a path") };
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("there").permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert!(place.bind().await.is_err_and(|why| why.is(Code::AlreadyRunning)));
        drop(first);
        place.bind().await.expect("the dead one's");
        let file = dir.path().join("file");
        std::fs::write(&file, "mine").expect("written");
        assert!(Place::Unix(file.clone()).bind().await.is_err());
        assert_eq!(std::fs::read_to_string(file).expect("still there"), "mine");
    }
}
