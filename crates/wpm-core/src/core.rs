//! The state machine as a whole: its entry points and what it holds.
//!
//! Decisions are in the modules named after them (`start`, `stop`, `exit` and so on), each an
//! `impl Core`. Invariants: `runs` names exactly the runs of each instance: its own,
//! and the one beside it during a reload;
//! `names` names exactly the apps; `persist` is queued at most once per input, before all its replies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::deadlines::{Deadlines, Timer};
use crate::operation::{Finale, Operation};
use crate::reload::{Reload, Turn, Way};
use crate::slot::{Next, Slot};
use crate::{
    Action, App, AppId, Cause, Command, CommandError, Desired, Exit, Input, Instance, InstanceId, Millis,
    Note, Now, RunId, Selector, Spec, State, Ticket,
};

/// A run that was alive when the last daemon looked, as the journal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredRun {
    /// Its identity.
    pub run: RunId,
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks.
    pub start_time: u64,
    /// When exec succeeded on the monotonic clock, if it had.
    pub launched: Option<Millis>,
    /// The same in milliseconds since 1970.
    pub launched_wall_ms: u64,
    /// Whether it had come up ([`Action::Remember`]).
    pub came_up: bool,
}

/// An instance as state file and journal tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredInstance {
    /// Public id.
    pub id: InstanceId,
    /// Index.
    pub index: u32,
    /// What was wanted.
    pub desired: Desired,
    /// Whether it had been given up.
    pub errored: bool,
    /// Whether it is down because it ended by itself ([`Instance::is_finished`]): a cron rule may
    /// start it again, which it does not do to what the user stopped.
    pub finished: bool,
    /// Restart counter.
    pub restarts: u32,
    /// Last end.
    pub last_exit: Option<Exit>,
    /// Creation time.
    pub created_wall_ms: u64,
    /// The run that was to make room for the next one when this was written ([`Core::renewing`]): a
    /// restart was under way.
    pub renews: Option<RunId>,
    /// Its run, if the daemon found one alive (re-adopted: events of it will follow).
    pub run: Option<RestoredRun>,
    /// Further runs of it that are alive: a reload was under way. The two newest go on with it: a new one
    /// that has not come up rises beside the old one, an old one that was replaced finishes its work.
    /// What [`Core::instance_of`] does not know then is nobody's.
    pub others: Vec<RestoredRun>,
    /// Why it was given up, as an earlier daemon put it.
    pub cause: Option<String>,
}

/// An app as the state file tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredApp {
    /// Configuration.
    pub spec: Spec,
    /// Instances.
    pub instances: Vec<RestoredInstance>,
    /// What a reload that was under way was to go back to.
    pub before: Option<Spec>,
}

/// How long a spawn may take from its request to exec before it is given up.
pub(crate) const LAUNCH_TIMEOUT: Millis = Millis(60_000);

/// The state machine.
#[derive(Debug)]
pub struct Core {
    pub(crate) apps: BTreeMap<AppId, App>,
    pub(crate) names: BTreeMap<String, AppId>,
    pub(crate) slots: BTreeMap<InstanceId, Slot>,
    pub(crate) runs: BTreeMap<RunId, InstanceId>,
    pub(crate) operations: BTreeMap<Ticket, Operation>,
    pub(crate) deadlines: Deadlines,
    /// Reloads under way.
    pub(crate) reloads: BTreeMap<AppId, Reload>,
    /// What reloads have to be told once the present input is dealt with.
    pub(crate) turns: VecDeque<Turn>,
    /// Apps that depend on others.
    pub(crate) linked: BTreeSet<AppId>,
    /// Apps whose neighbours may move once the present input is dealt with.
    pub(crate) moved: BTreeSet<AppId>,
    actions: VecDeque<Action>,
    pub(crate) next_run: RunId,
    pub(crate) next_app: AppId,
    pub(crate) next_instance: InstanceId,
    /// Whether this input changed the durable state.
    pub(crate) persist: bool,
    /// Whether `StopAll` was asked: the state on disk stays as it is from then on.
    pub(crate) quitting: bool,
    pub(crate) quit_sent: bool,
}

