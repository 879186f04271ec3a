//! When the cron rules of apps fire next. Only keeps times; what a firing means is for others: a restart or
//! a run of a job is the core's, a rotation the shims'.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron as Rule;
use jiff::Zoned;
use tokio::time::Instant;
use wpm_core::{AppId, Core, InstanceId, Spec};
use wpm_proto::env;

/// The rule of an app that does not want the one of its home.
pub(crate) const NEVER: &str = "0";

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A restart, or a run of a job.
    Run,
    /// A rotation of log files.
    Rotation,
}

/// What a rule that has fired asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Due {
    /// A restart.
    Restart,
    /// A run of a job.
    Job,
    /// A rotation of log files.
    Rotation,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Cron {
    /// By app and purpose: the spec that the rule was read from, and when it fires next.
    rules: BTreeMap<(AppId, What), Entry>,
    instances: BTreeMap<AppId, Vec<InstanceId>>,
    /// Rule of rotation of apps that have none.
    rotation: Option<String>,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<Spec>,
    rule: Rule,
    at: Option<Zoned>,
}

/// Reads a rule in pm2's dialect (five or six fields).
pub(crate) fn parse(rule: &str) -> Result<Rule, String> {
    Rule::from_str(rule).map_err(|e| e.to_string())
}

impl Cron {
    /// No apps yet, and this rule of rotation for those that have none.
    pub(crate) fn with_rotation(rule: Option<String>) -> Self {
        let rotation = rule.filter(|rule| *rule != NEVER && !rule.is_empty()).filter(|rule| {
            let read = parse(rule);
            if let Err(why) = &read {
                tracing::warn!("{}={rule} is no cron rule and is left out: {why}", env::LOG_ROTATE_INTERVAL);
            }
            read.is_ok()
        });
        Self { rotation, ..Self::default() }
    }

    /// Follows the apps: reads new rules, forgets old ones.
    pub(crate) fn follow(&mut self, core: &Core) {
        let rotation = self.rotation.clone();
        let rules_of = |spec| rules_of(spec, rotation.as_deref());
        if self.rules.is_empty() && core.apps().all(|app| rules_of(&app.spec).next().is_none()) {
            return;
        }
        self.rules.retain(|(id, _), e| core.app(*id).is_some_and(|app| Arc::ptr_eq(&app.spec, &e.spec)));
        for app in core.apps() {
            for (what, text) in rules_of(&app.spec) {
                if !self.rules.contains_key(&(app.id, what))
                    && let Ok(rule) = parse(text)
                {
                    let at = rule.find_next_occurrence(&Zoned::now(), false).ok();
                    self.rules.insert((app.id, what), Entry { spec: Arc::clone(&app.spec), rule, at });
                }
            }
        }
        self.instances = core
            .apps()
            .filter(|app| rules_of(&app.spec).next().is_some())
            .map(|app| (app.id, app.instances.values().copied().collect()))
            .collect();
    }

    /// When the next rule fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        let at = self.rules.values().filter_map(|e| e.at.as_ref()).min()?;
        let wait = Zoned::now().duration_until(at);
        Some(Instant::now() + Duration::try_from(wait).unwrap_or(Duration::ZERO))
    }

    /// When an app is restarted or run next, in milliseconds since 1970.
    pub(crate) fn next_of(&self, app: AppId) -> Option<u64> {
        let at = self.rules.get(&(app, What::Run))?.at.as_ref()?;
        u64::try_from(at.timestamp().as_millisecond()).ok()
    }

    /// What the rules that have fired ask for; each fires once, however late.
    pub(crate) fn due(&mut self) -> Vec<(Due, InstanceId)> {
        let now = Zoned::now();
        let mut due = Vec::new();
        for ((id, what), entry) in &mut self.rules {
            if entry.at.as_ref().is_some_and(|at| *at <= now) {
                entry.at = entry.rule.find_next_occurrence(&now, false).ok();
                let asked = match what {
                    What::Rotation => Due::Rotation,
                    What::Run if entry.spec.schedule.is_some() => Due::Job,
                    What::Run => Due::Restart,
                };
                due.extend(self.instances.get(id).into_iter().flatten().map(|id| (asked, *id)));
            }
        }
        due
    }
}

/// The rules of an app, `rotation` being that of apps that have none of their own.
fn rules_of<'a>(spec: &'a Spec, rotation: Option<&'a str>) -> impl Iterator<Item = (What, &'a str)> {
    let run = spec.schedule.as_deref().or(spec.cron_restart.as_deref());
    let rotation = spec.log.rotate_interval.as_deref().or(rotation).filter(|rule| *rule != NEVER);
    [(What::Run, run), (What::Rotation, rotation)].into_iter().filter_map(|(what, rule)| Some((what, rule?)))
}
