//! Completes settings to the description that the daemon gets.
//!
//! Invariant: relative paths of the app are seen from its working directory, which is where the caller
//! is unless the app says otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use wpm_proto::app::AppSpec;

use super::altered::SOURCE_MAPS;
use super::interpreter::{is_javascript, is_python};
use super::path::{absolute, on_path};
use super::{Caller, Program, folder, locate};
use crate::cpus;
use crate::failure::{Code, Failure};
use crate::options::{AppOptions, EnvFilter};

/// Resolves one app; its relative paths are seen from `base` (the folder of its file, or the caller's).
pub(crate) fn resolve(options: AppOptions, base: &Path, caller: &Caller) -> Result<AppSpec, Failure> {
    let script = options.script.clone().ok_or_else(|| {
        let named = options.name.as_ref().map_or_else(String::new, |name| format!(" `{name}`"));
        Failure::new(Code::AppFile, format!("the app{named} has no `script`"))
    })?;
    let asked_cwd = options.cwd.as_ref().map(|cwd| absolute(cwd, base, &caller.env));
    if let Some(cwd) = asked_cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        return Err(Failure::new(
            Code::NoTarget,
            format!("the working directory {} is not there", cwd.display()),
        )
        .about("", "cwd"));
    }
    let interpreted = options.interpreter.is_some();
    let seen_from = asked_cwd.as_deref().unwrap_or(base);
    // As seen from the app's working directory; else as seen from where the command was typed.
    let program = locate(&script, seen_from, caller, interpreted)
        .or_else(|failure| locate(&script, &caller.cwd, caller, interpreted).map_err(|_| failure))?;
    let cwd = asked_cwd.or_else(|| program.folder.clone()).unwrap_or_else(|| base.to_owned());
    let interpreter = interpreter(&options, &program, &cwd, caller)?;
    let mut options = options;
    let env_files: Vec<String> = options.env_file.take().unwrap_or_default();
    let env_files = env_files.iter().map(|file| absolute(file, base, &caller.env).display().to_string());
    complete(options, program, interpreter, &cwd, caller, env_files.collect())
}

