//! Commands that start: new apps, known ones, and whole files of apps.
//!
//! Invariant: names of apps are unique; a refused command has changed nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::operation::{Plan, Want};
use crate::slot::Slot;
use crate::{
    App, AppId, Cause, CommandError, Core, Desired, Instance, InstanceId, Note, Now, Outcome, Selector, Spec,
    SpecChange, Start, StartApp, State,
};

/// Greatest number of instances of one app.
pub(crate) const MOST_INSTANCES: u32 = 1000;

impl Core {
    pub(crate) fn start(&mut self, now: Now, start: Start) -> Result<Plan, CommandError> {
        let Start { mut apps, force } = start;
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for StartApp { spec, .. } in &mut apps {
            spec.validate()?;
            let up = self.names.get(&spec.name).is_some_and(|app| self.is_up(*app));
            let twice = taken.contains(&spec.name);
            if force && (up || twice) {
                spec.name = self.free_name(&spec.name, &taken);
            } else if up {
                return Err(CommandError::AlreadyRunning { name: spec.name.clone() });
            } else if twice {
                return Err(used_twice(&spec.name));
            }
            taken.insert(spec.name.clone());
        }
        self.check_dependencies(apps.iter().map(|app| &app.spec))?;
        let mut plan = Plan::new();
        for app in apps {
            plan.extend(self.put_app(now, app, Restarting::No));
        }
        Ok(self.with_dependencies(now, plan))
    }

    pub(crate) fn start_known(
        &mut self,
        now: Now,
        targets: &[Selector],
        change: &SpecChange,
    ) -> Result<Plan, CommandError> {
        let ids = self.some_of(targets)?;
        for (app, spec) in self.changed_specs(&ids, change)? {
            self.replace_spec(app, spec);
        }
        let plan = ids.into_iter().map(|id| (id, self.want_begun(now, id))).collect();
        Ok(self.with_dependencies(now, plan))
    }

    pub(crate) fn restart_with(&mut self, now: Now, apps: Vec<StartApp>) -> Result<Plan, CommandError> {
        let mut taken = BTreeSet::new();
        for StartApp { spec, .. } in &apps {
            spec.validate()?;
            if !taken.insert(spec.name.as_str()) {
                return Err(used_twice(&spec.name));
            }
        }
        self.check_dependencies(apps.iter().map(|app| &app.spec))?;
        let mut plan = Plan::new();
        for app in apps {
            plan.extend(self.put_app(now, app, Restarting::Yes));
        }
        Ok(self.with_dependencies(now, plan))
    }

    /// Adds an app, or gives the one of that name its new spec; then wants its instances up.
    pub(crate) fn put_app(&mut self, now: Now, app: StartApp, restarting: Restarting) -> Plan {
        let StartApp { spec, start_now } = app;
        let count = spec.instances;
        self.persist = true;
        let id = match self.names.get(&spec.name).copied() {
            Some(id) => {
                self.replace_spec(id, spec);
                id
            }
            None => self.add_app(spec),
        };
        let old: Vec<InstanceId> = self.instances_of(id);
        let mut plan = Plan::new();
        let (kept, surplus) = old.split_at(old.len().min(count as usize));
        for instance in kept {
            plan.push((*instance, self.want_started(now, *instance, start_now, restarting)));
        }
        for instance in surplus {
            plan.push((*instance, self.want_gone(*instance)));
        }
        for _ in kept.len()..count as usize {
            let instance = self.add_instance(now, id);
            plan.push((instance, self.want_started(now, instance, start_now, Restarting::No)));
        }
        plan
    }

