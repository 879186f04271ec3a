//! Specs: what an app is to be, on the wire, in memory and on disk.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use wpm_core::{
    BadCondition, BadHook, BadLimit, Balance, Check, Condition, Hook, LogSpec, Millis, Resource,
    ResourceLimit, RestartPolicy, ScheduleOverlap, Spec, StopPolicy, WatchSpec,
};
use wpm_proto::app::AppSpec;
use wpm_proto::state::SavedSpec;

use super::{BadField, Defaults};

const MIN_UPTIME_MS: u64 = 1000;
const MAX_RESTARTS: u32 = 16;
const START_CHECK_MS: u64 = 400;
const LISTEN_TIMEOUT_MS: u64 = 3000;
const HEALTH_INTERVAL_MS: u64 = 10_000;
const HEALTH_TIMEOUT_MS: u64 = 3000;
const HEALTH_FAILURES: u32 = 3;
const DRAIN_TIMEOUT_MS: u64 = 5000;

/// The fields that have a language of their own.
#[derive(Debug, Default)]
struct Parsed {
    balance: Option<Balance>,
    ready: Option<Check>,
    health: Option<Check>,
    depends_on: BTreeMap<String, Condition>,
    hooks: BTreeMap<Hook, String>,
    schedule_overlap: ScheduleOverlap,
    limits: BTreeMap<Resource, ResourceLimit>,
}

impl Parsed {
    fn of(app: &AppSpec) -> Result<Self, BadField> {
        Ok(Self {
            balance: parsed("balance", app.balance.as_deref())?,
            ready: parsed("ready", app.ready.as_deref())?,
            health: match parsed("health", app.health.as_deref())? {
                Some(Check::Message | Check::Log { .. }) => {
                    let reason =
                        "it can be said once only, and health is asked for again and again".to_owned();
                    return Err(BadField { field: "health", reason });
                }
                health => health,
            },
            depends_on: entries("depends_on", &app.depends_on, |app, condition| {
                Ok((app.to_owned(), condition.parse().map_err(|why: BadCondition| why.to_string())?))
            })?,
            hooks: entries("hooks", &app.hooks, |hook, what| {
                Ok((hook.parse().map_err(|why: BadHook| why.to_string())?, what.to_owned()))
            })?,
            schedule_overlap: parsed("schedule_overlap", app.schedule_overlap.as_deref())?
                .unwrap_or_default(),
            limits: entries("limits", &app.limits, |resource, limit| {
                let resource: Resource = resource.parse().map_err(|why: BadLimit| why.to_string())?;
                Ok((resource, limit.parse().map_err(|why: BadLimit| why.to_string())?))
            })?,
        })
    }
}

fn entries<K: Ord, V>(
    field: &'static str,
    given: &BTreeMap<String, String>,
    read: impl Fn(&str, &str) -> Result<(K, V), String>,
) -> Result<BTreeMap<K, V>, BadField> {
    let bad = |word: &str, why| BadField { field, reason: format!("`{word}`: {why}") };
    given.iter().map(|(key, value)| read(key, value).map_err(|why| bad(key, why))).collect()
}

fn parsed<T: FromStr<Err: Display>>(field: &'static str, text: Option<&str>) -> Result<Option<T>, BadField> {
    text.map(|text| text.parse().map_err(|why: T::Err| BadField { field, reason: why.to_string() }))
        .transpose()
}

/// Wire to memory.
///
/// # Errors
/// When a field that has a language of its own does not speak it.
pub(crate) fn spec(app: AppSpec, defaults: Defaults) -> Result<Spec, BadField> {
    let parsed = Parsed::of(&app)?;
    Ok(with_parsed(app, parsed, defaults))
}

