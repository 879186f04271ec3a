//! One request, one answer: handshake and request leave in one write, progress arrives before the
//! answer.
//!
//! Invariant: a changing request carries a random key, so sending it again after a lost connection
//! cannot do it twice.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wpm_proto::event::EventView;
use wpm_proto::home::Home;
use wpm_proto::request::{Hello, Op, Request};
use wpm_proto::response::{Body, InstanceOutcome, Response, Welcome};
use wpm_proto::{CONTRACT, ErrorCode, env};

use crate::alive;
use crate::connect::{connect, is_absent};
use crate::wire::{Connection, Deadline, push_frame};
use crate::{Error, home as private_home, spawn};

/// Longest time that an answer may take where the command line says nothing else.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connections lost at once, one after the other, after which a request is given up: it may be what kills
/// the daemon.
const LOSSES: u32 = 3;
/// A connection that was lost later than this was not lost by the request.
const AT_ONCE: Duration = Duration::from_millis(300);
/// Lost connections after which a request is given up in any case.
const MOST_LOSSES: u32 = 50;

/// Whether a daemon is started where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Yes.
    IfAbsent,
    /// No: [`Error::NoDaemon`] instead.
    Never,
}

/// How to reach the daemon.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether to start one.
    pub start: Start,
    /// Longest time without an answer, for the handshake and for requests that do not wait for apps.
    pub timeout: Duration,
    /// The program that is executed as keeper.
    pub program: PathBuf,
    /// Called when the daemon has not answered for half that time and the keeper is asked to look after
    /// it; the request goes on.
    pub on_silence: fn(),
    /// Called when a request has waited for apps for that time and the keeper, which has to start them, is
    /// stopped; with its process id. The request goes on.
    pub on_stopped_keeper: fn(i32),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            start: Start::IfAbsent,
            timeout: timeout_from_env(),
            program: PathBuf::from("/proc/self/exe"),
            on_silence: || (),
            on_stopped_keeper: |_| (),
        }
    }
}

fn timeout_from_env() -> Duration {
    std::env::var(env::TIMEOUT)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(TIMEOUT)
}

/// A daemon to talk to.
#[derive(Debug)]
pub struct Client {
    home: Home,
    options: Options,
    connection: Option<Connection>,
    welcome: Option<Welcome>,
    started: bool,
    next_id: u64,
}

impl Client {
    /// Connects to the daemon of this home, starting it if the options say so.
    ///
    /// # Errors
    /// When the home is not private, or nobody answers and nobody could be started.
    pub fn open(home: Home, options: Options) -> Result<Self, Error> {
        let mut client = Self { home, options, connection: None, welcome: None, started: false, next_id: 1 };
        client.reach()?;
        Ok(client)
    }

    /// Whether this client has started the daemon.
    pub const fn started_daemon(&self) -> bool {
        self.started
    }

    /// What the daemon said of itself; none before the first answer.
    pub const fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// The home.
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// Makes a request and gives its final answer. A request that waits for apps has no time limit, the
    /// others have [`Options::timeout`].
    ///
    /// # Errors
    /// [`Error::Refused`] with the daemon's own error, or why there is no answer.
    pub fn call(&mut self, op: Op, mut progress: impl FnMut(&InstanceOutcome)) -> Result<Body, Error> {
        let waits = waits(&op);
        let request = Request { id: self.next_id, key: op.changes().then(random_key), op };
        self.next_id += 1;
        let (mut losses, mut all_losses) = (0, 0);
        let mut complained = false;
        loop {
            // Before half the time is over without an answer, the daemon may just be slow.
            let patience = if complained { self.options.timeout } else { self.options.timeout / 2 };
            let sent = Instant::now();
            let outcome = self.try_call(&request, waits, patience, &mut progress);
            let again = match &outcome {
                Err(error) if error.is_lost() => true,
                Err(Error::TimedOut(_)) if !complained => {
                    complained = true;
                    (self.options.on_silence)();
                    complain(&self.home);
                    self.connection = None;
                    continue;
                }
                // It was slow to answer or lost, and has done meanwhile what it was asked for.
                Err(Error::NoDaemon { .. })
                    if (complained || all_losses > 0) && matches!(request.op, Op::Kill { .. }) =>
                {
                    return Ok(Body::Outcomes { outcomes: vec![], remarks: vec![] });
                }
                // A daemon that is about to end takes nothing; its end is waited for.
                Err(Error::Refused(error)) if error.code == ErrorCode::ShuttingDown => {
                    self.await_end();
                    true
                }
                _ => false,
            };
            let given_up = losses == LOSSES || all_losses == MOST_LOSSES;
            if !again || given_up {
                return outcome;
            }
            // More than once: a daemon that is being killed may take a connection and lose it, too.
            losses = if sent.elapsed() < AT_ONCE { losses + 1 } else { 0 };
            all_losses += 1;
            self.connection = None;
        }
    }

    /// A handle on the daemon behind the present connection, if there is one.
    pub(crate) fn daemon(&self) -> Option<OwnedFd> {
        alive::peer(self.connection.as_ref()?.fd())
    }

    /// Waits until the daemon has closed the connection (at most [`Options::timeout`]).
    pub fn await_end(&mut self) {
        let deadline = Deadline::after(self.options.timeout);
        if let Some(connection) = &mut self.connection {
            while connection.read::<serde::de::IgnoredAny>(Some(deadline)).is_ok() {}
        }
        self.connection = None;
    }

