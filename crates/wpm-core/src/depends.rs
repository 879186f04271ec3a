//! Apps that depend on others: they start after them and stop before them.
//!
//! An instance that a command wants up waits until what its app depends on has come as far as the spec
//! says; one that a command wants down waits until nothing that depends on it is left. What ends by
//! itself and starts again waits for nobody. Invariant: an app waits only along edges that lie on no
//! circle, so that no two apps can wait for each other, whatever a state file holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::deadlines::Timer;
use crate::lifecycle::PATIENT_KILLS;
use crate::operation::{Plan, Want};
use crate::slot::Next;
use crate::{
    App, AppId, Cause, CommandError, Condition, Core, Desired, Exit, InstanceId, Now, Outcome, RunInfo, Spec,
    State,
};

/// How an app stands to a condition on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Met,
    NotYet,
    /// Nothing is under way that could meet it.
    InVain,
}

impl Core {
    /// The first app that an instance has to wait for, and whether it waits in vain.
    pub(crate) fn waits_for(&self, now: Now, id: InstanceId) -> Option<(String, bool)> {
        let slot = self.slots.get(&id).filter(|slot| slot.awaits)?;
        let spec = self.spec_of(id)?;
        spec.depends_on.iter().find_map(|(name, condition)| {
            let app = self.app_named(name).filter(|app| app.id != slot.it.app)?;
            if self.leads_to(app, &spec.name) {
                return None;
            }
            match self.standing(now, app, *condition) {
                Standing::Met => None,
                standing => Some((name.clone(), standing == Standing::InVain)),
            }
        })
    }

    /// Whether an instance that is to be stopped must stay for others that are being stopped, too.
    pub(crate) fn is_needed(&self, id: InstanceId) -> bool {
        if self.linked.is_empty() {
            return false;
        }
        let Some(name) = self.spec_of(id).map(|spec| spec.name.clone()) else { return false };
        let Some(own) = self.app_named(&name) else { return false };
        // What cannot be killed holds nobody up.
        let leaving = |id: &InstanceId| {
            self.slots.get(id).is_some_and(|slot| {
                slot.it.desired != Desired::Up && slot.it.run().is_some() && slot.kills < PATIENT_KILLS
            })
        };
        self.linked_apps().any(|app| {
            app.id != own.id
                && app.spec.depends_on.contains_key(&name)
                && !self.leads_to(own, &app.spec.name)
                && app.instances.values().any(leaving)
        })
    }

    /// Whether an app depends on another, directly or through others.
    fn leads_to(&self, app: &App, name: &str) -> bool {
        let (mut seen, mut left) = (BTreeSet::new(), vec![app]);
        while let Some(app) = left.pop() {
            if !seen.insert(app.id) {
                continue;
            }
            if app.spec.depends_on.contains_key(name) {
                return true;
            }
            left.extend(app.spec.depends_on.keys().filter_map(|next| self.app_named(next)));
        }
        false
    }

    fn standing(&self, now: Now, app: &App, condition: Condition) -> Standing {
        let all: Vec<Standing> = app
            .instances
            .values()
            .filter_map(|id| self.slots.get(id))
            .map(|slot| {
                let it = &slot.it;
                if it.is_finished() {
                    // It has done what it was for.
                    return if it.last_exit == Some(Exit::Code(0)) {
                        Standing::Met
                    } else {
                        Standing::InVain
                    };
                }
                let met = match (&it.state, condition) {
                    (State::Launching(run), Condition::Started) => run.launched.is_some(),
                    (State::Online(_), Condition::Started) => true,
                    (State::Online(run), Condition::Ready | Condition::Healthy) => {
                        let checked = run.launched.unwrap_or(now.mono).plus(app.spec.start_check);
                        (slot.ready || checked <= now.mono)
                            && (condition == Condition::Ready || app.spec.health.is_none() || slot.healthy)
                    }
                    _ => false,
                };
                let in_vain = it.desired != Desired::Up
                    || match &it.state {
                        // It will be tried again, but a command need not wait for that.
                        State::Errored | State::Backoff { .. } => true,
                        State::Stopping { .. } => slot.next != Next::Now || slot.kills >= PATIENT_KILLS,
                        State::Stopped => self.waits_for(now, it.id).is_some_and(|(_, in_vain)| in_vain),
                        State::Launching(_) | State::Online(_) => false,
                    };
                match (met, in_vain) {
                    (true, _) => Standing::Met,
                    (false, true) => Standing::InVain,
                    (false, false) => Standing::NotYet,
                }
            })
            .collect();
        match () {
            () if all.contains(&Standing::InVain) => Standing::InVain,
            () if all.contains(&Standing::NotYet) => Standing::NotYet,
            () => Standing::Met,
        }
    }

    /// Keeps an instance down until what it depends on is there.
    pub(crate) fn wait_for(&mut self, now: Now, id: InstanceId, app: &str, in_vain: bool) {
        self.time_start_checks(now, app);
        let cause = Cause::Waits { app: app.to_owned() };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let news = std::mem::replace(&mut slot.waits_in_vain, in_vain) != in_vain;
        if slot.it.cause != cause {
            slot.it.cause = cause.clone();
            self.note(id, crate::Note::RestartPlanned { delay_ms: 0, cause });
        }
        if news {
            // Others may wait for this one, and now wait in vain, too.
            self.has_moved(id);
        }
        if in_vain {
            self.resolve(id, Want::is_up, &Outcome::Waits { app: app.to_owned() });
        }
    }

