//! Checks: how it is found out that an app is ready, or still well. Parsed from text, closed.
//!
//! It only says what is to be looked at; the daemon looks. Invariant: the text of a check is parsed
//! into the same check again.

use std::fmt;
use std::str::FromStr;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// The app says `ready` over Node's channel.
    Message,
    /// The app says `READY=1` at `NOTIFY_SOCKET`; as a check of health, `WATCHDOG=1` again and again.
    Notify,
    /// A process of the app listens on this TCP port; without a number on any.
    Port(Option<u16>),
    /// Somebody accepts TCP connections there.
    Tcp {
        /// Host name or address, an IPv6 one without its brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// An HTTP GET of this address is answered with a status from 200 to 399.
    Http {
        /// The whole address, `http://HOST[:PORT][/PATH]`.
        url: String,
    },
    /// This shell command ends with 0.
    Exec {
        /// The command line.
        command: String,
    },
    /// A line of the app's output matches.
    Log {
        /// The regular expression.
        pattern: String,
    },
}

/// A text that is no check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCheck(String);

impl fmt::Display for BadCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BadCheck {}

/// The forms that there are, for messages.
const FORMS: &str =
    "message, notify, port[:N], tcp:HOST:PORT, http://HOST[:PORT][/PATH], exec:COMMAND, log:REGEX";

impl FromStr for Check {
    type Err = BadCheck;

    fn from_str(text: &str) -> Result<Self, BadCheck> {
        let bad = |why: &str| BadCheck(format!("`{text}` is no check: {why}"));
        if text.chars().any(char::is_control) {
            return Err(bad("it has control characters"));
        }
        match text {
            "message" => return Ok(Self::Message),
            "notify" => return Ok(Self::Notify),
            "port" => return Ok(Self::Port(None)),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("http://") {
            let host = rest.split('/').next().unwrap_or_default();
            return if host.is_empty() || host.contains(char::is_whitespace) {
                Err(bad("the host is missing"))
            } else if !authority_is_sound(host) {
                Err(bad("the port must be a number from 1 to 65535"))
            } else {
                Ok(Self::Http { url: text.to_owned() })
            };
        }
        if text.starts_with("https://") {
            return Err(bad("TLS is not spoken here; use tcp:HOST:PORT or exec:COMMAND"));
        }
        match text.split_once(':') {
            Some(("port", number)) => Ok(Self::Port(Some(port(number).ok_or_else(|| bad(PORT))?))),
            Some(("tcp", rest)) => {
                let (host, number) = rest.rsplit_once(':').ok_or_else(|| bad("write tcp:HOST:PORT"))?;
                let host = host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(host);
                if host.is_empty() {
                    return Err(bad("the host is missing"));
                }
                Ok(Self::Tcp { host: host.to_owned(), port: port(number).ok_or_else(|| bad(PORT))? })
            }
            Some(("exec", command)) if command.trim().is_empty() => Err(bad("the command is missing")),
            Some(("exec", command)) => Ok(Self::Exec { command: command.to_owned() }),
            Some(("log", "")) => Err(bad("the pattern is missing")),
            Some(("log", pattern)) => match regex::Regex::new(pattern) {
                Ok(_) => Ok(Self::Log { pattern: pattern.to_owned() }),
                Err(error) => {
                    let why = error.to_string();
                    Err(bad(why.lines().last().unwrap_or_default().trim_start_matches("error: ")))
                }
            },
            _ => Err(bad(&format!("use one of {FORMS}"))),
        }
    }
}

const PORT: &str = "the port must be a number from 1 to 65535";

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

/// Whether what follows the host of an address is nothing or a port.
fn authority_is_sound(host: &str) -> bool {
    let after = match host.rfind(']') {
        Some(end) => &host[end + 1..],
        None => host.find(':').map_or("", |colon| &host[colon..]),
    };
    after.is_empty() || after.strip_prefix(':').and_then(port).is_some()
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => f.write_str("message"),
            Self::Notify => f.write_str("notify"),
            Self::Port(None) => f.write_str("port"),
            Self::Port(Some(port)) => write!(f, "port:{port}"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Http { url } => f.write_str(url),
            Self::Exec { command } => write!(f, "exec:{command}"),
            Self::Log { pattern } => write!(f, "log:{pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        for text in [
            "message",
            "notify",
            "port",
            "port:3000",
            "tcp:localhost:1",
            "tcp:[::1]:65535",
            "http://127.0.0.1:3000/health?x=1",
            "http://h",
            "http://[::1]:80/",
            "exec:curl -f http://x | grep ok",
            "log:listening on :\\d+$",
        ] {
            let check = text.parse::<Check>().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(check.to_string(), text);
        }
    }

    #[test]
    fn what_is_none_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "use one of message"),
            ("ready", "use one of message"),
            ("port:", "1 to 65535"),
            ("port:0", "1 to 65535"),
            ("port:+1", "1 to 65535"),
            ("tcp:80", "tcp:HOST:PORT"),
            ("tcp::80", "host is missing"),
            ("tcp:h:x", "1 to 65535"),
            ("http://", "host is missing"),
            ("http:///x", "host is missing"),
            ("http://h:99999", "1 to 65535"),
            ("https://h", "TLS"),
            ("exec: ", "command is missing"),
            ("log:", "pattern is missing"),
            ("log:(", "unclosed group"),
            ("exec:a\nb", "control characters"),
        ] {
            let error = text.parse::<Check>().expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
