//! `dump.pm2`: pm2's list on disk, written as pm2 writes it and read as an app file.
//!
//! Pure but for the file itself. Invariant: what is written can be resurrected by a real pm2, and is
//! readable for its owner alone, as it holds every variable of every app.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use wpm_client::metrics::Survey;
use wpm_proto::app::AppSpec;
use wpm_proto::home::Home;
use wpm_proto::request::Detail;

use super::voice;
use crate::appfile;
use crate::context::{Context, list};
use crate::failure::{Code, Failure};
use crate::options::EnvFilter;
use crate::render::pm2;
use crate::target::{Caller, resolve};

/// What pm2 leaves out of its dump.
const LEFT_OUT: [&str; 3] = ["pm_id", "instances", "prev_restart_delay"];

/// Keys of an entry that mean the same in an app file, under the same name.
const SAME: [&str; 27] = [
    "args",
    "autorestart",
    "autostart",
    "cron_restart",
    "exec_mode",
    "exp_backoff_restart_delay",
    "gid",
    "ignore_watch",
    "increment_var",
    "instance_var",
    "kill_timeout",
    "listen_timeout",
    "log_date_format",
    "log_type",
    "max_memory_restart",
    "max_restarts",
    "merge_logs",
    "min_uptime",
    "name",
    "namespace",
    "restart_delay",
    "shutdown_with_message",
    "stop_exit_codes",
    "treekill",
    "uid",
    "wait_ready",
    "watch",
];

/// What a key has where nothing was said: not worth writing down.
fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "autorestart" | "autostart" | "treekill" => *value == json!(true),
        "merge_logs" | "wait_ready" | "watch" | "shutdown_with_message" => *value == json!(false),
        "exec_mode" => *value == json!("fork_mode"),
        "instance_var" => *value == json!("NODE_APP_INSTANCE"),
        "namespace" => *value == json!("default"),
        "kill_timeout" => *value == json!(1600),
        "listen_timeout" => *value == json!(3000),
        _ => false,
    }
}

/// The file of a home.
pub(crate) fn path(home: &Home) -> PathBuf {
    home.path().join("dump.pm2")
}

/// Writes the list of the daemon after `pm2 save`.
pub(super) fn save(context: &mut Context, words: &[String]) -> Result<(), Failure> {
    let mut client = context.daemon()?;
    let early = Survey::begin(client.home(), false);
    let apps = match list(&mut client, Vec::new(), Detail::Spec) {
        Err(failure) if failure.is(Code::NoApps) => Vec::new(),
        apps => apps?,
    };
    let force = words.iter().any(|word| word == "--force" || word == "-f");
    if apps.is_empty() && !force {
        voice::warn("PM2 is not managing any process, skipping save...");
        voice::warn("To force saving use: pm2 save --force");
        return Ok(());
    }
    let usage = early.of(apps.iter().flat_map(|app| &app.instances)).usage(client.home());
    let entries: Vec<Value> = serde_json::from_str(&pm2::list(&apps, &usage)).unwrap_or_default();
    let path = path(client.home());
    write(&path, &of_list(entries))?;
    if !context.silent {
        voice::say(&format!("Successfully saved in {}", path.display()));
    }
    Ok(())
}

/// Writes an empty list after `pm2 cleardump`.
pub(super) fn clear(context: &mut Context) -> Result<(), Failure> {
    let path = path(&context.home()?);
    write(&path, &json!([]))?;
    voice::say(&format!("Successfully created {}", path.display()));
    Ok(())
}

/// The entries of `jlist` as they stand in a dump.
fn of_list(entries: Vec<Value>) -> Value {
    let entries = entries.into_iter().filter_map(|mut entry| {
        let mut env = entry.get_mut("pm2_env")?.as_object_mut().map(std::mem::take)?;
        env.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
        Some(Value::Object(env))
    });
    Value::Array(entries.collect())
}

