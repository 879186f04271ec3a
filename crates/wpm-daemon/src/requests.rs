//! Requests of clients: each becomes a command to the core, or is answered from what is known.

use std::io;
use std::os::fd::AsFd;

use wpm_core::{
    Command, CommandError, Input, InstanceId, InstanceOutcome, Outcome, Selector, Start, StartApp, State,
    Ticket,
};
use wpm_proto::app::AppSpec;
use wpm_proto::error::{ErrorCode, WireError};
use wpm_proto::event::EventView;
use wpm_proto::request::{Change, Op, Request};
use wpm_proto::response::{Body, Response};
use wpm_proto::state::SavedDesire;
use wpm_sys::contract::ToShim;

use crate::answers::{After, Asker};
use crate::clock;
use crate::convert::{self, BadField};
use crate::daemon::Daemon;
use crate::session::SessionId;
use crate::state_file;
use crate::store::Target;

/// Keys of changing requests that are remembered.
const KEYS: usize = 64;

fn error(code: ErrorCode, message: impl Into<String>) -> Body {
    Body::Error { error: WireError { code, message: message.into(), hint: None, similar: vec![] } }
}

/// The answer where the change was made but could not be written.
pub(crate) fn not_durable(why: &str) -> Body {
    Body::Error {
        error: WireError {
            code: ErrorCode::Storage,
            message: format!("the change is in force but not saved: {why}"),
            hint: Some(
                "make room on the disk of the home; wpm writes the state again with the next change".into(),
            ),
            similar: vec![],
        },
    }
}

/// A refusal in the words of the wire.
pub(crate) fn wire_error(error: CommandError) -> WireError {
    let (code, message, hint, similar) = match error {
        CommandError::NoSuchApp { target, similar } => {
            (ErrorCode::NoSuchApp, format!("no app matches `{target}`"), None, similar)
        }
        CommandError::NoApps => (
            ErrorCode::NoApps,
            "no app is in the list".into(),
            Some("start one with `wpm start FILE`".to_owned()),
            vec![],
        ),
        CommandError::AlreadyRunning { name } => (
            ErrorCode::AlreadyRunning,
            format!("`{name}` is up already"),
            Some(format!("`wpm restart {name}` to start it anew, `--force` to start it a second time")),
            vec![],
        ),
        CommandError::NothingToDo { name, count } => {
            (ErrorCode::NothingToDo, format!("nothing to do: `{name}` has {count} instances"), None, vec![])
        }
        CommandError::Ambiguous { target, names } => (
            ErrorCode::Ambiguous,
            format!("`{target}` means several apps: {}", names.join(", ")),
            Some("name one of them".to_owned()),
            vec![],
        ),
        CommandError::InvalidSpec { name, field, reason } => {
            (ErrorCode::InvalidSpec, format!("invalid `{field}` of `{name}`: {reason}"), None, vec![])
        }
        CommandError::ReloadInProgress { name } => (
            ErrorCode::ReloadInProgress,
            format!("a reload of `{name}` is under way"),
            Some("wait for its end, or use `--force` to give it up".to_owned()),
            vec![],
        ),
        CommandError::NotRunning { target } => {
            (ErrorCode::NotRunning, format!("`{target}` is not running"), None, vec![])
        }
        CommandError::ShuttingDown => {
            (ErrorCode::ShuttingDown, "the daemon is about to end".into(), None, vec![])
        }
    };
    WireError { code, message, hint, similar }
}

impl Daemon {
    /// Answers one request, at once or through a ticket.
    pub(crate) fn request(&mut self, session: SessionId, request: Request) {
        let Request { id, key, op } = request;
        if let Some(key) = key.filter(|_| op.changes()) {
            if self.recent_keys.contains(&key) {
                let body = self.done_before(&op);
                return self.respond_durably(session, id, body);
            }
            if self.recent_keys.len() == KEYS {
                self.recent_keys.pop_front();
            }
            self.recent_keys.push_back(key);
        }
        let result = self.dispatch(session, id, op);
        if let Some(body) = result {
            self.respond_durably(session, id, body);
        }
    }

