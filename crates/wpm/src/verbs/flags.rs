//! The options that describe an app: pm2's names and short forms, and a few of wpm's own.
//!
//! Only reads what was typed into [`AppOptions`]; checks form, not sense.

use std::collections::BTreeMap;

use clap::builder::ValueParser;

use crate::options::{AppOptions, EnvFilter, TIME_FORMAT, split_words};
use crate::quantity::{parse_cpus, parse_duration, parse_limit, parse_size};
use crate::{cpus, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct AppFlags {
    /// Name of the app
    #[arg(short, long, help_heading = "What it is")]
    pub(crate) name: Option<String>,
    /// Namespace of the app
    #[arg(long, help_heading = "What it is")]
    namespace: Option<String>,
    /// Working directory
    #[arg(long, value_name = "DIR", help_heading = "What it is")]
    cwd: Option<String>,
    /// Instances: a number, `max` or 0 for one per CPU, -1 for one less
    #[arg(short, long, value_name = "N", allow_hyphen_values = true, value_parser = ValueParser::new(instances), help_heading = "What it is")]
    pub(crate) instances: Option<String>,
    /// Program that runs the file; `none` executes it directly
    #[arg(long, value_name = "PROGRAM", help_heading = "What it is")]
    interpreter: Option<String>,
    /// Arguments of the interpreter
    #[arg(
        long,
        alias = "node-args",
        value_name = "ARGS",
        allow_hyphen_values = true,
        help_heading = "What it is"
    )]
    interpreter_args: Option<String>,
    /// Variable whose value grows by the instance's index
    #[arg(long, value_name = "NAME", help_heading = "What it is")]
    increment_var: Option<String>,
    /// Variable that carries the instance's index
    #[arg(long, value_name = "NAME", help_heading = "What it is")]
    instance_var: Option<String>,
    /// Variable for the app
    #[arg(long = "set-env", value_name = "NAME=VALUE", help_heading = "What it is")]
    set_env: Vec<String>,
    /// File with variables for the app, such as .env
    #[arg(long, value_name = "FILE", help_heading = "What it is")]
    env_file: Vec<String>,
    /// Do not hand on variables whose name contains this
    #[arg(long, value_name = "PART", help_heading = "What it is")]
    filter_env: Vec<String>,
    /// Run as this user
    #[arg(long, alias = "user", value_name = "USER", help_heading = "What it is")]
    uid: Option<String>,
    /// Run as this group
    #[arg(long, value_name = "GROUP", help_heading = "What it is")]
    gid: Option<String>,
    /// File mode mask, octal
    #[arg(long, value_name = "MASK", value_parser = ValueParser::new(umask), help_heading = "What it is")]
    umask: Option<u32>,
    /// Nice value
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = "What it is")]
    nice: Option<i32>,
    /// Limit of open files
    #[arg(long, value_name = "N", help_heading = "What it is")]
    max_open_files: Option<u64>,
    /// Memory that its processes may use together: the kernel ends what takes more (needs a control group)
    #[arg(long, value_name = "SIZE", value_parser = ValueParser::new(parse_size), help_heading = "What it is")]
    memory_max: Option<u64>,
    /// CPUs that its processes may use together, such as 1.5 or 50% (needs a control group)
    #[arg(long, value_name = "CPUS", value_parser = ValueParser::new(parse_cpus), help_heading = "What it is")]
    cpu_max: Option<u32>,
    /// Limit of the kernel, such as `nproc=64`, `core=0`, `memlock=64M`, `stack=8M:64M`
    #[arg(long, value_name = "NAME=VALUE", help_heading = "What it is")]
    limit: Vec<String>,
    /// Run in fork mode, not as a cluster
    #[arg(short = 'x', long, help_heading = "What it is")]
    execute_command: bool,

    /// File for stdout
    #[arg(short, long, value_name = "FILE", help_heading = "Logs")]
    output: Option<String>,
    /// File for stderr
    #[arg(short, long, value_name = "FILE", help_heading = "Logs")]
    error: Option<String>,
    /// One file for both [default: NAME-all.log in the log folder]
    #[arg(short, long, value_name = "FILE", num_args = 0..=1, default_missing_value = "", help_heading = "Logs")]
    log: Option<String>,
    /// All instances into the same files
    #[arg(long, alias = "combine-logs", help_heading = "Logs")]
    merge_logs: bool,
    /// Put the time before each line
    #[arg(long, help_heading = "Logs")]
    time: bool,
    /// Format of that time, such as `YYYY-MM-DD HH:mm:ss`
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    log_date_format: Option<String>,
    /// `json` writes each line as JSON
    #[arg(long, value_name = "TYPE", value_parser = ["json", "raw"], help_heading = "Logs")]
    log_type: Option<String>,
    /// Keep no logs
    #[arg(long, help_heading = "Logs")]
    disable_logs: bool,
    /// Rotate a log of this size
    #[arg(long, value_name = "SIZE", value_parser = ValueParser::new(parse_size), help_heading = "Logs")]
    log_max_size: Option<u64>,
    /// Keep so many rotated logs
    #[arg(long, value_name = "N", help_heading = "Logs")]
    log_retain: Option<u32>,
    /// Compress rotated logs
    #[arg(long, help_heading = "Logs")]
    log_compress: bool,
    /// Rotate by a cron rule
    #[arg(long, value_name = "CRON", help_heading = "Logs")]
    log_rotate_interval: Option<String>,
    /// File for the process id
    #[arg(short, long, value_name = "FILE", help_heading = "Logs")]
    pid: Option<String>,

    /// Do not restart it when it ends
    #[arg(long, help_heading = "Restarts")]
    no_autorestart: bool,
    /// Add it to the list without starting it
    #[arg(long, help_heading = "Restarts")]
    no_autostart: bool,
    /// Do not restart it after these exit codes
    #[arg(long, value_name = "CODE", num_args = 1.., value_delimiter = ',', allow_negative_numbers = true, help_heading = "Restarts")]
    stop_exit_codes: Option<Vec<i32>>,
    /// Give up after so many quick deaths
    #[arg(long, value_name = "N", help_heading = "Restarts")]
    max_restarts: Option<u32>,
    /// A death before this time is a quick one
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Restarts")]
    min_uptime: Option<u64>,
    /// Wait before each restart
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Restarts")]
    restart_delay: Option<u64>,
    /// Wait longer before each further restart
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Restarts")]
    exp_backoff_restart_delay: Option<u64>,
    /// Restart it when its processes use more memory
    #[arg(long, value_name = "SIZE", value_parser = ValueParser::new(parse_size), help_heading = "Restarts")]
    max_memory_restart: Option<u64>,
    /// Restart it by a cron rule; 0 removes the rule
    #[arg(short, long, alias = "cron", value_name = "CRON", help_heading = "Restarts")]
    cron_restart: Option<String>,
    /// Run it as a job by a cron rule
    #[arg(long, value_name = "CRON", help_heading = "Restarts")]
    schedule: Option<String>,
    /// When the rule fires while the job still runs [default: skip]
    #[arg(long, value_name = "RULE", value_parser = ["skip", "queue", "kill"], help_heading = "Restarts")]
    schedule_overlap: Option<String>,
    /// Restart it when files change, in its working directory or where PATHS says
    #[arg(long, value_name = "PATHS", num_args = 0..=1, require_equals = true, value_delimiter = ',', help_heading = "Restarts")]
    watch: Option<Vec<String>>,
    /// Do not watch what matches: a pattern as in .gitignore
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = "Restarts")]
    ignore_watch: Vec<String>,
    /// Quiet time after a change until the restart [default: 200ms]
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Restarts")]
    watch_delay: Option<u64>,
    /// Start after this app is up: `NAME`, or `NAME:started`, `:ready`, `:healthy`, `:completed`
    #[arg(long, value_name = "APP", value_delimiter = ',', help_heading = "Start and stop")]
    depends_on: Vec<String>,

    /// Bind this once and hand it to every instance: `[NAME=][HOST:]PORT` or `[NAME=]unix:PATH`
    #[arg(long, value_name = "ADDRESS", help_heading = "Ports")]
    listen: Vec<String>,
    /// Who balances a port that Node instances share: shared (the kernel), round-robin or sticky
    #[arg(long, value_name = "POLICY", value_parser = ["shared", "round-robin", "sticky"], help_heading = "Ports")]
    balance: Option<String>,
    /// Give a Node app that listens on this port PORT, PORT+1, … by instance
    #[arg(long, value_name = "PORT", help_heading = "Ports")]
    port_step: Option<u16>,

    /// Time between the first signal of a stop and SIGKILL
    #[arg(short, long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Start and stop")]
    kill_timeout: Option<u64>,
    /// First signal of a stop
    #[arg(long, value_name = "SIGNAL", value_parser = ValueParser::new(signals::parse), help_heading = "Start and stop")]
    kill_signal: Option<i32>,
    /// Stop by a message `shutdown` instead of a signal
    #[arg(long, help_heading = "Start and stop")]
    shutdown_with_message: bool,
    /// Stop the main process only
    #[arg(long, help_heading = "Start and stop")]
    no_treekill: bool,
    /// Wait until the app says that it is ready
    #[arg(long, help_heading = "Start and stop")]
    wait_ready: bool,
    /// How it is found out that it is ready: `notify`, `port[:N]`, `tcp:HOST:PORT`, `http://…`, `exec:COMMAND`, `log:REGEX`
    #[arg(long, value_name = "CHECK", help_heading = "Start and stop")]
    ready: Option<String>,
    /// How it is found out that it is still well: the same without `log`, again and again
    #[arg(long, value_name = "CHECK", help_heading = "Start and stop")]
    health: Option<String>,
    /// Time between two checks of health [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Start and stop")]
    health_interval: Option<u64>,
    /// Time after which a check has failed [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Start and stop")]
    health_timeout: Option<u64>,
    /// Failed checks in a row after which it is restarted [default: 3]
    #[arg(long, value_name = "NUMBER", help_heading = "Start and stop")]
    health_failures: Option<u32>,
    /// How long an old run may finish its work in a reload
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Start and stop")]
    drain_timeout: Option<u64>,
    /// How long to wait until it is ready
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Start and stop")]
    listen_timeout: Option<u64>,
    /// A start has succeeded when the app lives so long
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration), help_heading = "Start and stop")]
    start_check: Option<u64>,

    #[command(flatten)]
    accepted: Accepted,
}