/// Whole or not at all, with the one before beside it as pm2 keeps it.
fn write(path: &Path, value: &Value) -> Result<(), Failure> {
    let failed = |cause: std::io::Error| {
        Failure::new(Code::Storage, format!("cannot write {}: {cause}", path.display()))
    };
    let fresh = path.with_extension("pm2.new");
    drop(fs::remove_file(&fresh));
    let mut file =
        fs::File::options().write(true).create_new(true).mode(0o600).open(&fresh).map_err(failed)?;
    file.write_all(format!("{value:#}").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    if path.exists() {
        fs::rename(path, path.with_extension("pm2.bak")).map_err(failed)?;
    }
    fs::rename(&fresh, path).map_err(failed)
}

/// One app of a dump or of a running pm2.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Name.
    pub(crate) name: String,
    /// As an app file would say it, without variables.
    pub(crate) table: Map<String, Value>,
    /// Whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Whether it ran.
    pub(crate) running: bool,
    /// Whether it was down because pm2 had given it up.
    pub(crate) given_up: bool,
    /// Ids of its processes where they are known.
    pub(crate) ids: Vec<u64>,
}

/// The apps of a dump.
pub(crate) fn read(text: &str, shown: &str) -> Result<Vec<Entry>, Failure> {
    let wrong = |why: String| {
        Failure::new(Code::Syntax, format!("{shown} is no list of pm2: {why}"))
            .help("`pm2 save` writes one into ~/.pm2/dump.pm2")
    };
    let entries: Vec<Map<String, Value>> =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if let Some(entry) = entries.iter().find(|entry| !entry.contains_key("pm_exec_path")) {
        return Err(wrong(format!("{} has no pm_exec_path", entry.get("name").unwrap_or(&Value::Null))));
    }
    Ok(apps(entries))
}

/// The description of an app for the daemon, with the environment that it had.
pub(crate) fn spec(entry: &Entry, caller: &Caller) -> Result<AppSpec, Failure> {
    let shown = format!("`{}` in pm2's list", entry.name);
    let (mut options, _) = appfile::options_of(&entry.table, &shown)?;
    options.env = Some(entry.env.clone());
    options.filter_env = Some(EnvFilter::All);
    let mut spec = resolve(options, &caller.cwd, caller)?;
    // Nobody can tell any more what was written for the app; wpm's own words must win.
    spec.own_env.clear();
    Ok(spec)
}

/// Apps of a dump by how they stood.
#[derive(Debug, Default)]
pub(crate) struct Dumped {
    /// Those that are to be up.
    pub(crate) up: Vec<AppSpec>,
    /// Those that were stopped.
    pub(crate) down: Vec<AppSpec>,
}

/// What the dump of this home holds and is not in the list, for `pm2 resurrect`. None: there is no dump.
pub(crate) fn resurrect(context: &mut Context) -> Result<Option<Dumped>, Failure> {
    let path = path(&context.home()?);
    voice::say("Resurrecting");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    voice::say(&format!("Restoring processes located in {}", path.display()));
    let caller = Caller::of_this_process()?;
    let mut client = context.daemon()?;
    let known = match list(&mut client, Vec::new(), Detail::State) {
        Err(failure) if failure.is(Code::NoApps) => Vec::new(),
        known => known?,
    };
    let mut dumped = Dumped::default();
    for entry in read(&text, &path.display().to_string())? {
        if known.iter().any(|app| app.name == entry.name) {
            continue;
        }
        // One app whose files are gone keeps nobody else from coming back.
        match spec(&entry, &caller) {
            // One that was given up is tried again, as pm2 does.
            Ok(spec) if entry.running || entry.given_up => dumped.up.push(spec),
            Ok(spec) => dumped.down.push(spec),
            Err(failure) => voice::fail(&failure),
        }
    }
    Ok(Some(dumped))
}

/// Puts the processes of each app together, in the order of the list.
pub(crate) fn apps(processes: Vec<Map<String, Value>>) -> Vec<Entry> {
    let mut order: Vec<(String, Vec<Map<String, Value>>)> = Vec::new();
    for process in processes {
        if process.get("pmx_module") == Some(&Value::Bool(true)) {
            continue;
        }
        let name = process.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        match order.iter_mut().find(|(other, _)| *other == name) {
            Some((_, processes)) => processes.push(process),
            None => order.push((name, vec![process])),
        }
    }
    order.into_iter().filter_map(|(name, processes)| entry(name, &processes)).collect()
}

