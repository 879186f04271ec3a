//! A known app with other settings: what the options of `start` mean where they stand beside its name.
//!
//! Reads files of variables and looks for interpreters, as [`super::resolve`] does for a new app. Invariant:
//! what no option names stays as it was, every option that there is has its place here, and every path in
//! the result is absolute.

use std::collections::BTreeMap;
use std::path::Path;

use wpm_proto::app::AppSpec;

use super::interpreter::is_javascript;
use super::spec::{Sources, chosen_interpreter, file, file_variables, is_wanted};
use super::{Caller, absolute};
use crate::cpus;
use crate::failure::{Code, Failure};
use crate::options::{AppOptions, EnvFilter};

/// Sets fields that mean the same under the same name.
macro_rules! set {
    ($spec:ident: $($field:ident),* $(,)?) => {
        $(if let Some(value) = $field { $spec.$field = value.into(); })*
    };
}

/// The app with these settings; `update_env`: with the caller's environment in the place of what it inherited.
pub(crate) fn altered(
    mut spec: AppSpec,
    options: AppOptions,
    update_env: bool,
    caller: &Caller,
) -> Result<AppSpec, Failure> {
    // Every one by its name, so that a new option cannot be forgotten here.
    let AppOptions {
        script: _,
        name: _,
        source: _,
        source_env: _,
        append_env_to_name: _,
        hooks: _,
        extra: _,
        namespace,
        cwd,
        args,
        interpreter,
        interpreter_args,
        cluster,
        instances,
        env,
        env_file,
        filter_env,
        instance_var,
        increment_var,
        autostart,
        start_check_ms,
        wait_ready,
        ready,
        health,
        health_interval_ms,
        health_timeout_ms,
        health_failures,
        drain_timeout_ms,
        listen_timeout_ms,
        listen,
        balance,
        port_step,
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
        schedule_overlap,
        watch,
        watches,
        ignore_watch,
        watch_delay_ms,
        depends_on,
        uid,
        gid,
        umask,
        nice,
        max_open_files,
        memory_max,
        cpu_max,
        limits,
        source_maps,
    } = options;
    if let Some(cwd) = cwd {
        let cwd = absolute(&cwd, &caller.cwd, &caller.env);
        if !cwd.is_dir() {
            let message = format!("the working directory {} is not there", cwd.display());
            return Err(Failure::new(Code::NoTarget, message));
        }
        spec.cwd = cwd.display().to_string();
    }
    let folder = spec.cwd.clone();
    let folder = Path::new(&folder);
    if let Some(chosen) = interpreter {
        spec.interpreter = chosen_interpreter(&chosen, &spec.script, folder, caller)?;
    }
    let script = spec.interpreter.as_deref().is_some_and(is_javascript);
    if let Some(text) = instances {
        spec.instances = cpus::instances(&text, caller.cpus)
            .map_err(|why| Failure::new(Code::InvalidValue, format!("{}: {why}", spec.name)))?;
        spec.instances_asked = true;
        spec.cluster |= script;
    }
    if let Some(cluster) = cluster {
        spec.cluster = cluster && script;
    }
    if schedule.is_some() && autorestart.is_none() {
        // A job ends when it is done.
        spec.autorestart = false;
    }
    set!(spec: namespace, args, interpreter_args, instance_var, increment_var, autostart, start_check_ms, wait_ready,
        ready, health, health_interval_ms, health_timeout_ms, health_failures, drain_timeout_ms, listen_timeout_ms,
        listen, balance, port_step, autorestart, stop_exit_codes, min_uptime_ms, max_restarts, kill_signal,
        kill_timeout_ms, treekill, shutdown_with_message, merge_logs, disable_logs, log_json, log_max_size,
        log_retain, log_compress, log_rotate_interval, schedule, schedule_overlap, ignore_watch, watch_delay_ms,
        depends_on, uid, gid, umask, nice, max_open_files, memory_max, cpu_max, limits);
    if source_maps == Some(true) && script && !spec.interpreter_args.iter().any(|arg| arg == SOURCE_MAPS) {
        spec.interpreter_args.push(SOURCE_MAPS.to_owned());
    }
    // Nothing of something removes it.
    let unless_zero = |value: u64| (value > 0).then_some(value);
    if let Some(limit) = max_memory_restart {
        spec.max_memory_restart = unless_zero(limit);
    }
    if let Some(rule) = cron_restart {
        spec.cron_restart = (rule != "0").then_some(rule);
    }
    if let Some(format) = log_date_format {
        spec.log_date_format = Some(format).filter(|format| !format.is_empty());
    }
    // Of the two kinds of delay only one can be meant.
    if let Some(delay) = restart_delay_ms {
        (spec.restart_delay_ms, spec.exp_backoff_restart_delay_ms) = (unless_zero(delay), None);
    }
    if let Some(delay) = exp_backoff_restart_delay_ms {
        (spec.exp_backoff_restart_delay_ms, spec.restart_delay_ms) = (unless_zero(delay), None);
    }
    let path = |path: String| Some(file(&path, folder, caller));
    if let Some(out) = out_file {
        spec.out_file = path(out);
    }
    if let Some(error) = error_file {
        spec.error_file = path(error);
    }
    if let Some(both) = log_file {
        spec.log_file = if both.is_empty() { Some(both) } else { path(both) };
    }
    if let Some(pid) = pid_file {
        spec.pid_file = path(pid);
    }
    let watched = |path: &String| absolute(path, &caller.cwd, &caller.env).display().to_string();
    match (watches, watch.unwrap_or_default()) {
        (None, _) => {}
        (Some(_), paths) if !paths.is_empty() => spec.watch = paths.iter().map(watched).collect(),
        // As with `restart --watch` alone: on, and off where it is on.
        (Some(_), _) if spec.watch.is_empty() => spec.watch = vec![spec.cwd.clone()],
        (Some(_), _) => spec.watch.clear(),
    }
    match filter_env {
        None => {}
        Some(EnvFilter::All) => spec.filter_env = vec![String::new()],
        Some(EnvFilter::Containing(parts)) => spec.filter_env = parts,
    }
    if let Some(files) = env_file {
        let path = |path: String| absolute(&path, &caller.cwd, &caller.env).display().to_string();
        spec.env_files = files.into_iter().map(path).collect();
    }
    environment(&mut spec, env.unwrap_or_default(), update_env, caller)?;
    Ok(spec)
}

/// What Node is told for source maps.
pub(super) const SOURCE_MAPS: &str = "--enable-source-maps";

/// Puts the environment together anew: what its files hold now, and further variables of its own.
fn environment(
    spec: &mut AppSpec,
    more: BTreeMap<String, String>,
    update_env: bool,
    caller: &Caller,
) -> Result<(), Failure> {
    let is_own = |name: &String| spec.own_env.contains(name);
    let mut inherited: BTreeMap<String, String> = spec
        .env
        .iter()
        .filter(|(name, _)| !is_own(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    inherited.extend(std::mem::take(&mut spec.covered_env));
    let mut own = std::mem::take(&mut spec.env);
    own.retain(|name, _| is_own(name) && !spec.file_env.contains(name));
    own.extend(more);
    if update_env {
        inherited.clone_from(&caller.env);
    }
    inherited.retain(|name, _| is_wanted(name, &spec.filter_env));
    let files = file_variables(&spec.env_files)?;
    let sources = Sources { inherited, files, own };
    sources.into_spec(spec);
    Ok(())
}