fn with_parsed(app: AppSpec, parsed: Parsed, defaults: Defaults) -> Spec {
    let Parsed { balance, ready, health, depends_on, hooks, schedule_overlap, limits } = parsed;
    let AppSpec {
        name,
        namespace,
        script,
        shell,
        interpreter,
        interpreter_args,
        args,
        cwd,
        env,
        own_env,
        file_env,
        covered_env,
        env_files,
        filter_env,
        source,
        source_env,
        instances,
        instances_asked,
        cluster,
        instance_var,
        increment_var,
        autostart,
        start_check_ms,
        wait_ready,
        listen_timeout_ms,
        listen,
        balance: _,
        port_step,
        ready: _,
        health: _,
        health_interval_ms,
        health_timeout_ms,
        health_failures,
        drain_timeout_ms,
        overlap,
        autorestart,
        stop_exit_codes,
        min_uptime_ms,
        max_restarts,
        restart_delay_ms,
        exp_backoff_restart_delay_ms,
        max_memory_restart,
        kill_signal,
        kill_timeout_ms,
        treekill,
        shutdown_with_message,
        out_file,
        error_file,
        log_file,
        merge_logs,
        disable_logs,
        log_json,
        log_date_format,
        log_max_size,
        log_retain,
        log_compress,
        log_rotate_interval,
        pid_file,
        cron_restart,
        schedule,
        schedule_overlap: _,
        watch,
        ignore_watch,
        watch_delay_ms,
        depends_on: _,
        hooks: _,
        uid,
        gid,
        umask,
        nice,
        max_open_files,
        memory_max,
        cpu_max,
        limits: _,
        version,
        username,
        extra,
    } = app;
    Spec {
        name,
        namespace,
        script,
        shell,
        interpreter,
        interpreter_args,
        args,
        cwd,
        env,
        own_env,
        file_env,
        covered_env,
        env_files,
        filter_env,
        source,
        source_env,
        instances,
        instances_asked,
        cluster,
        instance_var: instance_var.unwrap_or_else(|| wpm_proto::env::NODE_APP_INSTANCE.to_owned()),
        increment_var,
        autostart,
        start_check: Millis(start_check_ms.unwrap_or(START_CHECK_MS)),
        wait_ready,
        listen_timeout: Millis(listen_timeout_ms.unwrap_or(LISTEN_TIMEOUT_MS)),
        listen,
        balance,
        port_step,
        ready,
        health,
        health_interval: Millis(health_interval_ms.unwrap_or(HEALTH_INTERVAL_MS)),
        health_timeout: Millis(health_timeout_ms.unwrap_or(HEALTH_TIMEOUT_MS)),
        health_failures: health_failures.unwrap_or(HEALTH_FAILURES),
        drain_timeout: Millis(drain_timeout_ms.unwrap_or(DRAIN_TIMEOUT_MS)),
        overlap,
        restart: RestartPolicy {
            autorestart,
            stop_exit_codes,
            min_uptime: Millis(min_uptime_ms.unwrap_or(MIN_UPTIME_MS)),
            max_restarts: max_restarts.unwrap_or(MAX_RESTARTS),
            restart_delay: restart_delay_ms.filter(|ms| *ms > 0).map(Millis),
            backoff: exp_backoff_restart_delay_ms.filter(|ms| *ms > 0).map(Millis),
            max_memory: max_memory_restart.filter(|bytes| *bytes > 0),
        },
        stop: StopPolicy {
            signal: kill_signal.unwrap_or(defaults.kill_signal),
            kill_timeout: Millis(kill_timeout_ms.unwrap_or(defaults.kill_timeout_ms)),
            tree: treekill,
            with_message: shutdown_with_message,
        },
        log: LogSpec {
            out: out_file,
            err: error_file,
            both: log_file,
            merge: merge_logs,
            disabled: disable_logs,
            json: log_json,
            date_format: log_date_format,
            max_size: log_max_size,
            retain: log_retain,
            compress: log_compress,
            rotate_interval: log_rotate_interval,
        },
        pid_file,
        cron_restart: cron_restart.filter(|rule| rule != "0"),
        schedule,
        schedule_overlap,
        watch: WatchSpec { paths: watch, ignore: ignore_watch, delay: watch_delay_ms.map(Millis) },
        depends_on,
        hooks,
        uid,
        gid,
        umask,
        nice,
        max_open_files,
        memory_max,
        cpu_max,
        limits,
        version,
        username,
        extra,
    }
}

