//! Putting back what an earlier daemon knew.
//!
//! The daemon has read the state file and looked for live runs; this decides what follows for each
//! instance. Invariant: ids, indices and restart counters stay what they were, unless the file
//! contradicts itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::slot::{Next, Recycle};
use crate::{
    Action, AppId, Cause, Core, Desired, Exit, InstanceId, Now, RestoredApp, RestoredInstance, RestoredRun,
    RunId, RunInfo, State,
};

impl Core {
    pub(crate) fn put_back(&mut self, now: Now, apps: Vec<RestoredApp>) {
        let mut all = Vec::new();
        for RestoredApp { mut spec, instances, before } in apps {
            if instances.is_empty() {
                continue;
            }
            if self.names.contains_key(&spec.name) {
                spec.name = self.free_name(&spec.name, &BTreeSet::new());
            }
            let app = self.add_app(spec);
            if let Some(app) = self.apps.get_mut(&app) {
                app.before = before.map(Arc::new);
            }
            all.extend(instances.into_iter().map(|instance| (app, instance)));
        }
        // Ids that the file names come first, so that none of them is given away.
        let highest = all.iter().map(|(_, instance)| instance.id.0).max();
        self.next_instance = self.next_instance.max(InstanceId(highest.map_or(0, |id| id.saturating_add(1))));
        let ids: Vec<InstanceId> =
            all.into_iter().map(|(app, instance)| self.place(now, app, &instance)).collect();
        for id in ids {
            self.drive(now, id);
        }
    }

    fn place(&mut self, now: Now, app: AppId, old: &RestoredInstance) -> InstanceId {
        let fresh = self.add_instance(now, app);
        let Some(spec) = self.newest_spec(fresh) else { return fresh };
        let Some(mut slot) = self.slots.remove(&fresh) else { return fresh };
        let id = if self.slots.contains_key(&old.id) { fresh } else { old.id };
        if let Some(app) = self.apps.get_mut(&app) {
            app.instances.remove(&slot.it.index);
            if !app.instances.contains_key(&old.index) {
                slot.it.index = old.index;
            }
            app.instances.insert(slot.it.index, id);
        }
        if id != fresh {
            self.next_instance = fresh;
        }
        slot.it.id = id;
        slot.it.desired = old.desired;
        slot.it.restarts = old.restarts;
        slot.it.last_exit = old.last_exit;
        slot.it.created_wall_ms = old.created_wall_ms;
        slot.next = Next::Now;
        let last = old.last_exit.unwrap_or(Exit::Unknown);
        let given_up = || old.cause.clone().map_or(Cause::Exited(last), Cause::Told);
        let mut state = State::Stopped;
        // A run can only belong to one instance. Of several, the newest that came up serves, else the oldest
        // of the last two that got as far as exec.
        let mut runs: Vec<&RestoredRun> = old.run.iter().chain(&old.others).collect();
        runs.retain(|run| !self.runs.contains_key(&run.run));
        runs.sort_by_key(|run| run.run);
        runs.dedup_by_key(|run| run.run);
        let (newest, before) = (runs.pop(), runs.pop());
        let rises =
            newest.is_some_and(|run| !run.came_up) && before.is_some_and(|run| run.launched.is_some());
        let (own, beside) = if rises { (before, newest) } else { (newest, before) };
        match (own, old.desired) {
            (Some(run), _) => {
                // What was asked of it goes on: it was not replaced yet.
                if old.renews == Some(run.run) {
                    slot.recycle = Some(Recycle { cause: Cause::Asked, next: Next::Now });
                }
                let info = self.take_back(id, run);
                slot.job = spec.schedule.is_some();
                slot.ready = run.came_up;
                let waits = spec.has_readiness_rule() && !run.came_up;
                state = if info.launched.is_some() && !waits {
                    State::Online(info)
                } else {
                    State::Launching(info)
                };
                if info.launched.is_some() && waits {
                    self.push(Action::AwaitReady { run: info.id });
                } else if info.launched.is_some() && spec.health.is_some() {
                    self.push(Action::WatchHealth { run: info.id });
                }
            }
            (None, Desired::Up) if old.errored => {
                slot.it.cause = given_up();
                state = State::Errored;
            }
            // Whoever restores has counted the end, if there was one.
            (None, Desired::Up) => slot.it.cause = Cause::Exited(last),
            (None, Desired::Down) if old.errored => {
                slot.it.cause = given_up();
                state = State::Errored;
                slot.it.desired = Desired::Up;
            }
            (None, Desired::Down) if old.finished && old.last_exit.is_none() => {
                slot.it.cause = Cause::Scheduled;
            }
            (None, Desired::Down) if old.finished => slot.it.cause = Cause::Finished(last),
            (None, Desired::Down | Desired::Gone) => {}
        }
        self.slots.insert(id, slot);
        self.set_state(now, id, state);
        if let Some(run) = beside {
            let info = self.take_back(id, run);
            self.put_beside_back(now, id, info, rises);
        }
        id
    }

    fn take_back(&mut self, id: InstanceId, old: &RestoredRun) -> RunInfo {
        let RestoredRun { run, pid, start_time, launched, launched_wall_ms, .. } = *old;
        self.next_run = self.next_run.max(RunId(run.0.saturating_add(1)));
        self.runs.insert(run, id);
        RunInfo { id: run, pid, start_time, launched, launched_wall_ms }
    }
}