    /// The answer to a request that was sent again after a lost connection: it was done, and this is
    /// what came of it so far.
    fn done_before(&self, op: &Op) -> Body {
        let names: Vec<String> = match op {
            Op::Start { apps, .. } | Op::RestartWith { apps, .. } | Op::ReloadWith { apps, .. } => {
                apps.iter().map(|a| a.name.clone()).collect()
            }
            Op::StartKnown { targets, .. }
            | Op::Restart { targets, .. }
            | Op::Reload { targets, .. }
            | Op::Stop { targets, .. }
            | Op::Delete { targets, .. } => targets.clone(),
            Op::Scale { target, .. } => vec![target.clone()],
            _ => vec![],
        };
        let outcomes = names
            .iter()
            .filter_map(|name| self.core.select(&[Selector::parse(name).ok()?]).ok())
            .flatten()
            .filter_map(|id| self.core.instance(id))
            .filter_map(|i| {
                let app = self.core.app(i.app)?.spec.name.clone();
                let outcome = match (&i.state, i.last_exit) {
                    (State::Online(run) | State::Launching(run), _) => Outcome::Up { pid: run.pid },
                    (State::Errored | State::Backoff { .. }, Some(exit)) => {
                        Outcome::Died { exit, after_ms: 0 }
                    }
                    _ => Outcome::Down,
                };
                Some(InstanceOutcome { instance: i.id, app, index: i.index, outcome })
            });
        Body::Outcomes { outcomes: outcomes.map(|o| self.outcome(&o)).collect(), remarks: vec![] }
    }

    fn dispatch(&mut self, session: SessionId, id: u64, op: Op) -> Option<Body> {
        if op.changes() {
            // Whatever comes after a stop that keeps the list makes a new list.
            self.keep_list = false;
        }
        let command = match op {
            Op::Ping => return Some(Body::Pong),
            Op::Status => return Some(Body::Daemon { daemon: self.daemon_view() }),
            Op::List { targets, detail } => return Some(self.list(&targets, detail)),
            Op::Subscribe { since_ms } => {
                self.subscribers.push((session, id));
                self.respond(session, &Response { id, body: Body::Subscribed { seq: self.events } });
                let past = |event: &&EventView| since_ms.is_some_and(|since| event.at_ms >= since);
                let past: Vec<EventView> = self.history.iter().filter(past).cloned().collect();
                for event in past {
                    self.respond(session, &Response { id, body: Body::Event { event } });
                }
                return None;
            }
            Op::Update { exe } => return Some(self.update(&exe)),
            Op::Send { target, line } => return Some(self.send_line(&target, &line)),
            Op::Flush { targets } => return Some(self.flush(&targets)),
            Op::ReloadLogs => {
                self.reopen_logs();
                return Some(Body::Outcomes { outcomes: vec![], remarks: vec![] });
            }
            Op::Save { force } => return self.save(session, id, force),
            Op::Cleardump => {
                let asker = Asker { session, request: id, wait: true, remarks: vec![] };
                let ticket = self.ticket(asker);
                let empty = crate::saved::empty(self.generation, &[]);
                self.write_file(Target::Dump, empty, After::Dump(ticket));
                return None;
            }
            Op::Resurrect { wait } => return self.resurrect(session, id, wait),
            Op::Start { apps, force, wait } => {
                let apps = match self.start_apps(apps) {
                    Ok(apps) => apps,
                    Err(body) => return Some(body),
                };
                (Command::Start(Start { apps, force }), wait)
            }
            Op::RestartWith { apps, wait } => match self.start_apps(apps) {
                Ok(apps) => (Command::RestartWith(apps), wait),
                Err(body) => return Some(body),
            },
            Op::StartKnown { targets, wait } => match selectors(&targets) {
                Ok(targets) => (Command::StartKnown(targets), wait),
                Err(body) => return Some(body),
            },
            Op::Restart { targets, change, wait } => match selectors(&targets) {
                Ok(targets) => {
                    if let Err(body) = sound_rule(&change) {
                        return Some(body);
                    }
                    (Command::Restart { targets, change: convert::change(*change) }, wait)
                }
                Err(body) => return Some(body),
            },
            Op::ReloadWith { apps, parallel, wait } => match self.start_apps(apps) {
                Ok(apps) => (Command::ReloadWith { apps, parallel }, wait),
                Err(body) => return Some(body),
            },
            Op::Reload { targets, change, parallel, force, wait } => match selectors(&targets) {
                Ok(targets) => {
                    if let Err(body) = sound_rule(&change) {
                        return Some(body);
                    }
                    let change = convert::change(*change);
                    (Command::Reload { targets, change, parallel, force }, wait)
                }
                Err(body) => return Some(body),
            },
            Op::Stop { targets, wait } => match selectors(&targets) {
                Ok(targets) => (Command::Stop(targets), wait),
                Err(body) => return Some(body),
            },
            Op::Delete { targets, wait } => match selectors(&targets) {
                Ok(targets) => (Command::Delete(targets), wait),
                Err(body) => return Some(body),
            },
            Op::Scale { target, to, wait } => match Selector::parse(&target) {
                Ok(target) => (Command::Scale { target, to: convert::scale(to) }, wait),
                Err(e) => return Some(error(ErrorCode::BadRequest, e.0)),
            },
            Op::Reset { targets } => match selectors(&targets) {
                Ok(targets) => (Command::Reset(targets), true),
                Err(body) => return Some(body),
            },
            Op::Signal { targets, signal } => match selectors(&targets) {
                Ok(targets) => (Command::Signal { targets, signal }, true),
                Err(body) => return Some(body),
            },
            Op::Kill { keep_list } => {
                if keep_list {
                    self.persist();
                }
                self.keep_list = keep_list;
                (Command::StopAll, true)
            }
        };
        let (command, wait) = command;
        self.command(session, id, command, wait, vec![]);
        None
    }

