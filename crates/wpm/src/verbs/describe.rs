//! `wpm describe`: everything about an app, values of its environment hidden.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::Value;
use wpm_client::alive;
use wpm_client::metrics::{Sockets, Survey};
use wpm_client::{home, logs};
use wpm_proto::ExitCode;
use wpm_proto::app::AppSpec;
use wpm_proto::request::Detail;
use wpm_proto::view::{AppView, InstanceView};

use super::Outcome;
use super::list::now_ms;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, list};
use crate::output;
use crate::pm2;
use crate::quantity::{show_duration, show_size};
use crate::render::escape::{self, MASK};
use crate::render::jobs;
use crate::render::list::{Look, glyph};
use crate::render::own;
use crate::render::rows::{self, Usages, health};
use crate::render::style::{self, paint};

pub(crate) const VERB: Verb = Verb {
    name: "describe",
    aliases: &["desc", "show", "info"],
    about: "Show everything about an app",
    examples: "  wpm describe web    command, restarts, logs, last words\n  wpm describe 0 --env\n  wpm describe web --json",
    args: <Describe as clap::Args>::augment_args,
    run,
};

/// Lines of stderr at the end.
const LAST_LINES: usize = 5;
/// Variables that are named.
const SOME_ENV: usize = 12;

#[derive(Debug, clap::Args)]
struct Describe {
    /// Name, id, namespace or /regex/
    #[arg(required = true, value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
    /// Show the values of the environment
    #[arg(long)]
    env: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let describe: Describe = arguments(matches)?;
    let mut client = context.daemon()?;
    let mut apps = list(&mut client, describe.targets, Detail::Spec)?;
    if !describe.env {
        for spec in apps.iter_mut().filter_map(|app| app.spec.as_mut()) {
            for value in spec.env.values_mut() {
                MASK.clone_into(value);
            }
        }
    }
    let mut survey = Survey::some(client.home(), apps.iter().flat_map(|app| &app.instances));
    let (usage, sockets) = (survey.usage(client.home()), survey.sockets());
    add_ports(&mut apps, &sockets);
    alive::look_at_shims(&mut apps, true);
    if describe.json {
        output::json(&own::document(&apps, &usage, &Value::Null))?;
        return Ok(ExitCode::Ok);
    }
    if pm2::speaks() {
        output::data(&pm2::tables::describe(&apps, &usage))?;
        return Ok(ExitCode::Ok);
    }
    let look = Look { width: output::width().unwrap_or(120), utf8: output::is_utf8() };
    let texts: Vec<String> = apps.iter().map(|app| text(app, &usage, describe.env, now_ms(), look)).collect();
    output::data(&texts.join("\n"))?;
    context.warn_of_keeper(client.home());
    Ok(ExitCode::Ok)
}

/// Adds what the kernel knows of to what wpm was told.
fn add_ports(apps: &mut [AppView], sockets: &HashMap<u32, Sockets>) {
    for instance in apps.iter_mut().flat_map(|app| &mut app.instances) {
        let Some(own) = sockets.get(&instance.id) else { continue };
        let port = |text: &String| text.rsplit(':').next().and_then(|port| port.parse().ok());
        let told: Vec<u16> = instance.ports.iter().filter_map(port).collect();
        let more = own.listening.iter().filter(|address| !told.contains(&address.port()));
        let mut more: Vec<String> = more.map(ToString::to_string).collect();
        more.extend(own.paths.iter().map(|path| format!("unix:{path}")));
        more.retain(|text| !instance.ports.contains(text));
        instance.ports.append(&mut more);
    }
}

