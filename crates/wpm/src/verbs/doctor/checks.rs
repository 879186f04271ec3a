//! The checks, each of one thing, in the order in which one depends on the other.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use wpm_client::{alive, home};
use wpm_proto::home::Home;
use wpm_proto::request::{Detail, Op};
use wpm_proto::response::Body;
use wpm_proto::view::{AppView, DaemonView, Status};

use super::Finding;
use crate::context::{Context, keeper_trouble, list};
use crate::quantity::show_size;
use crate::render::escape;
use crate::render::rows::log_trouble;

/// Open files below which many instances become difficult.
const FEW_FILES: u64 = 4096;
/// How long the keeper may take to open, which is never busy for long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Free bytes below which a disk is called nearly full.
const LITTLE_ROOM: u64 = 256 << 20;
/// inotify instances and watches below which `logs` may run out.
const FEW_INSTANCES: u64 = 64;
const FEW_WATCHES: u64 = 8192;

/// Everything.
pub(super) fn all(context: &mut Context) -> Vec<Finding> {
    let mut findings = vec![Finding::good(format!("wpm {}", env!("CARGO_PKG_VERSION")))];
    let home = match context.home() {
        Ok(home) => home,
        Err(failure) => {
            findings.push(Finding::bad(failure.message(), "set WPM_HOME to a folder of yours"));
            return findings;
        }
    };
    findings.push(of_home(&home));
    findings.extend(socket(&home));
    findings.extend(daemon(context, &home));
    findings.extend(put_aside(&home));
    findings.push(open_files());
    findings.extend(room(&home));
    findings.extend(inotify());
    findings.push(lingering());
    findings.push(clock());
    findings
}

fn of_home(home: &Home) -> Finding {
    let path = home::shorten(home.path());
    match home::check(home) {
        Ok(true) => {
            let mode = fs::metadata(home.path()).map_or(0, |data| data.permissions().mode() & 0o777);
            if mode & 0o077 == 0 {
                Finding::good(format!("home {path}, mode {mode:03o}"))
            } else {
                Finding::doubtful(
                    format!("home {path} can be read by others (mode {mode:03o})"),
                    format!("chmod 700 {path}"),
                )
            }
        }
        Ok(false) => Finding::good(format!("home {path} does not exist yet")),
        Err(error) => {
            Finding::bad(error.to_string(), "make it yours and private, or set WPM_HOME to another folder")
        }
    }
}

fn socket(home: &Home) -> Option<Finding> {
    let path = home.socket();
    let data = fs::symlink_metadata(&path).ok()?;
    let mode = data.permissions().mode() & 0o777;
    let shown = home::shorten(&path);
    Some(if !data.file_type().is_socket() {
        Finding::bad(format!("{shown} is not a socket"), format!("rm {shown}"))
    } else if mode & 0o077 != 0 {
        Finding::doubtful(
            format!("socket {shown} is open to others (mode {mode:03o})"),
            format!("chmod 600 {shown}"),
        )
    } else {
        Finding::good(format!("socket {shown}, mode {mode:03o}"))
    })
}

fn daemon(context: &mut Context, home: &Home) -> Vec<Finding> {
    let mut client = match context.running_daemon() {
        Ok(Some(client)) => client,
        Ok(None) => {
            let sound = || Finding::good("the daemon is not running; the next command starts it");
            return vec![last_error(home).unwrap_or_else(sound)];
        }
        Err(failure) => {
            let mut findings = vec![Finding::bad(failure.message(), "look at its log, `wpm env` says where")];
            findings.extend(short_of(home));
            return findings;
        }
    };
    let mut findings = Vec::new();
    match client.call(Op::Status, |_| ()) {
        Ok(Body::Daemon { daemon }) => findings.extend(of_daemon(&daemon)),
        Ok(_) => {}
        Err(error) => {
            let fix = "it may be stopped (`kill -CONT`) or overloaded; its keeper starts it again when it is killed";
            let mut findings = vec![Finding::bad(format!("the daemon does not answer: {error}"), fix)];
            findings.extend(short_of(home));
            return findings;
        }
    }
    findings.extend(keeper(home));
    if let Ok(mut apps) = list(&mut client, Vec::new(), Detail::Files) {
        alive::look_at_shims(&mut apps, true);
        findings.extend(of_apps(&apps));
    }
    findings
}

