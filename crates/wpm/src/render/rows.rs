//! What a list shows of apps: one row for an app, or one for each instance.
//!
//! Pure: views, usage and the time go in, rows come out. Invariant: a row's words alone say what its
//! glyph and colour say.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use wpm_client::metrics::Usage;
use wpm_proto::state::SavedExit;
use wpm_proto::view::{AppView, InstanceView, Status};

use super::{escape, jobs};
use crate::quantity::{show_duration, show_size};
use crate::signals;

/// How a row stands, from good to bad; the worst of its instances counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// All of it runs.
    Online,
    /// A job whose time has not come.
    Scheduled,
    /// On its way up or down.
    Moving,
    /// Down as wanted.
    Stopped,
    /// It will be tried again.
    Waiting,
    /// Given up.
    Errored,
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Ids, as shown.
    pub(crate) id: String,
    /// Smallest id.
    pub(crate) first_id: u32,
    /// Name.
    pub(crate) name: String,
    /// Online and wanted instances; of a single instance, its index.
    pub(crate) instances: String,
    /// pm2's word.
    pub(crate) status: String,
    /// For glyph and colour.
    pub(crate) health: Health,
    /// Main process, 0 where there is none or are several.
    pub(crate) pid: i32,
    /// Milliseconds, of the youngest instance that runs.
    pub(crate) uptime: Option<u64>,
    /// Restarts, summed up.
    pub(crate) restarts: u32,
    /// Usage, summed up.
    pub(crate) usage: Option<Usage>,
    /// Ports on which they listen, folded; empty where none is known.
    pub(crate) ports: String,
    /// Version of the app.
    pub(crate) version: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Mode.
    pub(crate) mode: &'static str,
    /// User.
    pub(crate) user: String,
    /// Why it is not well, and trouble with its logs.
    pub(crate) note: String,
}

/// A run that begins so soon after a command was started by it, in milliseconds.
const BY_HAND_MS: u64 = 5000;

/// Usage by public id.
pub(crate) type Usages = HashMap<u32, Usage>;

/// The rows of these apps; `now` in milliseconds since 1970.
pub(crate) fn rows(apps: &[AppView], usage: &Usages, now: u64, unfold: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for app in apps {
        if unfold {
            for instance in &app.instances {
                let several = app.instances.len() > 1;
                let instances = if several { instance.index.to_string() } else { fraction(app) };
                rows.push(Row { instances, ..row(app, &[instance], usage, now) });
            }
        } else {
            let all: Vec<&InstanceView> = app.instances.iter().collect();
            rows.push(row(app, &all, usage, now));
        }
    }
    rows
}

fn fraction(app: &AppView) -> String {
    let online = app.instances.iter().filter(|instance| instance.status == Status::Online).count();
    format!("{online}/{}", app.instances.len())
}

fn row(app: &AppView, instances: &[&InstanceView], usage: &Usages, now: u64) -> Row {
    let worst = instances.iter().max_by_key(|instance| health(instance));
    let running = instances.iter().filter(|instance| instance.pid > 0 && instance.started_ms > 0);
    let used: Vec<&Usage> = instances.iter().filter_map(|instance| usage.get(&instance.id)).collect();
    let total = |used: Vec<&Usage>| Usage {
        cpu: used.iter().map(|usage| usage.cpu).sum(),
        memory: used.iter().map(|usage| usage.memory).sum(),
        processes: used.iter().map(|usage| usage.processes).sum(),
    };
    Row {
        id: ranges(instances.iter().map(|instance| instance.id)),
        first_id: instances.iter().map(|instance| instance.id).min().unwrap_or(0),
        name: escape::clean(&app.name),
        instances: fraction(app),
        status: match worst {
            Some(worst) if worst.on_clock => jobs::status(app.next_run_ms, now, &TimeZone::system()),
            Some(worst) => status(worst, instances),
            None => "stopped".to_owned(),
        },
        health: worst.map_or(Health::Stopped, |worst| health(worst)),
        pid: if let [one] = instances { one.pid } else { 0 },
        uptime: running.map(|instance| now.saturating_sub(instance.started_ms)).min(),
        restarts: instances.iter().map(|instance| instance.restarts).sum(),
        usage: (!used.is_empty()).then(|| total(used)),
        ports: ports(instances),
        version: app.version.as_deref().map(escape::clean).unwrap_or_default(),
        namespace: escape::clean(&app.namespace),
        mode: if app.cluster { "cluster" } else { "fork" },
        user: escape::clean(&app.username),
        note: worst.map(|worst| note(app, worst, instances, now)).unwrap_or_default(),
    }
}

