//! Making apps what a file says: the difference to what is there, and what follows from it.
//!
//! [`Core::compare`] says it, [`Core::apply`] does it, both from one decision. Invariants: what does not
//! differ is not touched; a refused command has changed nothing; only apps that came from the same file
//! are ever removed.

use std::collections::BTreeSet;

use crate::operation::{Plan, Want};
use crate::reload::Way;
use crate::start::{Restarting, used_twice};
use crate::{
    App, Apply, CommandError, Core, Desired, Difference, Effect, Instance, InstanceId, Now, Spec, StartApp,
    State, Ticket,
};

/// What is done to an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is new.
    Add,
    /// Nothing.
    Keep,
    /// It is as it should be, but down.
    Start,
    /// What differs is in force at once.
    Adjust,
    /// Instances come or go.
    Scale,
    /// New runs beside the old ones.
    Reload,
    /// New runs after the old ones.
    Restart,
    /// It is removed: its file has it no more.
    Delete,
}

/// What is done to one app, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppChange {
    /// The app.
    pub name: String,
    /// What is done.
    pub step: Step,
    /// How it differs.
    pub differences: Vec<Difference>,
    /// Instances afterwards.
    pub instances: u32,
}

/// How an app that is there stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// Any instance has a run or is about to.
    up: bool,
    /// Any instance is down that could be up.
    down: bool,
}

/// The decision for an app that is there.
fn step(old: &Spec, new: &Spec, differences: &[Difference], standing: Standing, start_now: bool) -> Step {
    let effect = differences.iter().map(|difference| difference.effect).max();
    match effect {
        // A server becomes a job, or the reverse.
        _ if old.schedule.is_some() != new.schedule.is_some() => Step::Restart,
        // The next run of a job takes what is new.
        Some(Effect::Run | Effect::Now) if new.schedule.is_some() => Step::Adjust,
        Some(Effect::Run) if standing.up && old.overlaps() && new.overlaps() => Step::Reload,
        Some(Effect::Run) if standing.up || start_now => Step::Restart,
        Some(Effect::Run) => Step::Adjust,
        Some(Effect::Count) => Step::Scale,
        _ if standing.down && start_now => Step::Start,
        Some(Effect::Now) => Step::Adjust,
        None => Step::Keep,
    }
}

impl Core {
    /// What [`crate::Command::Apply`] would do: an entry for each app that is asked for, then those that
    /// would be removed.
    ///
    /// # Errors
    /// As the command would be refused.
    pub fn compare(&self, apply: &Apply) -> Result<Vec<AppChange>, CommandError> {
        let mut changes = Vec::new();
        let mut taken = BTreeSet::new();
        for app in &apply.apps {
            app.spec.validate()?;
            if !taken.insert(app.spec.name.as_str()) {
                return Err(used_twice(&app.spec.name));
            }
            let change = self.change_of(app, apply);
            if change.step != Step::Keep
                && apply.since.is_none()
                && let Some(app) = self.names.get(&app.spec.name)
            {
                self.refuse_second_reload(*app)?;
            }
            changes.push(change);
        }
        self.check_dependencies(apply.apps.iter().map(|app| &app.spec))?;
        let gone: Vec<&App> = self.gone(apply, &taken).collect();
        let names: BTreeSet<&str> = gone.iter().map(|app| app.spec.name.as_str()).collect();
        let stays = self
            .apps
            .values()
            .map(|app| &*app.spec)
            .filter(|spec| !names.contains(spec.name.as_str()) && !taken.contains(spec.name.as_str()));
        for spec in stays.chain(apply.apps.iter().map(|app| &app.spec)) {
            if let Some(missing) = spec.depends_on.keys().find(|name| names.contains(name.as_str())) {
                let reason = format!("`{missing}` is about to be removed");
                return Err(CommandError::InvalidSpec {
                    name: spec.name.clone(),
                    field: "depends_on",
                    reason,
                });
            }
        }
        changes.extend(gone.into_iter().map(|app| AppChange {
            name: app.spec.name.clone(),
            step: Step::Delete,
            differences: Vec::new(),
            instances: 0,
        }));
        Ok(changes)
    }

