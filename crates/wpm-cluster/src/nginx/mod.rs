//! The text of `wpm nginx APP`: an upstream of the live instances and a server in front of it.
//!
//! Writes nothing and asks nobody: the caller gathers the members and tests the file. Invariants: the
//! same site gives the same text; an instance that is down keeps its line, so that the hash of the
//! others stays where it is; no value can break out of its place in the file.

mod read;

use std::fmt::Write as _;

pub use read::members;

/// How nginx chooses an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// By the whole client address; the default, because long connections need it.
    #[default]
    AddressHash,
    /// nginx' `ip_hash`: only the first three numbers of an IPv4 address count.
    IpHash,
    /// In turn; only for apps that keep nothing between requests.
    RoundRobin,
}

/// Where an instance listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// TCP, by the address that nginx is to connect to.
    Tcp {
        /// IP address or name; IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Absolute path.
        path: String,
    },
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Instance number.
    pub index: u32,
    /// Where it listens, or listened last.
    pub target: Target,
    /// Whether it is up.
    pub up: bool,
}

/// Everything that the text depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Name of the app.
    pub app: String,
    /// What `listen` says: a port, or an address and a port.
    pub listen: String,
    /// What `server_name` says; `None` = every name.
    pub server_name: Option<String>,
    /// How an instance is chosen.
    pub method: Method,
    /// Whether the upstream is all: the server is the user's own.
    pub upstream_only: bool,
    /// The instances, in any order.
    pub members: Vec<Member>,
}

/// Why no configuration can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotConfigure {
    /// nginx refuses an upstream without a server.
    #[error(
        "cannot write an upstream for {app:?}: no instance listens anywhere that wpm knows of (start it, or name its ports)"
    )]
    NoMembers {
        /// The app.
        app: String,
    },
    /// A value would end its directive.
    #[error(
        "cannot write {value:?} as {what} of an nginx server: it contains a character with a meaning of its own there"
    )]
    Unsafe {
        /// Which value.
        what: &'static str,
        /// The value.
        value: String,
    },
}

/// Writes the configuration, to be included within `http { }`.
///
/// # Errors
/// When there is nothing to balance, or a value cannot be written.
pub fn render(site: &Site) -> Result<String, CannotConfigure> {
    if site.members.is_empty() {
        return Err(CannotConfigure::NoMembers { app: site.app.clone() });
    }
    let name = format!("wpm_{}", plain(&site.app, |c| c.is_ascii_alphanumeric()));
    let listen = checked("the address", &site.listen)?;
    let server_name = site.server_name.as_deref().map(|n| checked("the name", n)).transpose()?;
    let app = plain(&site.app, |c| !c.is_control());
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = text.write_fmt(args);
        text.push('\n');
    };
    line(format_args!("# Written by `wpm nginx` for the app {app}. Include it within http {{ }}."));
    if !site.upstream_only {
        line(format_args!("map $http_upgrade $connection_upgrade {{"));
        line(format_args!("    default upgrade;"));
        line(format_args!("    # Plain requests keep their connection to the app."));
        line(format_args!("    '' '';"));
        line(format_args!("}}\n"));
    }
    line(format_args!("upstream {name} {{"));
    line(format_args!("    zone {name} 64k;"));
    match site.method {
        Method::AddressHash => line(format_args!("    hash $remote_addr consistent;")),
        Method::IpHash => line(format_args!("    ip_hash;")),
        Method::RoundRobin => {}
    }
    for Server { address, up, instances } in servers(&site.members)? {
        // A hung one is left alone for a moment. No longer, or all would be after a restart of all: nginx then refuses
        // every request until the time is over.
        let state = if up { "max_fails=2 fail_timeout=1s" } else { "down" };
        line(format_args!("    server {address} {state};  # {app}:{instances}"));
    }
    line(format_args!("    keepalive 16;"));
    line(format_args!("}}"));
    if site.upstream_only {
        return Ok(text);
    }
    line(format_args!("\nserver {{"));
    line(format_args!("    listen {listen};"));
    if let Some(server_name) = server_name {
        line(format_args!("    server_name {server_name};"));
    }
    line(format_args!("\n    location / {{\n        proxy_pass http://{name};"));
    for directive in LOCATION {
        line(format_args!("        {directive};"));
    }
    line(format_args!("    }}"));
    line(format_args!("}}"));
    Ok(text)
}

/// What websockets, long polling and the apps behind the proxy need.
const LOCATION: [&str; 12] = [
    "proxy_http_version 1.1",
    "proxy_set_header Host $host",
    "proxy_set_header Upgrade $http_upgrade",
    "proxy_set_header Connection $connection_upgrade",
    "proxy_set_header X-Real-IP $remote_addr",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for",
    "proxy_set_header X-Forwarded-Proto $scheme",
    // The default of a minute would cut a websocket on which nothing is said.
    "proxy_read_timeout 1h",
    "proxy_send_timeout 1h",
    "proxy_connect_timeout 5s",
    "proxy_buffering off",
    "proxy_next_upstream error timeout",
];

/// One line of the upstream.
struct Server {
    address: String,
    up: bool,
    /// Numbers of the instances behind it.
    instances: String,
}

/// One server per address: instances that share a port are one to nginx, up as long as one of them is.
fn servers(members: &[Member]) -> Result<Vec<Server>, CannotConfigure> {
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_by_key(|m| m.index);
    let mut servers: Vec<Server> = Vec::new();
    for member in sorted {
        let address = match &member.target {
            Target::Tcp { host, port } if host.contains(':') => {
                format!("[{}]:{port}", word("the host", host)?)
            }
            Target::Tcp { host, port } => format!("{}:{port}", word("the host", host)?),
            Target::Unix { path } => format!("unix:{}", word("the path", path)?),
        };
        match servers.iter_mut().find(|s| s.address == address) {
            Some(server) => {
                server.up |= member.up;
                let _ = write!(server.instances, ",{}", member.index);
            }
            None => servers.push(Server { address, up: member.up, instances: member.index.to_string() }),
        }
    }
    Ok(servers)
}

/// A value that is one word, or several, of a directive.
fn checked<'a>(what: &'static str, value: &'a str) -> Result<&'a str, CannotConfigure> {
    let breaks = |c: char| c.is_control() || matches!(c, ';' | '{' | '}' | '#' | '"' | '\'' | '\\' | '$');
    if value.is_empty() || value.contains(breaks) {
        return Err(CannotConfigure::Unsafe { what, value: value.to_owned() });
    }
    Ok(value)
}

/// A value that is one word.
fn word<'a>(what: &'static str, value: &'a str) -> Result<&'a str, CannotConfigure> {
    if value.contains(char::is_whitespace) {
        return Err(CannotConfigure::Unsafe { what, value: value.to_owned() });
    }
    checked(what, value)
}

fn plain(text: &str, keep: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if keep(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests;
