//! Turns a spec into the launch description of one run: names resolved, paths made, defaults filled.
//!
//! Decides nothing about whether or when: only what exactly is to be executed.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::identity;
use rustix::io::Errno;
use wpm_core::{FileName, InstanceId, LogNames, RunId, Spec};
use wpm_proto::home::Home;
use wpm_sys::contract::Stage;
use wpm_sys::launch::{ControlGroup, Launch, Limit, LineFormat, LogPlan};

/// Log rotation where neither app nor environment says otherwise (as pm2-logrotate has it).
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogDefaults {
    /// Bytes; 0 = never.
    pub(crate) max_size: u64,
    /// Files kept.
    pub(crate) retain: u32,
    /// gzip.
    pub(crate) compress: bool,
}

impl Default for LogDefaults {
    fn default() -> Self {
        Self { max_size: 10 * 1024 * 1024, retain: 30, compress: false }
    }
}

/// How long a full disk holds an app back before its output is dropped and counted, in ms.
const FULL_DISK_BLOCK_MS: u64 = 5000;
const DEFAULT_UMASK: u32 = 0o022;

/// Phrase of the stage at which the sockets of `--listen` are made.
pub(crate) const LISTENING: &str = "opening the socket of --listen";

/// Why a run cannot be described: the stage that would have failed, and the error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CannotLaunch {
    /// Phrase of the stage.
    pub(crate) stage: &'static str,
    /// Kernel error number.
    pub(crate) errno: i32,
}

/// Files of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// stdout, empty = discarded.
    pub(crate) out: String,
    /// stderr, empty = discarded.
    pub(crate) err: String,
    /// Both, where asked for.
    pub(crate) both: Option<String>,
    /// Pid file.
    pub(crate) pid: String,
}

/// Names of the files of one instance.
pub(crate) fn files(home: &Home, spec: &Spec, index: u32) -> Files {
    let (logs, pid) = file_names(home, spec);
    let of = |name: Option<FileName>| name.map(|name| name.of(index));
    Files {
        out: of(logs.out).unwrap_or_default(),
        err: of(logs.err).unwrap_or_default(),
        both: of(logs.both),
        pid: pid.of(index),
    }
}

/// Names of the files of all instances: logs and pid files.
pub(crate) fn file_names(home: &Home, spec: &Spec) -> (LogNames, FileName) {
    (spec.log_names(&home.logs().to_string_lossy()), spec.pid_name(&home.pids().to_string_lossy()))
}