/// How an instance stands.
pub(crate) fn health(instance: &InstanceView) -> Health {
    match instance.status {
        Status::Stopped if instance.on_clock => Health::Scheduled,
        Status::Online => Health::Online,
        Status::Stopped => Health::Stopped,
        Status::WaitingRestart => Health::Waiting,
        Status::Errored => Health::Errored,
        Status::Launching | Status::Stopping => Health::Moving,
    }
}

/// Ports of TCP and UDP, and Unix sockets by the last part of their path.
fn ports(instances: &[&InstanceView]) -> String {
    let all = || instances.iter().flat_map(|instance| &instance.ports);
    let number = |text: &String| text.rsplit(':').next().and_then(|port| port.parse().ok());
    let mut numbers: Vec<u32> = all().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut parts: Vec<String> =
        Some(ranges(numbers.into_iter())).filter(|numbers| !numbers.is_empty()).into_iter().collect();
    let mut paths: Vec<&str> = all().filter_map(|text| text.strip_prefix("unix:")).collect();
    paths.sort_unstable();
    paths.dedup();
    parts.extend(paths.into_iter().map(|path| escape::clean(path.rsplit('/').next().unwrap_or(path))));
    parts.join(",")
}

/// The common word, or how many are in the worst state.
fn status(worst: &InstanceView, instances: &[&InstanceView]) -> String {
    let same = instances.iter().filter(|instance| instance.status == worst.status).count();
    if same == instances.len() { worst.status.word().to_owned() } else { format!("{same} {}", worst.status) }
}

/// Reason and exit of the worst instance, its next try, and log trouble of any.
fn note(app: &AppView, worst: &InstanceView, instances: &[&InstanceView], now: u64) -> String {
    let mut parts = Vec::new();
    if app.job && (worst.on_clock || worst.pid > 0) {
        parts.extend(jobs::next(app.next_run_ms, now));
        parts.extend(jobs::last(worst));
    } else {
        parts = why(worst);
    }
    if let Some(path) = &app.watch_paused {
        let file = path.rsplit('/').next().unwrap_or(path);
        parts.push(format!("not watched any more, {} changes too often", escape::clean(file)));
    }
    if let Some(troubled) = instances.iter().find(|instance| instance.log_errno != 0) {
        parts.push(log_trouble(troubled));
    }
    if let Some(held) = instances.iter().find(|instance| instance.shim_stopped) {
        parts.push(shim_trouble(held));
    }
    parts.join(", ")
}

/// Why an instance is not simply online.
pub(crate) fn why(instance: &InstanceView) -> Vec<String> {
    let mut parts: Vec<String> =
        instance.said.as_deref().map(escape::clean).filter(|_| instance.pid > 0).into_iter().collect();
    let reason = instance.reason.as_deref().map(escape::clean).filter(|reason| !reason.is_empty());
    let exit = instance.last_exit.map(exit_word);
    match health(instance) {
        Health::Scheduled => parts.extend(jobs::last(instance)),
        Health::Online => {
            let by_rule = reason.filter(|reason| !exit.as_ref().is_some_and(|exit| reason.contains(exit)));
            match (by_rule, &exit) {
                (Some(rule), _) if instance.restarts > 0 => parts.push(format!("restarted: {rule}")),
                // What happened last time, where it came back by itself.
                (_, Some(exit)) if came_back_by_itself(instance) => parts.push(format!("last {exit}")),
                _ => {}
            }
        }
        Health::Stopped
            if matches!(instance.last_exit, None | Some(SavedExit::Code(0))) && reason.is_none() => {}
        _ => {
            if let Some(reason) = &reason {
                parts.push(reason.clone());
            }
            if let Some(exit) =
                exit.filter(|exit| !reason.as_ref().is_some_and(|reason| reason.contains(exit)))
            {
                parts.push(exit);
            }
        }
    }
    if let Some(delay) = instance.restart_in_ms {
        parts.push(format!(
            "retry in {}",
            if delay < 1000 { format!("{delay}ms") } else { show_duration(delay) }
        ));
    }
    parts
}

/// Whether its present run was not started by hand.
const fn came_back_by_itself(instance: &InstanceView) -> bool {
    instance.restarts > 0
        && (instance.unstable > 0
            || instance.started_ms > instance.created_ms.saturating_add(BY_HAND_MS)
            // No command ends an app so.
            || matches!(instance.last_exit, Some(SavedExit::OutOfMemory)))
}