/// Memory to wire.
pub(crate) fn app_spec(spec: &Spec) -> AppSpec {
    let s = spec.clone();
    AppSpec {
        name: s.name,
        namespace: s.namespace,
        script: s.script,
        shell: s.shell,
        interpreter: s.interpreter,
        interpreter_args: s.interpreter_args,
        args: s.args,
        cwd: s.cwd,
        env: s.env,
        own_env: s.own_env,
        file_env: s.file_env,
        covered_env: s.covered_env,
        env_files: s.env_files,
        filter_env: s.filter_env,
        source: s.source,
        source_env: s.source_env,
        instances: s.instances,
        instances_asked: s.instances_asked,
        cluster: s.cluster,
        instance_var: Some(s.instance_var),
        increment_var: s.increment_var,
        autostart: s.autostart,
        start_check_ms: Some(s.start_check.0),
        wait_ready: s.wait_ready,
        listen_timeout_ms: Some(s.listen_timeout.0),
        listen: s.listen,
        balance: s.balance.map(|one| one.as_str().to_owned()),
        port_step: s.port_step,
        ready: s.ready.map(|check| check.to_string()),
        health: s.health.map(|check| check.to_string()),
        health_interval_ms: Some(s.health_interval.0),
        health_timeout_ms: Some(s.health_timeout.0),
        health_failures: Some(s.health_failures),
        drain_timeout_ms: Some(s.drain_timeout.0),
        overlap: s.overlap,
        autorestart: s.restart.autorestart,
        stop_exit_codes: s.restart.stop_exit_codes,
        min_uptime_ms: Some(s.restart.min_uptime.0),
        max_restarts: Some(s.restart.max_restarts),
        restart_delay_ms: s.restart.restart_delay.map(|m| m.0),
        exp_backoff_restart_delay_ms: s.restart.backoff.map(|m| m.0),
        max_memory_restart: s.restart.max_memory,
        kill_signal: Some(s.stop.signal),
        kill_timeout_ms: Some(s.stop.kill_timeout.0),
        treekill: s.stop.tree,
        shutdown_with_message: s.stop.with_message,
        out_file: s.log.out,
        error_file: s.log.err,
        log_file: s.log.both,
        merge_logs: s.log.merge,
        disable_logs: s.log.disabled,
        log_json: s.log.json,
        log_date_format: s.log.date_format,
        log_max_size: s.log.max_size,
        log_retain: s.log.retain,
        log_compress: s.log.compress,
        log_rotate_interval: s.log.rotate_interval,
        pid_file: s.pid_file,
        cron_restart: s.cron_restart,
        schedule_overlap: s.schedule.as_ref().map(|_| s.schedule_overlap.as_str().to_owned()),
        schedule: s.schedule,
        watch: s.watch.paths,
        ignore_watch: s.watch.ignore,
        watch_delay_ms: s.watch.delay.map(|m| m.0),
        depends_on: s.depends_on.into_iter().map(|(app, it)| (app, it.as_str().to_owned())).collect(),
        hooks: s.hooks.into_iter().map(|(hook, what)| (hook.as_str().to_owned(), what)).collect(),
        uid: s.uid,
        gid: s.gid,
        umask: s.umask,
        nice: s.nice,
        max_open_files: s.max_open_files,
        memory_max: s.memory_max,
        cpu_max: s.cpu_max,
        limits: s.limits.into_iter().map(|(it, limit)| (it.as_str().to_owned(), limit.to_string())).collect(),
        version: s.version,
        username: s.username,
        extra: s.extra,
    }
}

/// Copies fields of equal names between the wire's and the disk's type.
macro_rules! same_fields {
    ($value:expr, $from:ident => $to:ident) => {
        same_fields!($value, $from => $to {
            name, namespace, script, shell, interpreter, interpreter_args, args, cwd, env, own_env,
            file_env, covered_env, env_files, filter_env, source, source_env,
            instances, instances_asked, cluster, instance_var, increment_var, autostart,
            start_check_ms, wait_ready, listen_timeout_ms, listen, balance, port_step, ready, health,
            health_interval_ms, health_timeout_ms, health_failures, drain_timeout_ms, overlap, autorestart, stop_exit_codes,
            min_uptime_ms, max_restarts, restart_delay_ms, exp_backoff_restart_delay_ms,
            max_memory_restart, kill_signal, kill_timeout_ms, treekill, shutdown_with_message,
            out_file, error_file, log_file, merge_logs, disable_logs, log_json, log_date_format,
            log_max_size, log_retain, log_compress, log_rotate_interval, pid_file, cron_restart, schedule, schedule_overlap, watch,
            ignore_watch, watch_delay_ms, depends_on, hooks, uid, gid, umask, nice, max_open_files, memory_max, cpu_max, limits, version, username, extra
        })
    };
    ($value:expr, $from:ident => $to:ident { $($field:ident),* }) => {{
        let $from { $($field),* } = $value;
        $to { $($field),* }
    }};
}

/// Memory to disk.
pub(crate) fn saved_spec(spec: &Spec) -> SavedSpec {
    same_fields!(app_spec(spec), AppSpec => SavedSpec)
}

/// Disk to memory. What a newer wpm wrote in words that this one does not know is left out.
pub(crate) fn restored_spec(saved: SavedSpec, defaults: Defaults) -> Spec {
    let app = same_fields!(saved, SavedSpec => AppSpec);
    let parsed = Parsed::of(&app).unwrap_or_else(|BadField { field, reason }| {
        tracing::error!("{:?}: `{field}` of the state file is not understood: {reason}", app.name);
        Parsed::default()
    });
    with_parsed(app, parsed, defaults)
}
