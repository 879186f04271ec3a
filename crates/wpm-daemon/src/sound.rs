//! Whether an app that a client describes can be run: what the daemon asks of it, also for those who want
//! to know without a daemon. Starts nothing.

use wpm_cluster::activation::{BadListen, Listen};
use wpm_core::{Apply, CommandError, Core, RunId, Spec, StartApp};
use wpm_proto::app::AppSpec;

use crate::convert::{self, BadField, Defaults};

/// Why an app cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsound {
    /// The app.
    pub app: String,
    /// Key of an app file that is to blame.
    pub field: String,
    /// One sentence.
    pub message: String,
}

/// The app in memory.
///
/// # Errors
/// When a field is not what it must be.
pub(crate) fn spec(app: AppSpec, defaults: Defaults) -> Result<Spec, Unsound> {
    let name = app.name.clone();
    let unsound = |field: &str, message| Unsound { app: name.clone(), field: field.to_owned(), message };
    for (field, rule) in [
        ("cron_restart", &app.cron_restart),
        ("schedule", &app.schedule),
        ("log_rotate_interval", &app.log_rotate_interval),
    ] {
        if let Some(rule) = rule.as_ref().filter(|rule| field == "schedule" || *rule != crate::cron::NEVER)
            && let Err(why) = crate::cron::parse(rule)
        {
            return Err(unsound(field, format!("invalid cron rule `{rule}` of `{name}`: {why}")));
        }
    }
    let mut listens: Vec<Listen> = Vec::new();
    for text in &app.listen {
        let wrong = |why: &str| unsound("listen", format!("invalid `listen` of `{name}`: {why}"));
        let listen: Listen = text.parse().map_err(|why: BadListen| wrong(&why.to_string()))?;
        if listens.iter().any(|other| other.to == listen.to) {
            return Err(wrong(&format!("{} is named twice", listen.to)));
        }
        listens.push(listen);
    }
    if let Some(policy @ ("round-robin" | "sticky")) = app.balance.as_deref()
        && !app.cluster
    {
        let why = format!(
            "{policy} is for the instances of a Node program, which begin with `-i`; what other programs share, \
             the kernel balances"
        );
        return Err(unsound("balance", format!("invalid `balance` of `{name}`: {why}")));
    }
    if let Err(why) = crate::identity::resolve(app.uid.as_deref(), app.gid.as_deref()) {
        let field = if app.uid.is_some() { "uid" } else { "gid" };
        return Err(unsound(field, format!("invalid user or group of `{name}`: {why}")));
    }
    convert::spec(app, defaults).map_err(|BadField { field, reason }| {
        unsound(field, format!("invalid `{field}` of `{name}`: {reason}"))
    })
}

/// What is wrong with these apps; what they depend on beside each other is taken to be there.
pub fn check(apps: Vec<AppSpec>) -> Vec<Unsound> {
    let mut found = Vec::new();
    let mut specs: Vec<Spec> = Vec::new();
    let mut keep = |result: Result<Spec, Unsound>, found: &mut Vec<Unsound>| match result {
        Ok(spec) => specs.push(spec),
        Err(unsound) => found.push(unsound),
    };
    for app in apps {
        let spec = spec(app, Defaults::default());
        let valid = spec.and_then(|spec| match spec.validate() {
            Ok(()) => Ok(spec),
            Err(refused) => Err(of_refusal(refused)),
        });
        keep(valid, &mut found);
    }
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let needed = specs.iter().flat_map(|spec| spec.depends_on.keys());
    let elsewhere: std::collections::BTreeSet<String> =
        needed.filter(|name| !names.contains(name)).cloned().collect();
    specs.extend(elsewhere.into_iter().map(|name| Spec::new(name, "/", "/")));
    let apps = specs.into_iter().map(|spec| StartApp { spec, start_now: true }).collect();
    let apply = Apply { apps, prune: None, update_env: false, parallel: 0, since: None };
    if let Err(refused) = Core::new(RunId(1)).compare(&apply) {
        found.push(of_refusal(refused));
    }
    found
}

fn of_refusal(refused: CommandError) -> Unsound {
    let (app, field) = match &refused {
        CommandError::InvalidSpec { name, field, .. } => (name.clone(), (*field).to_owned()),
        _ => (String::new(), String::new()),
    };
    Unsound { app, field, message: crate::refusals::wire_error(refused).message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str, more: serde_json::Value) -> AppSpec {
        let mut app = serde_json::json!({ "name": name, "script": "/bin/true", "cwd": "/" });
        let serde_json::Value::Object(more) = more else { panic!("an object") };
        app.as_object_mut().expect("an object").extend(more);
        serde_json::from_value(app).expect("a spec")
    }

    #[test]
    fn every_app_that_is_wrong_is_named_with_its_key() {
        use serde_json::json;
        let found = check(vec![
            app("good", json!({ "depends_on": { "elsewhere": "ready" }, "cron_restart": "0" })),
            app("rule", json!({ "schedule": "61 * * * *", "autorestart": false })),
            app("hook", json!({ "hooks": { "on_fire": "x" } })),
            app("nice", json!({ "nice": 77 })),
            app("name", json!({ "listen": ["www.example.com:80"] })),
            app("twice", json!({ "listen": ["80", "web=80"] })),
            app("alone", json!({ "balance": "sticky" })),
            app("balanced", json!({ "balance": "sticky", "cluster": true })),
            app("sound", json!({ "listen": ["80", "127.0.0.1:80", "[::1]:80", "unix:s"] })),
            app("a", json!({ "depends_on": { "b": "ready" } })),
            app("b", json!({ "depends_on": { "a": "ready" } })),
        ]);
        let found: Vec<(&str, &str)> =
            found.iter().map(|one| (one.app.as_str(), one.field.as_str())).collect();
        assert_eq!(
            found,
            [
                ("rule", "schedule"),
                ("hook", "hooks"),
                ("nice", "nice"),
                ("name", "listen"),
                ("twice", "listen"),
                ("alone", "balance"),
                ("a", "depends_on")
            ]
        );
    }
}
