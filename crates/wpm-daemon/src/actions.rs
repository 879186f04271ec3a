//! Carries out what the core decided.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use wpm_core::{Action, Event, InstanceId, Note, Reply, RunId, Scope, Ticket};
use wpm_proto::response::{Body, InstanceOutcome, Response};
use wpm_sys::contract::{RunReport, Scope as ShimScope, Stage, ToKeeper, ToShim};
use wpm_sys::{memfd, record};

use crate::daemon::Daemon;
use crate::journal::{Account, Fact};
use crate::launch::{self, CannotLaunch};
use crate::link::Link;
use crate::message::Message;
use crate::persistence::After;
use crate::recover::account_of;
use crate::run::{Run, is_transient};
use crate::{notes, saved};

/// Runs that are asked for in one go. Describing one takes a while, and meanwhile nothing else is heard.
const SPAWNS: usize = 8;

impl Daemon {
    /// Does what the core has queued, up to so many runs; whether there is more.
    pub(crate) fn act(&mut self) -> bool {
        let mut spawns = 0;
        while let Some(action) = self.core.poll_action() {
            spawns += usize::from(matches!(action, Action::Spawn { .. }));
            self.carry_out(action);
            if spawns >= SPAWNS {
                return true;
            }
        }
        false
    }

    pub(crate) fn carry_out(&mut self, action: Action) {
        if let Some(held_back) = self.instance_of(&action).and_then(|id| self.held_back.get_mut(&id)) {
            held_back.push(action);
            return;
        }
        match action {
            Action::Spawn { run, instance, shared } => {
                if !self.prepare(run, instance, shared) {
                    self.spawn_or_fail(run, instance, shared);
                }
            }
            Action::Go { run } => {
                let Some((instance, Some((pid, start_time)))) =
                    self.runs.get(&run).map(|r| (r.instance, r.process))
                else {
                    return;
                };
                let fact = Fact::Start { run: run.0, instance: instance.0, pid, start_time };
                self.journal(&fact, After::Go(run));
            }
            Action::Signal { run, signal, scope } => {
                let leaving = |i: &wpm_core::Instance| {
                    matches!(i.state, wpm_core::State::Stopping { .. })
                        || i.run().is_none_or(|own| own.id != run)
                };
                if self.core.instance_of(run).is_some_and(leaving) {
                    self.worker_retires(run);
                }
                let scope = match scope {
                    Scope::Main => ShimScope::Main,
                    Scope::Tree => ShimScope::Tree,
                };
                self.send(run, &ToShim::Signal { signal, scope });
            }
            Action::KillTree { run } if !self.runs.contains_key(&run) => {
                // Never spawned, or lost with its shim: there is nothing to kill but the hook before it.
                self.hooks.preparing.remove(&run);
                let _gone = self.inbox.send(Message::Event(run, Event::Cancelled));
            }
            Action::KillTree { run } => {
                if let Some(held) = self.runs.get_mut(&run) {
                    held.condemned = true;
                }
                self.send(run, &ToShim::KillTree);
            }
            Action::SendMessage { run, text } => self.send_message(run, &text),
            Action::Drain { run } => self.drain(run),
            Action::AwaitReady { run } => self.await_ready(run),
            Action::WatchHealth { run } => self.watch_health(run),
            Action::Remember { run, replaced } => {
                let account = replaced.and_then(|instance| self.account(instance));
                let (boot_ms, wall_ms) = (run.launched.map_or(0, |at| at.0), run.launched_wall_ms);
                let fact = Fact::Launched { run: run.id.0, boot_ms, wall_ms, came_up: true, account };
                let after = replaced.map_or(After::Nothing, After::Continue);
                self.journal(&fact, after);
                if let Some(instance) = replaced {
                    self.held_back.entry(instance).or_default();
                }
            }
            Action::Share { run, on } => self.share(run, on),
            Action::Release { run } => {
                let instance = self.runs.get(&run).map(|run| run.instance);
                let account = instance.and_then(|instance| self.account(instance));
                let app = instance.and_then(|it| self.core.app(self.core.instance(it)?.app));
                let app = app.map(|app| app.spec.name.clone());
                self.journal(&Fact::End { run: run.0, account }, After::Release(run));
                if let Some(app) = app {
                    self.release_old_listens(&app);
                }
            }
            Action::Persist => self.persist(),
            Action::Note { instance, app, index, note } => {
                if matches!(note, Note::Stopped | Note::Errored { .. } | Note::Deleted) {
                    // Before the reply that follows: a stopped app holds no port.
                    self.release_idle_sockets();
                }
                let event = notes::event(self.events.number(), instance, &app, index, &note);
                self.run_hooks(instance, &event);
                self.publish(event);
            }
            Action::Progress { ticket, outcome } => {
                if let Some((session, request)) =
                    self.askers.get(ticket).filter(|a| a.wait).map(|a| (a.session, a.request))
                {
                    let id = outcome.instance;
                    let outcome = self.outcome(&outcome);
                    self.stderr.remember(ticket, id, &outcome.outcome);
                    self.respond(session, &Response { id: request, body: Body::Progress { outcome } });
                }
            }
            Action::Reply { ticket, reply } => self.reply(ticket, reply),
            Action::Quit => self.quit(),
        }
    }

