//! What a worker asks when it listens, and what has to be bound for it.
//!
//! Binds nothing. Invariant: two queries have the same share key exactly when their workers are to
//! get the same socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value};

/// `EINVAL`, the same number on every Unix.
pub(crate) const EINVAL: i32 = 22;
const IPV6_ONLY: u64 = 1;
const TCP_REUSE_PORT: u64 = 2;
const UDP_REUSE_ADDRESS: u64 = 4;
const UDP_REUSE_PORT: u64 = 8;
/// What Node takes where an app gives no backlog.
const BACKLOG: u32 = 511;

/// A socket that the caller is asked to make, non-blocking; the flag is shared by all who hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindTo {
    /// TCP: `SO_REUSEADDR`, bind, listen.
    Tcp {
        /// Address; `None` = `::` for both families, or `0.0.0.0` where that cannot be bound.
        address: Option<IpAddr>,
        /// Interface of a link-local address (after `%`): name or number.
        scope: Option<String>,
        /// Port; 0 = the kernel chooses.
        port: u16,
        /// `IPV6_V6ONLY`; without it the option is to be cleared, not left.
        v6_only: bool,
        /// `SO_REUSEPORT`.
        reuse_port: bool,
    },
    /// UDP: bind only.
    Udp {
        /// Address, unspecified where the app gave none.
        address: IpAddr,
        /// Interface of a link-local address.
        scope: Option<String>,
        /// Port; 0 = the kernel chooses.
        port: u16,
        /// `IPV6_V6ONLY`.
        v6_only: bool,
        /// `SO_REUSEADDR`.
        reuse_address: bool,
        /// `SO_REUSEPORT`.
        reuse_port: bool,
    },
    /// A Unix stream socket at a path: bind, add the mode bits, listen. Unlinked when it is closed.
    Path {
        /// Absolute path.
        path: String,
        /// Mode bits to add to those of the new file (0o444, 0o222 or both).
        add_mode: u32,
    },
    /// A Unix stream socket in Linux' abstract namespace: bind and listen.
    Abstract {
        /// Name without the NUL in front.
        name: String,
    },
    /// A descriptor that the worker was given by the caller (`listen({fd})`), by its number in the worker.
    Inherited {
        /// The number.
        fd: i32,
        /// Whether the worker takes it for a UDP socket.
        datagram: bool,
    },
}

impl BindTo {
    /// Whether every holder reads for itself, whatever the policy: there are no connections to hand out.
    pub const fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp { .. } | Self::Inherited { datagram: true, .. })
    }
}

/// A `queryServer` or `listening` message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    /// The message.
    pub(crate) fields: Map<String, Value>,
}

impl Query {
    /// Name of the socket within one worker, which Node compares with nothing but itself.
    pub(crate) fn key(&self) -> String {
        ["address", "port", "addressType", "fd", "index"].map(|name| self.spelled(name)).join(":")
    }

    /// Name by which workers share. Node above 20 leaves the index out unless the kernel is to choose
    /// the port: then the n-th such listen of every worker is one socket.
    pub(crate) fn share_key(&self) -> String {
        let four = ["address", "port", "addressType", "fd"].map(|name| self.spelled(name)).join(":");
        if self.port() == Some(0) { format!("{four}:{}", self.spelled("index")) } else { four }
    }

    /// Length of the queue of connections.
    pub(crate) fn backlog(&self) -> u32 {
        let asked = self.fields.get("backlog").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        asked.filter(|n| *n > 0).unwrap_or(BACKLOG)
    }

    /// Data to be echoed to every worker of the socket (ticket keys of TLS).
    pub(crate) fn data(&self) -> Value {
        self.fields.get("data").cloned().unwrap_or_default()
    }

    /// Port as written; -1 for a Unix socket.
    pub(crate) fn port(&self) -> Option<i64> {
        self.fields.get("port").and_then(Value::as_i64)
    }