/// `log: No space left on device, 4 MiB dropped`.
pub(crate) fn log_trouble(instance: &InstanceView) -> String {
    let cause = std::io::Error::from_raw_os_error(instance.log_errno).to_string();
    let cause = cause.split(" (os error").next().unwrap_or_default().to_owned();
    match instance.log_dropped {
        0 => format!("log: {cause}"),
        dropped => format!("log: {cause}, {} dropped", show_size(dropped)),
    }
}

/// `shim stopped: kill -CONT 4711`.
pub(crate) fn shim_trouble(instance: &InstanceView) -> String {
    format!("shim stopped: kill -CONT {}", instance.shim_pid)
}

/// `exit 1`, `SIGKILL`.
pub(crate) fn exit_word(exit: SavedExit) -> String {
    match exit {
        SavedExit::Code(code) => format!("exit {code}"),
        SavedExit::Signal(number) => signals::show(number),
        SavedExit::OutOfMemory => "out of memory".to_owned(),
        SavedExit::Unknown => "exit unknown".to_owned(),
    }
}

/// `0-3,7`.
pub(crate) fn ranges(ids: impl Iterator<Item = u32>) -> String {
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for id in ids {
        match parts.last_mut() {
            Some((_, end)) if *end + 1 == id => *end = id,
            _ => parts.push((id, id)),
        }
    }
    let part = |(from, to): (u32, u32)| match to - from {
        0 => from.to_string(),
        1 => format!("{from},{to}"),
        _ => format!("{from}-{to}"),
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

/// By what a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Field {
    /// Name.
    Name,
    /// Namespace.
    Namespace,
    /// Process id.
    Pid,
    /// Id.
    Id,
    /// CPU.
    Cpu,
    /// Memory.
    Memory,
    /// Uptime.
    Uptime,
    /// Status.
    Status,
    /// Restarts.
    Restarts,
}

/// Sorts rows; equal ones by name and id.
pub(crate) fn sort(rows: &mut [Row], field: Field, descending: bool) {
    let usage = |row: &Row| row.usage.unwrap_or_default();
    rows.sort_by(|a, b| {
        let order = match field {
            Field::Name => a.name.cmp(&b.name),
            Field::Namespace => a.namespace.cmp(&b.namespace),
            Field::Pid => a.pid.cmp(&b.pid),
            Field::Id => a.first_id.cmp(&b.first_id),
            Field::Cpu => usage(a).cpu.total_cmp(&usage(b).cpu),
            Field::Memory => usage(a).memory.cmp(&usage(b).memory),
            Field::Uptime => a.uptime.cmp(&b.uptime),
            Field::Status => a.health.cmp(&b.health),
            Field::Restarts => a.restarts.cmp(&b.restarts),
        };
        let order = if descending { order.reverse() } else { order };
        order.then_with(|| a.name.cmp(&b.name)).then(a.first_id.cmp(&b.first_id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_folded() {
        assert_eq!(ranges([3, 0, 1, 2, 7].into_iter()), "0-3,7");
        assert_eq!(ranges([4].into_iter()), "4");
        assert_eq!(ranges([4, 5].into_iter()), "4,5");
        assert_eq!(ranges([].into_iter()), "");
    }

    fn online() -> InstanceView {
        serde_json::from_value(serde_json::json!({
            "id": 0, "index": 0, "pid": 1, "start_time": 1, "shim_pid": 7, "status": "online", "reason": null,
            "restarts": 0, "unstable": 0, "started_ms": 0, "created_ms": 0, "last_exit": null,
            "restart_in_ms": null, "log_errno": 0, "log_dropped": 0
        }))
        .expect("complete")
    }

    #[test]
    fn what_no_command_does_is_noted_however_soon_it_came() {
        let soon = |exit| InstanceView { restarts: 1, started_ms: 2000, last_exit: Some(exit), ..online() };
        // A restart by hand looks the same.
        assert!(why(&soon(SavedExit::Signal(9))).is_empty());
        assert_eq!(why(&soon(SavedExit::OutOfMemory)), ["last out of memory"]);
    }

    #[test]
    fn a_stopped_shim_is_said_with_what_helps() {
        let held = InstanceView { shim_stopped: true, ..online() };
        assert_eq!(shim_trouble(&held), "shim stopped: kill -CONT 7");
    }

    #[test]
    fn ports_are_folded() {
        let on = |ports: &[&str]| InstanceView {
            ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            ..online()
        };
        let all = [
            on(&["127.0.0.1:3002", "[::]:3001"]),
            on(&["3003", "udp:53", "unix:/run/a.sock"]),
            on(&["3001"]),
        ];
        assert_eq!(ports(&all.iter().collect::<Vec<_>>()), "53,3001-3003,a.sock");
        assert_eq!(ports(&[&on(&[])]), "");
    }
}
