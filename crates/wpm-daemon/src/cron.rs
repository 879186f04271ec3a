//! When the cron rules of apps fire next. Only keeps times; what a firing means is the core's.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron as Rule;
use jiff::Zoned;
use tokio::time::Instant;
use wpm_core::{AppId, Core, InstanceId, Spec};

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Cron {
    /// By app: the spec that the rule was read from, and when it fires next.
    apps: BTreeMap<AppId, Entry>,
    due: Vec<AppId>,
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
        if self.apps.is_empty() && core.apps().all(|a| a.spec.cron_restart.is_none()) {
            return;
        }
        self.apps.retain(|id, e| core.app(*id).is_some_and(|a| Arc::ptr_eq(&a.spec, &e.spec)));
        for app in core.apps() {
            if let Some(text) = &app.spec.cron_restart
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

    /// Instances whose rule has fired; each fires once, however late.
    pub(crate) fn due(&mut self) -> Vec<InstanceId> {
        let now = Zoned::now();
        self.due.clear();
        for (id, entry) in &mut self.apps {
            if entry.at.as_ref().is_some_and(|at| *at <= now) {
                self.due.push(*id);
                entry.at = entry.rule.find_next_occurrence(&now, false).ok();
            }
        }
        self.due.iter().flat_map(|id| self.instances.get(id).cloned().unwrap_or_default()).collect()
    }
}