fn entry(name: String, processes: &[Map<String, Value>]) -> Option<Entry> {
    let first = processes.first()?;
    let text = |key: &str| first.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut table = Map::new();
    table.insert("name".to_owned(), json!(name));
    let args: Vec<&str> =
        first.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let script = text("pm_exec_path");
    let shell = script.rsplit('/').next().is_some_and(|program| matches!(program, "bash" | "sh"));
    let line = match args.as_slice() {
        ["-c", line] if shell && line.contains(' ') => Some(*line),
        _ => None,
    };
    table.insert("script".to_owned(), json!(line.unwrap_or(script)));
    table.insert("cwd".to_owned(), json!(text("pm_cwd")));
    let interpreter = text("exec_interpreter");
    if line.is_none() && !interpreter.is_empty() {
        table.insert("interpreter".to_owned(), json!(interpreter));
    }
    if let Some(node_args) =
        first.get("node_args").filter(|args| args.as_array().is_some_and(|it| !it.is_empty()))
    {
        table.insert("interpreter_args".to_owned(), node_args.clone());
    }
    let cluster = text("exec_mode") == "cluster_mode";
    if processes.len() > 1 || cluster {
        table.insert("instances".to_owned(), json!(processes.len()));
    }
    for key in &SAME {
        if table.contains_key(*key) {
            continue;
        }
        let Some(value) = first.get(*key).filter(|value| !is_empty(value)) else { continue };
        let line_is_args = *key == "args" && line.is_some();
        // Of a single process pm2 says so by itself.
        let by_itself = *key == "merge_logs" && processes.len() == 1 && !cluster;
        if !is_default(key, value) && !line_is_args && !by_itself {
            table.insert((*key).to_owned(), value.clone());
        }
    }
    let home = text("pm_pid_path").rsplit_once("/pids/").map_or("", |(home, _)| home);
    let several = processes.len() > 1;
    for (key, field, kind) in
        [("out_file", "pm_out_log_path", "out"), ("error_file", "pm_err_log_path", "error")]
    {
        if let Some(file) = log_file(text(field), home, &name, kind, several) {
            table.insert(key.to_owned(), json!(file));
        }
    }
    if let Some(both) = first.get("pm_log_path").and_then(Value::as_str) {
        table.insert("log_file".to_owned(), json!(both));
    }
    // A job by the clock: between its runs pm2 shows it as stopped.
    let job = table.get("autorestart") == Some(&json!(false)) && table.contains_key("cron_restart");
    if job {
        table.remove("autorestart");
        if let Some(rule) = table.remove("cron_restart") {
            table.insert("schedule".to_owned(), rule);
        }
    }
    let env = first.get("env").and_then(Value::as_object).cloned().unwrap_or_default();
    let env = env.into_iter().filter_map(|(key, value)| match value {
        // pm2 puts an empty object under the name of the app itself.
        Value::Object(_) | Value::Array(_) | Value::Null => None,
        Value::String(text) => Some((key, text)),
        other => Some((key, other.to_string())),
    });
    let running = processes.iter().any(|it| {
        job || !matches!(it.get("status").and_then(Value::as_str), Some("stopped" | "errored" | "stopping"))
    });
    Some(Entry {
        env: env
            .filter(|(key, value)| !(OWN.contains(&key.as_str()) || *key == name && value == "{}"))
            .collect(),
        ids: processes.iter().filter_map(|it| it.get("pm_id").and_then(Value::as_u64)).collect(),
        name,
        table,
        running,
        given_up: !running && processes.iter().any(|it| it.get("status") == Some(&json!("errored"))),
    })
}