    fn want_started(&mut self, now: Now, id: InstanceId, start_now: bool, restarting: Restarting) -> Want {
        let Some(slot) = self.slots.get(&id) else { return Want::Nothing };
        match (slot.it.desired, start_now, restarting) {
            (Desired::Up, _, _) | (_, true, _) if self.is_job(id) => self.want_begun(now, id),
            (Desired::Up, _, Restarting::Yes) | (_, true, Restarting::Yes) => self.want_restarted(now, id),
            (_, true, Restarting::No) => self.want_up(now, id),
            (Desired::Gone, false, _) => {
                // The app is wanted again, if only in the list.
                self.resolve(id, |want| want == Want::Gone, &Outcome::Superseded);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.it.desired = Desired::Down;
                }
                Want::Nothing
            }
            (_, false, _) => Want::Nothing,
        }
    }

    /// Whether any instance is wanted up and has not been given up.
    fn is_up(&self, app: AppId) -> bool {
        let up = |id: &InstanceId| {
            self.instance(*id)
                .is_some_and(|it| it.desired == Desired::Up && !matches!(it.state, State::Errored))
        };
        self.app(app).is_some_and(|app| app.instances.values().any(up))
    }

    /// Instances in the order of their indices.
    pub(crate) fn instances_of(&self, app: AppId) -> Vec<InstanceId> {
        self.app(app).map_or_else(Vec::new, |app| app.instances.values().copied().collect())
    }

    /// `NAME-1`, `NAME-2` and so on: the first that is free.
    pub(crate) fn free_name(&self, name: &str, taken: &BTreeSet<String>) -> String {
        let free = |name: &String| !self.names.contains_key(name) && !taken.contains(name);
        (1_u32..).map(|number| format!("{name}-{number}")).find(free).unwrap_or_else(|| name.to_owned())
    }

    /// Adds an app without instances.
    pub(crate) fn add_app(&mut self, spec: Spec) -> AppId {
        let id = self.next_app;
        self.next_app = AppId(id.0.saturating_add(1));
        self.names.insert(spec.name.clone(), id);
        let app = App { id, spec: Arc::new(spec), instances: BTreeMap::new(), before: None };
        self.apps.insert(id, app);
        self.link(id);
        id
    }

    /// Adds an instance with the lowest free index; it is not wanted up yet.
    pub(crate) fn add_instance(&mut self, now: Now, app_id: AppId) -> InstanceId {
        let id = self.next_instance;
        self.next_instance = InstanceId(id.0.saturating_add(1));
        let Some(app) = self.apps.get_mut(&app_id) else { return id };
        let index = (0_u32..).find(|index| !app.instances.contains_key(index)).unwrap_or(u32::MAX);
        app.instances.insert(index, id);
        let it = Instance {
            id,
            app: app_id,
            index,
            desired: Desired::Down,
            state: State::Stopped,
            cause: Cause::Asked,
            restarts: 0,
            unstable: 0,
            last_exit: None,
            last_uptime: None,
            created_wall_ms: now.wall_ms,
            log_errno: 0,
            log_dropped: 0,
        };
        self.slots.insert(id, Slot::new(it));
        self.persist = true;
        id
    }

    /// Takes an instance without a run out of the list, and its app with the last one.
    pub(crate) fn remove(&mut self, id: InstanceId) {
        use crate::deadlines::Timer;

        self.note(id, Note::Deleted);
        self.resolve(id, |want| want == Want::Down, &Outcome::Down);
        self.resolve(id, |want| want == Want::Gone, &Outcome::Deleted);
        self.resolve(id, |_| true, &Outcome::Superseded);
        self.deadlines.disarm(id, Timer::State);
        self.deadlines.disarm(id, Timer::Check);
        self.deadlines.disarm(id, Timer::Beside);
        self.deadlines.disarm(id, Timer::Depended);
        self.has_moved(id);
        self.persist = true;
        let Some(slot) = self.slots.remove(&id) else { return };
        if let Some(app) = self.apps.get_mut(&slot.it.app) {
            app.instances.remove(&slot.it.index);
            if app.instances.is_empty()
                && let Some(app) = self.apps.remove(&slot.it.app)
            {
                self.names.remove(&app.spec.name);
                self.linked.remove(&app.id);
            }
        }
        if self.slots.is_empty() {
            self.next_instance = InstanceId(0);
        }
    }
}

/// Whether instances that are up get a new run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restarting {
    Yes,
    No,
}

pub(crate) fn used_twice(name: &str) -> CommandError {
    let reason = "is used twice in one request".to_owned();
    CommandError::InvalidSpec { name: name.to_owned(), field: "name", reason }
}