    /// An instance has moved: those that its app depends on, and that depend on it, may move, too.
    pub(crate) fn has_moved(&mut self, id: InstanceId) {
        let Some(app) = self.slots.get(&id).map(|slot| slot.it.app) else { return };
        if !self.linked.is_empty() {
            self.moved.insert(app);
        }
    }

    /// Keeps account of whether an app depends on others: most homes have none that does, and pay nothing.
    pub(crate) fn link(&mut self, id: AppId) {
        if self.app(id).is_some_and(|app| !app.spec.depends_on.is_empty()) {
            self.linked.insert(id);
        } else {
            self.linked.remove(&id);
        }
        // A name or a dependency may have come or gone.
        self.moved.insert(id);
        self.moved.extend(&self.linked);
    }

    fn linked_apps(&self) -> impl Iterator<Item = &App> {
        self.linked.iter().filter_map(|id| self.apps.get(id))
    }

    /// Has the ends of an app's start checks noticed, which somebody waits for.
    fn time_start_checks(&mut self, now: Now, app: &str) {
        let Some(app) = self.app_named(app) else { return };
        let check = app.spec.start_check;
        for id in app.instances.values().copied().collect::<Vec<_>>() {
            if let Some(State::Online(RunInfo { launched: Some(at), .. })) =
                self.slots.get(&id).map(|slot| &slot.it.state)
                && at.plus(check) > now.mono
            {
                self.deadlines.arm(id, Timer::Depended, at.plus(check));
            }
        }
    }

    /// Drives the neighbours of all that have moved.
    pub(crate) fn follow_dependencies(&mut self, now: Now) {
        while let Some(moved) = self.moved.pop_first() {
            for id in self.neighbours(moved) {
                let waits = self.slots.get(&id).is_some_and(|slot| match (&slot.it.state, slot.it.desired) {
                    (State::Stopped, Desired::Up) => slot.awaits,
                    (State::Launching(_) | State::Online(_), Desired::Down | Desired::Gone) => true,
                    _ => false,
                });
                if waits {
                    self.drive(now, id);
                }
            }
        }
    }

    /// Instances of an app and of those that it depends on and that depend on it. It may be gone: then all.
    fn neighbours(&self, moved: AppId) -> Vec<InstanceId> {
        let own = self.app(moved);
        let concerned = |app: &&App| match own {
            Some(own) => {
                app.id == own.id
                    || app.spec.depends_on.contains_key(&own.spec.name)
                    || own.spec.depends_on.contains_key(&app.spec.name)
            }
            None => true,
        };
        self.apps().filter(concerned).flat_map(|app| app.instances.values().copied()).collect()
    }

    /// Wants up, too, what the apps of a plan depend on and what is down.
    pub(crate) fn with_dependencies(&mut self, now: Now, mut plan: Plan) -> Plan {
        let mut at = 0;
        while let Some((id, want)) = plan.get(at).copied() {
            at += 1;
            let Some(spec) = self.spec_of(id).filter(|_| want == Want::Up) else { continue };
            for name in spec.depends_on.keys() {
                let Some(app) = self.names.get(name).copied() else { continue };
                for id in self.instances_of(app) {
                    let resting = self.slots.get(&id).is_some_and(|slot| {
                        slot.it.desired == Desired::Down && !slot.it.is_finished()
                            || slot.it.state == State::Errored
                    });
                    if resting && !plan.iter().any(|(planned, _)| *planned == id) {
                        plan.push((id, self.want_up(now, id)));
                    }
                }
            }
        }
        plan
    }

    /// Whether what these apps depend on is there, and none of them waits for itself.
    ///
    /// # Errors
    /// [`CommandError::InvalidSpec`] for the first that does not hold.
    pub(crate) fn check_dependencies<'a>(
        &self,
        new: impl Iterator<Item = &'a Spec>,
    ) -> Result<(), CommandError> {
        let new: Vec<&Spec> = new.collect();
        if new.iter().all(|spec| spec.depends_on.is_empty()) {
            return Ok(());
        }
        let mut known: BTreeMap<&str, &Spec> =
            self.apps.values().map(|app| (app.spec.name.as_str(), &*app.spec)).collect();
        known.extend(new.iter().map(|spec| (spec.name.as_str(), *spec)));
        let wrong = |spec: &Spec, reason: String| {
            Err(CommandError::InvalidSpec { name: spec.name.clone(), field: "depends_on", reason })
        };
        for spec in new {
            if let Some(missing) = spec.depends_on.keys().find(|name| !known.contains_key(name.as_str())) {
                return wrong(spec, format!("there is no app `{missing}`"));
            }
            if let Some(circle) = circle(spec, &known) {
                return wrong(spec, format!("these wait for each other: {}", circle.join(" → ")));
            }
        }
        Ok(())
    }
}

/// The way from an app back to itself, if there is one.
fn circle<'a>(from: &'a Spec, known: &BTreeMap<&str, &'a Spec>) -> Option<Vec<&'a str>> {
    let (mut seen, mut ways) = (BTreeSet::new(), vec![vec![from.name.as_str()]]);
    while let Some(way) = ways.pop() {
        let Some(spec) = way.last().and_then(|name| known.get(name)) else { continue };
        for next in spec.depends_on.keys() {
            let longer = || way.iter().copied().chain([next.as_str()]).collect();
            if *next == from.name {
                return Some(longer());
            }
            if seen.insert(next.as_str()) {
                ways.push(longer());
            }
        }
    }
    None
}
