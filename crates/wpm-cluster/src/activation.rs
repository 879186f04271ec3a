//! Environments for instances: sockets by number as systemd hands them down, and Node's channel.
//!
//! Binds nothing and numbers only. Invariant: descriptors are numbered from 3 without a gap,
//! listening sockets first, then the channel.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::balance::Balance;
use crate::primary::BindTo;

/// Number of the first descriptor that is passed.
pub const FIRST_FD: i32 = 3;
/// Longest name of a socket, in bytes, as systemd has it.
const MAX_NAME: usize = 255;

/// A socket that is bound once and handed to every instance of an app: `--listen`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listen {
    /// Name that programs know it by.
    pub name: String,
    /// What to bind.
    pub to: ListenTo,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenTo {
    /// TCP.
    Tcp {
        /// IP address or `localhost`; `None` = every address.
        host: Option<String>,
        /// Port; 0 = the kernel chooses.
        port: u16,
    },
    /// A Unix stream socket.
    Unix {
        /// Path, not yet made absolute.
        path: String,
    },
}

/// A `--listen` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot listen on {text:?}: {why} (write [NAME=][HOST:]PORT or [NAME=]unix:PATH)")]
pub struct BadListen {
    /// As it was written.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

impl FromStr for Listen {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |why| BadListen { text: text.to_owned(), why };
        // A path may contain `=`; a name contains neither `/` nor `:`.
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if !name.contains(['/', ':']) => (Some(name), rest),
            _ => (None, text),
        };
        if let Some(name) = name {
            let printable = name.bytes().all(|b| (0x20..0x7f).contains(&b));
            if name.is_empty() || name.len() > MAX_NAME || !printable {
                return Err(bad("a name is made of 1 to 255 printable ASCII characters"));
            }
        }
        let to = match rest.strip_prefix("unix:") {
            Some("") => return Err(bad("the path is missing")),
            Some(path) if path.contains('\0') => return Err(bad("a path contains no NUL")),
            Some(path) => ListenTo::Unix { path: path.to_owned() },
            None => tcp(rest).map_err(bad)?,
        };
        let name = name.map_or_else(|| to.default_name(), str::to_owned);
        Ok(Self { name, to })
    }
}

fn tcp(text: &str) -> Result<ListenTo, &'static str> {
    let (host, port) = match text.rsplit_once(':') {
        None => (None, text),
        Some((host, port)) => (Some(host), port),
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or("the port is not a number from 0 to 65535")?;
    let host = match host {
        None | Some("*") => None,
        Some("") => return Err("the host is missing before the colon"),
        Some(host) => Some(match host.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .filter(|v6| v6.parse::<Ipv6Addr>().is_ok())
                .ok_or("the bracket holds no IPv6 address")?,
            None if host.contains(':') => return Err("an IPv6 address is written in brackets"),
            // Anything else could only be looked up, and would be another address tomorrow.
            None if host != "localhost" && host.parse::<IpAddr>().is_err() => {
                return Err("a host is an IP address or localhost");
            }
            None => host,
        }),
    };
    Ok(ListenTo::Tcp { host: host.map(str::to_owned), port })
}

/// Mode of a Unix socket, as systemd has it: a proxy is another user. The folder says who reaches it.
const EVERYBODY: u32 = 0o666;

impl ListenTo {
    /// What has to be bound, once the host is resolved to `address` and a path made absolute.
    pub fn to_bind(&self, address: Option<IpAddr>) -> BindTo {
        match self {
            Self::Tcp { port, .. } => {
                BindTo::Tcp { address, scope: None, port: *port, v6_only: false, reuse_port: false }
            }
            Self::Unix { path } => BindTo::Path { path: path.clone(), add_mode: EVERYBODY },
        }
    }

    /// The port, or the file's name: enough to tell several sockets apart.
    fn default_name(&self) -> String {
        match self {
            Self::Tcp { port, .. } => port.to_string(),
            Self::Unix { path } => {
                let file = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("unix");
                let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, ':' | '=') { c } else { '_' };
                file.chars().map(plain).take(MAX_NAME).collect()
            }
        }
    }
}

impl fmt::Display for ListenTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: None, port } => write!(f, "{port}"),
            Self::Tcp { host: Some(host), port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host: Some(host), port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "unix:{path}"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.to)
    }
}

/// Whether and how an instance gets an IPC channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipc {
    /// None.
    No,
    /// `process.send` and `process.on('message')`, in a program that is no cluster worker.
    Messages,
    /// A cluster worker.
    Worker {
        /// Instance number.
        index: u32,
    },
}

/// Descriptor numbers and variables of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Numbers of the listening sockets, in the order of their names.
    pub listen_fds: Vec<i32>,
    /// Number of the channel.
    pub ipc_fd: Option<i32>,
    /// Whether `LISTEN_PID` is to be set in the child, after the fork.
    pub listen_pid: bool,
    /// Variables to set.
    pub set: Vec<(&'static str, String)>,
    /// Variables to take away: they would speak of descriptors of another process.
    pub unset: &'static [&'static str],
}

/// Variables that tell of descriptors.
const OURS: [&str; 6] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
];

