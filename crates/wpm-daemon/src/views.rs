//! What reading commands get: the core's state in the words of the wire.

use wpm_core::{App, InstanceId, State};
use wpm_proto::request::Detail;
use wpm_proto::response::{InstanceOutcome, Outcome};
use wpm_proto::view::{AppView, DaemonView, InstanceView};

use crate::daemon::Daemon;
use crate::{clock, convert, launch};

impl Daemon {
    /// An app with those of its instances that `wanted` lets through; `None` if none is left.
    pub(crate) fn app_view(
        &self,
        app: &App,
        detail: Detail,
        wanted: impl Fn(InstanceId) -> bool,
    ) -> Option<AppView> {
        let instances: Vec<InstanceView> = app
            .instances
            .values()
            .filter(|id| wanted(**id))
            .filter_map(|id| self.instance_view(app, *id))
            .collect();
        let spec = &app.spec;
        (!instances.is_empty()).then(|| AppView {
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            version: spec.version.clone(),
            cluster: spec.cluster,
            wanted: spec.instances,
            username: spec.username.clone(),
            stamped: spec.log.date_format.is_some() || spec.log.json,
            env_files: spec.env_files.clone(),
            job: spec.schedule.is_some(),
            next_run_ms: self.cron.next_of(app.id),
            watch_paused: self.watches.paused(app.id).map(str::to_owned),
            files: (detail >= Detail::Files)
                .then(|| convert::file_names(launch::file_names(&self.home, spec))),
            spec: (detail >= Detail::Spec).then(|| Box::new(convert::app_spec(spec))),
            instances,
        })
    }

    fn instance_view(&self, app: &App, id: InstanceId) -> Option<InstanceView> {
        let i = self.core.instance(id)?;
        let run = i.run();
        let held = run.and_then(|run| self.runs.get(&run.id));
        let is_job = app.spec.schedule.is_some();
        let restart_in_ms = match i.state {
            State::Backoff { until } => Some(until.since(wpm_core::Millis(clock::boot_ms())).0),
            _ => None,
        };
        Some(InstanceView {
            id: id.0,
            index: i.index,
            pid: run.map_or(0, |r| r.pid),
            start_time: run.map_or(0, |r| r.start_time),
            shim_pid: held.map_or(0, |held| held.shim_pid),
            shim_stopped: false,
            status: convert::status(i.status()),
            reason: convert::cause_words(&i.cause),
            restarts: i.restarts,
            unstable: i.unstable,
            started_ms: run.map_or(0, |r| r.launched_wall_ms),
            created_ms: i.created_wall_ms,
            last_exit: i.last_exit.map(convert::saved_exit),
            last_ran_ms: i.last_uptime.map(|up| up.0),
            on_clock: is_job && i.is_finished(),
            restart_in_ms,
            ports: run.map_or_else(Vec::new, |r| self.clusters.addresses(&app.spec, r.id)),
            said: held.and_then(|held| held.words.shown()),
            log_errno: i.log_errno,
            log_dropped: i.log_dropped,
        })
    }

    /// About the daemon itself.
    pub(crate) fn daemon_view(&self) -> DaemonView {
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        DaemonView {
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            keeper_pid: self.keeper.pid,
            starts: self.keeper.daemon_starts,
            version: env!("CARGO_PKG_VERSION").into(),
            started_ms: self.started_ms,
            update_failed: self.update.failed.clone(),
            handover: wpm_sys::contract::HANDOVER,
            updating: self.update.is_under_way || self.update.proves_at.is_some(),
            control_group: self.groups.as_ref().map(|g| g.path().to_string_lossy().into_owned()),
            controllers: self
                .groups
                .as_ref()
                .map(wpm_sys::cgroup::Delegation::controllers)
                .unwrap_or_default(),
            storage_trouble: self.persistence.trouble.clone(),
            clients: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            descriptors: (open, limit.current.unwrap_or(u64::MAX)),
        }
    }

    /// The outcome of one instance in the words of the wire.
    pub(crate) fn outcome(&self, o: &wpm_core::InstanceOutcome) -> InstanceOutcome {
        use wpm_core::Outcome as Core;
        let outcome = match &o.outcome {
            Core::Up { pid } => Outcome::Up { pid: *pid },
            Core::Down => Outcome::Down,
            Core::Deleted => Outcome::Deleted,
            Core::Finished { exit, after_ms } => {
                Outcome::Finished { exit: convert::saved_exit(*exit), after_ms: *after_ms }
            }
            Core::Died { exit, after_ms } => {
                let (error_file, error_offset) = self.error_output(o.instance);
                Outcome::Died {
                    exit: convert::saved_exit(*exit),
                    after_ms: *after_ms,
                    error_file,
                    error_offset,
                }
            }
            Core::NotReady { after_ms } => {
                let (error_file, error_offset) = self.error_output(o.instance);
                Outcome::NotReady { after_ms: *after_ms, error_file, error_offset }
            }
            Core::Restarted { pid } => Outcome::Restarted { pid: *pid },
            Core::RolledBack => Outcome::RolledBack,
            Core::NotTried => Outcome::NotTried,
            Core::SpawnFailed { stage, errno } => {
                let app = self.core.instance(o.instance).and_then(|it| self.core.app(it.app));
                let subject = app.and_then(|app| subject_of(stage, &app.spec));
                Outcome::SpawnFailed { stage: (*stage).to_owned(), subject, errno: *errno }
            }
            Core::StillAlive { .. } => Outcome::StillAlive,
            Core::Waits { app } => Outcome::Waits { on: app.clone() },
            Core::Scheduled => {
                let app = self.core.instance(o.instance).map(|it| it.app);
                let next = app.and_then(|app| self.cron.next_of(app));
                Outcome::Scheduled { in_ms: next.map(|at| at.saturating_sub(clock::now().wall_ms)) }
            }
            Core::Superseded => Outcome::Superseded,
            Core::Done => Outcome::Done,
        };
        InstanceOutcome { id: o.instance.0, app: o.app.clone(), index: o.index, outcome }
    }

    /// The stderr file of an instance, and where its last run began in it.
    fn error_output(&self, id: InstanceId) -> (String, u64) {
        let Some((i, app)) = self.core.instance(id).and_then(|i| Some((i, self.core.app(i.app)?))) else {
            return (String::new(), 0);
        };
        let offset = self.stderr.of(id);
        (launch::files(&self.home, &app.spec, i.index).err, offset)
    }
}

/// What a stage of a spawn was done to.
fn subject_of(stage: &str, spec: &wpm_core::Spec) -> Option<String> {
    use wpm_sys::contract::Stage;
    if stage == Stage::Exec.phrase() {
        Some(spec.interpreter.as_ref().unwrap_or(&spec.script).clone())
    } else if stage == Stage::WorkingDirectory.phrase() {
        Some(spec.cwd.clone())
    } else if stage == Stage::Credentials.phrase() {
        spec.uid.clone().or_else(|| spec.gid.clone())
    } else if stage == launch::LISTENING {
        Some(spec.listen.join(", "))
    } else {
        None
    }
}
