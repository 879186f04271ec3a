//! When the cron rules of apps fire next. Only keeps times; what a firing means is the core's.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron as Rule;
use jiff::Zoned;
use tokio::time::Instant;
use wpm_core::{AppId, Core, Input, InstanceId, Spec};

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Cron {
    /// By app: the spec that the rule was read from, and when it fires next.
    apps: BTreeMap<AppId, Entry>,
    instances: BTreeMap<AppId, Vec<InstanceId>>,
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
    /// Follows the apps: reads new rules, forgets old ones.
    pub(crate) fn follow(&mut self, core: &Core) {
        if self.apps.is_empty() && core.apps().all(|a| rule_of(&a.spec).is_none()) {
            return;
        }
        self.apps.retain(|id, e| core.app(*id).is_some_and(|a| Arc::ptr_eq(&a.spec, &e.spec)));
        for app in core.apps() {
            if let Some(text) = rule_of(&app.spec)
                && !self.apps.contains_key(&app.id)
                && let Ok(rule) = parse(text)
            {
                let at = rule.find_next_occurrence(&Zoned::now(), false).ok();
                self.apps.insert(app.id, Entry { spec: Arc::clone(&app.spec), rule, at });
            }
        }
        self.instances = core
            .apps()
            .filter(|a| self.apps.contains_key(&a.id))
            .map(|a| (a.id, a.instances.values().copied().collect()))
            .collect();
    }

    /// When the next rule fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        let at = self.apps.values().filter_map(|e| e.at.as_ref()).min()?;
        let wait = Zoned::now().duration_until(at);
        Some(Instant::now() + Duration::try_from(wait).unwrap_or(Duration::ZERO))
    }

    /// When the rule of an app fires next, in milliseconds since 1970.
    pub(crate) fn next_of(&self, app: AppId) -> Option<u64> {
        let at = self.apps.get(&app)?.at.as_ref()?;
        u64::try_from(at.timestamp().as_millisecond()).ok()
    }

    /// What the rules that have fired ask of the core; each fires once, however late.
    pub(crate) fn due(&mut self) -> Vec<Input> {
        let now = Zoned::now();
        let mut due = Vec::new();
        for (id, entry) in &mut self.apps {
            if entry.at.as_ref().is_some_and(|at| *at <= now) {
                entry.at = entry.rule.find_next_occurrence(&now, false).ok();
                let asked =
                    if entry.spec.schedule.is_some() { Input::ScheduleFired } else { Input::CronFired };
                due.extend(self.instances.get(id).into_iter().flatten().copied().map(asked));
            }
        }
        due
    }
}

/// The rule of an app, of whichever kind.
fn rule_of(spec: &Spec) -> Option<&String> {
    spec.schedule.as_ref().or(spec.cron_restart.as_ref())
}