/// Plans the descriptors of an instance that is given sockets of these names.
///
/// `NODE_APP_INSTANCE` is not among the variables: it goes with the instance number, channel or not.
pub fn plan<'a>(names: impl IntoIterator<Item = &'a str>, ipc: Ipc) -> Plan {
    let names: Vec<&str> = names.into_iter().collect();
    let listen_fds: Vec<i32> = (FIRST_FD..).zip(&names).map(|(fd, _)| fd).collect();
    let next = listen_fds.last().map_or(FIRST_FD, |last| last + 1);
    let mut set = Vec::new();
    if !names.is_empty() {
        set.push(("LISTEN_FDS", names.len().to_string()));
        set.push(("LISTEN_FDNAMES", names.join(":")));
    }
    let ipc_fd = (ipc != Ipc::No).then_some(next);
    if let Some(fd) = ipc_fd {
        set.push(("NODE_CHANNEL_FD", fd.to_string()));
        set.push(("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned()));
    }
    if let Ipc::Worker { index } = ipc {
        // Becomes `cluster.worker.id`, which counts from 1 and stays with the instance.
        set.push(("NODE_UNIQUE_ID", (u64::from(index) + 1).to_string()));
    }
    Plan { listen_pid: !names.is_empty(), listen_fds, ipc_fd, set, unset: &OURS }
}

/// A runtime that knows Node's cluster protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Node: every policy.
    Node,
    /// Bun: binds for itself with `SO_REUSEPORT`, whatever the policy.
    Bun,
    /// Deno: never answers on a shared socket; needs the primary to accept.
    Deno,
}

impl Runtime {
    /// The policy that works, where this one was asked for.
    pub const fn policy(self, asked: Balance) -> Balance {
        match (self, asked) {
            (Self::Deno, Balance::Shared) => Balance::RoundRobin,
            (_, asked) => asked,
        }
    }

    /// How many connections a worker may be sent ahead of its answers (see
    /// [`set_pipeline`](crate::Primary::set_pipeline)).
    pub const fn pipeline(self, balance: Balance) -> usize {
        match (self, balance) {
            (Self::Bun | Self::Deno, _) => 1,
            // No other worker may take them: on their way to it they outlive the daemon.
            (Self::Node, Balance::Sticky) => 64,
            // What a busy worker has been sent waits for it, so no more than pays.
            (Self::Node, _) => 4,
        }
    }
}

/// The runtime of an interpreter or program, by its file name; `None` = none that speaks the protocol.
///
/// A launcher (`npm`, `npx`, a shell) is none: it would become the worker itself.
pub fn runtime(program: &str) -> Option<Runtime> {
    match program.rsplit('/').next().unwrap_or_default() {
        "node" | "nodejs" => Some(Runtime::Node),
        "bun" => Some(Runtime::Bun),
        "deno" => Some(Runtime::Deno),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: Option<&str>, port: u16) -> ListenTo {
        ListenTo::Tcp { host: host.map(str::to_owned), port }
    }

    #[test]
    fn what_is_written_is_read() {
        let unix = |path: &str| ListenTo::Unix { path: path.into() };
        let table = [
            ("3000", "3000", tcp(None, 3000)),
            ("*:3000", "3000", tcp(None, 3000)),
            ("127.0.0.1:0", "0", tcp(Some("127.0.0.1"), 0)),
            ("localhost:80", "80", tcp(Some("localhost"), 80)),
            ("[::1]:443", "443", tcp(Some("::1"), 443)),
            ("web=8080", "web", tcp(None, 8080)),
            ("web=[::]:8080", "web", tcp(Some("::"), 8080)),
            ("unix:/run/a b.sock", "a_b.sock", unix("/run/a b.sock")),
            ("unix:x=y", "x_y", unix("x=y")),
            ("api=unix:./s=1", "api", unix("./s=1")),
        ];
        for (text, name, to) in table {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.name.as_str(), &listen.to), (name, &to), "{text}");
            assert_eq!(listen.to_string().parse(), Ok(listen), "{text} read back");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        let table = [
            ("", "port"),
            ("x", "port"),
            ("65536", "port"),
            ("+80", "port"),
            (":80", "host is missing"),
            ("::1:80", "brackets"),
            ("[1.2.3.4]:80", "IPv6"),
            ("[::x]:80", "IPv6"),
            ("a b:80", "IP address or localhost"),
            ("1.2.3:80", "IP address or localhost"),
            ("www.example.com:80", "IP address or localhost"),
            ("=80", "name"),
            ("ü=80", "name"),
            ("unix:", "path"),
        ];
        for (text, why) in table {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_channel_comes_after_the_sockets() {
        let plan = plan(["http", "admin"], Ipc::Worker { index: 2 });
        assert_eq!((plan.listen_fds, plan.ipc_fd, plan.listen_pid), (vec![3, 4], Some(5), true));
        let set: Vec<String> = plan.set.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            set,
            [
                "LISTEN_FDS=2",
                "LISTEN_FDNAMES=http:admin",
                "NODE_CHANNEL_FD=5",
                "NODE_CHANNEL_SERIALIZATION_MODE=json",
                "NODE_UNIQUE_ID=3"
            ]
        );
    }

    #[test]
    fn without_sockets_nothing_is_said_of_them() {
        let bare = plan([], Ipc::No);
        assert_eq!((bare.set, bare.ipc_fd, bare.listen_pid), (vec![], None, false));
        let messages = plan([], Ipc::Messages);
        assert_eq!(messages.ipc_fd, Some(3));
        assert!(messages.set.iter().all(|(name, _)| *name != "NODE_UNIQUE_ID"));
    }

    #[test]
    fn launchers_are_no_workers() {
        assert_eq!(runtime("/usr/bin/node"), Some(Runtime::Node));
        assert_eq!(runtime("deno").map(|r| r.policy(Balance::Shared)), Some(Balance::RoundRobin));
        assert_eq!(Runtime::Deno.policy(Balance::Sticky), Balance::Sticky);
        assert_eq!(runtime("/usr/bin/npm"), None);
    }
}