// Options of pm2 that are taken and have no effect here.
#[derive(Debug, clap::Args)]
struct Accepted {
    /// Node source maps
    #[arg(long, hide = true)]
    source_map_support: bool,
    #[arg(long, hide = true)]
    disable_source_map_support: bool,
    #[arg(long, hide = true)]
    no_vizion: bool,
    #[arg(long, hide = true)]
    no_pmx: bool,
    #[arg(long, hide = true)]
    no_automation: bool,
    #[arg(long, hide = true)]
    trace: bool,
    #[arg(long, hide = true)]
    disable_trace: bool,
    #[arg(long, hide = true)]
    v8: bool,
    #[arg(long, hide = true)]
    event_loop_inspector: bool,
    #[arg(long, hide = true)]
    deep_monitoring: bool,
    #[arg(short, long, hide = true)]
    write: bool,
    #[arg(short, long, hide = true)]
    mini_list: bool,
    /// How many instances of an app are reloaded at once
    #[arg(long, value_name = "N", hide = true)]
    parallel: Option<u32>,
}

/// Checked here, counted out when the CPUs are known.
fn instances(text: &str) -> Result<String, String> {
    cpus::instances(text, 1).map(|_| text.to_owned())
}

fn umask(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.trim_start_matches("0o"), 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or_else(|| format!("`{text}` is not a umask such as 027"))
}