impl Core {
    /// An empty core whose first run gets the id `first_run`.
    pub fn new(first_run: RunId) -> Self {
        Self {
            apps: BTreeMap::new(),
            names: BTreeMap::new(),
            slots: BTreeMap::new(),
            runs: BTreeMap::new(),
            operations: BTreeMap::new(),
            deadlines: Deadlines::default(),
            reloads: BTreeMap::new(),
            turns: VecDeque::new(),
            linked: BTreeSet::new(),
            moved: BTreeSet::new(),
            actions: VecDeque::new(),
            next_run: first_run,
            next_app: AppId(0),
            next_instance: InstanceId(0),
            persist: false,
            quitting: false,
            quit_sent: false,
        }
    }

    /// Puts back what an earlier daemon knew. Wanted instances without a run are started
    /// (their end was not seen: it counts as an exit of unknown kind), unless errored.
    pub fn restore(&mut self, now: Now, apps: Vec<RestoredApp>) {
        let from = self.actions.len();
        self.put_back(now, apps);
        self.follow_dependencies(now);
        self.seal(from);
    }

    /// Takes one input and queues the actions that follow from it.
    ///
    /// The host owes an event to every run that it was told to spawn: one of `Exited`, `SpawnFailed`
    /// or `Cancelled` in the end, and `Cancelled` to a `KillTree` of a run that it does not know.
    pub fn handle(&mut self, now: Now, input: Input) {
        let from = self.actions.len();
        match input {
            Input::Command(ticket, command) => self.command(now, ticket, command),
            Input::Event(run, event) => self.event(now, run, &event),
            Input::Forget(ticket) => self.forget(ticket),
            Input::Tick => self.tick(now),
            Input::CronFired(id) => self.restart_by_rule(now, id, &Cause::Cron),
            Input::ScheduleFired(id) => self.schedule_fired(now, id),
            Input::FileChanged { app, path } => {
                let ids: Vec<InstanceId> = self
                    .apps
                    .get(&app)
                    .map(|app| app.instances.values().copied().collect())
                    .unwrap_or_default();
                for id in ids {
                    self.restart_by_rule(now, id, &Cause::Changed { path: path.clone() });
                }
            }
        }
        self.take_turns(now);
        self.follow_dependencies(now);
        self.take_turns(now);
        self.seal(from);
    }