    /// Apps that came from the file that is applied, and that it has no more.
    fn gone<'a>(&'a self, apply: &'a Apply, taken: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a App> {
        let of_file =
            |app: &&App| apply.prune.is_some() && app.spec.source.as_deref() == apply.prune.as_deref();
        self.apps().filter(of_file).filter(|app| !taken.contains(app.spec.name.as_str()))
    }

    fn change_of(&self, app: &StartApp, apply: &Apply) -> AppChange {
        let (name, instances) = (app.spec.name.clone(), app.spec.instances);
        let Some(old) = self.app_named(&name) else {
            return AppChange { name, step: Step::Add, differences: Vec::new(), instances };
        };
        if apply.since.is_some() {
            let step = if old.before.is_some() { Step::Reload } else { Step::Keep };
            return AppChange { name, step, differences: Vec::new(), instances };
        }
        let new = conform(&old.spec, app.spec.clone(), apply.update_env);
        let differences = old.spec.differences(&new);
        let instances_of = || old.instances.values().filter_map(|id| self.instance(*id));
        let standing = Standing { up: instances_of().any(is_up), down: instances_of().any(is_down) };
        let mut step = step(&old.spec, &new, &differences, standing, app.start_now);
        let present = instances_of().filter(|it| it.desired != Desired::Gone).count();
        if present != instances as usize && matches!(step, Step::Keep | Step::Adjust | Step::Start) {
            step = Step::Scale;
        }
        AppChange { name, step, differences, instances }
    }

    pub(crate) fn apply(&mut self, now: Now, ticket: Ticket, apply: Apply) -> Result<Plan, CommandError> {
        let changes = self.compare(&apply)?;
        let mut plan = Plan::new();
        for change in changes.iter().filter(|change| change.step == Step::Delete) {
            let Some(app) = self.names.get(&change.name).copied() else { continue };
            for id in self.instances_of(app) {
                plan.push((id, self.want_gone(id)));
            }
        }
        for (app, change) in apply.apps.into_iter().zip(&changes) {
            if apply.since.is_some() && change.step != Step::Reload {
                continue;
            }
            let Some(id) = self.names.get(&app.spec.name).copied() else {
                plan.extend(self.put_app(now, app, Restarting::No));
                continue;
            };
            let Some(old) = self.app(id).map(|app| app.spec.clone()) else { continue };
            let app = StartApp { spec: conform(&old, app.spec, apply.update_env), ..app };
            let job = app.spec.schedule.is_some();
            match change.step {
                Step::Reload | Step::Restart if !job => {
                    plan.extend(self.reload_app(
                        now,
                        id,
                        app,
                        Way { ticket, parallel: apply.parallel, since: apply.since },
                    ));
                }
                Step::Reload | Step::Restart => plan.extend(self.put_app(now, app, Restarting::No)),
                _ => plan.extend(self.settle(now, id, app)),
            }
        }
        Ok(self.with_dependencies(now, plan))
    }

    /// Gives an app its spec without touching what runs, starts what is down, adds and removes instances.
    fn settle(&mut self, now: Now, id: crate::AppId, app: StartApp) -> Plan {
        let count = app.spec.instances as usize;
        if self.app(id).is_some_and(|known| *known.spec != app.spec) {
            self.replace_spec(id, app.spec);
        }
        let staying = |id: &InstanceId| self.instance(*id).is_some_and(|it| it.desired != Desired::Gone);
        let present: Vec<InstanceId> = self.instances_of(id).into_iter().filter(staying).collect();
        let mut plan = Plan::new();
        for instance in present.iter().take(count) {
            if app.start_now && self.instance(*instance).is_some_and(is_down) {
                plan.push((*instance, self.want_begun(now, *instance)));
            }
        }
        for instance in present.iter().skip(count) {
            plan.push((*instance, self.want_gone(*instance)));
        }
        for _ in present.len()..count {
            let instance = self.add_instance(now, id);
            let want = if app.start_now { self.want_begun(now, instance) } else { Want::Nothing };
            plan.push((instance, want));
        }
        plan
    }
}