/// A keeper that somebody has stopped, or that opens to nobody.
fn keeper(home: &Home) -> Option<Finding> {
    if let Some(pid) = alive::stopped_keeper(home) {
        return Some(Finding::bad(keeper_trouble(pid), format!("kill -CONT {pid}")));
    }
    (!alive::keeper_answers(home, PATIENCE)).then(|| {
        let text = format!("the keeper does not answer within {} s", PATIENCE.as_secs());
        Finding::bad(
            text,
            "kill it (`kill -9`, its process id stands above): the daemon starts another, no app is touched",
        )
    })
}

/// What a daemon is short of that answers nobody, as the kernel tells.
fn short_of(home: &Home) -> Vec<Finding> {
    let pid = |path: std::path::PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
    let both = [("daemon", home.daemon_pid()), ("keeper", home.keeper_pid())];
    both.into_iter().filter_map(|(whose, path)| descriptors(whose, descriptors_of(pid(path)?))).collect()
}

/// Why a daemon that is not there could not come up, where its last words were an error.
fn last_error(home: &Home) -> Option<Finding> {
    let log = fs::File::open(home.daemon_log()).ok()?;
    let line = wpm_client::logs::tail(&log, 0, 1).ok()?.lines.pop()?;
    let line = escape::line(&line);
    let (_, why) = line.split_once(" ERROR ")?;
    let text = format!("the daemon is not running; the last that it said was: {why}");
    Some(Finding::bad(text, format!("the rest stands in {}", home::shorten(&home.daemon_log()))))
}

/// State files that could not be read and were put aside: somebody should look at them.
fn put_aside(home: &Home) -> Vec<Finding> {
    let entries = home.path().read_dir().into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.contains(".json.") && name.contains("corrupt-"))
        .collect();
    names.sort_unstable();
    let finding = |name: String| {
        let path = home::shorten(&home.path().join(name));
        Finding::doubtful(
            format!("{path} could not be read and was put aside; the last good list was used"),
            "look whether an app is missing in `wpm list`, then delete the file",
        )
    };
    names.into_iter().map(finding).collect()
}

fn of_daemon(daemon: &DaemonView) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let name = format!("daemon {}, pid {}, keeper {}", daemon.version, daemon.pid, daemon.keeper_pid);
    let mut findings = vec![if daemon.version == own {
        Finding::good(name)
    } else {
        Finding::doubtful(
            format!("{name}, but this is wpm {own}"),
            "`wpm update` lets the daemon become it; no app is touched",
        )
    }];
    if daemon.starts > 1 {
        let text = format!("the daemon was started {} times by its keeper", daemon.starts);
        findings.push(Finding::doubtful(text, "its log says why it ended, `wpm env` says where it is"));
    }
    if let Some(trouble) = &daemon.storage_trouble {
        findings
            .push(Finding::bad(format!("the state cannot be written: {trouble}"), "make room on that disk"));
    }
    findings.push(control_group(daemon));
    findings.extend(descriptors("daemon", daemon.descriptors));
    findings.extend(descriptors("keeper", descriptors_of(daemon.keeper_pid)));
    findings
}

/// How many descriptors a process has open, and how many it may.
fn descriptors_of(pid: i32) -> (u64, u64) {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |open| open.count() as u64);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = files.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    (open, soft.unwrap_or(0))
}

fn descriptors(whose: &str, (open, limit): (u64, u64)) -> Option<Finding> {
    (limit > 0 && open * 10 > limit * 8).then(|| {
        Finding::doubtful(
            format!("the {whose} has {open} of {limit} descriptors open"),
            "raise the limit of open files (`ulimit -n`) where wpm is started, then `wpm kill` and start again",
        )
    })
}

/// Nothing depends on a control group but limits, so that there is none is no fault.
fn control_group(daemon: &DaemonView) -> Finding {
    let Some(group) = &daemon.control_group else {
        return Finding::good(
            "no control group was delegated to wpm: no limits by the kernel, and an end for lack of memory is shown as SIGKILL",
        );
    };
    let group = escape::clean(group);
    if daemon.controllers.iter().any(|controller| controller == "memory") {
        Finding::good(format!("control group {group}, with {}", daemon.controllers.join(", ")))
    } else {
        Finding::good(format!(
            "control group {group}, for killing; limits need `DelegateSubgroup=` of systemd 254 or later"
        ))
    }
}