    /// What became of an instance, for the journal.
    fn account(&self, instance: InstanceId) -> Option<Account> {
        let i = saved::saved_instance(self.core.instance(instance)?)?;
        // The list that stays is newer than the ends that the stop brings about.
        let generation = self.persistence.generation - u64::from(self.persistence.keep_list);
        Some(account_of(&i, generation))
    }

    /// Whose turn of events an action belongs to.
    fn instance_of(&self, action: &Action) -> Option<InstanceId> {
        match action {
            Action::Note { instance, .. } | Action::Spawn { instance, .. } => Some(*instance),
            Action::Go { run }
            | Action::Signal { run, .. }
            | Action::KillTree { run }
            | Action::SendMessage { run, .. }
            | Action::Drain { run }
            | Action::AwaitReady { run }
            | Action::WatchHealth { run }
            | Action::Share { run, .. }
            | Action::Release { run } => self.runs.get(run).map(|run| run.instance),
            Action::Remember { run, .. } => self.runs.get(&run.id).map(|run| run.instance),
            Action::Persist | Action::Progress { .. } | Action::Reply { .. } | Action::Quit => None,
        }
    }

    /// Spawns a run, or says that it could not be.
    pub(crate) fn spawn_or_fail(&mut self, run: RunId, instance: InstanceId, shared: bool) {
        let Err(why) = self.spawn(run, instance, shared) else { return };
        tracing::warn!("cannot {}: {}", why.stage, rustix::io::Errno::from_raw_os_error(why.errno));
        let event =
            Event::SpawnFailed { stage: why.stage, errno: why.errno, transient: is_transient(why.errno) };
        // Through the inbox: the core is not called while its actions are being done.
        let _gone = self.inbox.send(Message::Event(run, event));
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        let Some(asker) = self.askers.remove(ticket) else { return };
        let body = match reply {
            Reply::Refused(error) => Body::Error { error: crate::refusals::wire_error(error) },
            Reply::Done(outcomes) => Body::Outcomes {
                outcomes: outcomes.iter().map(|o| self.final_outcome(ticket, o)).collect(),
                remarks: asker.remarks,
            },
        };
        self.respond_durably(asker.session, asker.request, body);
    }

    fn final_outcome(&mut self, ticket: Ticket, outcome: &wpm_core::InstanceOutcome) -> InstanceOutcome {
        let mut told = self.outcome(outcome);
        self.stderr.recall(ticket, outcome.instance, &mut told.outcome);
        told
    }