/// Describes one run.
pub(crate) fn describe(
    home: &Home,
    spec: &Spec,
    index: u32,
    id: InstanceId,
    run: RunId,
    defaults: LogDefaults,
) -> Result<Launch, CannotLaunch> {
    let files = files(home, spec, index);
    let mut env = spec.instance_env(index, id);
    let home_text = home.path().to_string_lossy().into_owned();
    env.insert(wpm_proto::env::HOME.to_owned(), home_text);
    env.insert(
        wpm_proto::env::RUN.to_owned(),
        wpm_sys::start::run_mark(run.0, home.path().as_os_str().as_bytes()),
    );
    for (name, value) in crate::notify::variables(home, spec) {
        env.insert(name.to_owned(), value);
    }
    for (name, value) in
        [("pm_out_log_path", &files.out), ("pm_err_log_path", &files.err), ("pm_pid_path", &files.pid)]
    {
        env.insert(name.to_owned(), value.clone());
    }
    let identity = identity::resolve(spec.uid.as_deref(), spec.gid.as_deref()).map_err(|why| {
        tracing::warn!("{:?}: {why}", spec.name);
        CannotLaunch { stage: Stage::Credentials.phrase(), errno: Errno::INVAL.raw_os_error() }
    })?;
    let credentials = identity.map(|identity| {
        if let Some((dir, user)) = identity.user {
            env.insert("HOME".to_owned(), dir);
            env.insert("USER".to_owned(), user.clone());
            env.insert("LOGNAME".to_owned(), user);
        }
        identity.credentials
    });
    let plan = crate::cluster::plan(spec, index);
    for name in plan.unset {
        env.remove(*name);
    }
    for (name, value) in plan.set {
        env.insert(name.to_owned(), value);
    }
    if let Some(base) = spec.port_step {
        let preload = home.run().join(wpm_cluster::port_step::FILE_NAME);
        let options = env.get("NODE_OPTIONS").cloned();
        let step = wpm_cluster::port_step::environment(
            &preload.to_string_lossy(),
            &[base],
            index,
            options.as_deref(),
        );
        env.extend(step.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    let args = spec.argv();
    let program = args.first().map_or("", String::as_str);
    let program = find_program(program, env.get("PATH").map_or("", String::as_str), &spec.cwd);
    let title =
        if spec.instances > 1 { format!("wpm:{}/{index}", spec.name) } else { format!("wpm:{}", spec.name) };
    Ok(Launch {
        title,
        home: home.path().as_os_str().as_bytes().to_vec(),
        socket: home.shim_socket(id.0, run.0).as_os_str().as_bytes().to_vec(),
        pid_file: files.pid.clone().into_bytes(),
        program: program.as_os_str().as_bytes().to_vec(),
        args: args.into_iter().map(String::into_bytes).collect(),
        env: env.iter().map(|(k, v)| format!("{k}={v}").into_bytes()).collect(),
        cwd: spec.cwd.clone().into_bytes(),
        credentials,
        umask: spec.umask.unwrap_or(DEFAULT_UMASK),
        nice: spec.nice,
        limits: limits(spec),
        fds: plan.listen_fds,
        listen_pid: plan.listen_pid,
        ipc_fd: plan.ipc_fd,
        tree: spec.stop.tree,
        log: LogPlan {
            out: files.out.into_bytes(),
            err: files.err.into_bytes(),
            both: files.both.unwrap_or_default().into_bytes(),
            format: format(spec),
            shared: shares_always(spec),
            lock_dir: home.log_locks().as_os_str().as_bytes().to_vec(),
            max_size: spec.log.max_size.unwrap_or(defaults.max_size),
            retain: spec.log.retain.unwrap_or(defaults.retain),
            compress: spec.log.compress.unwrap_or(defaults.compress),
            full_disk_block_ms: FULL_DISK_BLOCK_MS,
            app: spec.name.clone(),
            process_id: id.0,
        },
        group: ControlGroup::default(),
    })
}

/// Describes a run of which the list knows nothing, so that a shim can bring it down. What it still prints
/// has no file to go to.
pub(crate) fn leftover(home: &Home, id: InstanceId, run: RunId) -> Launch {
    Launch {
        title: format!("wpm:{}", run.0),
        home: home.path().as_os_str().as_bytes().to_vec(),
        socket: home.shim_socket(id.0, run.0).as_os_str().as_bytes().to_vec(),
        tree: true,
        log: LogPlan { lock_dir: home.log_locks().as_os_str().as_bytes().to_vec(), ..LogPlan::default() },
        ..Launch::default()
    }
}

fn limits(spec: &Spec) -> Vec<Limit> {
    let files = spec.max_open_files.map(|n| Limit { resource: wpm_sys::limits::NOFILE, soft: n, hard: n });
    let named = spec.limits.iter().filter_map(|(resource, limit)| {
        let resource = wpm_sys::limits::number(resource.as_str())?;
        Some(Limit { resource, soft: limit.soft, hard: limit.hard })
    });
    files.into_iter().chain(named).collect()
}

/// Whether several processes may write the log files at any time.
pub(crate) const fn shares_always(spec: &Spec) -> bool {
    (spec.log.merge && spec.instances > 1) || !spec.stop.tree
}

fn format(spec: &Spec) -> LineFormat {
    let time = spec.log.date_format.as_deref().map(wpm_core::strftime_of_dayjs);
    if spec.log.json {
        LineFormat::Json { time: time.unwrap_or_default() }
    } else {
        time.map_or(LineFormat::Raw, LineFormat::Stamped)
    }
}

/// Looks a program up as a shell would, in the app's own PATH: a runtime that moved since the app was
/// added is found where it is now.
fn find_program(program: &str, path: &str, cwd: &str) -> PathBuf {
    if program.contains('/') {
        return Path::new(cwd).join(program);
    }
    path.split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Path::new(dir).join(program))
        .find(|candidate| {
            candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
        })
        // Not found: exec says so itself, naming what was looked for.
        .unwrap_or_else(|| PathBuf::from(program))
}

/// A path of the description as the system takes it.
pub(crate) fn os_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
