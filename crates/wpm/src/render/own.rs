//! wpm's own JSON of apps: what `list --json` and `describe --json` print.
//!
//! Pure. Invariant: programs read it, so every field stands here by name and is there whether or not the daemon
//! had anything to say; a change of the wire changes nothing in it.

use serde::Serialize;
use serde_json::{Value, json};
use wpm_proto::app::AppSpec;
use wpm_proto::state::SavedExit;
use wpm_proto::view::{AppView, FileName, FileNames, InstanceView};

use super::rows::Usages;

#[derive(Serialize)]
struct App<'a> {
    name: &'a str,
    namespace: &'a str,
    version: Option<&'a str>,
    cluster: bool,
    wanted: u32,
    username: &'a str,
    stamped: bool,
    job: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_run_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch_paused: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env_files: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a AppSpec>,
    instances: Vec<Instance<'a>>,
}

#[derive(Serialize)]
struct Instance<'a> {
    id: u32,
    index: u32,
    pid: i32,
    start_time: u64,
    shim_pid: i32,
    shim_stopped: bool,
    status: &'static str,
    reason: Option<&'a str>,
    restarts: u32,
    unstable: u32,
    started_ms: u64,
    created_ms: u64,
    last_exit: Option<SavedExit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ran_ms: Option<u64>,
    on_clock: bool,
    restart_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ports: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    said: Option<&'a str>,
    log_errno: i32,
    log_dropped: u64,
    /// Empty = discarded.
    out_file: String,
    /// Empty = discarded.
    error_file: String,
    log_file: Option<String>,
    pid_file: String,
    /// Percent of one CPU.
    cpu: Option<f64>,
    /// Bytes.
    memory: Option<u64>,
    processes: Option<u32>,
}

/// The whole document. The apps must have been asked for with their files.
pub(crate) fn document(apps: &[AppView], usage: &Usages, daemon: &Value) -> Value {
    let apps: Vec<App<'_>> = apps.iter().map(|app| of_app(app, usage)).collect();
    json!({ "schema": 1, "daemon": daemon, "apps": apps })
}

fn of_app<'a>(app: &'a AppView, usage: &Usages) -> App<'a> {
    App {
        name: &app.name,
        namespace: &app.namespace,
        version: app.version.as_deref(),
        cluster: app.cluster,
        wanted: app.wanted,
        username: &app.username,
        stamped: app.stamped,
        job: app.job,
        next_run_ms: app.next_run_ms,
        watch_paused: app.watch_paused.as_deref(),
        env_files: &app.env_files,
        spec: app.spec.as_deref(),
        instances: app.instances.iter().map(|it| of_instance(it, app.files.as_ref(), usage)).collect(),
    }
}

fn of_instance<'a>(it: &'a InstanceView, files: Option<&FileNames>, usage: &Usages) -> Instance<'a> {
    let file = |name: fn(&FileNames) -> Option<&FileName>| Some(name(files?)?.of(it.index));
    let used = usage.get(&it.id);
    Instance {
        id: it.id,
        index: it.index,
        pid: it.pid,
        start_time: it.start_time,
        shim_pid: it.shim_pid,
        shim_stopped: it.shim_stopped,
        status: it.status.word(),
        reason: it.reason.as_deref(),
        restarts: it.restarts,
        unstable: it.unstable,
        started_ms: it.started_ms,
        created_ms: it.created_ms,
        last_exit: it.last_exit,
        last_ran_ms: it.last_ran_ms,
        on_clock: it.on_clock,
        restart_in_ms: it.restart_in_ms,
        ports: &it.ports,
        said: it.said.as_deref(),
        log_errno: it.log_errno,
        log_dropped: it.log_dropped,
        out_file: file(|files| files.out.as_ref()).unwrap_or_default(),
        error_file: file(|files| files.error.as_ref()).unwrap_or_default(),
        log_file: file(|files| files.both.as_ref()),
        pid_file: file(|files| Some(&files.pid)).unwrap_or_default(),
        cpu: used.map(|used| (used.cpu * 10.0).round() / 10.0),
        memory: used.map(|used| used.memory),
        processes: used.map(|used| used.processes),
    }
}

#[cfg(test)]
mod tests {
    use wpm_client::metrics::Usage;

    use super::*;

    #[test]
    fn what_the_wire_leaves_out_is_there() {
        let app: AppView = serde_json::from_value(json!({
            "name": "web", "namespace": "default", "wanted": 1, "username": "ann",
            "files": {
                "out": {"head": "/l/web-out", "tail": ".log", "numbered_from": 0}, "error": null, "both": null,
                "pid": {"head": "/p/web", "tail": ".pid", "numbered_from": 0}
            },
            "instances": [{"id": 7, "index": 2, "status": "waiting restart"}]
        }))
        .expect("an app");
        let usage = Usages::from([(7, Usage { cpu: 1.26, memory: 4096, processes: 2 })]);
        let app = &document(&[app], &usage, &Value::Null)["apps"][0];
        assert_eq!((&app["version"], &app["cluster"], app.get("spec")), (&Value::Null, &json!(false), None));
        let expected = json!({
            "id": 7, "index": 2, "pid": 0, "start_time": 0, "shim_pid": 0, "shim_stopped": false,
            "status": "waiting restart", "reason": null, "restarts": 0, "unstable": 0, "started_ms": 0,
            "created_ms": 0, "last_exit": null, "on_clock": false, "restart_in_ms": null, "log_errno": 0,
            "log_dropped": 0, "out_file": "/l/web-out-2.log", "error_file": "", "log_file": null,
            "pid_file": "/p/web-2.pid", "cpu": 1.3, "memory": 4096, "processes": 2
        });
        assert_eq!(app["instances"][0], expected);
    }
}
