//! The loop: takes one message after the other, asks the core, carries its actions out.
//!
//! Owns the order in which things are looked at. Invariant: it waits for nothing but for something to happen, and what
//! a client does never keeps a report of a shim waiting.

use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};
use tokio::task::JoinSet;
use wpm_core::{Input, Millis};

use crate::cron::Due;
use crate::daemon::Daemon;
use crate::message::Message;
use crate::session::{Asked, Session, SessionId};
use crate::signals::{Signal, Signals};
use crate::store::Written;
use crate::{clock, listener, rest};

/// Requests that may wait for the loop.
const REQUESTS: usize = 256;
/// Clients at once; more wait in the socket's queue.
const CLIENTS: usize = 1024;
/// How often memory is sampled, while an app asks for it.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed accept (no descriptor left): the clients wait in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

impl Daemon {
    /// Runs the loop until it is told to end.
    pub(crate) async fn run(
        &mut self,
        mut listener: interprocess::local_socket::tokio::Listener,
        mut messages: UnboundedReceiver<Message>,
        mut written: UnboundedReceiver<Written>,
    ) {
        let (requests_to, mut requests): (_, Receiver<Asked>) = channel(REQUESTS);
        let (left_to, mut left) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut next_session = 0;
        let mut accept_again = tokio::time::Instant::now();
        // Whether it was said already that no client can be accepted.
        let mut full = false;
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "cannot handle signals");
                return;
            }
        };
        let mut next_sample = tokio::time::Instant::now();
        let mut rests_at = None;
        loop {
            let more = self.act();
            self.persistence.send();
            if let Some(fresh) = self.fresh_listener.take() {
                listener = fresh;
            }
            if self.untidy && self.sessions.is_empty() {
                self.untidy = false;
                rests_at = Some(tokio::time::Instant::now() + rest::AFTER);
            }
            // At the end the keeper may be gone before the last answer is durable.
            let leaves = self.update.is_under_way || (self.quitting && !self.core.has_runs());
            if (self.keeper.is_gone && !self.quitting) || (leaves && !more && self.persistence.is_all_done())
            {
                break;
            }
            let deadline = self.core.next_deadline().map(instant_of);
            let cron = self.cron.next();
            let sample = (self.limited && !self.core.sampled().is_empty()).then_some(next_sample);
            tokio::select! {
                biased;
                Some(message) = messages.recv() => {
                    self.take(message);
                    while let Ok(message) = messages.try_recv() {
                        self.take(message);
                    }
                }
                Some(done) = written.recv() => self.written(done),
                () = until(deadline) => self.core.handle(clock::now(), Input::Tick),
                Some(Asked(session, request)) = requests.recv() => self.request(session, *request),
                Some(session) = left.recv() => self.leave(session),
                Some(signal) = signals.next() => match signal {
                    Signal::Reopen => self.reopen_logs(),
                    Signal::End => {
                        tracing::info!("asked to end by a signal: the apps go on, the keeper starts a new daemon");
                        break;
                    }
                },
                () = until(self.persistence.again_at) => {
                    self.persistence.again_at = None;
                    self.persist();
                }
                () = until(self.update.proves_at) => self.hand_program_on(),
                () = until(rests_at) => {
                    rests_at = None;
                    if self.sessions.is_empty() {
                        rest::soon();
                    } else {
                        self.untidy = true;
                    }
                }
                () = until(cron) => for (due, instance) in self.cron.due() {
                    match due {
                        Due::Restart => self.core.handle(clock::now(), Input::CronFired(instance)),
                        Due::Job => self.core.handle(clock::now(), Input::ScheduleFired(instance)),
                        Due::Rotation => self.rotate_logs(instance),
                    }
                },
                () = until(sample) => {
                    next_sample = tokio::time::Instant::now() + SAMPLE_EVERY;
                    self.sample();
                }
                accepted = listener::accept(&listener),
                    if self.sessions.len() < CLIENTS && tokio::time::Instant::now() >= accept_again =>
                {
                    match accepted {
                        Ok(Some(stream)) => {
                            full = false;
                            next_session += 1;
                            let id = SessionId(next_session);
                            // The first one is where the start ends.
                            self.untidy |= next_session == 1;
                            let session = Session::serve(
                                id, stream, requests_to.clone(), left_to.clone(), &mut tasks);
                            self.sessions.insert(id, session);
                        }
                        Ok(None) => {}
                        Err(error) => {
                            if !std::mem::replace(&mut full, true) {
                                tracing::warn!(%error, "cannot accept clients for the moment");
                            }
                            accept_again = tokio::time::Instant::now() + ACCEPT_PAUSE;
                        }
                    }
                }
                // What has come meanwhile goes first, and what was decided goes on its way.
                () = tokio::task::yield_now(), if more => {}
                () = tokio::time::sleep_until(accept_again), if tokio::time::Instant::now() < accept_again => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        self.sessions.clear();
        let flushed = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), flushed).await;
    }
}

fn instant_of(deadline: Millis) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_millis(deadline.since(Millis(clock::boot_ms())).0)
}

/// Waits until then; for ever without a moment.
async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