    /// Address as written: an IP address or a path.
    pub(crate) fn address(&self) -> Option<&str> {
        self.fields.get("address").and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Whether a `listening` message speaks of the socket that this query asked for.
    pub(crate) fn is_meant_by(&self, listening: &Self) -> bool {
        let same = |name: &&str| self.spelled(name) == listening.spelled(name);
        ["address", "addressType", "fd", "index"].iter().all(same)
            && (self.port() == Some(0) || self.port() == listening.port() || self.port().is_none())
    }

    /// What has to be bound.
    ///
    /// # Errors
    /// With the error number for the worker when no socket can be meant.
    pub(crate) fn to_bind(&self) -> Result<BindTo, i32> {
        if let Some(fd) = self.fields.get("fd").and_then(Value::as_i64).filter(|fd| *fd >= 0) {
            let datagram = self.fields.get("addressType").is_some_and(Value::is_string);
            return i32::try_from(fd).map(|fd| BindTo::Inherited { fd, datagram }).map_err(|_| EINVAL);
        }
        let kind = self.fields.get("addressType");
        let flags = self.fields.get("flags").and_then(Value::as_u64).unwrap_or(0);
        let is = |bit| flags & bit != 0;
        if kind == Some(&Value::from(-1)) {
            return self.local();
        }
        let port = self.port().map_or(Ok(0), u16::try_from).map_err(|_| EINVAL)?;
        let (address, scope) = self.ip()?;
        let v6_only = is(IPV6_ONLY);
        match kind.and_then(Value::as_str) {
            Some(family @ ("udp4" | "udp6")) => {
                let any = if family == "udp4" {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let address: IpAddr = address.unwrap_or(any);
                if address.is_ipv4() != (family == "udp4") {
                    return Err(EINVAL);
                }
                let (reuse_address, reuse_port) = (is(UDP_REUSE_ADDRESS), is(UDP_REUSE_PORT));
                Ok(BindTo::Udp { address, scope, port, v6_only, reuse_address, reuse_port })
            }
            Some(_) => Err(EINVAL),
            None => Ok(BindTo::Tcp { address, scope, port, v6_only, reuse_port: is(TCP_REUSE_PORT) }),
        }
    }

    fn local(&self) -> Result<BindTo, i32> {
        let path = self.address().ok_or(EINVAL)?;
        // An abstract name reaches us with the working directory in front: the worker took it for a path.
        if let Some((_, name)) = path.split_once('\0') {
            return Ok(BindTo::Abstract { name: name.to_owned() });
        }
        let asked = |name| self.fields.get(name).and_then(Value::as_bool).unwrap_or(false);
        let add_mode =
            if asked("readableAll") { 0o444 } else { 0 } | if asked("writableAll") { 0o222 } else { 0 };
        Ok(BindTo::Path { path: path.to_owned(), add_mode })
    }

    fn ip(&self) -> Result<(Option<IpAddr>, Option<String>), i32> {
        let Some(text) = self.address() else { return Ok((None, None)) };
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope.to_owned())),
            None => (text, None),
        };
        address.parse().map(|ip| (Some(ip), scope)).map_err(|_| EINVAL)
    }

    /// A field as JavaScript would print it within a template.
    fn spelled(&self, name: &str) -> String {
        match self.fields.get(name) {
            None => "undefined".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(value: Value) -> Query {
        let Value::Object(fields) = value else { unreachable!("an object") };
        Query { fields }
    }

    fn tcp(address: Option<&str>, port: u16, v6_only: bool) -> BindTo {
        let address = address.map(|a| a.parse().unwrap());
        BindTo::Tcp { address, scope: None, port, v6_only, reuse_port: false }
    }

    #[test]
    fn keys_follow_node() {
        let port = query(json!({"index": 0, "address": null, "port": 3100, "addressType": 4}));
        assert_eq!(port.key(), "null:3100:4:undefined:0");
        assert_eq!(port.share_key(), "null:3100:4:undefined");
        let any = query(json!({"index": 2, "address": "::1", "port": 0, "addressType": 6, "fd": null}));
        assert_eq!(any.share_key(), "::1:0:6:null:2");
        let udp =
            query(json!({"index": 0, "address": "0.0.0.0", "port": 53, "addressType": "udp4", "fd": -1}));
        assert_eq!(udp.share_key(), "0.0.0.0:53:udp4:-1");
    }

    #[test]
    fn what_is_bound_follows_the_query() {
        let any4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let udp = |address, v6_only, reuse_address| BindTo::Udp {
            address,
            scope: None,
            port: 53,
            v6_only,
            reuse_address,
            reuse_port: false,
        };
        let table = [
            (json!({"address": null, "port": 3100, "addressType": 4}), Ok(tcp(None, 3100, false))),
            (
                json!({"address": "127.0.0.1", "port": 1, "addressType": 4}),
                Ok(tcp(Some("127.0.0.1"), 1, false)),
            ),
            (
                json!({"address": "::1", "port": 1, "addressType": 6, "flags": 1}),
                Ok(tcp(Some("::1"), 1, true)),
            ),
            (json!({"address": "x.example", "port": 1, "addressType": 4}), Err(EINVAL)),
            (json!({"address": null, "port": 70000, "addressType": 4}), Err(EINVAL)),
            (
                json!({"address": null, "port": null, "addressType": null, "fd": 99}),
                Ok(BindTo::Inherited { fd: 99, datagram: false }),
            ),
            (
                json!({"address": "/run/a", "port": -1, "addressType": -1, "readableAll": true, "fd": null}),
                Ok(BindTo::Path { path: "/run/a".into(), add_mode: 0o444 }),
            ),
            (
                json!({"address": "/srv/\0name", "port": -1, "addressType": -1}),
                Ok(BindTo::Abstract { name: "name".into() }),
            ),
            (json!({"address": null, "port": -1, "addressType": -1}), Err(EINVAL)),
            (
                json!({"address": null, "port": 53, "addressType": "udp4", "fd": -1}),
                Ok(udp(any4, false, false)),
            ),
            (
                json!({"address": "::", "port": 53, "addressType": "udp6", "fd": -1, "flags": 5}),
                Ok(udp(Ipv6Addr::UNSPECIFIED.into(), true, true)),
            ),
            (json!({"address": "::", "port": 53, "addressType": "udp4", "fd": -1}), Err(EINVAL)),
            (json!({"address": "::", "port": 53, "addressType": "sctp", "fd": -1}), Err(EINVAL)),
        ];
        for (message, expected) in table {
            assert_eq!(query(message.clone()).to_bind(), expected, "{message}");
        }
    }

    #[test]
    fn a_link_local_address_keeps_its_interface() {
        let bind = query(json!({"address": "fe80::1%eth0", "port": 1, "addressType": 6})).to_bind();
        assert!(matches!(bind, Ok(BindTo::Tcp { scope: Some(scope), .. }) if scope == "eth0"));
    }

    #[test]
    fn listening_is_matched_to_its_query() {
        let asked = query(json!({"index": 1, "address": null, "port": 0, "addressType": 4}));
        let says =
            |index, port| query(json!({"index": index, "address": null, "port": port, "addressType": 4}));
        assert!(asked.is_meant_by(&says(1, 40001)));
        assert!(!asked.is_meant_by(&says(0, 40001)));
        let fixed = query(json!({"index": 0, "address": null, "port": 80, "addressType": 4}));
        assert!(!fixed.is_meant_by(&says(0, 81)));
    }
}
