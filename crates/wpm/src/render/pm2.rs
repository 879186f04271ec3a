//! Apps in pm2's shape, for programs that read `pm2 jlist`.
//!
//! Pure. The environment stands within `pm2_env` and flattened over it, as there; wpm's own fields win
//! over variables of the same name.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use wpm_client::metrics::Usage;
use wpm_proto::app::AppSpec;
use wpm_proto::state::SavedExit;
use wpm_proto::view::{AppView, FileName, InstanceView};

use super::rows::Usages;

/// The array of `jlist` as one line, one entry for each instance in the order of ids. The apps must have
/// been asked for with detail.
pub(crate) fn list(apps: &[AppView], usage: &Usages) -> String {
    // The environment makes up nearly all of it and is the same for all instances.
    let mut common: Vec<Common> = apps.iter().map(Common::of).collect();
    let mut order: Vec<(&InstanceView, usize)> = apps
        .iter()
        .enumerate()
        .flat_map(|(of, app)| app.instances.iter().map(move |instance| (instance, of)))
        .collect();
    order.sort_by_key(|(instance, _)| instance.id);
    let mut text = String::from("[");
    for (instance, of) in order {
        if let (Some(app), Some(common)) = (apps.get(of), common.get_mut(of)) {
            if text.len() > 1 {
                text.push(',');
            }
            let used = usage.get(&instance.id).copied().unwrap_or_default();
            entry(&mut text, app, instance, used, common);
        }
    }
    text.push(']');
    text
}

