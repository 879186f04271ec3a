//! pm2's tables: the list with one row for each process, and the description of one.
//!
//! Programs cut these texts into pieces, so that columns and labels are pm2's; what they hold is wpm's.

use comfy_table::{Cell, ContentLineStyle, LineStyle, Table, TableStyle, presets};
use jiff::Timestamp;
use wpm_client::metrics::Survey;
use wpm_proto::request::Detail;
use wpm_proto::view::{AppView, FileName, InstanceView};

use crate::context::{Context, list};
use crate::failure::{Code, Failure};
use crate::output;
use crate::render::rows::{self, Row, Usages};
use crate::verbs;

/// pm2's lines.
const LINES: TableStyle = presets::UTF8_FULL_CONDENSED
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'));

const COLUMNS: [&str; 13] = [
    "id",
    "name",
    "namespace",
    "version",
    "mode",
    "pid",
    "uptime",
    "↺",
    "status",
    "cpu",
    "mem",
    "user",
    "watching",
];

/// Prints the list as it is now.
pub(super) fn print(context: &mut Context) -> Result<(), Failure> {
    let mut client = context.daemon()?;
    let early = Survey::begin(client.home(), false);
    let apps = match list(&mut client, Vec::new(), Detail::Spec) {
        Err(failure) if failure.is(Code::NoApps) => Vec::new(),
        apps => apps?,
    };
    let usage = early.of(apps.iter().flat_map(|app| &app.instances)).usage(client.home());
    let mut rows = rows::rows(&apps, &usage, verbs::now_ms(), true);
    rows::sort(&mut rows, rows::Field::Name, false);
    output::data(&table(&rows, &apps))
}

/// The list. The apps must have been asked for with detail for the last column.
pub(crate) fn table(rows: &[Row], apps: &[AppView]) -> String {
    let mut table = new();
    table.set_header(COLUMNS);
    for row in rows {
        let watches = apps
            .iter()
            .find(|app| app.name == row.name)
            .and_then(|app| app.spec.as_deref())
            .is_some_and(|spec| !spec.watch.is_empty());
        let usage = row.usage.unwrap_or_default();
        let pid = if row.pid > 0 { row.pid.to_string() } else { "0".to_owned() };
        table.add_row([
            row.id.clone(),
            row.name.clone(),
            row.namespace.clone(),
            if row.version.is_empty() { "N/A".to_owned() } else { row.version.clone() },
            row.mode.to_owned(),
            pid,
            row.uptime.filter(|_| row.pid > 0).map_or_else(|| "0".to_owned(), uptime),
            row.restarts.to_string(),
            row.status.clone(),
            if row.pid > 0 { format!("{:.1}%", usage.cpu).replace(".0%", "%") } else { "0%".to_owned() },
            size(usage.memory),
            row.user.clone(),
            if watches { "enabled" } else { "disabled" }.to_owned(),
        ]);
    }
    format!("{table}\n")
}

fn new() -> Table {
    let mut table = Table::new();
    table.load_style(LINES).force_no_tty();
    table
}

/// pm2's uptime: the largest unit alone.
fn uptime(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}D", seconds / 86400),
    }
}

/// pm2's sizes: `50.4mb`.
fn size(bytes: u64) -> String {
    let (unit, name) = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit)
        .unwrap_or((1, "b"));
    if unit == 1 {
        return format!("{bytes}b");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal place is shown")]
    let number = bytes as f64 / unit as f64;
    format!("{number:.1}{name}")
}

/// The descriptions of all instances of these apps, which must have been asked for with detail.
pub(crate) fn describe(apps: &[AppView], usage: &Usages) -> String {
    let mut all: Vec<(u32, String)> = Vec::new();
    for app in apps {
        for instance in &app.instances {
            all.push((instance.id, one(app, instance, usage)));
        }
    }
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(_, text)| text).collect()
}

fn one(app: &AppView, instance: &InstanceView, usage: &Usages) -> String {
    let Some(spec) = app.spec.as_deref() else { return String::new() };
    let rows = rows::rows(std::slice::from_ref(app), usage, verbs::now_ms(), true);
    let row = rows.iter().find(|row| row.first_id == instance.id);
    let created = Timestamp::from_millisecond(i64::try_from(instance.created_ms).unwrap_or_default());
    let or_none = |text: String| if text.is_empty() { "N/A".to_owned() } else { text };
    let (files, index) = (app.files.as_ref(), instance.index);
    let or_null =
        |name: Option<&FileName>| name.map_or_else(|| "/dev/null".to_owned(), |name| name.of(index));
    let facts: [(&str, String); 20] = [
        ("status", instance.status.to_string()),
        ("name", app.name.clone()),
        ("namespace", app.namespace.clone()),
        ("version", or_none(app.version.clone().unwrap_or_default())),
        ("restarts", instance.restarts.to_string()),
        ("uptime", row.and_then(|row| row.uptime).map_or_else(|| "0".to_owned(), uptime)),
        ("script path", spec.script.clone()),
        ("script args", or_none(spec.args.join(" "))),
        ("error log path", or_null(files.and_then(|files| files.error.as_ref()))),
        ("out log path", or_null(files.and_then(|files| files.out.as_ref()))),
        ("pid path", files.map(|files| files.pid.of(index)).unwrap_or_default()),
        ("interpreter", spec.interpreter.clone().unwrap_or_else(|| "none".to_owned())),
        ("interpreter args", or_none(spec.interpreter_args.join(" "))),
        ("script id", instance.id.to_string()),
        ("exec cwd", spec.cwd.clone()),
        ("exec mode", if app.cluster { "cluster_mode" } else { "fork_mode" }.to_owned()),
        ("node env", or_none(spec.env.get("NODE_ENV").cloned().unwrap_or_default())),
        ("watch & reload", if spec.watch.is_empty() { "✘" } else { "✔" }.to_owned()),
        ("unstable restarts", instance.unstable.to_string()),
        ("created at", created.map(|at| format!("{at:.3}")).unwrap_or_default()),
    ];
    let mut table = new();
    for (name, value) in facts {
        table.add_row([Cell::new(name), Cell::new(crate::render::escape::clean(&value))]);
    }
    format!(" Describing process with id {} - name {} \n{table}\n", instance.id, app.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_pm2s() {
        assert_eq!([0, 61_000, 7_200_000, 200_000_000].map(uptime), ["0s", "1m", "2h", "2D"]);
        assert_eq!([0, 52_848_230, 2048].map(size), ["0b", "50.4mb", "2.0kb"]);
    }
}