/// The spec to come for an app that is there: what it inherited stays, unless the caller's environment
/// was asked for.
fn conform(old: &Spec, mut new: Spec, update_env: bool) -> Spec {
    new.username.clone_from(&old.username);
    if !update_env {
        let mut sources = new.env_sources();
        let mut inherited = old.env_sources().inherited;
        // They follow from the app itself.
        for name in ["PWD", "PYTHONUNBUFFERED"] {
            match sources.inherited.remove(name) {
                Some(value) => drop(inherited.insert(name.to_owned(), value)),
                None => drop(inherited.remove(name)),
            }
        }
        sources.inherited = inherited;
        new.set_env_sources(sources);
    }
    new
}

/// Whether an instance has a run or is about to have one.
fn is_up(it: &Instance) -> bool {
    it.desired == Desired::Up && !matches!(it.state, State::Errored)
}

/// Whether an instance is down that could be up.
fn is_down(it: &Instance) -> bool {
    match it.desired {
        Desired::Up => matches!(it.state, State::Errored),
        Desired::Down => !it.is_finished(),
        Desired::Gone => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_steps() {
        let (up, down) = (Standing { up: true, down: false }, Standing { up: false, down: true });
        type Change = fn(&mut Spec);
        type Case<'a> = (&'a str, &'a [Change], &'a [Change], Standing, bool, Step);
        let same: Change = |_| {};
        let args: Change = |spec| spec.args = vec!["a".to_owned()];
        let count: Change = |spec| spec.instances = 2;
        let policy: Change = |spec| spec.restart.autorestart = !spec.restart.autorestart;
        let job: Change = |spec| spec.schedule = Some("* * * * *".to_owned());
        let overlapping: Change = |spec| spec.overlap = Some(true);
        let table: [Case<'_>; 16] = [
            ("same", &[], &[same], up, true, Step::Keep),
            ("same, but down", &[], &[same], down, true, Step::Start),
            ("down, and to stay so", &[], &[same], down, false, Step::Keep),
            ("arguments", &[], &[args], up, true, Step::Restart),
            ("arguments, overlapping", &[overlapping], &[overlapping, args], up, true, Step::Reload),
            ("only the new one overlaps", &[], &[overlapping, args], up, true, Step::Restart),
            ("arguments of one that is down", &[], &[args], down, true, Step::Restart),
            ("arguments of one that stays down", &[], &[args], down, false, Step::Adjust),
            ("number", &[], &[count], up, true, Step::Scale),
            ("number and arguments", &[], &[count, args], up, true, Step::Restart),
            ("policy", &[], &[policy], up, true, Step::Adjust),
            ("policy of one that is down", &[], &[policy], down, true, Step::Start),
            ("policy and number", &[], &[policy, count], up, true, Step::Scale),
            ("a server becomes a job", &[], &[job], up, true, Step::Restart),
            ("arguments of a job", &[job], &[job, args], up, true, Step::Adjust),
            ("a job becomes a server", &[job], &[same], down, true, Step::Restart),
        ];
        for (case, before, after, standing, start_now, expected) in table {
            let make = |changes: &[Change]| {
                let mut spec = Spec::new("web", "/srv/web", "/srv");
                changes.iter().for_each(|change| change(&mut spec));
                spec
            };
            let (old, new) = (make(before), make(after));
            let differences = old.differences(&new);
            assert_eq!(step(&old, &new, &differences, standing, start_now), expected, "{case}");
        }
    }

    #[test]
    fn the_shell_that_applies_is_no_difference() {
        use crate::spec::EnvSources;
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let make = |inherited: &[(&str, &str)], own: &[(&str, &str)]| {
            let mut spec = Spec::new("web", "/srv/web", "/srv");
            spec.set_env_sources(EnvSources {
                inherited: map(inherited),
                own: map(own),
                ..EnvSources::default()
            });
            spec
        };
        let old = make(&[("SSH_TTY", "1"), ("PORT", "1")], &[("PORT", "2"), ("GONE", "1")]);
        let asked = make(&[("SSH_TTY", "9")], &[("NEW", "1")]);
        let new = conform(&old, asked.clone(), false);
        let keys = |new: &Spec| old.differences(new).into_iter().map(|it| it.key).collect::<Vec<_>>();
        assert_eq!(keys(&new), ["env.GONE", "env.NEW", "env.PORT"]);
        assert_eq!(new.env["PORT"], "1", "what it covered shows again");
        assert_eq!(keys(&conform(&old, asked, true)), ["env.GONE", "env.NEW", "env.PORT", "env.SSH_TTY"]);
    }
}