impl AppFlags {
    /// How many instances of an app are to be replaced at once.
    pub(super) fn parallel(&self) -> u32 {
        self.accepted.parallel.unwrap_or(1)
    }

    /// The settings that were typed, `args` being what stands behind `--`.
    pub(crate) fn into_options(self, args: Vec<String>) -> Result<AppOptions, String> {
        let mut env = BTreeMap::new();
        for pair in &self.set_env {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("--set-env {pair}: not NAME=VALUE"))?;
            env.insert(name.to_owned(), value.to_owned());
        }
        let mut limits = BTreeMap::new();
        for pair in &self.limit {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("--limit {pair}: not NAME=VALUE"))?;
            let value = parse_limit(value).map_err(|why| format!("--limit {pair}: {why}"))?;
            limits.insert(name.to_owned(), value);
        }
        let depends_on = self.depends_on.iter().map(|word| match word.rsplit_once(':') {
            Some((name, condition)) => (name.to_owned(), condition.to_owned()),
            None => (word.clone(), "ready".to_owned()),
        });
        let depends_on: BTreeMap<_, _> = depends_on.collect();
        let interpreter_args = self.interpreter_args.as_deref().map(split_words).transpose()?;
        let log_date_format = self.log_date_format.or_else(|| self.time.then(|| TIME_FORMAT.to_owned()));
        Ok(AppOptions {
            name: self.name,
            namespace: self.namespace,
            cwd: self.cwd,
            args: Some(args).filter(|args| !args.is_empty()),
            env_file: Some(self.env_file).filter(|files| !files.is_empty()),
            interpreter: self.interpreter,
            interpreter_args,
            cluster: self.execute_command.then_some(false),
            instances: self.instances,
            env: Some(env).filter(|env| !env.is_empty()),
            filter_env: Some(self.filter_env).filter(|parts| !parts.is_empty()).map(EnvFilter::Containing),
            instance_var: self.instance_var,
            increment_var: self.increment_var,
            autostart: self.no_autostart.then_some(false),
            start_check_ms: self.start_check,
            wait_ready: self.wait_ready.then_some(true),
            ready: self.ready,
            health: self.health,
            health_interval_ms: self.health_interval,
            health_timeout_ms: self.health_timeout,
            health_failures: self.health_failures,
            drain_timeout_ms: self.drain_timeout,
            listen_timeout_ms: self.listen_timeout,
            listen: Some(self.listen).filter(|listen| !listen.is_empty()),
            balance: self.balance,
            port_step: self.port_step,
            autorestart: self.no_autorestart.then_some(false),
            stop_exit_codes: self.stop_exit_codes,
            min_uptime_ms: self.min_uptime,
            max_restarts: self.max_restarts,
            restart_delay_ms: self.restart_delay,
            exp_backoff_restart_delay_ms: self.exp_backoff_restart_delay,
            max_memory_restart: self.max_memory_restart,
            kill_signal: self.kill_signal,
            kill_timeout_ms: self.kill_timeout,
            treekill: self.no_treekill.then_some(false),
            shutdown_with_message: self.shutdown_with_message.then_some(true),
            out_file: self.output,
            error_file: self.error,
            log_file: self.log,
            merge_logs: self.merge_logs.then_some(true),
            disable_logs: self.disable_logs.then_some(true),
            log_json: self.log_type.map(|kind| kind == "json"),
            log_date_format,
            log_max_size: self.log_max_size,
            log_retain: self.log_retain,
            log_compress: self.log_compress.then_some(true),
            log_rotate_interval: self.log_rotate_interval,
            pid_file: self.pid,
            cron_restart: self.cron_restart,
            schedule: self.schedule,
            schedule_overlap: self.schedule_overlap,
            watches: self.watch.as_ref().map(|_| true),
            watch: self.watch.filter(|paths| !paths.is_empty()),
            ignore_watch: Some(self.ignore_watch).filter(|patterns| !patterns.is_empty()),
            watch_delay_ms: self.watch_delay,
            depends_on: Some(depends_on).filter(|apps| !apps.is_empty()),
            uid: self.uid,
            gid: self.gid,
            umask: self.umask,
            nice: self.nice,
            max_open_files: self.max_open_files,
            memory_max: self.memory_max,
            cpu_max: self.cpu_max,
            limits: Some(limits).filter(|limits| !limits.is_empty()),
            source_maps: self.accepted.source_map_support.then_some(true),
            ..AppOptions::default()
        })
    }
}
