//! `wpm serve-pick`: `wpm pick` over HTTP, for applications that hand addresses to their clients.
//!
//! Answers with the address of a lightly loaded instance as JSON, by the same rule; an address that was
//! given a moment ago counts as a connection, since its client is still on the way. Changes nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{self, Path};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use wpm_client::Client;
use wpm_proto::ExitCode;
use wpm_proto::home::Home;
use wpm_proto::view::AppView;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, next_daemon};
use crate::failure::{Code, Failure};
use crate::http::{Hosts, Place, serve};
use crate::reach::{Picked, pick};

pub(crate) const VERB: Verb = Verb {
    name: "serve-pick",
    aliases: &[],
    about: "Give the address of a lightly loaded instance over HTTP",
    examples: "  wpm serve-pick                         at a Unix socket in the home\n  \
               wpm serve-pick chat --listen 9700      only of this app: curl localhost:9700/pick/chat\n  \
               wpm start wpm --name pick -- serve-pick --listen 9700",
    args: <Arguments as clap::Args>::augment_args,
    run,
};

/// How long a client that was given an address is on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// How long the next daemon may take to come.
const DAEMON_AWAY: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
struct Arguments {
    /// Answer for these apps only
    #[arg(value_name = "APP", add = complete::apps())]
    apps: Vec<String>,
    /// Where to listen: PORT (of 127.0.0.1), HOST:PORT or unix:PATH [default: unix:HOME/pick.sock]
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Option<Place>,
    /// Also answer requests for this host name
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// What requests share.
struct Shared {
    home: Home,
    /// Empty = every app.
    apps: Vec<String>,
    /// One request at a time: each is to see what the one before was given.
    state: Mutex<State>,
}

struct State {
    /// None before the first request.
    client: Option<Client>,
    given: Vec<Given>,
}

/// An address that was given.
struct Given {
    at: Instant,
    app: String,
    index: u32,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Arguments { apps, listen, host } = arguments(matches)?;
    let home = context.home()?;
    let place = listen.unwrap_or_else(|| Place::Unix(home.path().join("pick.sock")));
    if place.is_public() {
        context.warn(&format!("other machines can reach {place}"));
    }
    // Says early what would make every answer an error.
    drop(context.daemon()?);
    let state = Mutex::new(State { client: None, given: Vec::new() });
    let shared = Shared { home, apps, state };
    let routes = Router::new()
        .route("/pick/{app}", get(answer))
        .fallback(async || (StatusCode::NOT_FOUND, Json(json!({ "error": "ask for /pick/APP" }))))
        .with_state(Arc::new(shared));
    serve(&place, Hosts::new(host), routes, |at| {
        let url = match &place {
            Place::Unix(path) => format!("--unix-socket {} http://localhost", path.display()),
            Place::Tcp(_) => format!("http://{at}"),
        };
        context.note(&format!("serving: curl {url}/pick/APP"));
    })?;
    Ok(ExitCode::Ok)
}

async fn answer(extract::State(shared): extract::State<Arc<Shared>>, Path(app): Path<String>) -> Response {
    // Asks the daemon and reads the kernel's tables: both wait.
    let picked = tokio::task::spawn_blocking(move || shared.pick(&app)).await;
    match picked {
        Ok(Ok(picked)) => ([(header::CACHE_CONTROL, "no-store")], Json(picked.json())).into_response(),
        Ok(Err(failure)) => {
            let status = match () {
                () if failure.is(Code::NoSuchApp) || failure.is(Code::NoApps) => StatusCode::NOT_FOUND,
                () if failure.is(Code::Ambiguous) => StatusCode::BAD_REQUEST,
                () => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Json(json!({ "error": failure.message() }))).into_response()
        }
        Err(cause) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": cause.to_string() }))).into_response()
        }
    }
}

impl Shared {
    fn pick(&self, target: &str) -> Result<Picked, Failure> {
        if !self.apps.is_empty() && !self.apps.iter().any(|app| app == target) {
            return Err(Failure::new(Code::NoSuchApp, format!("`{target}` is not served here")));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = match state.client.take() {
            Some(client) => client,
            None => next_daemon(&self.home, DAEMON_AWAY)?,
        };
        state.given.retain(|one| one.at.elapsed() < ON_ITS_WAY);
        let awaited = |app: &AppView, index: u32| {
            let of = |one: &&Given| one.app == app.name && one.index == index;
            u64::try_from(state.given.iter().filter(of).count()).unwrap_or(u64::MAX)
        };
        let picked = match pick(&mut client, target, awaited) {
            // The daemon that was there has ended, and the keeper starts the next.
            Err(failure) if failure.is(Code::Unreachable) => {
                client = next_daemon(&self.home, DAEMON_AWAY)?;
                pick(&mut client, target, awaited)
            }
            picked => picked,
        };
        state.client = Some(client);
        let picked = picked?;
        state.given.push(Given { at: Instant::now(), app: picked.app.clone(), index: picked.of.index });
        Ok(picked)
    }
}
