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

/// Longest sleep while there are rules: nobody tells that the clock was set.
const LONGEST: Duration = Duration::from_secs(600);
/// A clock that goes back by no more than this was corrected, not set: a rule that has fired a moment ago does
/// not fire again.
const SET_BACK: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

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
    /// What the clock said when it was looked at last.
    looked: Option<Zoned>,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<Spec>,
    rule: Rule,
    at: Option<Zoned>,
}

/// The fields of a rule; the first may be left out.
const FIELDS: [&str; 6] = [
    "second (0-59)",
    "minute (0-59)",
    "hour (0-23)",
    "day of the month (1-31)",
    "month (1-12 or JAN-DEC)",
    "day of the week (0-7 or SUN-SAT)",
];

/// Reads a rule in pm2's dialect (five or six fields).
///
/// # Errors
/// The field that is wrong.
pub(crate) fn parse(rule: &str) -> Result<Rule, String> {
    Rule::from_str(rule).map_err(|error| explain(rule).unwrap_or_else(|| error.to_string()))
}

/// The first field of a rule that would be wrong in any rule.
fn explain(rule: &str) -> Option<String> {
    let fields: Vec<&str> = rule.split_whitespace().collect();
    if rule.trim_start().starts_with('@') {
        return None;
    }
    let Some(names) =
        [1, 0].into_iter().map(|first| &FIELDS[first..]).find(|names| names.len() == fields.len())
    else {
        return Some(format!("it has {} fields, not five, or six with seconds before them", fields.len()));
    };
    let alone = |at: usize| {
        let others = (0..fields.len()).map(|other| if other == at { fields[at] } else { "*" });
        others.collect::<Vec<_>>().join(" ")
    };
    let at = (0..fields.len()).find(|at| Rule::from_str(&alone(*at)).is_err())?;
    Some(format!("`{}` is no {}", fields[at].escape_debug(), names[at]))
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

    /// When the next rule fires, or the clock is to be looked at again.
    pub(crate) fn next(&mut self) -> Option<Instant> {
        if self.rules.is_empty() {
            return None;
        }
        let now = Zoned::now();
        self.look_at_clock(&now);
        let at = self.rules.values().filter_map(|e| e.at.as_ref()).min()?;
        let wait = Duration::try_from(now.duration_until(at)).unwrap_or(Duration::ZERO);
        Some(Instant::now() + wait.min(LONGEST))
    }

    /// Computes the times anew where the clock was set back: those that were found lie too far ahead. Set
    /// forward, a rule fires once for all that was passed over.
    fn look_at_clock(&mut self, now: &Zoned) {
        let back = self.looked.as_ref().map_or(jiff::SignedDuration::ZERO, |last| now.duration_until(last));
        if back > SET_BACK {
            for entry in self.rules.values_mut() {
                entry.at = entry.rule.find_next_occurrence(now, false).ok();
            }
        }
        self.looked = Some(now.clone());
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

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use wpm_core::{Command, Input, Now, RunId, Start, StartApp, Ticket};

    use super::*;
    use crate::convert;

    #[test]
    fn the_field_that_is_wrong_is_named() {
        for (rule, why) in [
            ("30 25 * * *", "`25` is no hour (0-23)"),
            ("61 * * * * *", "`61` is no second (0-59)"),
            ("0 0 * FOO *", "`FOO` is no month (1-12 or JAN-DEC)"),
            ("* * *", "it has 3 fields, not five, or six with seconds before them"),
            ("", "it has 0 fields, not five, or six with seconds before them"),
        ] {
            assert_eq!(parse(rule).expect_err("it is wrong"), why, "{rule}");
        }
        assert!(
            ["*/5 * * * *", "0 3 * * 7", "@daily", "0 0 1 JAN-MAR MON"]
                .iter()
                .all(|rule| parse(rule).is_ok())
        );
    }

    #[test]
    fn a_clock_that_was_set_holds_no_rule_up_and_fires_none_twice() {
        let mut core = Core::new(RunId(1));
        let json =
            serde_json::json!({"name": "a", "script": "/bin/true", "cwd": "/", "cron_restart": "0 * * * *"});
        let app = serde_json::from_value(json).expect("a spec");
        let spec = convert::spec(app, convert::Defaults::default()).expect("a sound one");
        let start = Start { apps: vec![StartApp { spec, start_now: true }], force: false };
        core.handle(Now::default(), Input::Command(Ticket(1), Command::Start(start)));
        let id = core.apps().next().expect("one").id;
        let mut cron = Cron::default();
        assert_eq!(cron.next(), None, "without rules nobody wakes up");
        cron.follow(&core);
        assert!(cron.next().expect("a rule") <= Instant::now() + LONGEST);
        let now = Zoned::now();
        let at = |cron: &Cron| cron.next_of(id).expect("a time");
        let within_the_hour = |cron: &Cron, of: &Zoned| {
            let since = i64::try_from(at(cron)).expect("fits") - of.timestamp().as_millisecond();
            (1..=3_600_000).contains(&since)
        };
        assert!(within_the_hour(&cron, &now));
        // Corrected by seconds: the time stays.
        let before = at(&cron);
        cron.look_at_clock(&now.checked_sub(5.seconds()).expect("in range"));
        assert_eq!(at(&cron), before);
        // Set back by a year: it does not wait for that year to pass.
        let earlier = now.checked_sub(1.year()).expect("in range");
        cron.look_at_clock(&earlier);
        assert!(within_the_hour(&cron, &earlier));
        // Set forward: what was passed over is due once, and the next time lies ahead.
        cron.look_at_clock(&now);
        assert_eq!(cron.due().len(), 1);
        assert_eq!(cron.due().len(), 0);
        assert!(within_the_hour(&cron, &Zoned::now()));
    }
}
