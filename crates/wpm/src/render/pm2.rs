//! Apps in pm2's shape, for programs that read `pm2 jlist`.
//!
//! Pure. The environment stands within `pm2_env` and flattened over it, as there; wpm's own fields win
//! over variables of the same name.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::{Map, Value, json};
use wpm_client::metrics::Usage;
use wpm_proto::app::AppSpec;
use wpm_proto::state::SavedExit;
use wpm_proto::view::{AppView, FileName, InstanceView};

use super::rows::Usages;

/// Bytes from which on a part of the array is written: memory for all of it would be new memory.
const PART: usize = 32 * 1024;

/// The array of `jlist`, see [`write()`].
pub(crate) fn list(apps: &[AppView], usage: &Usages) -> String {
    let mut text = Vec::new();
    // Writing into memory cannot fail.
    let _written = write(apps, usage, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Writes the array of `jlist` in one line, one entry for each instance in the order of ids. The apps must have
/// been asked for with their specs.
pub(crate) fn write(apps: &[AppView], usage: &Usages, out: &mut dyn io::Write) -> io::Result<()> {
    // The environment makes up nearly all of it and is the same for all instances.
    let common: Vec<Common> = apps.iter().map(Common::of).collect();
    let mut order: Vec<(&InstanceView, &AppView, &Common)> = apps
        .iter()
        .zip(&common)
        .flat_map(|(app, common)| app.instances.iter().map(move |instance| (instance, app, common)))
        .collect();
    order.sort_by_key(|(instance, ..)| instance.id);
    let mut text = String::with_capacity(2 * PART);
    text.push('[');
    for (position, (instance, app, common)) in order.into_iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        let used = usage.get(&instance.id).copied().unwrap_or_default();
        entry(&mut text, app, instance, used, common);
        if text.len() >= PART {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    text.push(']');
    out.write_all(text.as_bytes())
}

/// Appends the entry of an instance.
fn entry(to: &mut String, app: &AppView, instance: &InstanceView, usage: Usage, common: &Common) {
    let cpu = json!((usage.cpu * 10.0).round() / 10.0);
    let (pid, id, memory, name) = (instance.pid, instance.id, usage.memory, &common.name);
    // Writing into memory cannot fail, nor can what has names of letters be no JSON.
    let _ = write!(to, r#"{{"pid":{pid},"name":{name},"pm2_env":{{{}"#, common.text);
    let own = serde_json::to_string(&of_instance(app, instance, common)).unwrap_or_default();
    if let Some(fields) = own.strip_prefix('{').and_then(|own| own.strip_suffix('}')) {
        let separator = if common.text.is_empty() { "" } else { "," };
        let _ = write!(to, "{separator}{fields}");
    }
    if let Some((name, base)) = &common.increment {
        let _ = write!(to, r#",{name}:"{}""#, base.saturating_add(u64::from(instance.index)));
    }
    let _ = write!(to, r#"}},"pm_id":{id},"monit":{{"memory":{memory},"cpu":{cpu}}}}}"#);
}

/// The fields of an app but for those that its instances have themselves.
struct Common {
    name: Value,
    text: String,
    /// Whether instances tell their index.
    numbered: bool,
    /// The variable that grows by the index, and where it begins.
    increment: Option<(Value, u64)>,
}

impl Common {
    fn of(app: &AppView) -> Self {
        let spec = app.spec.as_deref();
        let increment = spec.and_then(|spec| {
            let name = spec.increment_var.as_ref()?;
            Some((name.as_str(), spec.env.get(name)?.parse::<u64>().ok()?))
        });
        let increments = |name: &str| increment.is_some_and(|(variable, _)| variable == name);
        let numbered = spec.is_some_and(|spec| spec.instances_asked) && !increments(INDEX);
        let has_both = app.files.as_ref().is_some_and(|files| files.both.is_some());
        let is_own = |name: &str| {
            OWN.contains(&name)
                || increments(name)
                || (numbered && name == INDEX)
                || (has_both && name == BOTH)
        };
        let mut text = String::with_capacity(8 * 1024);
        for (name, value) in of_app(app).iter().filter(|(name, _)| !is_own(name)) {
            let separator = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{separator}{}:{value}", Value::from(name.as_str()));
        }
        let increment = increment.map(|(name, base)| (Value::from(name), base));
        Self { name: Value::from(app.name.as_str()), text, numbered, increment }
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

/// Names of the fields that every instance has of its own.
const OWN: [&str; 11] = [
    "status",
    "pm_id",
    "pm_uptime",
    "created_at",
    "restart_time",
    "unstable_restarts",
    "pm_out_log_path",
    "pm_err_log_path",
    "pm_pid_path",
    "unique_id",
    "exit_code",
];
/// Names of those that some have.
const BOTH: &str = "pm_log_path";
const INDEX: &str = "NODE_APP_INSTANCE";

/// What an instance has of its own.
#[derive(Serialize)]
struct Own {
    status: &'static str,
    pm_id: u32,
    pm_uptime: u64,
    created_at: u64,
    restart_time: u32,
    unstable_restarts: u32,
    pm_out_log_path: String,
    pm_err_log_path: String,
    pm_pid_path: Option<String>,
    unique_id: String,
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pm_log_path: Option<String>,
    #[serde(rename = "NODE_APP_INSTANCE", skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
}

fn of_instance(app: &AppView, instance: &InstanceView, common: &Common) -> Own {
    let (files, index) = (app.files.as_ref(), instance.index);
    Own {
        status: instance.status.word(),
        pm_id: instance.id,
        pm_uptime: instance.started_ms,
        created_at: instance.created_ms,
        restart_time: instance.restarts,
        unstable_restarts: instance.unstable,
        pm_out_log_path: log_path(files.and_then(|files| files.out.as_ref()), index),
        pm_err_log_path: log_path(files.and_then(|files| files.error.as_ref()), index),
        pm_pid_path: files.map(|files| files.pid.of(index)),
        unique_id: format!("{}-{}", instance.id, instance.created_ms),
        exit_code: match instance.last_exit {
            Some(SavedExit::Code(code)) => Some(code),
            // As a shell tells it.
            Some(SavedExit::Signal(number)) => Some(128 + number),
            Some(SavedExit::OutOfMemory) => Some(128 + 9),
            Some(SavedExit::Unknown) | None => None,
        },
        pm_log_path: files.and_then(|files| files.both.as_ref()).map(|both| both.of(index)),
        index: common.numbered.then_some(index),
    }
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
        let text = list(std::slice::from_ref(&app), &usage);
        let list: Value = serde_json::from_str(&text).expect("json");
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
        // Of two fields of one name a reader would see one.
        let own =
            serde_json::to_value(of_instance(&app, &app.instances[0], &Common::of(&app))).expect("json");
        let names: Vec<&str> = own.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, OWN.into_iter().chain([INDEX]).collect::<Vec<_>>());
        let count = |name: &str| text.matches(&format!("\"{name}\":")).count();
        assert_eq!((count("pm_id"), count("unique_id"), count(INDEX), count("NODE_ENV")), (4, 2, 2, 4));
        assert_eq!((count("PORT"), count("status")), (4, 4));
    }
}
