//! Whether a foreground run is over, and with which exit code.
//!
//! Pure: what the daemon shows goes in. Invariant: an app that will be started again by itself is not over.

use wpm_proto::state::SavedExit;
use wpm_proto::view::{AppView, InstanceView, Status};

/// The exit code of the run, once every essential app has ended for good: that of the first of them, in
/// their order, that did not end well. The apps must have been asked for with detail.
pub(super) fn verdict(apps: &[AppView], essential: &[String]) -> Option<u8> {
    let mut code = 0;
    for name in essential {
        // One that was deleted is over as well.
        let Some(app) = apps.iter().find(|app| app.name == *name) else { continue };
        for instance in &app.instances {
            let own = of_instance(app, instance)?;
            if code == 0 {
                code = own;
            }
        }
    }
    Some(code)
}

/// The code of an instance that has ended for good.
fn of_instance(app: &AppView, instance: &InstanceView) -> Option<u8> {
    let errored = instance.status == Status::Errored;
    let scheduled = app.spec.as_deref().is_some_and(|spec| {
        spec.schedule.is_some() || spec.cron_restart.as_deref().is_some_and(|rule| rule != "0")
    });
    if !errored && (instance.status != Status::Stopped || scheduled || waits_for_another(instance)) {
        return None;
    }
    let code = match instance.last_exit {
        Some(SavedExit::Code(code)) => u8::try_from(code & 0xff).unwrap_or(1),
        // As a shell tells it.
        Some(SavedExit::Signal(number)) => u8::try_from(128 + number).unwrap_or(1),
        Some(SavedExit::OutOfMemory) => 137,
        Some(SavedExit::Unknown) => 1,
        None => 0,
    };
    Some(if errored && code == 0 { 1 } else { code })
}

/// Whether it has not begun because an app that it depends on is not up yet.
fn waits_for_another(instance: &InstanceView) -> bool {
    instance.reason.as_deref().is_some_and(|reason| reason.starts_with("waits for"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn app(name: &str, instances: &[(&str, Value)], spec: &Value) -> AppView {
        let mut whole = json!({"name": name, "script": "/x", "cwd": "/"});
        whole.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
        let instances: Vec<Value> = instances
            .iter()
            .map(|(status, exit)| {
                json!({
                            "id": 0, "index": 0, "pid": 0, "start_time": 0, "shim_pid": 0, "status": status,
                            "reason": null, "restarts": 0, "unstable": 0, "started_ms": 0, "created_ms": 0,
                            "last_exit": exit, "restart_in_ms": null, "log_errno": 0, "log_dropped": 0
                })
            })
            .collect();
        serde_json::from_value(json!({
            "name": name, "namespace": "default", "version": null, "cluster": false, "wanted": 1,
            "username": "", "stamped": false, "spec": whole, "instances": instances
        }))
        .expect("an app")
    }

    fn essential(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn it_is_over_when_every_essential_app_has_ended_for_good() {
        let job = app("job", &[("stopped", json!({"code": 0}))], &json!({}));
        let web = app("web", &[("online", Value::Null)], &json!({}));
        let apps = [job, web];
        assert_eq!(verdict(&apps, &essential(&["job", "web"])), None);
        assert_eq!(verdict(&apps, &essential(&["job"])), Some(0));
        assert_eq!(verdict(&[], &essential(&["job"])), Some(0), "deleted");
        let waiting = app("web", &[("waiting restart", json!({"code": 1}))], &json!({}));
        assert_eq!(verdict(&[waiting], &essential(&["web"])), None);
    }

    #[test]
    fn the_first_bad_code_counts() {
        let code = |apps: &[AppView]| verdict(apps, &essential(&["a", "b"]));
        let good = app("a", &[("stopped", json!({"code": 0}))], &json!({}));
        let bad = app("b", &[("stopped", json!({"code": 0})), ("stopped", json!({"code": 7}))], &json!({}));
        assert_eq!(code(&[good.clone(), bad]), Some(7));
        let killed = app("b", &[("stopped", json!({"signal": 9}))], &json!({}));
        assert_eq!(code(&[good.clone(), killed]), Some(137));
        let unspawned = app("b", &[("errored", Value::Null)], &json!({}));
        assert_eq!(code(&[good, unspawned]), Some(1));
    }

    #[test]
    fn what_a_rule_starts_again_is_not_over() {
        let cron = app("a", &[("stopped", json!({"code": 0}))], &json!({"cron_restart": "0 3 * * *"}));
        assert_eq!(verdict(&[cron], &essential(&["a"])), None);
        let without = app("a", &[("stopped", json!({"code": 0}))], &json!({"cron_restart": "0"}));
        assert_eq!(verdict(&[without], &essential(&["a"])), Some(0));
    }
}
