//! A small HTTP server for the verbs that answer over HTTP: where it listens, for which names, and how
//! it ends.
//!
//! What is answered is the verb's. Invariants: unless it was asked for, nothing outside this machine can
//! connect; over TCP, a request for a host that is not on the list is refused before a handler sees it,
//! so that no web page can ask through the browser of a user (DNS rebinding).

mod hosts;
mod place;

use std::io;

use axum::Router;
use axum::middleware;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use hosts::Hosts;
pub(crate) use place::Place;
use place::Socket;

use crate::failure::{Code, Failure};

/// Serves at a place, under these names (none: whatever is asked for), until this process is asked to end (SIGINT, SIGTERM): what was begun is finished.
///
/// `ready` is called once connections are taken, with the address: of TCP its real one, of a Unix socket
/// its path.
pub(crate) fn serve(
    place: &Place,
    hosts: impl Into<Option<Hosts>>,
    routes: Router,
    ready: impl FnOnce(&str),
) -> Result<(), Failure> {
    let failed = |cause: io::Error| Failure::new(Code::Storage, format!("cannot serve at {place}: {cause}"));
    let hosts = hosts.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let socket = place.bind().await?;
        let end = ended().map_err(failed)?;
        let routes = match &socket {
            Socket::Unix(..) => routes,
            Socket::Tcp(listener) => match hosts {
                Some(hosts) => {
                    let hosts = hosts.with_own(listener.local_addr().map_err(failed)?);
                    routes.layer(middleware::from_fn_with_state(std::sync::Arc::new(hosts), hosts::check))
                }
                None => routes,
            },
        };
        ready(&socket.address());
        match socket {
            Socket::Tcp(listener) => axum::serve(listener, routes).with_graceful_shutdown(end).await,
            Socket::Unix(listener, path) => {
                let served = axum::serve(listener, routes).with_graceful_shutdown(end).await;
                // Whoever comes later finds nothing rather than a socket without a server.
                drop(std::fs::remove_file(path));
                served
            }
        }
        .map_err(failed)
    })
}

/// Waits for a signal to end.
fn ended() -> io::Result<impl Future<Output = ()>> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    })
}