/// Appends the entry of an instance.
fn entry(to: &mut String, app: &AppView, instance: &InstanceView, usage: Usage, common: &mut Common) {
    let own = of_instance(app, instance);
    let name = Value::from(app.name.as_str());
    let cpu = json!((usage.cpu * 10.0).round() / 10.0);
    let (pid, id, memory) = (instance.pid, instance.id, usage.memory);
    // Writing into memory cannot fail.
    let _ = write!(to, r#"{{"pid":{pid},"name":{name},"pm2_env":{{"#);
    to.push_str(common.without(&own));
    put(to, &own, |_| true);
    let _ = write!(to, r#"}},"pm_id":{id},"monit":{{"memory":{memory},"cpu":{cpu}}}}}"#);
}

/// Adds fields to the inside of a JSON object, which begins after a brace.
fn put(to: &mut String, fields: &Map<String, Value>, wanted: impl Fn(&str) -> bool) {
    for (name, value) in fields.iter().filter(|(name, _)| wanted(name)) {
        let separator = if to.is_empty() || to.ends_with('{') { "" } else { "," };
        let _ = write!(to, "{separator}{}:{value}", Value::from(name.as_str()));
    }
}

/// The fields of an app, and their text without those that its instances have themselves.
struct Common {
    fields: Map<String, Value>,
    left_out: Vec<String>,
    text: Option<String>,
}

impl Common {
    fn of(app: &AppView) -> Self {
        Self { fields: of_app(app), left_out: Vec::new(), text: None }
    }

    /// The text for an instance; all of them leave out the same, but for rare ones.
    fn without(&mut self, own: &Map<String, Value>) -> &str {
        if !own.keys().eq(&self.left_out) {
            self.left_out = own.keys().cloned().collect();
            self.text = None;
        }
        self.text.get_or_insert_with(|| {
            let mut text = String::with_capacity(8 * 1024);
            put(&mut text, &self.fields, |name| !own.contains_key(name));
            text
        })
    }
}

/// What all instances have in common.
fn of_app(app: &AppView) -> Map<String, Value> {
    let mut all = Map::new();
    if let Some(spec) = app.spec.as_deref() {
        for (name, value) in &spec.env {
            all.insert(name.clone(), json!(value));
        }
        for (name, value) in &spec.extra {
            all.insert(name.clone(), serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
        }
        of_spec(spec, &mut all);
    }
    let fields = [
        ("name", json!(app.name)),
        ("namespace", json!(app.namespace)),
        ("exec_mode", json!(if app.cluster { "cluster_mode" } else { "fork_mode" })),
        ("instances", json!(app.wanted)),
        ("username", json!(app.username)),
        ("version", json!(app.version.as_deref().unwrap_or("N/A"))),
        ("axm_actions", json!([])),
        ("axm_monitor", json!({})),
        ("axm_options", json!({})),
        ("axm_dynamic", json!({})),
        ("km_link", json!(false)),
        ("vizion_running", json!(false)),
        ("windowsHide", json!(true)),
        ("kill_retry_time", json!(100)),
        ("pmx_module", json!(false)),
    ];
    for (name, value) in fields {
        all.insert(name.to_owned(), value);
    }
    for (name, value) in [("vizion", false), ("pmx", false), ("automation", false), ("watch", false)] {
        all.entry(name).or_insert(json!(value));
    }
    all
}

/// What an instance has of its own.
fn of_instance(app: &AppView, instance: &InstanceView) -> Map<String, Value> {
    let exit_code = match instance.last_exit {
        Some(SavedExit::Code(code)) => json!(code),
        // As a shell tells it.
        Some(SavedExit::Signal(number)) => json!(128 + number),
        Some(SavedExit::OutOfMemory) => json!(128 + 9),
        Some(SavedExit::Unknown) | None => Value::Null,
    };
    let (files, index) = (app.files.as_ref(), instance.index);
    let fields = [
        ("status", json!(instance.status.word())),
        ("pm_id", json!(instance.id)),
        ("pm_uptime", json!(instance.started_ms)),
        ("created_at", json!(instance.created_ms)),
        ("restart_time", json!(instance.restarts)),
        ("unstable_restarts", json!(instance.unstable)),
        ("pm_out_log_path", json!(log_path(files.and_then(|files| files.out.as_ref()), index))),
        ("pm_err_log_path", json!(log_path(files.and_then(|files| files.error.as_ref()), index))),
        ("pm_pid_path", json!(files.map(|files| files.pid.of(index)))),
        ("unique_id", json!(format!("{}-{}", instance.id, instance.created_ms))),
        ("exit_code", exit_code),
    ];
    let mut all: Map<String, Value> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if let Some(file) = files.and_then(|files| files.both.as_ref()) {
        all.insert("pm_log_path".to_owned(), json!(file.of(index)));
    }
    let Some(spec) = app.spec.as_deref() else { return all };
    if spec.instances_asked {
        all.insert("NODE_APP_INSTANCE".to_owned(), json!(instance.index));
    }
    if let Some(name) = &spec.increment_var
        && let Some(base) = spec.env.get(name).and_then(|base| base.parse::<u64>().ok())
    {
        all.insert(name.clone(), json!((base + u64::from(instance.index)).to_string()));
    }
    all
}

fn of_spec(spec: &AppSpec, all: &mut Map<String, Value>) {
    let script = if spec.shell { spec.interpreter.as_deref().unwrap_or("sh") } else { &spec.script };
    let args = if spec.shell { vec!["-c".to_owned(), spec.script.clone()] } else { spec.args.clone() };
    let mut fields = vec![
        ("pm_exec_path", json!(script)),
        ("pm_cwd", json!(spec.cwd)),
        ("args", json!(args)),
        (
            "exec_interpreter",
            json!(if spec.shell { "none" } else { spec.interpreter.as_deref().unwrap_or("none") }),
        ),
        ("node_args", json!(spec.interpreter_args)),
        ("env", json!(spec.env)),
        ("filter_env", json!([])),
        ("autorestart", json!(spec.autorestart)),
        ("autostart", json!(spec.autostart)),
        ("treekill", json!(spec.treekill)),
        ("merge_logs", json!(spec.merge_logs)),
        ("instance_var", json!(spec.instance_var.as_deref().unwrap_or("NODE_APP_INSTANCE"))),
        ("node_version", Value::Null),
        ("_pm2_version", json!(env!("CARGO_PKG_VERSION"))),
    ];
    let optional = [
        ("watch", (!spec.watch.is_empty()).then(|| json!(spec.watch))),
        ("ignore_watch", (!spec.ignore_watch.is_empty()).then(|| json!(spec.ignore_watch))),
        ("watch_delay", spec.watch_delay_ms.map(|it| json!(it))),
        ("max_memory_restart", spec.max_memory_restart.map(|it| json!(it))),
        ("cron_restart", spec.cron_restart.as_ref().map(|it| json!(it))),
        ("restart_delay", spec.restart_delay_ms.map(|it| json!(it))),
        ("exp_backoff_restart_delay", spec.exp_backoff_restart_delay_ms.map(|it| json!(it))),
        ("max_restarts", spec.max_restarts.map(|it| json!(it))),
        ("min_uptime", spec.min_uptime_ms.map(|it| json!(it))),
        ("kill_timeout", spec.kill_timeout_ms.map(|it| json!(it))),
        ("listen_timeout", spec.listen_timeout_ms.map(|it| json!(it))),
        ("increment_var", spec.increment_var.as_ref().map(|it| json!(it))),
        ("log_date_format", spec.log_date_format.as_ref().map(|it| json!(it))),
        ("log_type", spec.log_json.then(|| json!("json"))),
        ("wait_ready", spec.wait_ready.then(|| json!(true))),
        ("uid", spec.uid.as_ref().map(|it| json!(it))),
        ("gid", spec.gid.as_ref().map(|it| json!(it))),
        ("stop_exit_codes", (!spec.stop_exit_codes.is_empty()).then(|| json!(spec.stop_exit_codes))),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    for (name, value) in fields {
        all.insert(name.to_owned(), value);
    }
}

fn log_path(name: Option<&FileName>, index: u32) -> String {
    name.map_or_else(|| "/dev/null".to_owned(), |name| name.of(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_that_programs_read() {
        let app: AppView = serde_json::from_value(json!({
            "name": "web", "namespace": "default", "version": null, "cluster": true, "wanted": 2,
            "username": "ann", "stamped": false,
            "spec": {
                "name": "web", "script": "/srv/web.js", "cwd": "/srv", "interpreter": "node",
                "env": {"PORT": "3000", "status": "mine", "NODE_ENV": "production"},
                "increment_var": "PORT", "instances_asked": true, "extra": {"vizion": "true"}
            },
            "files": {
                "out": {"head": "/o", "tail": ".log", "numbered_from": 0}, "error": null, "both": null,
                "pid": {"head": "/p", "tail": "", "numbered_from": null}
            },
            "instances": ([2, 1].map(|id| json!({
                "id": id, "index": id, "pid": 10, "start_time": 1, "shim_pid": 9, "status": "online",
                "reason": null, "restarts": 3, "unstable": 0, "started_ms": 5, "created_ms": 4,
                "last_exit": {"signal": 9}, "restart_in_ms": null, "log_errno": 0, "log_dropped": 0
        }))),
        }))
        .expect("an app");
        let usage = Usages::from([(1, Usage { cpu: 1.26, memory: 4096, processes: 1 })]);
        let list: Value = serde_json::from_str(&list(&[app], &usage)).expect("json");
        assert_eq!((&list[0]["pm_id"], &list[1]["pm_id"]), (&json!(1), &json!(2)));
        assert_eq!(list[0]["monit"], json!({"memory": 4096, "cpu": 1.3}));
        let env = &list[0]["pm2_env"];
        assert_eq!(
            (&env["status"], &env["restart_time"], &env["exit_code"]),
            (&json!("online"), &json!(3), &json!(137))
        );
        assert_eq!((&env["PORT"], &env["env"]["PORT"]), (&json!("3001"), &json!("3000")));
        assert_eq!((&env["NODE_ENV"], &env["exec_mode"]), (&json!("production"), &json!("cluster_mode")));
        assert_eq!((&env["pm_err_log_path"], &env["vizion"]), (&json!("/dev/null"), &json!(true)));
        assert_eq!((&env["pm_out_log_path"], &env["pm_pid_path"]), (&json!("/o-1.log"), &json!("/p")));
        assert_eq!(env["NODE_APP_INSTANCE"], json!(1));
    }
}
