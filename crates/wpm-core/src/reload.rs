//! Reloads: an app's instances get new runs one after the other, and the old spec comes back when a
//! new run does not come up.
//!
//! It decides whose turn it is; how a run comes up beside another is in `beside`, the way back in `back`. Each instance has a
//! waiter of the reload, which every command that decides otherwise resolves: so a reload ends however
//! others interfere. Invariants: at most one reload of an app is under way; the command is answered
//! when its reloads are through; a reload that failed leaves no instance without a run that had one.

mod back;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::operation::{Plan, Waiter, Want};
use crate::start::{Restarting, used_twice};
use crate::{
    AppId, CommandError, Core, Desired, InstanceId, InstanceOutcome, Now, Outcome, RunId, Selector, Spec,
    SpecChange, StartApp, State, Ticket,
};

/// What a reload has to be told.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The step of an instance has ended like this.
    Ended(Ticket, AppId, InstanceOutcome),
    /// The next step may be possible now.
    Next(AppId),
}

/// How a command has apps reloaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// The command.
    pub(crate) ticket: Ticket,
    /// How many instances of an app at once; 0 = one.
    pub(crate) parallel: u32,
    /// Runs of this number or a later one are new already.
    pub(crate) since: Option<RunId>,
}

/// What is asked of one app.
#[derive(Debug)]
struct Order {
    way: Way,
    members: Vec<InstanceId>,
    /// Whether the number of instances is to become the spec's.
    resize: bool,
}

/// One reload of one app.
#[derive(Debug)]
pub(crate) struct Reload {
    /// The command.
    pub(crate) ticket: Ticket,
    /// What to go back to.
    old: Arc<Spec>,
    /// What is tried.
    new: Arc<Spec>,
    parallel: usize,
    /// Whether the number of instances changes when all is well.
    resize: bool,
    /// Whose turn has not come.
    waiting: VecDeque<InstanceId>,
    /// Whose turn it is, and whether that leaves a gap in which nobody serves.
    active: BTreeMap<InstanceId, bool>,
    /// Who runs with the new spec.
    done: Vec<InstanceId>,
    /// Whether it failed, and the way is back.
    back: bool,
    /// Who was in the middle of a step when it failed.
    late: BTreeSet<InstanceId>,
    /// Whose own failure was reported: nothing may hide it.
    failed: BTreeSet<InstanceId>,
}

impl Core {
    pub(crate) fn reload(
        &mut self,
        now: Now,
        targets: &[Selector],
        change: &SpecChange,
        force: bool,
        way: Way,
    ) -> Result<Plan, CommandError> {
        let ids = self.some_of(targets)?;
        let mut specs: BTreeMap<AppId, Spec> = self.changed_specs(&ids, change)?.into_iter().collect();
        let mut of_apps: BTreeMap<AppId, Vec<InstanceId>> = BTreeMap::new();
        for id in &ids {
            if let Some(it) = self.instance(*id) {
                of_apps.entry(it.app).or_default().push(*id);
            }
        }
        // One that goes on with what an earlier connection asked for takes that over.
        if !force && way.since.is_none() {
            of_apps.keys().try_for_each(|app| self.refuse_second_reload(*app))?;
        }
        let mut jobs = BTreeSet::new();
        for (app, members) in of_apps {
            if self.app(app).is_some_and(|app| app.spec.schedule.is_some()) {
                // It ends by itself; its next run takes what is new.
                jobs.extend(members);
                if let Some(spec) = specs.remove(&app) {
                    self.replace_spec(app, spec);
                }
                continue;
            }
            let order = Order { way, members, resize: false };
            self.begin_reload(now, app, specs.remove(&app), order);
        }
        let want = |id| (id, if jobs.contains(&id) { Want::Nothing } else { self.want_turn(id, way) });
        Ok(ids.into_iter().map(want).collect())
    }

