//! What a spec says about instances side by side: shared ports, who balances, whether two runs of one
//! instance can overlap, and how a run says that it is ready.
//!
//! It binds and probes nothing. Invariant: everything here follows from the spec alone.

use std::fmt;
use std::str::FromStr;

use crate::{Check, Spec};

/// Who hands the connections of a shared port out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Balance {
    /// The kernel: every instance accepts from the same socket.
    #[default]
    Shared,
    /// wpm accepts, and gives connections to the instances in turn.
    RoundRobin,
    /// wpm accepts, and gives connections of one client address to one instance.
    Sticky,
}

impl Balance {
    /// Its word on the command line, on the wire and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::RoundRobin => "round-robin",
            Self::Sticky => "sticky",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Shared, Self::RoundRobin, Self::Sticky]
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("must be shared, round-robin or sticky, not `{text}`"))
    }
}

impl Spec {
    /// Whether its instances are workers of Node's cluster protocol.
    pub const fn is_clustered(&self) -> bool {
        self.cluster && !self.shell
    }

    /// Whether its instances have sockets in common, so that one can leave while another serves.
    pub const fn shares_sockets(&self) -> bool {
        self.is_clustered() || !self.listen.is_empty()
    }

    /// Whether a new run of an instance can come up beside the old one.
    pub fn overlaps(&self) -> bool {
        self.overlap.unwrap_or(self.shares_sockets())
    }

    /// Whether a run says by itself, or is asked, when it is ready.
    pub const fn has_readiness_rule(&self) -> bool {
        self.wait_ready || self.ready.is_some()
    }

    pub(super) fn validate_sharing(&self) -> Option<(&'static str, String)> {
        for text in &self.listen {
            if !is_listen(text) {
                return Some((
                    "listen",
                    format!("must be [NAME=][HOST:]PORT or [NAME=]unix:PATH, not `{}`", text.escape_debug()),
                ));
            }
        }
        if self.port_step == Some(0) {
            return Some(("port_step", "must be a port from 1 to 65535".to_owned()));
        }
        if let Some(Check::Message | Check::Log { .. }) = &self.health {
            let reason =
                "cannot be a message or a log pattern: neither tells that the app has stopped being well";
            return Some(("health", reason.to_owned()));
        }
        if self.health_failures == 0 {
            return Some(("health_failures", "must be 1 or more".to_owned()));
        }
        for (field, span) in
            [("health_interval", self.health_interval), ("health_timeout", self.health_timeout)]
        {
            if span.0 == 0 {
                return Some((field, "must be more than 0 ms".to_owned()));
            }
        }
        None
    }
}

/// The rough form; who binds it parses it whole.
fn is_listen(text: &str) -> bool {
    if text.chars().any(char::is_control) {
        return false;
    }
    let rest = match text.split_once('=') {
        Some((name, rest)) if !name.contains(['/', ':']) => rest,
        _ => text,
    };
    match rest.strip_prefix("unix:") {
        Some(path) => !path.is_empty(),
        None => rest.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_overlap() {
        let spec = Spec::new("web", "/srv/web.js", "/srv");
        type Change = fn(&mut Spec);
        let cases: [(Change, bool); 6] = [
            (|_| {}, false),
            (|spec| spec.cluster = true, true),
            (|spec| (spec.cluster, spec.shell) = (true, true), false),
            (|spec| spec.listen = vec!["3000".to_owned()], true),
            (|spec| spec.overlap = Some(true), true),
            (|spec| (spec.cluster, spec.overlap) = (true, Some(false)), false),
        ];
        for (at, (change, overlaps)) in cases.into_iter().enumerate() {
            let mut spec = spec.clone();
            change(&mut spec);
            assert_eq!(spec.overlaps(), overlaps, "case {at}");
        }
    }

    #[test]
    fn forms_of_listen() {
        for text in ["3000", "http=3000", "127.0.0.1:80", "a=[::1]:80", "unix:/run/x=y.sock", "s=unix:x"] {
            assert!(is_listen(text), "{text}");
        }
        for text in ["", "http=", "x", "unix:", "80:", "host:99999", "80\n"] {
            assert!(!is_listen(text), "{text}");
        }
    }

    #[test]
    fn balances() {
        for one in [Balance::Shared, Balance::RoundRobin, Balance::Sticky] {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert!("fair".parse::<Balance>().is_err());
    }
}