    /// Takes the next action, in the order in which they must be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Tick`] is due, if ever.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.deadlines.next()
    }

    /// All apps, in the order of their names.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.names.values().filter_map(|id| self.apps.get(id))
    }

    /// An app.
    pub fn app(&self, id: AppId) -> Option<&App> {
        self.apps.get(&id)
    }

    /// The app of this name.
    pub fn app_named(&self, name: &str) -> Option<&App> {
        self.apps.get(self.names.get(name)?)
    }

    /// An instance.
    pub fn instance(&self, id: InstanceId) -> Option<&Instance> {
        self.slots.get(&id).map(|slot| &slot.it)
    }

    /// Instances in the order of their ids.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.slots.values().map(|slot| &slot.it)
    }

    /// The instance whose run this is: its own, or a second one during a reload.
    pub fn instance_of(&self, run: RunId) -> Option<&Instance> {
        self.instance(*self.runs.get(&run)?)
    }

    /// The spec that a run is to be started with: while a reload tries another spec, instances whose
    /// turn has not come keep theirs.
    pub fn spec_of_run(&self, run: RunId) -> Option<Arc<Spec>> {
        let id = *self.runs.get(&run)?;
        let own = self.instance(id)?.run().is_some_and(|own| own.id == run);
        if own { self.spec_of(id) } else { self.newest_spec(id) }
    }

    /// The spec of an instance's own run.
    pub(crate) fn spec_of(&self, id: InstanceId) -> Option<Arc<Spec>> {
        self.slots.get(&id)?.keeps.clone().or_else(|| self.newest_spec(id))
    }

    /// The spec of an instance's app.
    pub(crate) fn newest_spec(&self, id: InstanceId) -> Option<Arc<Spec>> {
        Some(self.apps.get(&self.slots.get(&id)?.it.app)?.spec.clone())
    }

    /// The instances that the selectors name, each once, in the order of the selectors; none only
    /// for `all` where the list is empty.
    ///
    /// # Errors
    /// [`CommandError::NoSuchApp`] for the first selector that matches nothing.
    pub fn select(&self, selectors: &[Selector]) -> Result<Vec<InstanceId>, CommandError> {
        crate::select::select(self, selectors)
    }

    /// The number of the next run: all that were begun so far have lower ones.
    pub const fn next_run(&self) -> RunId {
        self.next_run
    }

    /// Runs whose memory the daemon should sample (those of apps with a limit), and their limits.
    pub fn sampled(&self) -> BTreeMap<RunId, u64> {
        let limited =
            self.apps.values().filter_map(|app| app.spec.restart.max_memory.map(|limit| (app, limit)));
        limited
            .flat_map(|(app, limit)| app.instances.values().map(move |id| (id, limit)))
            .filter_map(|(id, limit)| match self.slots.get(id)?.it.state {
                State::Launching(run) | State::Online(run) if run.launched.is_some() => Some((run.id, limit)),
                _ => None,
            })
            .collect()
    }

    /// The run of an instance that is being brought down so that the next one follows at once: who knows it
    /// can go on with a restart that another has begun.
    pub fn renewing(&self, id: InstanceId) -> Option<RunId> {
        let slot = self.slots.get(&id)?;
        match &slot.it.state {
            State::Stopping { run, .. } if slot.it.desired == Desired::Up && slot.next == Next::Now => {
                Some(run.id)
            }
            _ => None,
        }
    }

    /// Whether a run is there that is not known to be gone to its last process.
    pub fn has_runs(&self) -> bool {
        !self.runs.is_empty()
    }

    fn command(&mut self, now: Now, ticket: Ticket, command: Command) {
        let mut finale = Finale::Reply;
        let plan = match command {
            Command::StopAll => {
                finale = Finale::Quit;
                Ok(self.stop_all())
            }
            _ if self.quitting => Err(CommandError::ShuttingDown),
            Command::Start(start) => self.start(now, start),
            Command::StartKnown { targets, change } => self.start_known(now, &targets, &change),
            Command::Restart { targets, change } => self.restart(now, &targets, &change),
            Command::RestartWith(apps) => self.restart_with(now, apps),
            Command::Reload { targets, change, parallel, force, since } => {
                self.reload(now, &targets, &change, force, Way { ticket, parallel, since })
            }
            Command::ReloadWith { apps, parallel, since } => {
                self.reload_with(now, apps, Way { ticket, parallel, since })
            }
            Command::Apply(apply) => self.apply(now, ticket, apply),
            Command::Stop(targets) => self.stop(&targets),
            Command::Delete(targets) => self.delete(&targets),
            Command::Scale { target, to } => self.scale(now, &target, to),
            Command::Reset(targets) => self.reset(&targets),
            Command::Signal { targets, signal } => self.signal(&targets, signal),
        };
        self.undertake(now, ticket, plan, finale);
    }

    fn tick(&mut self, now: Now) {
        while let Some((id, timer)) = self.deadlines.pop_due(now.mono) {
            match timer {
                Timer::State => self.state_deadline(now, id),
                Timer::Check => self.settle_waiters(now, id),
                Timer::Beside => self.beside_deadline(now, id),
                Timer::Depended => self.has_moved(id),
            }
            self.take_turns(now);
            self.follow_dependencies(now);
        }
    }

    /// Queues an action.
    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Queues a line of history.
    pub(crate) fn note(&mut self, id: InstanceId, note: Note) {
        let Some(it) = self.instance(id) else { return };
        let (index, app) =
            (it.index, self.apps.get(&it.app).map_or_else(String::new, |app| app.spec.name.clone()));
        self.push(Action::Note { instance: id, app, index, note });
    }

    /// Puts `Persist` before all that this input queued, if it changed the durable state.
    fn seal(&mut self, from: usize) {
        if std::mem::take(&mut self.persist) && !self.quitting {
            self.actions.insert(from.min(self.actions.len()), Action::Persist);
        }
    }
}