/// The variables of files such as `.env`, the later over the earlier.
pub(crate) fn file_variables(files: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut variables = BTreeMap::new();
    for file in files {
        let path = Path::new(file);
        let unreadable = |cause: dotenvy::Error| {
            let why = match cause {
                dotenvy::Error::LineParse(line, _) => format!("`{line}` is not NAME=VALUE"),
                other => other.to_string(),
            };
            Failure::new(Code::AppFile, format!("cannot read the env_file {}: {why}", path.display()))
                .about("", "env_files")
        };
        for pair in dotenvy::from_path_iter(path).map_err(unreadable)? {
            let (name, value) = pair.map_err(unreadable)?;
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

fn interpreter(
    options: &AppOptions,
    program: &Program,
    cwd: &Path,
    caller: &Caller,
) -> Result<Option<String>, Failure> {
    match (options.interpreter.as_deref(), program.interpreter.as_deref()) {
        (Some(chosen), _) => chosen_interpreter(chosen, &program.script, cwd, caller),
        (None, Some(suited)) => found(suited, &program.script, caller).map(Some),
        (None, None) => Ok(None),
    }
}

/// The interpreter that a word names; none where it is `none`.
pub(super) fn chosen_interpreter(
    chosen: &str,
    script: &str,
    cwd: &Path,
    caller: &Caller,
) -> Result<Option<String>, Failure> {
    if matches!(chosen, "none" | "") {
        return Ok(None);
    }
    if !chosen.contains('/') {
        return found(chosen, script, caller).map(Some);
    }
    let path = absolute(chosen, cwd, &caller.env);
    if !path.is_file() {
        let message = format!("there is no interpreter {}", path.display());
        return Err(Failure::new(Code::NoInterpreter, message).about("", "interpreter"));
    }
    Ok(Some(path.display().to_string()))
}

/// An interpreter, if it is there.
fn found(chosen: &str, script: &str, caller: &Caller) -> Result<String, Failure> {
    let there = if chosen.contains('/') {
        Path::new(chosen).is_file()
    } else {
        on_path(chosen, &caller.env, &caller.cwd).is_some()
    };
    if there {
        return Ok(chosen.to_owned());
    }
    Err(Failure::new(
        Code::NoInterpreter,
        format!("cannot start {script}: its interpreter `{chosen}` is not on PATH"),
    )
    .help("install it, or name another with --interpreter (`none` executes the file itself)")
    .about("", "interpreter"))
}

fn complete(
    options: AppOptions,
    program: Program,
    interpreter: Option<String>,
    cwd: &Path,
    caller: &Caller,
    env_files: Vec<String>,
) -> Result<AppSpec, Failure> {
    let of_files = file_variables(&env_files)?;
    let own = options.env.unwrap_or_default();
    let name = options.name.unwrap_or(program.name);
    let name = match options.append_env_to_name {
        Some(true) => match own.get("NODE_ENV").or_else(|| of_files.get("NODE_ENV")) {
            Some(env) => format!("{name}-{env}"),
            None => name,
        },
        _ => name,
    };
    let invalid = |message: String| Failure::new(Code::InvalidValue, message);
    let instances_asked = options.instances.is_some();
    let instances = match &options.instances {
        Some(text) => cpus::instances(text, caller.cpus)
            .map_err(|why| invalid(format!("{name}: {why}")).about("", "instances"))?,
        None => 1,
    };
    let scripted = interpreter.as_deref();
    let cluster = options.cluster.unwrap_or(instances_asked) && scripted.is_some_and(is_javascript);

    let filter_env = match options.filter_env {
        // In every name.
        Some(EnvFilter::All) => vec![String::new()],
        Some(EnvFilter::Containing(parts)) => parts,
        None => Vec::new(),
    };
    let mut inherited = caller.env.clone();
    inherited.retain(|name, _| is_wanted(name, &filter_env));

    let mut interpreter_args = program.interpreter_args;
    interpreter_args.extend(options.interpreter_args.unwrap_or_default());
    if options.source_maps == Some(true) && scripted.is_some_and(is_javascript) {
        interpreter_args.push(SOURCE_MAPS.to_owned());
    }
    let mut script = program.script;
    let mut args = options.args.unwrap_or_default();
    if program.shell && !args.is_empty() {
        let words = shlex::try_join(args.iter().map(String::as_str))
            .map_err(|_| invalid(format!("{name}: an argument holds a NUL character")))?;
        script = format!("{script} {words}");
        args.clear();
    }
    let version = match &program.folder {
        Some(folder) => folder::version(folder),
        None if program.shell || !scripted.is_some_and(is_javascript) => None,
        None => Path::new(&script).parent().and_then(folder::version),
    };
    let watch = match (options.watches, options.watch.unwrap_or_default()) {
        (Some(false), _) => Vec::new(),
        (Some(true), paths) if paths.is_empty() => vec![cwd.display().to_string()],
        (_, paths) => {
            paths.iter().map(|path| absolute(path, cwd, &caller.env).display().to_string()).collect()
        }
    };
    let file = |path: Option<String>| path.map(|path| file(&path, cwd, caller));
    let mut spec = AppSpec {
        namespace: options.namespace.unwrap_or_else(|| "default".to_owned()),
        shell: program.shell,
        interpreter,
        interpreter_args,
        args,
        own_env: Vec::new(),
        file_env: Vec::new(),
        covered_env: BTreeMap::new(),
        env_files,
        filter_env,
        source: options.source,
        source_env: options.source_env,
        instances,
        instances_asked,
        cluster,
        instance_var: options.instance_var,
        increment_var: options.increment_var,
        autostart: options.autostart.unwrap_or(true),
        start_check_ms: options.start_check_ms,
        wait_ready: options.wait_ready.unwrap_or(false),
        listen_timeout_ms: options.listen_timeout_ms,
        listen: options.listen.unwrap_or_default(),
        balance: options.balance,
        port_step: options.port_step,
        ready: options.ready,
        health: options.health,
        health_interval_ms: options.health_interval_ms,
        health_timeout_ms: options.health_timeout_ms,
        health_failures: options.health_failures,
        drain_timeout_ms: options.drain_timeout_ms,
        overlap: None,
        // A job ends when it is done.
        autorestart: options.autorestart.unwrap_or(options.schedule.is_none()),
        stop_exit_codes: options.stop_exit_codes.unwrap_or_default(),
        min_uptime_ms: options.min_uptime_ms,
        max_restarts: options.max_restarts,
        restart_delay_ms: options.restart_delay_ms,
        exp_backoff_restart_delay_ms: options.exp_backoff_restart_delay_ms,
        max_memory_restart: options.max_memory_restart,
        kill_signal: options.kill_signal,
        kill_timeout_ms: options.kill_timeout_ms,
        treekill: options.treekill.unwrap_or(true),
        shutdown_with_message: options.shutdown_with_message.unwrap_or(false),
        out_file: file(options.out_file),
        error_file: file(options.error_file),
        log_file: options
            .log_file
            .map(|path| if path.is_empty() { path } else { self::file(&path, cwd, caller) }),
        merge_logs: options.merge_logs.unwrap_or(false),
        disable_logs: options.disable_logs.unwrap_or(false),
        log_json: options.log_json.unwrap_or(false),
        log_date_format: options.log_date_format,
        log_max_size: options.log_max_size,
        log_retain: options.log_retain,
        log_compress: options.log_compress,
        log_rotate_interval: options.log_rotate_interval,
        pid_file: file(options.pid_file),
        cron_restart: options.cron_restart,
        schedule: options.schedule,
        schedule_overlap: options.schedule_overlap,
        watch,
        ignore_watch: options.ignore_watch.unwrap_or_default(),
        watch_delay_ms: options.watch_delay_ms,
        depends_on: options.depends_on.unwrap_or_default(),
        hooks: options.hooks.unwrap_or_default(),
        uid: options.uid,
        gid: options.gid,
        umask: options.umask,
        nice: options.nice.unwrap_or(0),
        max_open_files: options.max_open_files,
        memory_max: options.memory_max,
        cpu_max: options.cpu_max,
        limits: options.limits.unwrap_or_default(),
        version,
        username: caller.username.clone(),
        extra: options.extra.unwrap_or_default(),
        cwd: cwd.display().to_string(),
        script,
        name,
        env: BTreeMap::new(),
    };
    Sources { inherited, files: of_files, own }.into_spec(&mut spec);
    Ok(spec)
}

/// Whether a variable of this name is inherited.
pub(super) fn is_wanted(name: &str, filter: &[String]) -> bool {
    !filter.iter().any(|part| name.contains(part.as_str()))
}

/// The environment of an app by its sources, the later over the earlier.
pub(super) struct Sources {
    /// From the caller of the start, without what the app does not want.
    pub(super) inherited: BTreeMap<String, String>,
    /// From its files.
    pub(super) files: BTreeMap<String, String>,
    /// Written for it.
    pub(super) own: BTreeMap<String, String>,
}

impl Sources {
    /// Gives an app this environment, and what follows from its directory and interpreter.
    pub(super) fn into_spec(self, spec: &mut AppSpec) {
        let Self { inherited: mut env, files, own } = self;
        if spec.interpreter.as_deref().is_some_and(is_python) {
            // Without it, what a Python program prints would come when its buffer is full.
            env.entry("PYTHONUNBUFFERED".to_owned()).or_insert_with(|| "1".to_owned());
        }
        env.insert("PWD".to_owned(), spec.cwd.clone());
        spec.file_env = files.keys().filter(|name| !own.contains_key(*name)).cloned().collect();
        let over: BTreeMap<String, String> = files.into_iter().chain(own).collect();
        let covered = over.keys().filter_map(|name| Some((name.clone(), env.get(name)?.clone())));
        spec.covered_env = covered.collect();
        spec.own_env = over.keys().cloned().collect();
        env.extend(over);
        spec.env = env;
    }
}

/// A log or pid file; pm2's words for none become the null device.
pub(super) fn file(path: &str, cwd: &Path, caller: &Caller) -> String {
    if path == "NULL" || path == "/dev/null" {
        return "/dev/null".to_owned();
    }
    absolute(path, cwd, &caller.env).display().to_string()
}
