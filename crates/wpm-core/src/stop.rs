//! Commands that bring instances down or act on running ones: stop, delete, restart, reset, signal.
//!
//! They only settle what is wanted and return what to wait for; processes are touched when the plan
//! is driven. Invariant: a refused command has changed nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::operation::{Plan, Want};
use crate::slot::{Next, Recycle};
use crate::{
    Action, AppId, Cause, CommandError, Core, Desired, InstanceId, Now, Outcome, Scope, Selector, Spec,
    SpecChange, State,
};

impl Core {
    /// Those that the selectors name, at least one.
    pub(crate) fn some_of(&self, targets: &[Selector]) -> Result<Vec<InstanceId>, CommandError> {
        let ids = self.select(targets)?;
        if ids.is_empty() { Err(CommandError::NoApps) } else { Ok(ids) }
    }

    pub(crate) fn stop(&mut self, targets: &[Selector]) -> Result<Plan, CommandError> {
        let ids = self.some_of(targets)?;
        self.persist = true;
        Ok(ids.into_iter().map(|id| (id, self.want_down(id))).collect())
    }

    pub(crate) fn delete(&mut self, targets: &[Selector]) -> Result<Plan, CommandError> {
        let ids = self.some_of(targets)?;
        Ok(ids.into_iter().map(|id| (id, self.want_gone(id))).collect())
    }

    /// Stops everything; from now on the state on disk stays as it is.
    pub(crate) fn stop_all(&mut self) -> Plan {
        self.quitting = true;
        let ids: Vec<InstanceId> = self.slots.keys().copied().collect();
        ids.into_iter().map(|id| (id, self.want_down(id))).collect()
    }

    pub(crate) fn restart(
        &mut self,
        now: Now,
        targets: &[Selector],
        change: &SpecChange,
    ) -> Result<Plan, CommandError> {
        let ids = self.some_of(targets)?;
        let specs = self.changed_specs(&ids, change)?;
        for (app, spec) in specs {
            self.replace_spec(app, spec);
        }
        self.persist = true;
        // All of them does not mean jobs whose time has not come.
        let by_name = targets.iter().any(|target| !target.is_all());
        let mut plan = Plan::new();
        for id in ids {
            let waits = self.is_job(id) && self.instance(id).is_some_and(crate::Instance::is_finished);
            let want = if waits && !by_name { Want::Nothing } else { self.want_restarted(now, id) };
            plan.push((id, want));
        }
        Ok(plan)
    }

    /// The specs that a change makes, each valid, names unique.
    pub(crate) fn changed_specs(
        &self,
        ids: &[InstanceId],
        change: &SpecChange,
    ) -> Result<Vec<(AppId, Spec)>, CommandError> {
        if *change == SpecChange::default() {
            return Ok(Vec::new());
        }
        let apps: BTreeSet<AppId> = ids.iter().filter_map(|id| Some(self.instance(*id)?.app)).collect();
        if let Some(name) = &change.name {
            if apps.len() > 1 {
                let names = apps.iter().filter_map(|id| Some(self.app(*id)?.spec.name.clone())).collect();
                return Err(CommandError::Ambiguous { target: name.clone(), names });
            }
            if self.names.get(name).is_some_and(|owner| !apps.contains(owner)) {
                let reason = "is the name of another app".to_owned();
                return Err(CommandError::InvalidSpec { name: name.clone(), field: "name", reason });
            }
        }
        let mut specs = Vec::new();
        for id in apps {
            let Some(app) = self.app(id) else { continue };
            let spec = app.spec.with(change);
            spec.validate()?;
            specs.push((id, spec));
        }
        Ok(specs)
    }