    fn try_call(
        &mut self,
        request: &Request,
        waits: bool,
        patience: Duration,
        progress: &mut impl FnMut(&InstanceOutcome),
    ) -> Result<Body, Error> {
        let deadline = Deadline::after(patience);
        self.send(request, deadline)?;
        let Some(connection) = &mut self.connection else { return Err(Error::Lost) };
        // A request that waits for apps is given no limit, but one look at who has to start them.
        let mut limit = Some(if waits { Deadline::after(self.options.timeout) } else { deadline });
        loop {
            let response: Response = match connection.read(limit) {
                Err(Error::TimedOut(_)) if waits && limit.is_some() => {
                    limit = None;
                    alive::stopped_keeper(&self.home).into_iter().for_each(self.options.on_stopped_keeper);
                    continue;
                }
                response => response?,
            };
            // An error that belongs to no request (0) is about this connection's only one.
            if response.id != request.id && !(response.id == 0 && matches!(response.body, Body::Error { .. }))
            {
                continue;
            }
            match response.body {
                Body::Progress { outcome } => progress(&outcome),
                Body::Error { error } => return Err(Error::Refused(error)),
                body if body.is_final() => return Ok(body),
                _ => {}
            }
        }
    }

    /// Sends a request, with the handshake before it where the connection is new.
    fn send(&mut self, request: &Request, deadline: Deadline) -> Result<(), Error> {
        let fresh = self.connection.is_none() || self.welcome.is_none();
        if self.connection.is_none() {
            self.reach()?;
        }
        let Some(connection) = &mut self.connection else { return Err(Error::Lost) };
        let mut bytes = Vec::with_capacity(512);
        if fresh {
            let hello = Hello { contract: CONTRACT, version: env!("CARGO_PKG_VERSION").to_owned() };
            push_frame(&mut bytes, &hello)?;
        }
        push_frame(&mut bytes, request)?;
        connection.write(&bytes, deadline)?;
        if fresh {
            let welcome: Welcome = connection.read(Some(deadline))?;
            if welcome.contract != CONTRACT {
                return Err(Error::Contract { daemon: welcome.contract, client: CONTRACT });
            }
            self.welcome = Some(welcome);
        }
        Ok(())
    }

    /// Hands the connection over to a subscription.
    pub(crate) fn subscribe(mut self, since_ms: Option<u64>) -> Result<(Connection, u64), Error> {
        let request = Request { id: self.next_id, key: None, op: Op::Subscribe { since_ms } };
        let deadline = Deadline::after(self.options.timeout);
        self.send(&request, deadline)?;
        let Some(mut connection) = self.connection.take() else { return Err(Error::Lost) };
        loop {
            let response: Response = connection.read(Some(deadline))?;
            match response.body {
                Body::Subscribed { .. } if response.id == request.id => return Ok((connection, request.id)),
                Body::Error { error } => return Err(Error::Refused(error)),
                _ => {}
            }
        }
    }

    /// The events since then (milliseconds since 1970) that the daemon remembers.
    ///
    /// # Errors
    /// When the daemon refuses or is gone.
    pub fn past_events(self, since_ms: u64) -> Result<Vec<EventView>, Error> {
        let deadline = Deadline::after(self.options.timeout);
        let (mut connection, id) = self.subscribe(Some(since_ms))?;
        // The answer to a second request comes after all that the first one brings at once.
        let end = Request { id: id + 1, key: None, op: Op::Ping };
        let mut bytes = Vec::new();
        push_frame(&mut bytes, &end)?;
        connection.write(&bytes, deadline)?;
        let mut events = Vec::new();
        loop {
            let response: Response = connection.read(Some(deadline))?;
            match response.body {
                Body::Event { event } => events.push(event),
                Body::Error { error } => return Err(Error::Refused(error)),
                _ if response.id == end.id => return Ok(events),
                _ => {}
            }
        }
    }

    fn reach(&mut self) -> Result<(), Error> {
        self.welcome = None;
        let there = private_home::check(&self.home)?;
        let path = self.home.socket();
        if there {
            match connect(&path, self.options.timeout) {
                Ok(stream) => {
                    self.connection = Some(Connection::new(stream));
                    return Ok(());
                }
                Err(cause) if is_absent(&cause) => {}
                Err(cause) => return Err(Error::Connect { path, cause }),
            }
        }
        if self.options.start == Start::Never {
            let next = if there { spawn::next(&self.home, self.options.timeout)? } else { None };
            let stream = next.ok_or_else(|| Error::NoDaemon { home: self.home.path().to_owned() })?;
            self.connection = Some(Connection::new(stream));
            return Ok(());
        }
        let (stream, started) = spawn::spawn(&self.home, &self.options.program)?;
        self.started |= started;
        self.connection = Some(Connection::new(stream));
        Ok(())
    }
}

/// Tells the keeper that the daemon does not answer: the keeper asks it once more, and replaces it if it
/// is mute. The request is then sent again to the next daemon, which knows its key.
fn complain(home: &Home) {
    // Without a keeper there is nobody to tell; the caller sees the missing answer.
    let _nobody = alive::knock(home);
}

/// Whether the answer comes only when apps have come up or gone down.
const fn waits(op: &Op) -> bool {
    match op {
        Op::Start { wait, .. }
        | Op::StartKnown { wait, .. }
        | Op::Restart { wait, .. }
        | Op::RestartWith { wait, .. }
        | Op::Reload { wait, .. }
        | Op::ReloadWith { wait, .. }
        | Op::Apply { wait, .. }
        | Op::Stop { wait, .. }
        | Op::Delete { wait, .. }
        | Op::Scale { wait, .. }
        | Op::Resurrect { wait } => *wait,
        Op::Kill { .. } => true,
        _ => false,
    }
}

/// 128 random bits in hexadecimal.
fn random_key() -> String {
    let mut bytes = [0_u8; 16];
    // The kernel's generator is only short before it is seeded, early in the boot; a key needs no
    // more than to differ from those of the last minutes.
    let _filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests;