    /// Whether an instance got its new run from an earlier daemon.
    fn has_had_turn(&self, id: InstanceId, way: Way) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        let beside = slot.beside.filter(|_| slot.is_rising()).map(|beside| beside.run.id);
        let newest = beside.or_else(|| slot.it.run().map(|run| run.id));
        newest.zip(way.since).is_some_and(|(run, since)| run >= since)
    }

    fn want_turn(&self, id: InstanceId, way: Way) -> Want {
        match self.slots.get(&id) {
            Some(slot) if self.has_had_turn(id, way) => {
                if slot.is_rising() {
                    Want::Renewed
                } else {
                    Want::Restarted
                }
            }
            _ => Want::Queued,
        }
    }

    pub(crate) fn reload_with(
        &mut self,
        now: Now,
        apps: Vec<StartApp>,
        way: Way,
    ) -> Result<Plan, CommandError> {
        let mut taken = BTreeSet::new();
        for StartApp { spec, .. } in &apps {
            spec.validate()?;
            if !taken.insert(spec.name.as_str()) {
                return Err(used_twice(&spec.name));
            }
            if let Some(app) = self.names.get(&spec.name).filter(|_| way.since.is_none()) {
                self.refuse_second_reload(*app)?;
            }
        }
        self.check_dependencies(apps.iter().map(|app| &app.spec))?;
        let mut plan = Plan::new();
        for app in apps {
            let Some(id) = self.names.get(&app.spec.name).copied() else {
                plan.extend(self.put_app(now, app, Restarting::No));
                continue;
            };
            plan.extend(self.reload_app(now, id, app, way));
        }
        Ok(plan)
    }

    /// Begins to give a known app a new spec and, with it, new runs.
    pub(crate) fn reload_app(&mut self, now: Now, id: AppId, app: StartApp, way: Way) -> Plan {
        let wanted =
            |id: &InstanceId| app.start_now || self.instance(*id).is_some_and(|it| it.desired == Desired::Up);
        let all = self.instances_of(id);
        let kept = all.iter().take(app.spec.instances as usize).copied().filter(wanted).collect::<Vec<_>>();
        if kept.is_empty() || app.spec.schedule.is_some() {
            return self.put_app(now, app, Restarting::No);
        }
        let plan = kept.iter().map(|id| (*id, self.want_turn(*id, way))).collect();
        let order = Order { way, members: kept, resize: true };
        self.begin_reload(now, id, Some(app.spec), order);
        plan
    }

    pub(crate) fn refuse_second_reload(&self, app: AppId) -> Result<(), CommandError> {
        match self.apps.get(&app).filter(|_| self.reloads.contains_key(&app)) {
            Some(app) => Err(CommandError::ReloadInProgress { name: app.spec.name.clone() }),
            None => Ok(()),
        }
    }

    fn begin_reload(&mut self, now: Now, id: AppId, spec: Option<Spec>, order: Order) {
        let Order { way, members, resize } = order;
        let Way { ticket, parallel, .. } = way;
        let Some(app) = self.apps.get(&id) else { return };
        let before = app.before.clone().filter(|_| way.since.is_some()).unwrap_or_else(|| app.spec.clone());
        // One that is given up leaves what it did; the way back leads to where it began.
        let (old, done) = self.give_up_reload(now, id).unwrap_or_else(|| (before.clone(), Vec::new()));
        if let Some(spec) = spec {
            self.replace_spec(id, spec);
        }
        let Some(new) = self.apps.get(&id).map(|app| app.spec.clone()) else { return };
        for instance in self.instances_of(id) {
            let has_new = self.has_had_turn(instance, way);
            if let Some(slot) = self.slots.get_mut(&instance)
                && slot.it.run().is_some()
                && (slot.is_rising() || !has_new)
            {
                slot.keeps.get_or_insert_with(|| before.clone());
            }
        }
        // One whose new run is still coming up holds the others back.
        let (begun, waiting): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|id| self.has_had_turn(*id, way));
        let reload = Reload {
            ticket,
            old: old.clone(),
            new,
            parallel: parallel.max(1) as usize,
            resize,
            waiting: waiting.into(),
            active: begun.into_iter().map(|id| (id, false)).collect(),
            done,
            back: false,
            late: BTreeSet::new(),
            failed: BTreeSet::new(),
        };
        self.reloads.insert(id, reload);
        if let Some(app) = self.apps.get_mut(&id) {
            app.before = Some(old);
        }
        // With the request, so that the next daemon knows which runs are this reload's.
        self.persist = true;
        self.turns.push_back(Turn::Next(id));
    }

    /// Another reload takes over: tells the command of the present one so.
    fn give_up_reload(&mut self, now: Now, app: AppId) -> Option<(Arc<Spec>, Vec<InstanceId>)> {
        let reload = self.reloads.remove(&app)?;
        let mut done = reload.done;
        for id in reload.waiting.iter().chain(reload.active.keys()) {
            self.resolve(*id, Want::is_turn, &Outcome::Superseded);
        }
        for id in reload.active.keys() {
            if self.slots.get(id).is_some_and(|slot| slot.is_rising()) {
                self.end_beside(now, *id);
            } else {
                done.push(*id);
            }
        }
        self.let_reply(reload.ticket);
        Some((reload.old, done))
    }

    /// An instance has no second run any more: a step that waited for that can begin.
    pub(crate) fn may_go_on(&mut self, id: InstanceId) {
        if let Some(app) = self.instance(id).map(|it| it.app).filter(|app| self.reloads.contains_key(app)) {
            self.turns.push_back(Turn::Next(app));
        }
    }

    /// Goes on with every reload that something happened to.
    pub(crate) fn take_turns(&mut self, now: Now) {
        while let Some(turn) = self.turns.pop_front() {
            match turn {
                Turn::Ended(ticket, app, outcome) => self.step_ended(now, ticket, app, outcome),
                Turn::Next(app) => self.go_on(now, app),
            }
        }
    }

    fn go_on(&mut self, now: Now, app: AppId) {
        loop {
            let Some(reload) = self.reloads.get_mut(&app) else { return };
            if reload.active.len() >= reload.parallel {
                return;
            }
            // One with an old run that is still ending waits for that.
            let free = |id: &InstanceId| self.slots.get(id).is_none_or(|slot| slot.beside.is_none());
            let Some(id) = reload.waiting.iter().position(free).and_then(|at| reload.waiting.remove(at))
            else {
                break;
            };
            // Another command may have decided otherwise in the same breath.
            if self.slots.get(&id).is_some_and(|slot| slot.waits(Want::Queued)) {
                self.begin_step(now, app, id);
            }
        }
        if self.reloads.get(&app).is_some_and(|reload| reload.waiting.is_empty() && reload.active.is_empty())
        {
            self.end_reload(now, app);
        }
    }

    fn begin_step(&mut self, now: Now, app: AppId, id: InstanceId) {
        let Some(overlaps) = self.newest_spec(id).map(|spec| spec.overlaps()) else { return };
        let before = self.spec_of(id).is_some_and(|spec| spec.overlaps());
        let Some((reload, slot)) = self.reloads.get_mut(&app).zip(self.slots.get_mut(&id)) else { return };
        let ticket = reload.ticket;
        let online = matches!(slot.it.state, State::Online(_)) && slot.it.desired == Desired::Up;
        if online && overlaps && before {
            reload.active.insert(id, false);
            slot.turn(Want::Queued, Want::Renewed);
            return self.begin_rise(now, id);
        }
        reload.active.insert(id, online);
        let back = reload.back;
        slot.waiters.retain(|waiter| waiter.ticket != ticket);
        slot.keeps = None;
        // On the way back one that is down only needs to be started.
        let _ = if back && !online { self.want_up(now, id) } else { self.want_restarted(now, id) };
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.waiters.push(Waiter { ticket, want: Want::Restarted });
        }
        self.drive(now, id);
    }

    fn step_ended(&mut self, now: Now, ticket: Ticket, app: AppId, mut ended: InstanceOutcome) {
        let Some(reload) = self.reloads.get_mut(&app).filter(|reload| reload.ticket == ticket) else {
            return self.report(ticket, ended);
        };
        let id = ended.instance;
        let gap = reload.active.remove(&id).unwrap_or(false);
        reload.waiting.retain(|waiting| *waiting != id);
        let late = reload.late.remove(&id);
        let failed_before = reload.failed.contains(&id);
        if let Outcome::Up { pid } = ended.outcome
            && gap
        {
            ended.outcome = Outcome::Restarted { pid };
        }
        let changed = *reload.old != *reload.new;
        match (&ended.outcome, reload.back) {
            (Outcome::Up { .. } | Outcome::Restarted { .. } | Outcome::Finished { .. }, false) => {
                reload.done.push(id);
                self.report(ticket, ended);
            }
            (Outcome::Up { .. } | Outcome::Restarted { .. }, true) if late && changed => {
                self.queue_back(app, id);
            }
            (Outcome::Up { .. } | Outcome::Restarted { .. }, true) if !late => {
                ended.outcome = Outcome::RolledBack;
                if !failed_before {
                    self.report(ticket, ended);
                }
            }
            (
                Outcome::Died { .. }
                | Outcome::SpawnFailed { .. }
                | Outcome::NotReady { .. }
                | Outcome::StillAlive { .. },
                back,
            ) if !back || late => {
                reload.failed.insert(id);
                self.report(ticket, ended);
                if back {
                    self.start_again(app, id);
                } else {
                    self.fall_back(now, app, id);
                }
            }
            _ if failed_before => {}
            _ => self.report(ticket, ended),
        }
        self.go_on(now, app);
    }

    fn forget_kept(&mut self, app: AppId) {
        for id in self.instances_of(app) {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.keeps = None;
            }
        }
    }

    fn end_reload(&mut self, now: Now, app: AppId) {
        let Some(reload) = self.reloads.remove(&app) else { return };
        if let Some(app) = self.apps.get_mut(&app) {
            app.before = None;
            self.persist = true;
        }
        self.forget_kept(app);
        if reload.resize && !reload.back && !self.quitting {
            self.resize(now, app, reload.ticket);
        }
        self.let_reply(reload.ticket);
    }

    /// Gives an app as many instances as its spec says.
    fn resize(&mut self, now: Now, app: AppId, ticket: Ticket) {
        let Some(wanted) = self.app(app).map(|app| app.spec.instances as usize) else { return };
        let staying = |id: &InstanceId| self.instance(*id).is_some_and(|it| it.desired != Desired::Gone);
        let present: Vec<InstanceId> = self.instances_of(app).into_iter().filter(staying).collect();
        // Stopped meanwhile: what is added then is only put in the list.
        let up = present.iter().any(|id| self.instance(*id).is_some_and(|it| it.desired == Desired::Up));
        for id in present.iter().skip(wanted) {
            let want = self.want_gone(*id);
            self.join(ticket, *id, want);
            self.drive(now, *id);
        }
        for _ in present.len()..wanted {
            let id = self.add_instance(now, app);
            let want = if up { self.want_begun(now, id) } else { Want::Nothing };
            self.join(ticket, id, want);
            self.drive(now, id);
        }
    }
}