    /// Asks the keeper for a shim; everything that it needs goes along.
    fn spawn(&mut self, run: RunId, instance: InstanceId, shared: bool) -> Result<(), CannotLaunch> {
        if !self.home.run().exists() {
            // Taken away a moment ago: it is not waited for the kernel to say so.
            self.look_after_home();
        }
        let Some((mut app, spec)) = self
            .core
            .instance(instance)
            .and_then(|i| self.core.app(i.app).cloned())
            .zip(self.core.spec_of_run(run))
        else {
            return Err(CannotLaunch { stage: Stage::Fork.phrase(), errno: 0 });
        };
        app.spec = spec;
        let index = self.core.instance(instance).map_or(0, |i| i.index);
        let mut described = launch::describe(&self.home, &app.spec, index, instance, run, self.settings.log)?;
        described.log.shared |= shared;
        described.group = self.control_group(run, &app.spec);
        let sockets = self
            .listen_sockets(&app)
            .map_err(|e| CannotLaunch { stage: launch::LISTENING, errno: e.raw_os_error() })?;
        if crate::notify::is_used(&app.spec) {
            self.listen_for_notes().map_err(|e| CannotLaunch {
                stage: "binding NOTIFY_SOCKET",
                errno: e.raw_os_error().unwrap_or(rustix::io::Errno::NAMETOOLONG.raw_os_error()),
            })?;
        }
        let prepared = |e: std::io::Error| CannotLaunch {
            stage: Stage::Fork.phrase(),
            errno: e.raw_os_error().unwrap_or(0),
        };
        let log_sizes = [&described.log.out, &described.log.err]
            .map(|path| std::fs::metadata(launch::os_path(path)).map_or(0, |m| m.len()));
        let error_offset = log_sizes[1];
        let (ours, theirs) = record::pair().map_err(prepared)?;
        let mut beside = self.beside(instance, run, &described.encode(), theirs).map_err(prepared)?;
        for socket in sockets {
            beside.push(socket.try_clone().map_err(prepared)?);
        }
        let link = Rc::new(Link::new(ours).map_err(prepared)?);
        // The keeper hears of it once that is written, and with it the end of the run before: a daemon that
        // finds both shims must know which of them is to be counted.
        self.to_spawn.insert(run, beside);
        self.journal(&Fact::Asked { run: run.0, instance: instance.0 }, After::Spawn(run));
        self.worker_joins(run, instance);
        self.listen_to(run, &link);
        self.stderr.begin(instance, error_offset);
        let mut asked = Run::asked(instance, Some(link));
        asked.log_sizes = log_sizes;
        self.runs.insert(run, asked);
        Ok(())
    }

    /// Descriptors of a spawn or adoption: connection, shim socket, launch description.
    pub(crate) fn beside(
        &self,
        instance: InstanceId,
        run: RunId,
        launch: &[u8],
        theirs: OwnedFd,
    ) -> std::io::Result<Vec<OwnedFd>> {
        let listener = record::listen_at(&self.home.shim_socket(instance.0, run.0))?;
        Ok(vec![theirs, listener, memfd::sealed("wpm-launch", launch)?])
    }

    /// Reads the reports of a run in a task of its own.
    pub(crate) fn listen_to(&self, run: RunId, link: &Rc<Link>) {
        let (link, inbox) = (Rc::clone(link), self.inbox.clone());
        let _detached = tokio::task::spawn_local(async move {
            while let Some((record, fds)) = link.receive().await {
                match RunReport::decode(&record) {
                    Ok(report) => {
                        let _gone = inbox.send(Message::Report(run, Box::new(report), fds));
                    }
                    Err(error) => tracing::error!(%error, run = run.0, "a shim sent what is not understood"),
                }
            }
            let _gone = inbox.send(Message::Lost(run));
        });
    }

    /// Sends a request to the shim of a run. Requests are idempotent and follow from the state of
    /// the run, so one that is lost with its connection is repeated by whoever takes over.
    pub(crate) fn send(&mut self, run: RunId, request: &ToShim) {
        let Some(link) = self.runs.get(&run).and_then(|r| r.link.clone()) else { return };
        if let Err(error) = link.try_send(&request.encode(), &[]) {
            tracing::debug!(%error, run = run.0, ?request, "a shim did not take a request");
        }
    }

    /// Takes note of what the specs ask of the daemon itself: cron rules, watched files, memory limits.
    pub(crate) fn follow_specs(&mut self) {
        self.cron.follow(&self.core);
        self.watches.follow(&self.core, &self.home, &self.inbox);
        self.limited = self.core.apps().any(|a| a.spec.restart.max_memory.is_some());
    }

    /// Everything is down: forget the list unless it is to stay, tell the keeper, end.
    fn quit(&mut self) {
        self.quitting = true;
        self.persist();
        self.keeper.send(ToKeeper::Quit.encode(), vec![]);
    }
}
