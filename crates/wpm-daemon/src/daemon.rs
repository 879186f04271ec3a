//! The loop: takes one message after the other, asks the core, carries its actions out.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use wpm_core::{Core, Event, Input, InstanceId, Millis, RunId, Ticket};
use wpm_proto::home::Home;
use wpm_proto::response::Response;
use wpm_sys::contract::{FromKeeper, RunReport};

use crate::answers::{After, Asker};
use crate::clock;
use crate::cron::{Cron, Due};
use crate::link::Outbox;
use crate::listener;
use crate::memory::Sampler;
use crate::recover::Recovered;
use crate::requests::Taken;
use crate::rest;
use crate::run::Run;
use crate::saved::Saved;
use crate::session::{Asked, Session, SessionId};
use crate::settings::Settings;
use crate::signals::{Signal, Signals};
use crate::store::{Store, Written};

/// Requests that may wait for the loop.
const REQUESTS: usize = 256;
/// Clients at once; more wait in the socket's queue.
const CLIENTS: usize = 1024;
/// How often memory is sampled, while an app asks for it.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed accept (no descriptor left): the clients wait in the queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What tasks tell the loop.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something has happened to a file of the home.
    HomeDisturbed,
    /// A process has said this at `NOTIFY_SOCKET`.
    Noted(i32, String),
    /// A shim reported.
    Report(RunId, Box<RunReport>, Vec<OwnedFd>),
    /// The connection to a shim ended.
    Lost(RunId),
    /// The keeper reported.
    Keeper(FromKeeper),
    /// The keeper is gone.
    KeeperLost,
    /// An app said something through its channel.
    Ipc(RunId, crate::cluster::Said),
    /// The channel of an app ended.
    IpcEnd(RunId),
    /// Clients have connected to a socket whose connections are handed out.
    Connections {
        /// Name of the app.
        app: String,
        /// Which of its sockets.
        listener: wpm_cluster::ListenerId,
    },
    /// A worker that gets no more connections is to end those that it has.
    Disconnect(RunId, u32),
    /// A worker that was asked to has ended its connections.
    Drained(RunId),
    /// A watched file changed.
    Changed {
        /// Whose.
        app: wpm_core::AppId,
        /// Which.
        path: String,
        /// Whether it changes so often that it is not watched any more.
        paused: bool,
    },
    /// The hook before a run has ended.
    Prepared {
        /// The run.
        run: RunId,
        /// Why it failed, if it did.
        failed: Option<String>,
    },
    /// A hook has failed.
    HookFailed {
        /// Whose.
        id: InstanceId,
        /// Which.
        hook: wpm_core::Hook,
        /// Why.
        why: String,
    },
    /// Something that the daemon found out by itself about a run.
    Event(RunId, Event),
}

