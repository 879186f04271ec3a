//! `wpm logs`: the last lines of apps, then what they go on to print.
//!
//! Works without a daemon: files are found by the state file and their names.

mod collect;
mod following;
mod format;
mod gathering;
mod live;

use std::time::Duration;

use regex::bytes::Regex;
use wpm_client::logs::Source;
use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::interrupt;
use crate::output;
use crate::pm2;
use crate::quantity::parse_duration;
use crate::render::escape;

pub(super) use following::Following;
pub(super) use format::Format;
use format::Printer;
pub(super) use gathering::Gathering;

pub(crate) const VERB: Verb = Verb {
    name: "logs",
    aliases: &["log"],
    about: "Show what apps print, and follow it",
    examples: "  wpm logs                    of every app\n  wpm logs web worker --err   stderr of two\n  \
               wpm logs web --lines 200 --nostream\n  wpm logs --since 5m --grep 'error|timeout'",
    args: <Logs as clap::Args>::augment_args,
    run,
};

/// Lines of each file that are shown first, as in pm2.
const DEFAULT_LINES: usize = 15;

#[derive(Debug, Default, clap::Args)]
struct Logs {
    /// Name, id, namespace or /regex/; none = every app
    #[arg(value_name = "APP", add = complete::apps())]
    targets: Vec<String>,
    /// Last lines of each file to show first
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// Only stderr
    #[arg(long)]
    err: bool,
    /// Only stdout
    #[arg(long, conflicts_with = "err")]
    out: bool,
    /// The bytes as they are, without names and protection of the terminal
    #[arg(long)]
    raw: bool,
    /// One JSON object for each line
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// One line of `key=value` for each line
    #[arg(long, conflicts_with_all = ["raw", "json"])]
    format: bool,
    /// Do not follow
    #[arg(long)]
    nostream: bool,
    /// Only lines since a time: `5m`, `2h`, `2026-01-31T10:00:00`
    #[arg(long, value_name = "TIME", value_parser = clap::builder::ValueParser::new(since))]
    since: Option<i64>,
    /// Only lines that match
    #[arg(long, value_name = "REGEX", value_parser = clap::builder::ValueParser::new(pattern))]
    grep: Option<Regex>,
    /// Show the time of each line
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "HH:mm:ss.SSS")]
    timestamp: Option<String>,
    /// Mark this text
    #[arg(long, value_name = "TEXT")]
    highlight: Option<String>,
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

/// Milliseconds since 1970 of a time, or of so long ago.
pub(super) fn since(text: &str) -> Result<i64, String> {
    if let Some(at) = wpm_client::logs::stamp(text.as_bytes()) {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let start = date.to_zoned(jiff::tz::TimeZone::system()).map_err(|error| error.to_string())?;
        return Ok(start.timestamp().as_millisecond());
    }
    let ago =
        parse_duration(text).map_err(|_| format!("`{text}` is neither a duration such as 5m nor a time"))?;
    let now = jiff::Timestamp::now().as_millisecond();
    Ok(now - i64::try_from(ago).unwrap_or(i64::MAX))
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let logs: Logs = arguments(matches)?;
    show(context, &logs)
}

/// Follows the logs of these apps, for `start --attach`.
pub(super) fn follow_apps(context: &mut Context, names: Vec<String>) -> Outcome {
    show(context, &Logs { targets: names, lines: Some(DEFAULT_LINES), ..Logs::default() })
}

fn show(context: &mut Context, logs: &Logs) -> Outcome {
    interrupt::end_on_interrupt(None);
    let home = context.home()?;
    let mut known = collect::Known::new(home, &logs.targets)?;
    let mut sources: Vec<Source> = Vec::new();
    known.refresh(&mut sources, |source| wanted(logs, source))?;
    let format = match logs {
        Logs { raw: true, .. } => Format::Raw,
        Logs { json: true, .. } => Format::Json,
        Logs { format: true, .. } => Format::Pairs,
        _ if pm2::speaks() => Format::Pm2,
        _ => Format::Text,
    };
    if format == Format::Pm2 {
        let whom =
            logs.targets.first().map_or("all] processes".to_owned(), |name| format!("{name}] process"));
        let lines = logs.lines.unwrap_or(DEFAULT_LINES);
        output::line(&format!(
            "[TAILING] Tailing last {lines} lines for [{whom} (change the value with --lines option)"
        ))?;
    }
    let mut printer = Printer::new(format, logs.timestamp.clone(), logs.highlight.clone());
    printer.stamped = known.stamped().to_vec();
    let unmet = known.unmet(&logs.targets);
    if !unmet.is_empty() && logs.nostream && !pm2::speaks() {
        return Err(
            Failure::new(Code::NoSuchApp, known.missing(&unmet)).help("`wpm list` shows what there is")
        );
    }
    if !context.silent {
        // An app that is followed may be on its way.
        if !unmet.is_empty() {
            context.warn(&known.missing(&unmet));
        } else if sources.is_empty() {
            context.warn("there are no logs");
        }
    }
    let lines = logs.lines.unwrap_or(if logs.since.is_some() { usize::MAX } else { DEFAULT_LINES });
    let collect::Tails { starts, timeless } = collect::tails(&sources, lines, logs, &mut printer)?;
    if !timeless.is_empty() {
        let names: Vec<String> = timeless.iter().map(|name| escape::clean(name)).collect();
        context.warn(&format!(
            "the lines of {} carry no time, so --since chose whole files; `--time` at the start puts one before each",
            names.join(", ")
        ));
    }
    if logs.nostream {
        return Ok(ExitCode::Ok);
    }
    match live::follow(context, logs, known, sources, &starts, printer) {
        // The reader went away.
        Err(failure) if !failure.speaks() => Ok(failure.exit),
        outcome => outcome,
    }
}

fn wanted(logs: &Logs, source: &Source) -> bool {
    use wpm_client::logs::Stream;
    match source.stream {
        Stream::Out => !logs.err,
        Stream::Err => !logs.out,
        Stream::Both => true,
    }
}

/// Whether text goes to a terminal, where it must be made harmless.
fn to_terminal() -> bool {
    output::stdout_is_terminal()
}

/// Time between two looks for new files while there is no daemon to tell of them.
const TICK: Duration = Duration::from_secs(1);

fn watch_failed(cause: &std::io::Error) -> Failure {
    Failure::new(Code::Storage, format!("cannot watch the log files: {cause}"))
        .help("the limits are fs.inotify.max_user_instances and max_user_watches; --nostream needs none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations() {
        assert_eq!(since("2026-01-31T10:00:00Z"), Ok(1_769_853_600_000));
        let before = jiff::Timestamp::now().as_millisecond();
        let five_minutes_ago = since("5m").expect("a duration");
        assert!((before - 300_000..=before - 299_000).contains(&five_minutes_ago));
        assert!(since("yesterday").is_err() && since("2026-01-31").is_ok());
    }
}