fn text(app: &AppView, usage: &Usages, with_env: bool, now: u64, look: Look) -> String {
    let mut text = heading(app, usage, now, look);
    if let Some(spec) = app.spec.as_deref() {
        for (name, value) in facts(app, spec, now) {
            let _ =
                writeln!(text, "  {}  {}", paint(style::DIM, &format!("{name:<9}")), escape::clean(&value));
        }
        text.push_str(&environment(spec, with_env));
    }
    let _ = writeln!(text, "{}", paint(style::BOLD, "Instances"));
    for instance in &app.instances {
        text.push_str(&of_instance(instance, usage, now, look));
    }
    text.push_str(&logs_of(app));
    text.push_str(&last_words(app));
    text
}

fn heading(app: &AppView, usage: &Usages, now: u64, look: Look) -> String {
    let rows = rows::rows(std::slice::from_ref(app), usage, now, false);
    let Some(row) = rows.first() else { return String::new() };
    let mut parts = vec![
        format!("{} ({})", paint(style::BOLD, &row.name), row.id),
        format!("{} {}", glyph(row.health, look), row.status),
        format!("{} up", row.instances),
    ];
    parts.extend(Some(row.note.clone()).filter(|note| !note.is_empty()));
    format!("{}\n", parts.join(if look.utf8 { " · " } else { ", " }))
}

/// What the app is, and what happens when it ends.
fn facts(app: &AppView, spec: &AppSpec, now: u64) -> Vec<(&'static str, String)> {
    let mut command = Vec::new();
    if spec.shell {
        command.push(spec.script.clone());
    } else {
        let words =
            spec.interpreter.iter().chain(&spec.interpreter_args).chain([&spec.script]).chain(&spec.args);
        command.extend(
            words.map(|word| shlex::try_quote(word).map_or_else(|_| word.clone(), |it| it.into_owned())),
        );
    }
    let mode = format!("{} ×{}", if app.cluster { "cluster" } else { "fork" }, app.wanted);
    let mut restart = vec![if spec.autorestart { "always".to_owned() } else { "never".to_owned() }];
    if spec.autorestart {
        if !spec.stop_exit_codes.is_empty() {
            let codes: Vec<String> = spec.stop_exit_codes.iter().map(i32::to_string).collect();
            restart.push(format!("not after exit {}", codes.join(", ")));
        }
        restart.extend(spec.restart_delay_ms.map(|delay| format!("delay {}", milliseconds(delay))));
        restart.extend(
            spec.exp_backoff_restart_delay_ms
                .map(|delay| format!("growing delay from {}", milliseconds(delay))),
        );
        restart.push(format!("gives up after {} quick deaths", spec.max_restarts.unwrap_or(16)));
    }
    restart.extend(spec.max_memory_restart.map(|limit| format!("above {}", show_size(limit))));
    if !spec.watch.is_empty() {
        let paths: Vec<String> = spec.watch.iter().map(|path| home::shorten(Path::new(path))).collect();
        restart.push(format!("when {} changes", paths.join(" or ")));
    }
    if let Some(path) = &app.watch_paused {
        let path = escape::clean(&home::shorten(Path::new(path)));
        restart.push(format!(
            "not watched any more as {path} changes too often (`--ignore-watch` leaves it out)"
        ));
    }
    restart.extend(spec.cron_restart.as_ref().map(|rule| format!("cron {rule}")));
    let mut facts = vec![
        ("command", command.join(" ")),
        ("cwd", home::shorten(Path::new(&spec.cwd))),
        ("mode", mode),
        ("restart", restart.join(", ")),
    ];
    facts.extend(checks(spec));
    if let Some(rule) = &spec.schedule {
        let overlap = spec.schedule_overlap.as_deref().unwrap_or("skip");
        facts.push(("schedule", format!("{rule}, {overlap} while it still runs")));
    }
    if let Some(next) = jobs::next(app.next_run_ms, now) {
        let at = jobs::status(app.next_run_ms, now, &TimeZone::system());
        facts.push(("clock", format!("{}, {next}", at.trim_start_matches("cron "))));
    }
    if !spec.depends_on.is_empty() {
        let after = spec.depends_on.iter().map(|(app, condition)| format!("after {app} ({condition})"));
        facts.push(("starts", after.collect::<Vec<_>>().join(", ")));
    }
    if let Some(source) = &spec.source {
        let env = spec.source_env.as_ref().map_or_else(String::new, |env| format!(" --env {env}"));
        facts.push(("file", format!("{}{env}", home::shorten(Path::new(source)))));
    }
    if spec.namespace != "default" {
        facts.push(("namespace", spec.namespace.clone()));
    }
    facts.extend(app.version.clone().map(|version| ("version", version)));
    let user = spec
        .uid
        .as_ref()
        .map_or_else(|| app.username.clone(), |uid| format!("{uid} (started by {})", app.username));
    facts.push(("user", user));
    facts
}

