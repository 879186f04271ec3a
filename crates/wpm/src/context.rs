//! What every verb works with: the home, the daemon, and how much to say.
//!
//! Connects only when a verb asks for it.

use std::time::{Duration, Instant};

use wpm_client::subscribe::Subscription;
use wpm_client::{Client, Options, Start, alive, home};
use wpm_proto::home::Home;
use wpm_proto::request::{Detail, Op};
use wpm_proto::response::Body;
use wpm_proto::view::AppView;

use crate::failure::{Code, Failure};
use crate::output;
use crate::pm2;
use crate::render::style::{self, paint};

/// Says why a command takes so long.
fn tell_of_silence() {
    output::say(
        "the daemon does not answer; if it hangs, the keeper starts it anew. The apps go on meanwhile.",
    );
}

/// Says why no app comes up, however long a command waits.
fn tell_of_keeper(pid: i32) {
    output::say(&keeper_trouble(pid));
}

/// What a keeper that somebody has stopped means, and what helps.
pub(crate) fn keeper_trouble(pid: i32) -> String {
    format!("the keeper is stopped: what runs goes on, but no app can be started until `kill -CONT {pid}`")
}

/// Global options, resolved.
#[derive(Debug)]
pub(crate) struct Context {
    /// Say nothing but errors.
    pub(crate) silent: bool,
    /// The exit code of an app, where it becomes that of the command.
    pub(crate) exit_of_app: Option<u8>,
    home: Option<Home>,
}

impl Context {
    /// Nothing looked up yet.
    pub(crate) const fn new(silent: bool) -> Self {
        Self { silent, exit_of_app: None, home: None }
    }

    /// The home.
    pub(crate) fn home(&mut self) -> Result<Home, Failure> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let home = home::locate()?;
        self.home = Some(home.clone());
        Ok(home)
    }

    /// Works on this home from here on.
    pub(crate) fn use_home(&mut self, home: Home) {
        self.home = Some(home);
    }

    /// The daemon, started where there is none.
    pub(crate) fn daemon(&mut self) -> Result<Client, Failure> {
        let client = Client::open(self.home()?, self.options(Start::IfAbsent))?;
        if client.started_daemon() && output::stderr_is_terminal() {
            let home = home::shorten(client.home().path());
            self.note(&format!("started the wpm daemon in {home} (`wpm kill` ends it and every app)"));
        }
        if pm2::speaks() {
            pm2::furnish(client.home());
        }
        Ok(client)
    }

    fn options(&self, start: Start) -> Options {
        let on_silence = if self.silent { || () } else { tell_of_silence };
        let on_stopped_keeper = if self.silent { |_| () } else { tell_of_keeper };
        Options { start, on_silence, on_stopped_keeper, ..Options::default() }
    }

    /// The daemon, if there is one.
    pub(crate) fn running_daemon(&mut self) -> Result<Option<Client>, Failure> {
        match Client::open(self.home()?, self.options(Start::Never)) {
            Ok(client) => Ok(Some(client)),
            Err(wpm_client::Error::NoDaemon { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Says something on stderr unless silence was asked for.
    pub(crate) fn note(&self, text: &str) {
        if self.silent {
        } else if pm2::speaks() {
            pm2::voice::say(text);
        } else {
            output::say(text);
        }
    }

    /// Warns of a keeper that somebody has stopped; not who drives pm2, which has none.
    pub(crate) fn warn_of_keeper(&self, home: &Home) {
        if !pm2::speaks()
            && let Some(pid) = alive::stopped_keeper(home)
        {
            self.warn(&keeper_trouble(pid));
        }
    }

    /// Warns on stderr unless silence was asked for.
    pub(crate) fn warn(&self, text: &str) {
        if self.silent {
        } else if pm2::speaks() {
            pm2::voice::warn(text);
        } else {
            output::say(&format!("{}: {text}", paint(style::WARNING, "warning")));
        }
    }
}

/// The daemon that comes after one that has ended, which the keeper starts; waits so long for it. None is
/// started: whoever has ended wpm does not want it back by a command that goes on.
pub(crate) fn next_daemon(home: &Home, patience: Duration) -> Result<Client, wpm_client::Error> {
    let begun = Instant::now();
    loop {
        let options = Options { start: Start::Never, ..Options::default() };
        match Client::open(home.clone(), options) {
            Err(_) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

/// The events of the daemon that comes after one that has ended; as [`next_daemon`].
pub(crate) fn next_events(
    home: &Home,
    since_ms: Option<u64>,
    patience: Duration,
) -> Result<Subscription, wpm_client::Error> {
    let begun = Instant::now();
    loop {
        match next_daemon(home, patience).and_then(|client| Subscription::open(client, since_ms)) {
            // That one has ended, too.
            Err(wpm_client::Error::Lost) if begun.elapsed() < patience => {}
            outcome => return outcome,
        }
    }
}

/// Asks for apps.
pub(crate) fn list(
    client: &mut Client,
    targets: Vec<String>,
    detail: Detail,
) -> Result<Vec<AppView>, Failure> {
    match client.call(Op::List { targets, detail }, |_| ())? {
        Body::Apps { apps } => Ok(apps),
        other => Err(unexpected(&other)),
    }
}

/// Names of apps that look like a word which names none.
pub(crate) fn names_like(client: &mut Client, word: &str) -> Vec<String> {
    match client.call(Op::List { targets: vec![word.to_owned()], detail: Detail::State }, |_| ()) {
        Err(wpm_client::Error::Refused(refusal)) => refusal.similar,
        _ => Vec::new(),
    }
}

/// An answer that does not belong to the question.
pub(crate) fn unexpected(body: &Body) -> Failure {
    Failure::new(Code::Internal, format!("the daemon answered another question: {body:?}"))
}