    /// Gives a command to the core; the answer follows from its actions.
    fn command(
        &mut self,
        session: SessionId,
        request: u64,
        command: Command,
        wait: bool,
        remarks: Vec<String>,
    ) {
        let ticket = self.ticket(Asker { session, request, wait, remarks });
        self.core.handle(clock::now(), Input::Command(ticket, command));
        self.act();
        if !wait && let Some(asker) = self.askers.remove(&ticket) {
            // Not refused: that it was taken is all that this client wants to know.
            self.core.handle(clock::now(), Input::Forget(ticket));
            let body = Body::Outcomes { outcomes: vec![], remarks: asker.remarks };
            self.respond_durably(session, request, body);
        }
    }

    fn start_apps(&self, apps: Vec<AppSpec>) -> Result<Vec<StartApp>, Body> {
        let mut out = Vec::with_capacity(apps.len());
        for app in apps {
            for rule in [&app.cron_restart, &app.log_rotate_interval].into_iter().flatten() {
                if let Err(why) = crate::cron::parse(rule) {
                    let message = format!("invalid cron rule `{rule}` of `{}`: {why}", app.name);
                    return Err(error(ErrorCode::InvalidSpec, message));
                }
            }
            if let Err(why) = crate::identity::resolve(app.uid.as_deref(), app.gid.as_deref()) {
                return Err(error(
                    ErrorCode::InvalidSpec,
                    format!("invalid user or group of `{}`: {why}", app.name),
                ));
            }
            let start_now = app.autostart;
            let name = app.name.clone();
            let spec = convert::spec(app, self.settings.spec).map_err(|BadField { field, reason }| {
                error(ErrorCode::InvalidSpec, format!("invalid `{field}` of `{name}`: {reason}"))
            })?;
            out.push(StartApp { spec, start_now });
        }
        Ok(out)
    }

    fn list(&self, targets: &[String], detail: bool) -> Body {
        let wanted: Option<Vec<InstanceId>> = if targets.is_empty() {
            None
        } else {
            match self.selected(targets) {
                Ok(ids) => Some(ids),
                Err(body) => return body,
            }
        };
        let shown = |id: InstanceId| wanted.as_ref().is_none_or(|ids| ids.contains(&id));
        Body::Apps { apps: self.core.apps().filter_map(|a| self.app_view(a, detail, shown)).collect() }
    }

    fn selected(&self, targets: &[String]) -> Result<Vec<InstanceId>, Body> {
        let selectors = selectors(targets)?;
        self.core.select(&selectors).map_err(|e| Body::Error { error: wire_error(e) })
    }

