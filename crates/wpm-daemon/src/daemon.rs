//! The loop: takes one message after the other, asks the core, carries its actions out.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use wpm_core::{Core, Event, Input, InstanceId, Millis, RunId, Ticket};
use wpm_proto::home::Home;
use wpm_proto::response::{Body, Response};
use wpm_sys::contract::{FromKeeper, RunReport};

use crate::clock;
use crate::cron::Cron;
use crate::link::{Link, Outbox, pump};
use crate::memory::Sampler;
use crate::run::Run;
use crate::saved::Saved;
use crate::session::{Asked, Session, SessionId};
use crate::settings::Settings;
use crate::store::{Job, Store, Target, Written};
use crate::{listener, recover};

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
    /// A connection of a shared socket was accepted.
    Accepted(crate::cluster::Accepted),
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

/// Who waits for a ticket.
#[derive(Debug)]
pub(crate) struct Asker {
    /// Client.
    pub(crate) session: SessionId,
    /// Its number of the request.
    pub(crate) request: u64,
    /// Whether it wants to know the outcome.
    pub(crate) wait: bool,
    /// Remarks to add to the answer.
    pub(crate) remarks: Vec<String>,
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
    pub(crate) recent_keys: VecDeque<String>,
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
    /// Whether an app has a memory limit.
    pub(crate) limited: bool,
    sampler: Sampler,
}

/// What waits for a write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    /// Nothing: a fact for the record.
    Nothing,
    /// Open the gate of this run.
    Go(RunId),
    /// Let the shim of this run go.
    Release(RunId),
    /// The state.
    State,
    /// A dump, for this asker.
    Dump(Ticket),
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// With a sentence that says what could not be set up.
pub(crate) async fn run(home: Home) -> Result<(), String> {
    let told = |what: &str, e: io::Error| format!("{what}: {e}");
    // Held for life: two daemons in one home cannot be.
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(home.daemon_lock())
        .map_err(|e| told("cannot open the daemon's lock", e))?;
    if lock.try_lock().is_err() {
        // The predecessor may be on its way out; the keeper starts only one daemon at a time.
        let (done, waited) = tokio::sync::oneshot::channel();
        drop(std::thread::spawn(move || {
            drop(done.send(lock.lock().map(|()| lock)));
        }));
        match tokio::time::timeout(Duration::from_secs(5), waited).await {
            Ok(Ok(Ok(lock))) => return serve(home, lock).await,
            _ => return Err("another daemon holds this home".into()),
        }
    }
    serve(home, lock).await
}

