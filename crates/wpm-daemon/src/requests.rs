//! Requests of clients: each becomes a command to the core, or is answered from what is known.

use std::collections::BTreeSet;

use wpm_core::{
    Apply, Command, Desired, Input, InstanceId, InstanceOutcome, Outcome, RunId, Selector, Start, StartApp,
    State,
};
use wpm_proto::app::AppSpec;
use wpm_proto::error::ErrorCode;
use wpm_proto::event::EventView;
use wpm_proto::request::{Change, Detail, Op, Request};
use wpm_proto::response::{Body, Response};

use crate::answers::Asker;
use crate::clock;
use crate::convert;
use crate::daemon::Daemon;
use crate::persistence::After;
use crate::refusals::{error, unsound, wire_error};
use crate::session::SessionId;
use crate::settings::Settings;
use crate::store::Target;

/// Keys of changing requests that are remembered.
const KEYS: usize = 64;

/// A changing request that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The client's key.
    pub(crate) key: String,
    /// The first run that may follow from it.
    pub(crate) since: RunId,
}

impl Daemon {
    /// Answers one request, at once or through a ticket.
    pub(crate) fn request(&mut self, session: SessionId, request: Request) {
        if request.op.changes_the_list() && self.persistence.is_short_of_room() {
            self.wait_for_room(session, request);
        } else {
            self.request_now(session, request);
        }
    }

    /// The same, whatever room there is.
    pub(crate) fn request_now(&mut self, session: SessionId, request: Request) {
        let Request { id, key, op } = request;
        self.untidy |= op.changes();
        if let Some(key) = key.filter(|_| op.changes()) {
            if let Some(since) =
                self.persistence.recent_keys.iter().find(|taken| taken.key == key).map(|t| t.since)
            {
                let result = match self.rest_of(&op, since) {
                    Some(rest) => self.dispatch(session, id, rest, Some(since)),
                    None => Some(self.done_before(&op)),
                };
                if let Some(body) = result {
                    self.respond_durably(session, id, body);
                }
                return;
            }
            if self.persistence.recent_keys.len() == KEYS {
                self.persistence.recent_keys.pop_front();
            }
            self.persistence.recent_keys.push_back(Taken { key, since: self.core.next_run() });
        }
        // What is answered at once has changed nothing that is saved.
        if let Some(body) = self.dispatch(session, id, op, None) {
            self.respond(session, &Response { id, body });
        }
    }

    /// What is left of a request that was sent again after a lost connection: to wait for its outcome,
    /// where that is not known yet, and to go on with what the state does not tell. Nothing is started
    /// or stopped a second time by it.
    fn rest_of(&self, op: &Op, since: RunId) -> Option<Op> {
        let names: Vec<String> = match op {
            // As often as one likes.
            Op::Stop { .. } | Op::Save { .. } | Op::Cleardump | Op::Resurrect { .. } => {
                return Some(op.clone());
            }
            // Whoever has started something since has a list of his own, unless some of the old one is left.
            Op::Kill { .. } => {
                let runs = || self.core.instances().filter_map(|i| i.run()).map(|run| run.id);
                return (runs().any(|run| run < since) || runs().all(|run| run < since)).then(|| op.clone());
            }
            // Whose turn has come is told by the number of the run.
            Op::Reload { targets, .. } => return (!self.named(targets).is_empty()).then(|| op.clone()),
            Op::ReloadWith { .. } => return Some(op.clone()),
            Op::Apply { apps, .. } => {
                let is_left = |name: &str| self.core.app_named(name).is_some_and(|app| app.before.is_some());
                return apps.iter().any(|app| is_left(&app.name)).then(|| op.clone());
            }
            Op::Scale { target, wait, .. } => {
                let mut going = self.named([target]);
                going.retain(|id| self.core.instance(*id).is_some_and(|i| i.desired == Desired::Gone));
                if !going.is_empty() {
                    let targets = going.iter().map(|id| id.0.to_string()).collect();
                    return Some(Op::Delete { targets, wait: *wait });
                }
                if !wait {
                    return None;
                }
                vec![target.clone()]
            }
            Op::Delete { targets, wait } => {
                let mut targets = targets.clone();
                targets.retain(|target| !self.named([target]).is_empty());
                return (!targets.is_empty()).then_some(Op::Delete { targets, wait: *wait });
            }
            Op::Start { apps, wait: true, .. } | Op::RestartWith { apps, wait: true, .. } => {
                apps.iter().map(|a| a.name.clone()).collect()
            }
            Op::StartKnown { targets, wait: true, .. } | Op::Restart { targets, wait: true, .. } => {
                targets.clone()
            }
            _ => return None,
        };
        let ids = self.named(&names);
        let rises = |id: &InstanceId| {
            let wanted = self.core.instance(*id).filter(|i| i.desired == Desired::Up);
            wanted.is_some_and(|i| !matches!(i.state, State::Errored | State::Backoff { .. }))
        };
        // One that has gone down again has had its outcome.
        (!ids.is_empty() && ids.iter().all(rises)).then(|| Op::StartKnown {
            targets: ids.iter().map(|id| id.0.to_string()).collect(),
            change: Box::default(),
            wait: true,
        })
    }