    /// Gives an app another spec; runs that are there keep what they were started with.
    pub(crate) fn replace_spec(&mut self, id: AppId, spec: Spec) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        if app.spec.name != spec.name {
            self.names.remove(&app.spec.name);
            self.names.insert(spec.name.clone(), id);
        }
        let old = std::mem::replace(&mut app.spec, Arc::new(spec));
        self.moved.extend(old.depends_on.keys().filter_map(|name| self.names.get(name)));
        self.link(id);
        self.persist = true;
    }

    pub(crate) fn reset(&mut self, targets: &[Selector]) -> Result<Plan, CommandError> {
        let ids = self.select(targets)?;
        for id in &ids {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.it.restarts = 0;
                slot.forgive();
                self.persist = true;
            }
        }
        Ok(ids.into_iter().map(|id| (id, Want::Nothing)).collect())
    }

    pub(crate) fn signal(&mut self, targets: &[Selector], signal: i32) -> Result<Plan, CommandError> {
        let ids = self.some_of(targets)?;
        let running = |id: &InstanceId| {
            let run = self.instance(*id)?.run()?;
            (run.launched.is_some() && self.seen_exit(*id).is_none()).then_some((*id, run.id))
        };
        let runs: Vec<_> = ids.iter().filter_map(running).collect();
        if runs.is_empty() {
            let target = targets.first().map_or_else(String::new, ToString::to_string);
            return Err(CommandError::NotRunning { target });
        }
        for (_, run) in &runs {
            self.push(Action::Signal { run: *run, signal, scope: Scope::Main });
        }
        Ok(runs.into_iter().map(|(id, _)| (id, Want::Nothing)).collect())
    }

    /// It shall be down; one that is being deleted still will be.
    fn want_down(&mut self, id: InstanceId) -> Want {
        self.resolve(id, Want::ends_up, &Outcome::Superseded);
        if let Some(slot) = self.slots.get_mut(&id) {
            if slot.it.desired == Desired::Up {
                slot.it.desired = Desired::Down;
            }
            slot.it.cause = Cause::Asked;
            slot.keeps = None;
            slot.queued = false;
        }
        self.has_moved(id);
        Want::Down
    }

    /// It shall be out of the list.
    pub(crate) fn want_gone(&mut self, id: InstanceId) -> Want {
        self.resolve(id, Want::ends_up, &Outcome::Superseded);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.it.desired = Desired::Gone;
            slot.keeps = None;
            self.persist = true;
        }
        self.has_moved(id);
        Want::Gone
    }

    /// It shall be up; a run that is there, or was given up, or waits, is none of it.
    pub(crate) fn want_up(&mut self, now: Now, id: InstanceId) -> Want {
        self.has_moved(id);
        self.resolve(id, |want| matches!(want, Want::Down | Want::Gone), &Outcome::Superseded);
        let Some(slot) = self.slots.get_mut(&id) else { return Want::Nothing };
        let resting = matches!(slot.it.state, State::Stopped | State::Errored | State::Backoff { .. });
        let stopping = matches!(slot.it.state, State::Stopping { .. });
        if slot.it.desired != Desired::Up || resting || stopping {
            slot.it.desired = Desired::Up;
            slot.it.created_wall_ms = now.wall_ms;
            slot.next = Next::Now;
            slot.it.cause = Cause::Asked;
            slot.forgive();
            self.persist = true;
        }
        if resting {
            slot.awaits = true;
            self.set_state(now, id, State::Stopped);
        }
        Want::Up
    }

    /// It shall be up with a new run.
    pub(crate) fn want_restarted(&mut self, now: Now, id: InstanceId) -> Want {
        self.has_moved(id);
        self.resolve(id, Want::is_turn, &Outcome::Superseded);
        if self.slots.get(&id).is_some_and(|slot| slot.is_rising()) {
            self.end_beside(now, id);
        }
        let Some(slot) = self.slots.get_mut(&id) else { return Want::Nothing };
        slot.keeps = None;
        if matches!(slot.it.state, State::Launching(_) | State::Online(_)) {
            slot.it.restarts = slot.it.restarts.saturating_add(1);
            slot.it.created_wall_ms = now.wall_ms;
            slot.recycle = Some(Recycle { cause: Cause::Asked, next: Next::Now });
            slot.forgive();
            self.resolve(id, |want| want == Want::Up, &Outcome::Superseded);
            self.persist = true;
        }
        self.want_up(now, id)
    }
}
