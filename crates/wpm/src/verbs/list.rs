//! `wpm list`: the table of apps; once, or again at every change.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wpm_client::metrics::{Early, Survey};
use wpm_client::subscribe::Subscription;
use wpm_client::{Client, alive};
use wpm_proto::ExitCode;
use wpm_proto::home::Home;
use wpm_proto::request::Detail;
use wpm_proto::view::{AppView, Status};

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, list};
use crate::failure::{Code, Failure};
use crate::interrupt;
use crate::output;
use crate::pm2;
use crate::quantity::{show_duration, show_size};
use crate::render::list::{Look, draw};
use crate::render::own;
use crate::render::rows::{self, Field, Row};
use crate::render::style::{self, paint};

pub(crate) const VERB: Verb = Verb {
    name: "list",
    aliases: &["ls", "l", "ps", "status"],
    about: "Show the apps and how they are",
    examples: "  wpm list                     one row for each app\n  wpm list --instances         one for each instance\n  \
               wpm list --sort memory:desc\n  wpm list --watch             again at every change\n  wpm list --json",
    args: <List as clap::Args>::augment_args,
    run,
};

/// Time between two looks at CPU and memory while watching.
const TICK: Duration = Duration::from_secs(1);
/// How long a watcher waits for a daemon that has gone. One that was killed is back within a second.
const AWAY: Duration = Duration::from_secs(10);
/// Between two looks for it.
const AWAY_PAUSE: Duration = Duration::from_millis(50);
/// Columns where nobody says how many there are.
const DEFAULT_WIDTH: u16 = 120;

#[derive(Debug, clap::Args)]
struct List {
    /// Name, id, namespace or /regex/; none = every app
    #[arg(value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
    /// One row for each instance
    #[arg(short, long)]
    instances: bool,
    /// Field to sort by, with `:asc` or `:desc`
    #[arg(long, value_name = "FIELD", value_parser = clap::builder::ValueParser::new(sort_order), default_value = "name")]
    sort: (Field, bool),
    /// Draw it again at every change
    #[arg(short, long)]
    watch: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// A few lines for each instance instead of a table
    #[arg(short, long)]
    mini_list: bool,
}

fn sort_order(text: &str) -> Result<(Field, bool), String> {
    let (field, order) = text.split_once(':').unwrap_or((text, "asc"));
    let descending = match order {
        "asc" => false,
        "desc" => true,
        _ => return Err(format!("`{order}` is neither asc nor desc")),
    };
    let known = <Field as clap::ValueEnum>::value_variants()
        .iter()
        .filter_map(|field| Some(clap::ValueEnum::to_possible_value(field)?.get_name().to_owned()));
    <Field as clap::ValueEnum>::from_str(field, true)
        .map(|field| (field, descending))
        .map_err(|_| format!("the list can be sorted by {}", known.collect::<Vec<_>>().join(", ")))
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let list: List = arguments(matches)?;
    if list.watch {
        return watch(&list, context);
    }
    let early = begin(&context.home()?, &list);
    let mut client = context.daemon()?;
    let view = look(&mut client, early, &list)?;
    output::data(&view)?;
    context.warn_of_keeper(client.home());
    Ok(ExitCode::Ok)
}

/// These apps as they are now, one row for each.
pub(super) fn rows_of(client: &mut Client, targets: &[String]) -> Result<Vec<Row>, Failure> {
    let early = targets.is_empty().then(|| Survey::begin(client.home(), true));
    let mut apps = match list(client, targets.to_vec(), Detail::State) {
        Err(failure) if failure.is(Code::NoApps) => Vec::new(),
        apps => apps?,
    };
    let instances = apps.iter().flat_map(|app| &app.instances);
    let mut survey = match early {
        Some(early) => early.of(instances),
        None => Survey::some(client.home(), instances),
    };
    let (usage, listening) = (survey.usage(client.home()), survey.listening(client.home()));
    add_ports(&mut apps, &listening);
    let mut rows = rows::rows(&apps, &usage, now_ms(), false);
    rows::sort(&mut rows, Field::Name, false);
    Ok(rows)
}

/// `list --watch` of these apps.
pub(super) fn watch_these(targets: Vec<String>, context: &mut Context) -> Outcome {
    watch(&List::of(targets), context)
}

impl List {
    fn of(targets: Vec<String>) -> Self {
        let sort = (Field::Name, false);
        Self { targets, instances: false, sort, watch: true, json: false, quiet: false, mini_list: false }
    }
}

/// The apps that are asked for; none = all.
fn targets(options: &List) -> Vec<String> {
    // pm2 lists everything, whatever is named.
    if pm2::speaks() { Vec::new() } else { options.targets.clone() }
}