/// What tells that it is ready, and that it is still well.
fn checks(spec: &AppSpec) -> Vec<(&'static str, String)> {
    let within = |ms: Option<u64>| ms.map_or_else(String::new, |ms| format!(", within {}", milliseconds(ms)));
    let ready = spec.ready.clone().or_else(|| spec.wait_ready.then(|| "message".to_owned()));
    let ready = ready.map(|check| ("ready", format!("{check}{}", within(spec.listen_timeout_ms))));
    let health = spec.health.as_ref().map(|check| {
        let every =
            spec.health_interval_ms.map_or_else(String::new, |ms| format!(" every {}", milliseconds(ms)));
        // A watchdog is the app's own: nothing is asked, and the first time that it misses is the last.
        let rest = if check == "notify" {
            String::new()
        } else {
            let failures = spec.health_failures.unwrap_or(1);
            let plural = if failures == 1 { "" } else { "s in a row" };
            format!("{}, restarted after {failures} failure{plural}", within(spec.health_timeout_ms))
        };
        ("health", format!("{check}{every}{rest}"))
    });
    ready.into_iter().chain(health).collect()
}

fn milliseconds(it: u64) -> String {
    if it < 1000 { format!("{it}ms") } else { show_duration(it) }
}

fn environment(spec: &AppSpec, with_values: bool) -> String {
    let label = |text: &str| format!("  {}  {text}\n", paint(style::DIM, "env      "));
    if with_values {
        return spec
            .env
            .iter()
            .map(|(name, value)| label(&escape::clean(&format!("{name}={value}"))))
            .collect();
    }
    let own: Vec<String> =
        spec.own_env.iter().take(SOME_ENV).map(|name| escape::clean(&format!("{name}={MASK}"))).collect();
    let others = spec.env.len().saturating_sub(own.len());
    let more = format!("(+{others}, `--env` shows them)");
    label(&own.into_iter().chain([more]).collect::<Vec<_>>().join("  "))
}

fn of_instance(instance: &InstanceView, usage: &Usages, now: u64, look: Look) -> String {
    let mut parts = vec![format!("{} {}", glyph(health(instance), look), instance.status)];
    if instance.pid > 0 {
        parts.push(format!("pid {}", instance.pid));
        // Not while it is held at its gate: then it has not begun.
        if instance.started_ms > 0 {
            parts.push(format!("up {}", show_duration(now.saturating_sub(instance.started_ms))));
        }
    }
    if let Some(used) = usage.get(&instance.id) {
        let processes = if used.processes == 1 { "" } else { " in its processes" };
        parts.push(format!("{:.1}% CPU, {}{processes}", used.cpu, show_size(used.memory)));
    }
    if !instance.ports.is_empty() {
        parts.push(format!("on {}", escape::clean(&instance.ports.join(", "))));
    }
    let plural = if instance.restarts == 1 { "" } else { "s" };
    parts.push(format!("{} restart{plural}", instance.restarts));
    parts.extend(rows::why(instance));
    if instance.log_errno != 0 {
        parts.push(rows::log_trouble(instance));
    } else if instance.log_dropped > 0 {
        parts.push(format!("{} of its output lost while the disk was full", show_size(instance.log_dropped)));
    }
    if instance.shim_stopped {
        parts.push(format!(
            "its shim is stopped: it runs on, but its output, its end and signals for it wait for `kill -CONT {}`",
            instance.shim_pid
        ));
    }
    let separator = if look.utf8 { " · " } else { ", " };
    format!("  {:<3} id {:<4} {}\n", instance.index, instance.id, parts.join(separator))
}

