//! Apps in pm2's shape, for programs that read `pm2 jlist`.
//!
//! Pure. The environment stands within `pm2_env` and flattened over it, as there; wpm's own fields win
//! over variables of the same name.

use serde_json::{Map, Value, json};
use wpm_client::metrics::Usage;
use wpm_proto::app::AppSpec;
use wpm_proto::state::SavedExit;
use wpm_proto::view::{AppView, InstanceView};

use super::rows::Usages;

/// The array of `jlist`, one entry for each instance in the order of ids. The apps must have been asked
/// for with detail.
pub(crate) fn list(apps: &[AppView], usage: &Usages) -> Value {
    let mut entries: Vec<(u32, Value)> = apps
        .iter()
        .flat_map(|app| app.instances.iter().map(move |instance| (app, instance)))
        .map(|(app, instance)| {
            (instance.id, entry(app, instance, usage.get(&instance.id).copied().unwrap_or_default()))
        })
        .collect();
    entries.sort_by_key(|(id, _)| *id);
    Value::Array(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn entry(app: &AppView, instance: &InstanceView, usage: Usage) -> Value {
    json!({
        "pid": instance.pid,
        "name": app.name,
        "pm2_env": Value::Object(pm2_env(app, instance)),
        "pm_id": instance.id,
        "monit": { "memory": usage.memory, "cpu": (usage.cpu * 10.0).round() / 10.0 },
    })
}

fn pm2_env(app: &AppView, instance: &InstanceView) -> Map<String, Value> {
    let mut all = Map::new();
    if let Some(spec) = app.spec.as_deref() {
        for (name, value) in &spec.env {
            all.insert(name.clone(), json!(value));
        }
        for (name, value) in &spec.extra {
            all.insert(name.clone(), serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
        }
        of_spec(spec, instance, &mut all);
    }
    let exit_code = match instance.last_exit {
        Some(SavedExit::Code(code)) => json!(code),
        // As a shell tells it.
        Some(SavedExit::Signal(number)) => json!(128 + number),
        Some(SavedExit::Unknown) | None => Value::Null,
    };
    let mode = if app.cluster { "cluster_mode" } else { "fork_mode" };
    let fields = [
        ("name", json!(app.name)),
        ("namespace", json!(app.namespace)),
        ("status", json!(instance.status)),
        ("pm_id", json!(instance.id)),
        ("pm_uptime", json!(instance.started_ms)),
        ("created_at", json!(instance.created_ms)),
        ("restart_time", json!(instance.restarts)),
        ("unstable_restarts", json!(instance.unstable)),
        ("exec_mode", json!(mode)),
        ("instances", json!(app.wanted)),
        ("username", json!(app.username)),
        ("version", json!(app.version.as_deref().unwrap_or("N/A"))),
        ("pm_out_log_path", json!(log_path(&instance.out_file))),
        ("pm_err_log_path", json!(log_path(&instance.error_file))),
        ("pm_pid_path", json!(instance.pid_file)),
        ("exit_code", exit_code),
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
    if let Some(file) = &instance.log_file {
        all.insert("pm_log_path".to_owned(), json!(file));
    }
    all
}

fn of_spec(spec: &AppSpec, instance: &InstanceView, all: &mut Map<String, Value>) {
    let unique = format!("{}-{}", instance.id, instance.created_ms);
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
        ("unique_id", json!(unique)),
        ("node_version", Value::Null),
        ("_pm2_version", json!(env!("CARGO_PKG_VERSION"))),
    ];
    let optional = [
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
        ("NODE_APP_INSTANCE", spec.instances_asked.then(|| json!(instance.index))),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if let Some(name) = &spec.increment_var
        && let Some(base) = spec.env.get(name).and_then(|base| base.parse::<u64>().ok())
    {
        all.insert(name.clone(), json!((base + u64::from(instance.index)).to_string()));
    }
    for (name, value) in fields {
        all.insert(name.to_owned(), value);
    }
}

fn log_path(file: &str) -> &str {
    if file.is_empty() { "/dev/null" } else { file }
}