    fn send_line(&mut self, target: &str, line: &str) -> Body {
        let ids = match self.selected(&[target.to_owned()]) {
            Ok(ids) => ids,
            Err(body) => return body,
        };
        let mut text = line.as_bytes().to_vec();
        text.push(b'\n');
        for id in ids {
            let stdin = self
                .core
                .instance(id)
                .and_then(|i| i.run())
                .and_then(|run| self.runs.get(&run.id))
                .and_then(|run| run.stdin.as_ref());
            let Some(stdin) = stdin else {
                return error(ErrorCode::NotRunning, format!("`{target}` is not running"));
            };
            match write_whole(stdin.as_fd(), &text) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return error(
                        ErrorCode::NotRunning,
                        format!("`{target}` does not read its standard input: the pipe is full"),
                    );
                }
                Err(e) => {
                    return error(
                        ErrorCode::Internal,
                        format!("cannot write to the standard input of `{target}`: {e}"),
                    );
                }
            }
        }
        Body::Outcomes { outcomes: vec![], remarks: vec![] }
    }

    fn flush(&mut self, targets: &[String]) -> Body {
        let ids: Vec<InstanceId> = if targets.is_empty() {
            self.core.instances().map(|i| i.id).collect()
        } else {
            match self.selected(targets) {
                Ok(ids) => ids,
                Err(body) => return body,
            }
        };
        let mut files = Vec::new();
        for id in ids {
            let Some(i) = self.core.instance(id) else { continue };
            if let Some(run) = i.run() {
                let run = run.id;
                self.send(run, &ToShim::Flush);
            } else if let Some(app) = self.core.app(i.app) {
                let f = crate::launch::files(&self.home, &app.spec, i.index, id);
                files.extend([f.out, f.err].into_iter().chain(f.both).filter(|p| !p.is_empty()));
            }
        }
        if !files.is_empty() {
            let _detached = tokio::task::spawn_blocking(move || {
                for path in files {
                    // Only what is there: a file that was never written stays absent.
                    if let Ok(file) = std::fs::File::options().write(true).open(&path)
                        && let Err(error) = file.set_len(0)
                    {
                        tracing::warn!(%error, %path, "cannot empty a log file");
                    }
                }
            });
        }
        Body::Outcomes { outcomes: vec![], remarks: vec![] }
    }

    /// Has every log file opened again.
    pub(crate) fn reopen_logs(&mut self) {
        let runs: Vec<_> = self.runs.keys().copied().collect();
        for run in runs {
            self.send(run, &ToShim::Reopen);
        }
    }

    fn save(&mut self, session: SessionId, request: u64, force: bool) -> Option<Body> {
        if self.core.instances().next().is_none() && !force {
            return Some(Body::Outcomes {
                outcomes: vec![],
                remarks: vec!["nothing was saved: the list is empty (--force saves it all the same)".into()],
            });
        }
        let ticket = self.ticket(Asker { session, request, wait: true, remarks: vec![] });
        let content = self.saved.state(&self.core, self.generation, &[]);
        self.write_file(Target::Dump, content, After::Dump(ticket));
        None
    }

    /// A dump was written.
    pub(crate) fn dumped(&mut self, ticket: Ticket, failed: Option<&str>) {
        let Some(asker) = self.askers.remove(&ticket) else { return };
        let body = match failed {
            Some(why) => error(ErrorCode::Storage, why),
            None => Body::Outcomes { outcomes: vec![], remarks: asker.remarks },
        };
        self.respond(asker.session, &Response { id: asker.request, body });
    }

    fn resurrect(&mut self, session: SessionId, request: u64, wait: bool) -> Option<Body> {
        let loaded = match state_file::load(&self.home.dump(), &self.home.dump_backup()) {
            Ok(loaded) => loaded,
            Err(e) => {
                let message = format!("cannot read {}: {e}", self.home.dump().display());
                return Some(error(ErrorCode::Storage, message));
            }
        };
        let mut remarks = loaded.remarks;
        let apps = loaded.state.map(|s| s.apps).unwrap_or_default();
        if apps.is_empty() {
            remarks.push("nothing to resurrect: no list was saved".into());
        }
        let known: Vec<String> = self.core.apps().map(|a| a.spec.name.clone()).collect();
        let apps: Vec<StartApp> = apps
            .into_iter()
            .filter(|a| !known.contains(&a.spec.name))
            .map(|a| {
                let start_now = a.instances.iter().any(|i| i.desire == SavedDesire::Up);
                let mut spec = convert::restored_spec(a.spec, self.settings.spec);
                spec.instances = u32::try_from(a.instances.len()).unwrap_or(u32::MAX).max(1);
                StartApp { spec, start_now }
            })
            .collect();
        if apps.is_empty() {
            return Some(Body::Outcomes { outcomes: vec![], remarks });
        }
        self.command(session, request, Command::Start(Start { apps, force: false }), wait, remarks);
        None
    }
}

/// Whether the cron rule of a change can be read, if it has one.
fn sound_rule(change: &Change) -> Result<(), Body> {
    match change.cron_restart.as_deref().filter(|rule| *rule != "0") {
        Some(rule) => crate::cron::parse(rule)
            .map(drop)
            .map_err(|why| error(ErrorCode::InvalidSpec, format!("invalid cron rule `{rule}`: {why}"))),
        None => Ok(()),
    }
}

fn selectors(targets: &[String]) -> Result<Vec<Selector>, Body> {
    targets.iter().map(|t| Selector::parse(t).map_err(|e| error(ErrorCode::BadRequest, e.0))).collect()
}

/// Writes all of it or nothing that matters: a pipe takes up to `PIPE_BUF` bytes at once or refuses.
fn write_whole(fd: std::os::fd::BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(fd, rest)?;
        rest = &rest[n..];
    }
    Ok(())
}