fn logs_of(app: &AppView) -> String {
    let mut text = format!("{}\n", paint(style::BOLD, "Logs"));
    for source in logs::from_views(std::slice::from_ref(app)) {
        let size = fs::metadata(&source.path)
            .map_or_else(|_| "not there yet".to_owned(), |data| show_size(data.len()));
        let _ = writeln!(text, "  {:<4} {} ({size})", source.stream.word(), home::shorten(&source.path));
    }
    text
}

/// The end of stderr of the instance that fares worst, if it fares badly.
fn last_words(app: &AppView) -> String {
    let worst = app.instances.iter().max_by_key(|instance| health(instance));
    let Some(worst) = worst.filter(|worst| health(worst) >= rows::Health::Waiting) else {
        return String::new();
    };
    let Some(file) = app.files.as_ref().and_then(|files| files.error.as_ref()) else { return String::new() };
    let tail = File::open(file.of(worst.index)).and_then(|file| logs::tail(&file, 0, LAST_LINES));
    let lines = tail.map(|tail| tail.lines).unwrap_or_default();
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("  {}\n", escape::line(line))).collect();
    format!("{}\n{lines}", paint(style::BOLD, "Last stderr"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_the_environment_is_shown_unless_asked() {
        let spec: AppSpec = serde_json::from_value(serde_json::json!({
            "name": "web", "script": "/srv/web.js", "cwd": "/srv",
            "env": {"TOKEN": "s3cret", "PATH": "/bin"}, "own_env": ["TOKEN"]
        }))
        .expect("a spec");
        let hidden = environment(&spec, false);
        assert!(
            hidden.contains("TOKEN=••••••") && hidden.contains("+1") && !hidden.contains("s3cret"),
            "{hidden}"
        );
        assert!(environment(&spec, true).contains("TOKEN=s3cret"));
    }

    #[test]
    fn checks_are_told_with_their_times() {
        let with = |more: serde_json::Value| -> Vec<String> {
            let mut spec = serde_json::json!({"name": "web", "script": "/srv/web.js", "cwd": "/srv"});
            spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let spec: AppSpec = serde_json::from_value(spec).expect("a spec");
            checks(&spec).into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
        };
        assert!(with(serde_json::json!({})).is_empty());
        assert_eq!(
            with(serde_json::json!({"wait_ready": true, "listen_timeout_ms": 3000, "health": "notify",
                "health_interval_ms": 500, "health_failures": 3})),
            ["ready: message, within 3s", "health: notify every 500ms"]
        );
        assert_eq!(
            with(serde_json::json!({"ready": "port", "health": "http://h/", "health_interval_ms": 10_000,
                "health_timeout_ms": 3000, "health_failures": 3})),
            ["ready: port", "health: http://h/ every 10s, within 3s, restarted after 3 failures in a row"]
        );
    }

    #[test]
    fn what_has_not_begun_has_no_uptime() {
        let at_gate: InstanceView = serde_json::from_value(serde_json::json!({
            "id": 0, "index": 0, "pid": 9, "start_time": 1, "shim_pid": 1, "status": "launching", "reason": null,
            "restarts": 1, "unstable": 1, "started_ms": 0, "created_ms": 0, "last_exit": null,
            "restart_in_ms": null, "log_errno": 0, "log_dropped": 0
        }))
        .expect("complete");
        let look = Look { width: 120, utf8: true };
        let text = of_instance(&at_gate, &Usages::new(), 1_769_853_600_000, look);
        assert!(text.contains("pid 9 · 1 restart") && !text.contains("up "), "{text}");
    }
}
