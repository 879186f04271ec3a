//! Serves the files of a folder over HTTP: the app that `wpm serve` starts (`wpm __serve`).
//!
//! Reads only, and follows links that somebody has put into the folder. Invariants: no path leads out of
//! the folder, nothing hidden (a name that begins with a dot) is served, and where a password is set nothing is served without it.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tower_http::services::{ServeDir, ServeFile};

use crate::failure::{Code, Failure};
use crate::http::{Place, serve};
use crate::output;

/// Variable with the name that is asked for; not an argument, which every user of the machine sees.
pub(crate) const USERNAME: &str = "WPM_SERVE_USERNAME";
/// Variable with the password.
pub(crate) const PASSWORD: &str = "WPM_SERVE_PASSWORD";
/// The word by which a page of one file is asked for.
pub(crate) const SPA: &str = "--spa";

/// Runs `wpm __serve FOLDER PLACE [--spa]`.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(folder), Some(place)) = (words.next(), words.next()) else { return ExitCode::from(2) };
    let spa = words.any(|word| word == SPA);
    let done = place
        .to_string_lossy()
        .parse::<Place>()
        .map_err(|why| Failure::new(Code::Usage, why))
        .and_then(|place| at(&place, Path::new(&folder), spa));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&failure.render(&[]));
            ExitCode::FAILURE
        }
    }
}

fn at(place: &Place, folder: &Path, spa: bool) -> Result<(), Failure> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let password = set(PASSWORD).map(|password| credentials(&set(USERNAME).unwrap_or_default(), &password));
    serve(place, None, routes(folder, spa, password), |address| {
        output::say(&format!("serving {} at {address}", folder.display()));
    })
}

/// The header that lets somebody in.
fn credentials(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
}

fn routes(folder: &Path, spa: bool, password: Option<String>) -> Router {
    let index = folder.join("index.html");
    let missing = folder.join("404.html");
    let files = ServeDir::new(folder);
    let routes = if spa {
        Router::new().fallback_service(files.fallback(ServeFile::new(index)))
    } else {
        Router::new().fallback_service(files.not_found_service(ServeFile::new(missing)))
    };
    let routes = routes.layer(middleware::from_fn(visible));
    match password {
        Some(password) => routes.layer(middleware::from_fn_with_state(Arc::new(password), allowed)),
        None => routes,
    }
}

/// Refuses what is hidden. `.well-known` is made to be seen.
async fn visible(request: Request, next: Next) -> Response {
    let hidden = request.uri().path().split('/').any(|part| {
        (part.starts_with('.') || part.to_ascii_lowercase().starts_with("%2e")) && part != ".well-known"
    });
    if hidden { StatusCode::NOT_FOUND.into_response() } else { next.run(request).await }
}

async fn allowed(State(wanted): State<Arc<String>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    if given.is_some_and(|given| same(given, wanted.as_bytes())) {
        return next.run(request).await;
    }
    let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"wpm serve\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, "a name and a password are needed\n").into_response()
}

/// Compares in a time that does not tell where two secrets differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_whole() {
        assert!(same(b"abc", b"abc") && !same(b"abc", b"abd") && !same(b"abc", b"ab"));
        assert_eq!(credentials("ann", "s3cret"), "Basic YW5uOnMzY3JldA==");
    }
}
