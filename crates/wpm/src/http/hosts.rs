//! The names under which a server on TCP answers.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Names without port, in lower case; IPv6 without brackets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// `localhost`, the addresses of the loopback, and these.
    pub(crate) fn new(more: impl IntoIterator<Item = String>) -> Self {
        let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        Self(own.into_iter().chain(more.into_iter().map(|name| plain(&name).to_ascii_lowercase())).collect())
    }

    /// Also the address that it listens at.
    pub(super) fn with_own(mut self, address: SocketAddr) -> Self {
        self.0.push(address.ip().to_string());
        self
    }

    /// Whether a `Host` header names one of them; its port does not count.
    fn allow(&self, host: &str) -> bool {
        let name = plain(host).to_ascii_lowercase();
        self.0.contains(&name)
    }
}

/// A host without port and brackets.
fn plain(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.rsplit_once(':') {
        // More than one colon: an IPv6 address by itself.
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

/// Lets a request through whose host is on the list.
pub(super) async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    // A request line with a whole URL names the host itself.
    let host = request.uri().host().or(host).unwrap_or_default();
    if hosts.allow(host) {
        return next.run(request).await;
    }
    let text = "this host is not allowed: start the server with --host NAME to answer under that name\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_list_are_answered() {
        let hosts = Hosts::new(["Pick.Example.org".to_owned()]).with_own(([10, 0, 0, 7], 80).into());
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:9", "::1", "pick.example.org:1", "10.0.0.7"]
        {
            assert!(hosts.allow(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil:80", "[::2]:80"] {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