/// Variables by which pm2 tells a process who it is; wpm says them anew.
const OWN: [&str; 16] = [
    "pm_id",
    "name",
    "namespace",
    "status",
    "unique_id",
    "NODE_APP_INSTANCE",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "PM2_USAGE",
    "PM2_HOME",
    "PM2_JSON_PROCESSING",
    "PM2_INTERACTOR_PROCESSING",
    "WPM_HOME",
    "WPM_INSTANCE",
    "WPM_RUN",
];

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// A log file that was asked for; none where it is the one that pm2 takes by itself.
fn log_file(path: &str, home: &str, name: &str, kind: &str, several: bool) -> Option<String> {
    let (folder, file) = path.rsplit_once('/')?;
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' })
        .collect();
    let own = file
        .strip_prefix(&format!("{clean}-{kind}"))
        .and_then(|rest| rest.strip_suffix(".log"))
        .is_some_and(|rest| rest.is_empty() || is_number(rest.strip_prefix('-').unwrap_or("x")));
    if own && folder == format!("{home}/logs") {
        return None;
    }
    if !several {
        return Some(path.to_owned());
    }
    // Of several processes each has its id in the name, which wpm adds by itself.
    let (stem, extension) =
        file.rsplit_once('.').map_or((file, String::new()), |(stem, it)| (stem, format!(".{it}")));
    let stem = stem.rsplit_once('-').filter(|(_, number)| is_number(number)).map_or(stem, |(stem, _)| stem);
    Some(format!("{folder}/{stem}{extension}"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(more: &Value) -> Value {
        let mut process = json!({
            "name": "web", "namespace": "default", "pm_exec_path": "/srv/web.js", "pm_cwd": "/srv",
            "exec_interpreter": "node", "exec_mode": "cluster_mode", "node_args": [], "args": ["--port", "80"],
            "status": "online", "autorestart": true, "kill_timeout": 1600, "max_memory_restart": 314_572_800,
            "pm_out_log_path": "/root/.pm2/logs/web-out-0.log", "pm_err_log_path": "/var/log/web-0.log",
            "pm_pid_path": "/root/.pm2/pids/web-0.pid", "watch": false,
            "env": {"NODE_ENV": "production", "web": "{}", "PM2_HOME": "/root/.pm2", "PORT": 80},
            "NODE_ENV": "production", "axm_actions": [], "pmx": true
        });
        process.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        process
    }

    #[test]
    fn the_processes_of_an_app_become_one_app() {
        let text = json!([process(&json!({})), process(&json!({}))]).to_string();
        let apps = read(&text, "dump.pm2").expect("a list");
        assert_eq!(apps.len(), 1);
        let expected = json!({
            "name": "web", "script": "/srv/web.js", "cwd": "/srv", "interpreter": "node", "instances": 2,
            "args": ["--port", "80"], "exec_mode": "cluster_mode", "max_memory_restart": 314_572_800,
            "error_file": "/var/log/web.log"
        });
        assert_eq!(Value::Object(apps[0].table.clone()), expected);
        let env: Vec<_> = apps[0].env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(env, [("NODE_ENV", "production"), ("PORT", "80")]);
        assert!(apps[0].running);
    }

    #[test]
    fn a_line_for_the_shell_is_one_again_and_what_was_stopped_stays_so() {
        let line = process(&json!({
            "pm_exec_path": "/usr/bin/bash", "args": ["-c", "npm run dev"], "exec_interpreter": "none",
            "exec_mode": "fork_mode", "status": "stopped"
        }));
        let apps = read(&json!([line]).to_string(), "x").expect("a list");
        assert_eq!(apps[0].table["script"], "npm run dev");
        assert!(!apps[0].table.contains_key("args") && !apps[0].table.contains_key("interpreter"));
        assert!(!apps[0].running);
    }

    #[test]
    fn a_job_by_the_clock_is_one_here_too() {
        let job = process(&json!({
            "autorestart": false, "cron_restart": "*/5 * * * *", "status": "stopped", "exec_mode": "fork_mode"
        }));
        let apps = read(&json!([job]).to_string(), "x").expect("a list");
        assert_eq!(apps[0].table["schedule"], "*/5 * * * *");
        assert!(!apps[0].table.contains_key("cron_restart") && !apps[0].table.contains_key("autorestart"));
        assert!(apps[0].running);
    }

    #[test]
    fn another_file_is_refused() {
        assert!(read("{}", "x").is_err() && read("[{\"name\": \"a\"}]", "x").is_err());
        assert_eq!(read("[]", "x").expect("empty"), []);
    }

    #[test]
    fn a_dump_has_no_ids() {
        let list = of_list(vec![json!({"pm_id": 3, "pm2_env": {"name": "web", "pm_id": 3, "instances": 2}})]);
        assert_eq!(list, json!([{"name": "web"}]));
    }
}