/// Everything that the loop holds.
pub(crate) struct Daemon {
    pub(crate) home: Home,
    pub(crate) core: Core,
    pub(crate) settings: Settings,
    pub(crate) keeper: Outbox,
    pub(crate) keeper_pid: i32,
    pub(crate) starts: u32,
    pub(crate) runs: HashMap<RunId, Run>,
    /// What goes to the keeper with a run that is just being written down.
    pub(crate) to_spawn: HashMap<RunId, Vec<OwnedFd>>,
    pub(crate) inbox: UnboundedSender<Message>,
    pub(crate) store: Store,
    pub(crate) sessions: HashMap<SessionId, Session>,
    pub(crate) askers: HashMap<Ticket, Asker>,
    pub(crate) subscribers: Vec<(SessionId, u64)>,
    pub(crate) next_ticket: u64,
    pub(crate) next_token: u64,
    /// What is to be done when the token of a write comes back.
    pub(crate) after: HashMap<u64, After>,
    /// Token of the last state that was handed to the store, and whether it is durable.
    pub(crate) state_token: u64,
    pub(crate) durable_token: u64,
    /// Answers that wait for a state to be durable.
    pub(crate) waiting_answers: VecDeque<(u64, SessionId, Response)>,
    pub(crate) generation: u64,
    pub(crate) saved: Saved,
    pub(crate) storage_trouble: Option<String>,
    /// Held for life: two daemons in one home cannot be.
    pub(crate) lock: std::fs::File,
    pub(crate) guard: crate::renew::Guard,
    /// In place of the socket of clients, where that was taken away.
    pub(crate) fresh_listener: Option<interprocess::local_socket::tokio::Listener>,
    /// Why the last state could not be written, until one is.
    pub(crate) unsaved: Option<String>,
    /// When it is tried again.
    pub(crate) save_again_at: Option<tokio::time::Instant>,
    /// Whether there is room for the next state, however full the disk is.
    pub(crate) reserved: bool,
    /// Changes that wait for a sign that they could be written.
    pub(crate) waiting_requests: VecDeque<(SessionId, wpm_proto::request::Request)>,
    pub(crate) events: u64,
    pub(crate) started_ms: u64,
    pub(crate) quitting: bool,
    /// Whether the list on disk stays as it was before everything was stopped.
    pub(crate) keep_list: bool,
    pub(crate) cron: Cron,
    pub(crate) watches: crate::watch::Watches,
    pub(crate) hook_turns: crate::hooks::Turns,
    /// Runs that wait for the hook before them.
    pub(crate) preparing: HashMap<RunId, crate::hooks::Preparing>,
    /// The last events, for watchers that ask what was.
    pub(crate) history: VecDeque<wpm_proto::event::EventView>,
    pub(crate) clusters: crate::cluster::Clusters,
    /// Hears what apps say at `NOTIFY_SOCKET`, once one of them uses it.
    pub(crate) notes: Option<tokio::task::JoinHandle<()>>,
    /// Its socket, by the keeper's name for it.
    pub(crate) notes_socket: Option<(u64, crate::cluster::Fd)>,
    pub(crate) recent_keys: VecDeque<Taken>,
    /// Size of each instance's stderr file before its last run.
    pub(crate) last_error_offset: HashMap<InstanceId, u64>,
    /// Where stderr of an instance began, for answers that tell of its failure later.
    pub(crate) failed_offsets: HashMap<(Ticket, InstanceId), u64>,
    /// The keeper is gone: another one must be started.
    pub(crate) keeper_gone: bool,
    /// Whether the daemon ends for the next program to take over.
    pub(crate) updating: bool,
    /// When this daemon, started in place of another program, counts as proved.
    pub(crate) proves_at: Option<tokio::time::Instant>,
    /// Why the last update was taken back.
    pub(crate) update_failed: Option<String>,
    /// Where runs get control groups, if anywhere.
    pub(crate) groups: Option<wpm_sys::cgroup::Delegation>,
    /// Whether an app has a memory limit.
    pub(crate) limited: bool,
    /// Whether memory is to be given back once no client is connected: after the start and after commands
    /// that change things, which touch much that is not needed for long.
    pub(crate) untidy: bool,
    sampler: Sampler,
}

impl Daemon {
    /// A daemon that knows what its predecessor left, and has taken over nothing yet.
    pub(crate) fn new(
        (home, lock): (Home, std::fs::File),
        settings: Settings,
        keeper: Outbox,
        inbox: UnboundedSender<Message>,
        store: Store,
        recovered: &Recovered,
    ) -> Self {
        Self {
            core: Core::new(RunId(recovered.first_run)),
            home,
            settings,
            keeper,
            keeper_pid: 0,
            starts: 0,
            runs: HashMap::new(),
            to_spawn: HashMap::new(),
            inbox,
            store,
            sessions: HashMap::new(),
            askers: HashMap::new(),
            subscribers: Vec::new(),
            next_ticket: 0,
            next_token: 0,
            after: HashMap::new(),
            state_token: 0,
            durable_token: 0,
            waiting_answers: VecDeque::new(),
            generation: recovered.generation,
            saved: Saved::default(),
            storage_trouble: None,
            lock,
            guard: crate::renew::Guard::default(),
            fresh_listener: None,
            unsaved: None,
            save_again_at: None,
            reserved: recovered.reserved,
            waiting_requests: VecDeque::new(),
            events: 0,
            started_ms: clock::wall_ms(),
            quitting: false,
            keep_list: false,
            cron: Cron::with_rotation(std::env::var(wpm_proto::env::LOG_ROTATE_INTERVAL).ok()),
            watches: crate::watch::Watches::default(),
            hook_turns: crate::hooks::Turns::default(),
            preparing: HashMap::new(),
            history: VecDeque::new(),
            clusters: crate::cluster::Clusters::default(),
            notes: None,
            notes_socket: None,
            recent_keys: recovered.recent_keys.clone().into(),
            last_error_offset: HashMap::new(),
            failed_offsets: HashMap::new(),
            keeper_gone: false,
            updating: false,
            proves_at: None,
            update_failed: None,
            groups: recovered.groups.clone(),
            limited: false,
            untidy: true,
            sampler: Sampler::default(),
        }
    }

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
            self.store.send();
            if let Some(fresh) = self.fresh_listener.take() {
                listener = fresh;
            }
            if self.untidy && self.sessions.is_empty() {
                self.untidy = false;
                rests_at = Some(tokio::time::Instant::now() + rest::AFTER);
            }
            // At the end the keeper may be gone before the last answer is durable.
            if (self.keeper_gone && !self.quitting)
                || ((self.quitting || self.updating)
                    && !more
                    && self.waiting_answers.is_empty()
                    && self.after.is_empty())
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
                () = until(self.save_again_at) => {
                    self.save_again_at = None;
                    self.persist();
                }
                () = until(self.proves_at) => self.hand_program_on(),
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