/// Begins to look, where a look at everything will be needed.
fn begin(home: &Home, options: &List) -> Option<Early> {
    (targets(options).is_empty() && !options.quiet).then(|| Survey::begin(home, true))
}

/// Asks and draws once.
fn look(client: &mut Client, early: Option<Early>, options: &List) -> Result<String, Failure> {
    let detail = match (pm2::speaks(), options.json) {
        (true, _) => Detail::Spec,
        (_, true) => Detail::Files,
        _ => Detail::State,
    };
    let mut apps = match list(client, targets(options), detail) {
        // A list of nothing is a list.
        Err(failure) if failure.is(Code::NoApps) => Vec::new(),
        apps => apps?,
    };
    let instances = || apps.iter().flat_map(|app| &app.instances);
    if options.quiet {
        let mut ids: Vec<u32> = instances().map(|instance| instance.id).collect();
        ids.sort_unstable();
        return Ok(ids.iter().map(|id| format!("{id}\n")).collect());
    }
    let mut survey = match early {
        Some(early) => early.of(instances()),
        None => Survey::some(client.home(), instances()),
    };
    let (usage, listening) = (survey.usage(client.home()), survey.listening(client.home()));
    add_ports(&mut apps, &listening);
    alive::look_at_shims(&mut apps, false);
    if options.json {
        let stopped = alive::stopped_keeper(client.home());
        let daemon = client.welcome().map(|welcome| {
            json!({ "version": welcome.version, "pid": welcome.pid, "keeper_stopped": stopped.is_some() })
        });
        return Ok(format!("{}\n", own::document(&apps, &usage, &daemon.unwrap_or(Value::Null))));
    }
    if apps.is_empty() && output::stdout_is_terminal() && !pm2::speaks() {
        return Ok(format!("no apps yet: {}\n", paint(style::COMMAND, "wpm start FILE")));
    }
    let unfold = options.instances || options.mini_list || pm2::speaks();
    let mut rows = rows::rows(&apps, &usage, now_ms(), unfold);
    rows::sort(&mut rows, options.sort.0, options.sort.1);
    if options.mini_list {
        return Ok(rows.iter().map(mini).collect());
    }
    if pm2::speaks() {
        return Ok(pm2::tables::table(&rows, &apps));
    }
    let look = Look { width: output::width().unwrap_or(DEFAULT_WIDTH), utf8: output::is_utf8() };
    let mut text = draw(&rows, look);
    if output::stdout_is_terminal() && look.width >= 60 {
        text.push_str(&host_line(client, &apps));
    }
    Ok(text)
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Adds the ports that the kernel knows of to those that workers of a cluster have told.
fn add_ports(apps: &mut [AppView], listening: &HashMap<u32, Vec<SocketAddr>>) {
    for instance in apps.iter_mut().flat_map(|app| &mut app.instances) {
        if let Some(own) = listening.get(&instance.id) {
            instance.ports = own.iter().map(ToString::to_string).collect();
        }
    }
}

fn host_line(client: &Client, apps: &[AppView]) -> String {
    let online = apps.iter().filter(|app| app.instances.iter().any(|it| it.status == Status::Online)).count();
    // With what is left out first where the terminal is narrow.
    let mut parts: Vec<(u8, String)> = Vec::new();
    if let Some(name) = rustix::system::uname().nodename().to_str().ok().filter(|name| !name.is_empty()) {
        parts.push((0, format!("host {name}")));
    }
    if let Ok(load) = sysinfo::System::load_average() {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        parts.push((2, format!("load {:.2}/{cpus}", load.one)));
    }
    if let Ok(mut system) = sysinfo::System::new() {
        system.refresh_memory();
        let used = system.total_memory().saturating_sub(system.available_memory());
        parts.push((3, format!("mem {} of {}", show_size(used), show_size(system.total_memory()))));
    }
    if let Some(welcome) = client.welcome() {
        parts.push((1, format!("daemon {} pid {}", welcome.version, welcome.pid)));
    }
    parts.push((4, format!("{} app{}, {online} online", apps.len(), if apps.len() == 1 { "" } else { "s" })));
    format!("{}\n", paint(style::DIM, &fitted(parts, output::width().map(usize::from))))
}

/// Parts in one line that fits, without the least important ones where it would not.
fn fitted(mut parts: Vec<(u8, String)>, width: Option<usize>) -> String {
    let separator = if output::is_utf8() { " · " } else { ", " };
    loop {
        let texts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
        let line = format!(" {}", texts.join(separator));
        let fits = width.is_none_or(|width| line.chars().count() <= width);
        let least = parts.iter().map(|(importance, _)| *importance).min();
        match least.filter(|_| !fits && parts.len() > 1) {
            Some(least) => parts.retain(|(importance, _)| *importance != least),
            None => return line,
        }
    }
}

/// pm2's list for narrow places.
fn mini(row: &Row) -> String {
    let usage = row.usage.unwrap_or_default();
    let lines = [
        ("namespace", row.namespace.clone()),
        ("version", if row.version.is_empty() { "N/A".to_owned() } else { row.version.clone() }),
        ("pid", row.pid.to_string()),
        ("pm2 id", row.id.clone()),
        ("status", row.status.clone()),
        ("mode", row.mode.to_owned()),
        ("restarted", row.restarts.to_string()),
        ("uptime", row.uptime.map_or_else(|| "0".to_owned(), show_duration)),
        ("memory usage", show_size(usage.memory)),
        ("cpu usage", format!("{:.1}%", usage.cpu)),
    ];
    let lines: String = lines.iter().map(|(name, value)| format!("{name} : {value}\n")).collect();
    format!("+--- {}\n{lines}", row.name)
}

/// Draws again at every event and every second, until the reader goes or Ctrl-C comes. A daemon that is
/// replaced meanwhile is waited for.
fn watch(options: &List, context: &mut Context) -> Outcome {
    interrupt::end_on_interrupt(None);
    // Starts it where there is none; one that is ended later is not started again.
    drop(context.daemon()?);
    let clear = output::stdout_is_terminal() && !options.json;
    let mut link = None;
    let mut away_since = None;
    loop {
        let view = match look_again(&mut link, options, context) {
            Ok(view) => view,
            Err(failure) => {
                link = None;
                let since = *away_since.get_or_insert_with(Instant::now);
                if !failure.is(Code::Unreachable) || since.elapsed() > AWAY {
                    return Err(failure);
                }
                std::thread::sleep(AWAY_PAUSE);
                continue;
            }
        };
        away_since = None;
        if clear {
            // Overwritten line by line: clearing first would flicker.
            let mut stdout = anstream::stdout().lock();
            let lines: String = view.lines().map(|line| format!("{line}\x1b[K\n")).collect();
            write!(stdout, "\x1b[H{lines}\x1b[J")?;
            stdout.flush()?;
        } else {
            output::data(&view)?;
        }
        if let Some((_, events)) = &mut link
            && await_change(events).is_err()
        {
            link = None;
        }
    }
}

/// Looks through the connections that are there, or new ones.
fn look_again(
    link: &mut Option<(Client, Subscription)>,
    options: &List,
    context: &mut Context,
) -> Result<String, Failure> {
    if link.is_none() {
        let mut there = || {
            let home = context.home()?;
            let gone = || wpm_client::Error::NoDaemon { home: home.path().to_owned() };
            context.running_daemon()?.ok_or_else(|| Failure::from(gone()))
        };
        *link = Some((there()?, Subscription::open(there()?, None)?));
    }
    let Some((client, _)) = link else { return Ok(String::new()) };
    let early = begin(client.home(), options);
    look(client, early, options)
}

/// Waits for an event, but no longer than a tick.
fn await_change(events: &mut Subscription) -> Result<(), Failure> {
    let mut changed = false;
    while events.next_ready()?.is_some() {
        changed = true;
    }
    if changed {
        return Ok(());
    }
    let limit = rustix::event::Timespec::try_from(TICK).unwrap_or_default();
    let ready = {
        let fd = events.fd();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&limit)).unwrap_or(0) > 0
    };
    if ready {
        events.fill()?;
        while events.next_ready()?.is_some() {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_orders() {
        assert_eq!(sort_order("memory:desc"), Ok((Field::Memory, true)));
        assert_eq!(sort_order("Name"), Ok((Field::Name, false)));
        assert!(sort_order("colour").is_err() && sort_order("name:up").is_err());
    }

    #[test]
    fn a_narrow_line_keeps_what_matters() {
        let parts = || vec![(0, "host vm".to_owned()), (2, "load 1".to_owned()), (4, "2 apps".to_owned())];
        assert!(fitted(parts(), None).starts_with(" host vm"));
        assert_eq!(fitted(parts(), Some(40)), fitted(parts(), None));
        assert!(
            fitted(parts(), Some(19)).starts_with(" load 1") && fitted(parts(), Some(19)).ends_with("2 apps")
        );
        assert_eq!(fitted(parts(), Some(3)), " 2 apps");
    }
}