fn of_apps(apps: &[AppView]) -> Vec<Finding> {
    let troubled = apps.iter().flat_map(|app| app.instances.iter().map(move |instance| (app, instance)));
    let mut findings: Vec<Finding> = troubled
        .filter(|(_, instance)| instance.log_errno != 0)
        .map(|(app, instance)| {
            let name = escape::clean(&app.name);
            let out = app.files.as_ref().and_then(|files| files.out.as_ref());
            let file = out.map_or_else(|| "its log".to_owned(), |out| out.of(instance.index));
            Finding::bad(
                format!("{name}/{}: {}", instance.index, log_trouble(instance)),
                format!("make room for {file}; writing goes on by itself"),
            )
        })
        .collect();
    for (app, instance) in apps.iter().flat_map(|app| app.instances.iter().map(move |it| (app, it))) {
        if instance.shim_stopped {
            let (name, pid) = (escape::clean(&app.name), instance.shim_pid);
            findings.push(Finding::bad(
                format!("{name}/{}: its shim is stopped; the app runs on, but its output, its end and signals for it wait", instance.index),
                format!("kill -CONT {pid}, or kill -9 {pid}: another takes its place, the app is not touched"),
            ));
        }
    }
    let errored = |app: &&AppView| app.instances.iter().any(|instance| instance.status == Status::Errored);
    for app in apps.iter().filter(errored) {
        let name = escape::clean(&app.name);
        findings.push(Finding::doubtful(format!("{name} was given up"), format!("wpm describe {name}")));
    }
    findings
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let text = format!("open files: {} (at most {})", shown(limit.current), shown(limit.maximum));
    if limit.maximum.is_some_and(|maximum| maximum < FEW_FILES) {
        Finding::doubtful(text, "raise it with `ulimit -n`, or LimitNOFILE= in the unit, for many instances")
    } else {
        Finding::good(text)
    }
}

fn room(home: &Home) -> Vec<Finding> {
    let mut folders = vec![home.path().to_owned()];
    if let (Ok(logs), Ok(own)) = (fs::metadata(home.logs()), fs::metadata(home.path()))
        && logs.dev() != own.dev()
    {
        folders.push(home.logs());
    }
    folders.iter().map(|folder| room_of(folder)).collect()
}

fn room_of(folder: &Path) -> Finding {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let shown = home::shorten(folder);
    let Ok(disk) = rustix::fs::statvfs(existing) else {
        return Finding::doubtful(format!("cannot tell the free room of {shown}"), "is its disk mounted?");
    };
    let free = disk.f_bavail * disk.f_frsize;
    let text = format!("{} free for {shown}", show_size(free));
    if free == 0 || disk.f_files > 0 && disk.f_favail == 0 {
        Finding::bad(
            format!("no room left for {shown}"),
            "delete something there; `wpm flush` empties the logs of apps",
        )
    } else if free < LITTLE_ROOM {
        Finding::doubtful(text, "`wpm flush` empties the logs of apps")
    } else {
        Finding::good(text)
    }
}

fn inotify() -> Vec<Finding> {
    let limit = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok()
    };
    let checks = [("max_user_instances", FEW_INSTANCES), ("max_user_watches", FEW_WATCHES)];
    let low = checks
        .iter()
        .filter_map(|(name, least)| limit(name).filter(|value| value < least).map(|value| (name, value)));
    let mut findings: Vec<Finding> = low
        .map(|(name, value)| {
            let text =
                format!("inotify {name} is only {value}: `wpm logs` may have to look instead of listen");
            Finding::doubtful(text, format!("sysctl fs.inotify.{name}=65536"))
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::good("inotify limits are high enough"));
    }
    findings
}

/// Under systemd, a user's processes end with the last session unless lingering is on.
fn lingering() -> Finding {
    let user = rustix::process::geteuid();
    if user.is_root() || !Path::new("/run/systemd/system").exists() {
        return Finding::good("nothing ends apps at logout");
    }
    let name = std::env::var("USER").unwrap_or_default();
    if Path::new("/var/lib/systemd/linger").join(&name).exists() && !name.is_empty() {
        return Finding::good("lingering is on: apps live on after logout");
    }
    let ends = fs::read_to_string("/etc/systemd/logind.conf")
        .is_ok_and(|text| text.lines().any(|line| line.trim().eq_ignore_ascii_case("KillUserProcesses=yes")));
    if ends {
        Finding::bad(
            "systemd ends your processes at logout (KillUserProcesses=yes)",
            "loginctl enable-linger",
        )
    } else {
        Finding::doubtful("lingering is off: nothing of yours starts at boot", "loginctl enable-linger")
    }
}

fn clock() -> Finding {
    let year = jiff::Zoned::now().year();
    if (2024..2100).contains(&year) {
        Finding::good(format!("clock: {}", jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %:z")))
    } else {
        Finding::bad(
            format!("the clock says that it is {year}"),
            "set it; cron rules and log times depend on it",
        )
    }
}