    /// The instances that these words mean; none of a word that means nothing.
    fn named<'a>(&self, words: impl IntoIterator<Item = &'a String>) -> Vec<InstanceId> {
        let of = |word: &String| self.core.select(&[Selector::parse(word).ok()?]).ok();
        words.into_iter().filter_map(of).flatten().collect()
    }

    /// The answer to a request that was sent again after a lost connection: it was done, and this is
    /// what came of it so far.
    fn done_before(&self, op: &Op) -> Body {
        let names: Vec<String> = match op {
            Op::Start { apps, .. }
            | Op::RestartWith { apps, .. }
            | Op::ReloadWith { apps, .. }
            | Op::Apply { apps, .. } => apps.iter().map(|a| a.name.clone()).collect(),
            Op::StartKnown { targets, .. }
            | Op::Restart { targets, .. }
            | Op::Reload { targets, .. }
            | Op::Stop { targets, .. }
            | Op::Delete { targets, .. } => targets.clone(),
            Op::Scale { target, .. } => vec![target.clone()],
            _ => vec![],
        };
        let outcomes =
            self.named(&names).into_iter().filter_map(|id| self.core.instance(id)).filter_map(|i| {
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

    /// Carries a request out. `since`: an earlier daemon has begun it, before this run.
    fn dispatch(&mut self, session: SessionId, id: u64, op: Op, since: Option<RunId>) -> Option<Body> {
        if op.changes() {
            // Whatever comes after a stop that keeps the list makes a new list.
            self.persistence.keep_list = false;
        }
        let command = match op {
            Op::Ping => return Some(Body::Pong),
            Op::Status => return Some(Body::Daemon { daemon: Box::new(self.daemon_view()) }),
            Op::List { targets, detail } => return Some(self.list(&targets, detail)),
            Op::Subscribe { since_ms } => {
                self.events.subscribe(session, id);
                self.respond(session, &Response { id, body: Body::Subscribed { seq: self.events.last() } });
                let past = |event: &&EventView| since_ms.is_some_and(|since| event.at_ms >= since);
                let past: Vec<EventView> = self.events.history().filter(past).cloned().collect();
                for event in past {
                    self.respond(session, &Response { id, body: Body::Event { event } });
                }
                return None;
            }
            Op::Update { exe } => return Some(self.update(&exe)),
            Op::Send { target, line } => return Some(self.send_line(&target, &line)),
            Op::Flush { targets } => return Some(self.flush(&targets)),
            Op::Settings { values } => {
                self.settings = Settings::of_home(&values);
                return Some(Body::Outcomes { outcomes: vec![], remarks: vec![] });
            }
            Op::ReloadLogs => {
                self.reopen_logs();
                return Some(Body::Outcomes { outcomes: vec![], remarks: vec![] });
            }
            Op::Save { force } => return self.save(session, id, force),
            Op::Cleardump => {
                let asker = Asker { session, request: id, wait: true, remarks: vec![] };
                let ticket = self.askers.ticket(asker);
                let empty = crate::saved::empty(self.persistence.generation, &[]);
                self.persistence.write_file(Target::Dump, empty, After::Dump(ticket));
                return None;
            }
            Op::Resurrect { wait } => return self.resurrect(session, id, wait),
            Op::Start { apps, force, rise, wait } => {
                let apps = match self.start_apps(apps, rise) {
                    Ok(apps) => apps,
                    Err(body) => return Some(body),
                };
                (Command::Start(Start { apps, force }), wait)
            }
            Op::RestartWith { apps, rise, wait } => match self.start_apps(apps, rise) {
                Ok(apps) => (Command::RestartWith(apps), wait),
                Err(body) => return Some(body),
            },
            Op::StartKnown { targets, change, wait } => match selectors(&targets) {
                Ok(targets) => (Command::StartKnown { targets, change: convert::change(*change) }, wait),
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
            Op::ReloadWith { apps, parallel, rise, wait } => match self.start_apps(apps, rise) {
                Ok(apps) => (Command::ReloadWith { apps, parallel, since }, wait),
                Err(body) => return Some(body),
            },
            Op::Reload { targets, change, parallel, force, wait } => match selectors(&targets) {
                Ok(targets) => {
                    if let Err(body) = sound_rule(&change) {
                        return Some(body);
                    }
                    let change = convert::change(*change);
                    (Command::Reload { targets, change, parallel, force, since }, wait)
                }
                Err(body) => return Some(body),
            },
            Op::Compare { apps, prune, update_env } => {
                return Some(match self.start_apps(apps, None) {
                    Ok(apps) => self.compare(&Apply { apps, prune, update_env, parallel: 0, since: None }),
                    Err(body) => body,
                });
            }
            Op::Apply { apps, prune, update_env, parallel, wait } => match self.start_apps(apps, None) {
                Ok(apps) => (Command::Apply(Apply { apps, prune, update_env, parallel, since }), wait),
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
                self.persistence.keep_list = keep_list;
                (Command::StopAll, true)
            }
        };
        let (command, wait) = command;
        let remarks = self.limits_without_effect(&command);
        self.command(session, id, command, wait, remarks);
        None
    }

    /// Gives a command to the core; the answer follows from its actions.
    pub(crate) fn command(
        &mut self,
        session: SessionId,
        request: u64,
        command: Command,
        wait: bool,
        remarks: Vec<String>,
    ) {
        let ticket = self.askers.ticket(Asker { session, request, wait, remarks });
        self.core.handle(clock::now(), Input::Command(ticket, command));
        if wait {
            return;
        }
        // A refusal is among what follows.
        while self.act() {}
        if let Some(asker) = self.askers.remove(ticket) {
            // Not refused: that it was taken is all that this client wants to know.
            self.core.handle(clock::now(), Input::Forget(ticket));
            let body = Body::Outcomes { outcomes: vec![], remarks: asker.remarks };
            self.respond_durably(session, request, body);
        }
    }

    /// The apps, each to be up where `rise` says so, or without it the app itself.
    fn start_apps(&self, apps: Vec<AppSpec>, rise: Option<bool>) -> Result<Vec<StartApp>, Body> {
        let mut out = Vec::with_capacity(apps.len());
        for app in apps {
            let start_now = rise.unwrap_or(app.autostart);
            let spec = crate::sound::spec(app, self.settings.spec).map_err(unsound)?;
            out.push(StartApp { spec, start_now });
        }
        Ok(out)
    }

    fn compare(&self, apply: &Apply) -> Body {
        match self.core.compare(apply) {
            Ok(changes) => Body::Changes { changes: changes.into_iter().map(convert::app_change).collect() },
            Err(refused) => Body::Error { error: wire_error(refused) },
        }
    }

    fn list(&self, targets: &[String], detail: Detail) -> Body {
        let wanted: Option<BTreeSet<InstanceId>> = if targets.is_empty() {
            None
        } else {
            match self.selected(targets) {
                Ok(ids) => Some(ids.into_iter().collect()),
                Err(body) => return body,
            }
        };
        let shown = |id: InstanceId| wanted.as_ref().is_none_or(|ids| ids.contains(&id));
        Body::Apps { apps: self.core.apps().filter_map(|a| self.app_view(a, detail, shown)).collect() }
    }

    /// The instances that these targets mean.
    pub(crate) fn selected(&self, targets: &[String]) -> Result<Vec<InstanceId>, Body> {
        let selectors = selectors(targets)?;
        self.core.select(&selectors).map_err(|e| Body::Error { error: wire_error(e) })
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