async fn serve(home: Home, lock: File) -> Result<(), String> {
    let keeper_fd = std::env::var(wpm_proto::env::KEEPER_FD)
        .ok()
        .and_then(|number| wpm_sys::exec::inherited(number.parse().ok()?).ok())
        .ok_or("the daemon is started by the keeper alone (use any wpm command)")?;
    let keeper_link =
        Rc::new(Link::new(keeper_fd).map_err(|e| format!("cannot use the keeper's connection: {e}"))?);
    for dir in [home.run(), home.log_locks(), home.logs(), home.pids()] {
        recover::make_private(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    }
    // Small, and read by Node at each start of an app with `--port-step`.
    let preload = home.run().join(wpm_cluster::port_step::FILE_NAME);
    std::fs::write(&preload, wpm_cluster::port_step::PRELOAD)
        .map_err(|e| format!("cannot write {}: {e}", preload.display()))?;
    let (hello, held) = greeting(&keeper_link).await;
    let (inbox, messages) = unbounded_channel();
    let (written_to, written) = unbounded_channel();
    let (keeper, queue) = Outbox::new();
    let settings = Settings::read(|name| std::env::var(name).ok());

    let listener = listener::open(&home).map_err(|e| e.to_string())?;
    let recovered = recover::recover(&home, settings.spec)?;
    let store = Store::start(home.clone(), written_to)
        .map_err(|e| format!("cannot open {}: {e}", home.journal().display()))?;
    drop(std::fs::write(home.daemon_pid(), format!("{}\n", std::process::id())));

    let mut daemon = Daemon {
        core: Core::new(RunId(recovered.first_run)),
        home,
        settings,
        keeper,
        keeper_pid: 0,
        starts: 0,
        runs: HashMap::new(),
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
        events: 0,
        started_ms: clock::wall_ms(),
        quitting: false,
        keep_list: false,
        cron: Cron::default(),
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
        limited: false,
        sampler: Sampler::default(),
    };
    {
        let link = Rc::clone(&keeper_link);
        let _detached = tokio::task::spawn_local(async move { pump(&link, queue).await });
        let (link, inbox) = (keeper_link, daemon.inbox.clone());
        let _detached = tokio::task::spawn_local(async move {
            while let Some((record, _fds)) = link.receive().await {
                match FromKeeper::decode(&record) {
                    Ok(report) => {
                        let _gone = inbox.send(Message::Keeper(report));
                    }
                    Err(error) => tracing::error!(%error, "the keeper sent what is not understood"),
                }
            }
            let _gone = inbox.send(Message::KeeperLost);
        });
    }
    daemon.clusters.hold(held);
    if let Some(hello) = hello {
        daemon.take(Message::Keeper(hello));
    }
    daemon.take_over(recovered);
    daemon.run(&listener, messages, written).await;
    let (home, keeper_gone) = (daemon.home.clone(), daemon.keeper_gone && !daemon.quitting);
    let mut held = daemon.clusters.all_held();
    held.extend(daemon.notes_socket.take());
    daemon.store.finish();
    drop(lock);
    if keeper_gone {
        start_keeper(&home, &held)?;
    }
    Ok(())
}

/// The keeper's greeting, and the sockets that it has held for this daemon.
async fn greeting(link: &Link) -> (Option<FromKeeper>, Vec<(u64, OwnedFd)>) {
    let (mut hello, mut held) = (None, Vec::new());
    let mut missing = 1;
    let receive = async {
        while missing > 0 {
            let Some((record, fds)) = link.receive().await else { return };
            missing -= 1;
            match FromKeeper::decode(&record) {
                Ok(FromKeeper::Held { key }) => held.extend(fds.into_iter().next().map(|fd| (key, fd))),
                Ok(greeting) => {
                    if let FromKeeper::Hello { held, .. } = &greeting {
                        missing += *held;
                    }
                    hello = Some(greeting);
                }
                Err(error) => tracing::error!(%error, "the keeper sent what is not understood"),
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(5), receive).await.is_err() {
        tracing::error!("the keeper has not sent all that it holds");
    }
    (hello, held)
}

/// Starts a keeper in place of the one that died; it starts the next daemon.
fn start_keeper(home: &Home, held: &[(u64, crate::cluster::Fd)]) -> Result<(), String> {
    tracing::warn!("the keeper is gone: starting another, which starts the next daemon");
    let held: Vec<_> = held.iter().map(|(key, fd)| (*key, fd.as_fd())).collect();
    wpm_sys::start::spawn_keeper(std::path::Path::new("/proc/self/exe"), home.path(), &held)
        .map_err(|e| format!("cannot start a keeper: {e}"))
}

impl Daemon {
    async fn run(
        &mut self,
        listener: &interprocess::local_socket::tokio::Listener,
        mut messages: UnboundedReceiver<Message>,
        mut written: UnboundedReceiver<Written>,
    ) {
        let (requests_to, mut requests): (_, Receiver<Asked>) = channel(REQUESTS);
        let (left_to, mut left) = unbounded_channel();
        let mut tasks = JoinSet::new();
        let mut next_session = 0;
        let mut accept_again = tokio::time::Instant::now();
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "cannot handle signals");
                return;
            }
        };
        let mut next_sample = tokio::time::Instant::now();
        loop {
            self.act();
            // At the end the keeper may be gone before the last answer is durable.
            if (self.keeper_gone && !self.quitting)
                || ((self.quitting || self.updating)
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
                () = until(self.proves_at) => self.hand_program_on(),
                () = until(cron) => for instance in self.cron.due() {
                    self.core.handle(clock::now(), Input::CronFired(instance));
                },
                () = until(sample) => {
                    next_sample = tokio::time::Instant::now() + SAMPLE_EVERY;
                    self.sample();
                }
                accepted = listener::accept(listener),
                    if self.sessions.len() < CLIENTS && tokio::time::Instant::now() >= accept_again =>
                {
                    match accepted {
                        Ok(Some(stream)) => {
                            next_session += 1;
                            let id = SessionId(next_session);
                            let session = Session::serve(
                                id, stream, requests_to.clone(), left_to.clone(), &mut tasks);
                            self.sessions.insert(id, session);
                        }
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept clients for the moment");
                            accept_again = tokio::time::Instant::now() + ACCEPT_PAUSE;
                        }
                    }
                }
                () = tokio::time::sleep_until(accept_again), if tokio::time::Instant::now() < accept_again => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        self.sessions.clear();
        let flushed = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), flushed).await;
    }

    /// Takes what a task has to tell.
    fn take(&mut self, message: Message) {
        let now = clock::now();
        match message {
            Message::Report(run, report, fds) => self.report(run, &report, fds),
            Message::Lost(run) => self.shim_lost(run),
            Message::Noted(pid, text) => self.noted(pid, &text),
            Message::Ipc(run, said) => self.channel_said(run, said),
            Message::IpcEnd(run) => self.channel_ends(run),
            Message::Accepted(accepted) => self.accepted(accepted),
            Message::Drained(run) => self.drained(run),
            Message::Changed { app, path, paused: false } => {
                self.core.handle(now, Input::FileChanged { app, path });
            }
            Message::Prepared { run, failed } => self.prepared(run, failed),
            Message::HookFailed { id, hook, why } => self.hook_failed(id, hook, &why),
            Message::Changed { app, path, paused: true } => self.watch_paused(app, &path),
            Message::Keeper(FromKeeper::Held { .. }) => {}
            Message::Event(run, event) => self.core.handle(now, Input::Event(run, event)),
            Message::Keeper(FromKeeper::Hello { contract, pid, daemon_starts, .. }) => {
                self.keeper_pid = pid;
                self.starts = daemon_starts;
                self.prove_later();
                if contract != wpm_sys::contract::CONTRACT {
                    tracing::error!(contract, "the keeper speaks another contract");
                }
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

    /// A write has come back from the store.
    fn written(&mut self, done: Written) {
        if done.durable || done.error.is_some() {
            if let Some(error) = &done.error {
                if self.storage_trouble.as_ref() != Some(error) {
                    tracing::error!("{error}");
                }
            } else if self.storage_trouble.is_some() {
                tracing::info!("the state can be written again");
            }
            self.storage_trouble.clone_from(&done.error);
        }
        for token in done.tokens {
            match self.after.remove(&token) {
                Some(After::Go(run)) => {
                    if let Some(held) = self.runs.get_mut(&run) {
                        held.opened = true;
                    }
                    self.send(run, &wpm_sys::contract::ToShim::Go);
                }
                Some(After::Release(run)) => {
                    let Some(held) = self.runs.get_mut(&run) else { continue };
                    held.released = true;
                    if held.link.is_none() {
                        // Lost with its shim: nobody is left to be told.
                        self.runs.remove(&run);
                    }
                    self.send(run, &wpm_sys::contract::ToShim::Release);
                }
                Some(After::State) => {
                    self.durable_token = self.durable_token.max(token);
                    self.send_answers(done.error.as_deref());
                }
                Some(After::Dump(ticket)) => self.dumped(ticket, done.error.as_deref()),
                Some(After::Nothing) | None => {}
            }
        }
    }

    /// Sends the answers whose state is written.
    fn send_answers(&mut self, error: Option<&str>) {
        while let Some((token, session, response)) = self.waiting_answers.pop_front() {
            if token > self.durable_token {
                self.waiting_answers.push_front((token, session, response));
                break;
            }
            let response = match error {
                Some(error) => Response { id: response.id, body: crate::requests::not_durable(error) },
                None => response,
            };
            self.respond(session, &response);
        }
    }

    /// Answers a client, dropping it if it does not read.
    pub(crate) fn respond(&mut self, session: SessionId, response: &Response) {
        if self.sessions.get(&session).is_some_and(|s| !s.send(response)) {
            tracing::warn!(session = session.0, "a client that does not read is dropped");
            self.leave(session);
        }
    }

    /// Answers once everything that was decided so far is durable.
    pub(crate) fn respond_durably(&mut self, session: SessionId, request: u64, body: Body) {
        let response = Response { id: request, body };
        if self.state_token > self.durable_token {
            self.waiting_answers.push_back((self.state_token, session, response));
        } else {
            self.respond(session, &response);
        }
    }

    fn leave(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.subscribers.retain(|(s, _)| *s != session);
        let gone: Vec<Ticket> =
            self.askers.iter().filter(|(_, a)| a.session == session).map(|(t, _)| *t).collect();
        for ticket in gone {
            self.askers.remove(&ticket);
            self.failed_offsets.retain(|(of, _), _| *of != ticket);
            self.core.handle(clock::now(), Input::Forget(ticket));
        }
    }

    /// A worker that was asked to has ended its connections.
    fn drained(&mut self, run: RunId) {
        self.core.handle(clock::now(), Input::Event(run, Event::Drained));
        self.channel_ends(run);
    }

    /// An app restarts again and again for its files: it probably writes them itself.
    fn watch_paused(&self, app: wpm_core::AppId, path: &str) {
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

    /// A token for a write, and what follows it.
    pub(crate) fn token(&mut self, after: After) -> u64 {
        self.next_token += 1;
        self.after.insert(self.next_token, after);
        self.next_token
    }

    /// Writes a fact; `after` follows.
    pub(crate) fn journal(&mut self, fact: &crate::journal::Fact, after: After) {
        let token = self.token(after);
        self.store.write(Job::Journal { lines: crate::journal::line(fact), token });
    }

    /// Hands a whole state to the store.
    pub(crate) fn write_file(&mut self, target: Target, content: Vec<u8>, after: After) {
        let token = self.token(after);
        if target == Target::State {
            self.state_token = token;
        }
        self.store.write(Job::File { target, content, token });
    }

    /// A new ticket.
    pub(crate) fn ticket(&mut self, asker: Asker) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.askers.insert(ticket, asker);
        ticket
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

enum Signal {
    Reopen,
    End,
}

struct Signals {
    end: [tokio::signal::unix::Signal; 3],
    hup: tokio::signal::unix::Signal,
    reopen: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            end: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::quit())?,
            ],
            hup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Option<Signal> {
        let [term, int, quit] = &mut self.end;
        loop {
            tokio::select! {
                _ = term.recv() => return Some(Signal::End),
                _ = int.recv() => return Some(Signal::End),
                _ = quit.recv() => return Some(Signal::End),
                _ = self.reopen.recv() => return Some(Signal::Reopen),
                // A closed terminal is nothing to a daemon.
                _ = self.hup.recv() => {}
            }
        }
    }
}