    /// Takes what a task has to tell.
    pub(crate) fn take(&mut self, message: Message) {
        let now = clock::now();
        match message {
            Message::HomeDisturbed => self.look_after_home(),
            Message::Report(run, report, fds) => self.report(run, &report, fds),
            Message::Lost(run) => self.shim_lost(run),
            Message::Noted(pid, text) => self.noted(pid, &text),
            Message::Ipc(run, said) => self.channel_said(run, said),
            Message::IpcEnd(run) => self.channel_ends(run),
            Message::Connections { app, listener } => self.connections_came(&app, listener),
            Message::Disconnect(run, looks) => self.disconnect(run, looks),
            Message::Drained(run) => self.drained(run),
            Message::Changed { app, path, paused: false } => {
                self.core.handle(now, Input::FileChanged { app, path });
            }
            Message::Prepared { run, failed } => self.prepared(run, failed),
            Message::HookFailed { id, hook, why } => self.hook_failed(id, hook, &why),
            Message::Changed { app, path, paused: true } => self.watch_paused(app, &path),
            Message::Keeper(FromKeeper::Held { .. }) => {}
            Message::Event(run, event) => self.core.handle(now, Input::Event(run, event)),
            Message::Keeper(FromKeeper::Hello { pid, daemon_starts, .. }) => {
                self.keeper_pid = pid;
                self.starts = daemon_starts;
                self.prove_later();
            }
            Message::Keeper(FromKeeper::CandidateFailed { status }) => self.update_failed(status),
            Message::Keeper(FromKeeper::AreYouThere) => {
                self.keeper.send(wpm_sys::contract::ToKeeper::Here.encode(), vec![]);
            }
            Message::Keeper(FromKeeper::ForkFailed { run, errno }) => {
                self.runs.remove(&RunId(run.0));
                let event = Event::SpawnFailed {
                    stage: wpm_sys::contract::Stage::Fork.phrase(),
                    errno,
                    transient: crate::run::is_transient(errno),
                };
                self.core.handle(now, Input::Event(RunId(run.0), event));
            }
            Message::KeeperLost => self.keeper_lost(),
        }
    }

    /// Takes a report of a shim.
    fn report(&mut self, id: RunId, report: &RunReport, fds: Vec<OwnedFd>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let mut fds = fds.into_iter();
        if report.carries_stdin() {
            run.stdin = fds.next();
        }
        let channel = if report.carries_ipc() { fds.next() } else { None };
        let inherited = std::mem::take(&mut run.inherited);
        let events = run.take(report);
        if inherited && self.proves_at.is_none() {
            self.update_shim(id);
        }
        if let Some(channel) = channel {
            self.channel_opens(id, channel);
        }
        for event in events {
            if event == Event::Launched {
                let (boot_ms, wall_ms) = (clock::boot_ms(), clock::wall_ms());
                self.journal(&crate::journal::Fact::Launched { run: id.0, boot_ms, wall_ms }, After::Nothing);
            }
            if matches!(event, Event::Exited { .. } | Event::SpawnFailed { .. } | Event::Cancelled) {
                self.channel_ends(id);
                if let Some(run) = self.runs.get_mut(&id) {
                    (run.probing, run.watchdog) = (None, None);
                }
            }
            self.core.handle(clock::now(), Input::Event(id, event));
        }
        if let Some(run) = self.runs.get(&id)
            && run.released
            && let Some(link) = &run.link
        {
            drop(link.try_send(&wpm_sys::contract::ToShim::Release.encode(), &[]));
        }
    }

    /// A worker that was asked to has ended its connections.
    fn drained(&mut self, run: RunId) {
        self.core.handle(clock::now(), Input::Event(run, Event::Drained));
        self.channel_ends(run);
    }

    /// An app restarts again and again for its files: it probably writes them itself.
    fn watch_paused(&mut self, app: wpm_core::AppId, path: &str) {
        self.watches.pause(app, path);
        let name = self.core.app(app).map_or("", |app| app.spec.name.as_str());
        tracing::warn!(
            "{name:?}: restarted 10 times within 30 s for changed files, last {path:?}: it is not watched any more \
             until its configuration changes; ignore_watch leaves a file out"
        );
    }

    fn sample(&mut self) {
        let roots: Vec<(RunId, i32)> = self
            .core
            .sampled()
            .into_keys()
            .filter_map(|run| self.runs.get(&run).map(|r| (run, r.shim_pid)))
            .filter(|(_, shim)| *shim > 0)
            .collect();
        for (run, bytes) in self.sampler.sample(&roots) {
            self.core.handle(clock::now(), Input::Event(run, Event::MemorySampled { bytes }));
        }
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
