//! How a line looks: with its app's name before it, raw, as JSON, as pairs.
//!
//! Invariant: on a terminal no line drives the terminal, unless raw bytes were asked for.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use wpm_client::logs::{Line, Source, Stream, stamp};

use super::to_terminal;
use crate::failure::Failure;
use crate::output;
use crate::render::style::{self, paint};
use crate::render::{dayjs, escape};

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verbs) enum Format {
    Text,
    Raw,
    Json,
    Pairs,
    /// As pm2 has it: `0|web  | line`.
    Pm2,
}

/// Colours of names; an app keeps its own.
const COLOURS: [anstyle::AnsiColor; 6] = [
    anstyle::AnsiColor::Cyan,
    anstyle::AnsiColor::Green,
    anstyle::AnsiColor::Magenta,
    anstyle::AnsiColor::Blue,
    anstyle::AnsiColor::Yellow,
    anstyle::AnsiColor::BrightCyan,
];

/// Prints lines.
pub(super) struct Printer {
    format: Format,
    time: Option<String>,
    highlight: Option<String>,
    width: usize,
    utf8: bool,
    terminal: bool,
    /// Apps whose lines carry their own time.
    pub(super) stamped: Vec<String>,
}

impl Printer {
    pub(super) fn new(format: Format, time: Option<String>, highlight: Option<String>) -> Self {
        let (utf8, terminal) = (output::is_utf8(), to_terminal());
        Self { format, time, highlight, width: 0, utf8, terminal, stamped: Vec::new() }
    }

    /// Makes room for the longest name.
    pub(super) fn fit(&mut self, sources: &[Source]) {
        self.width = sources.iter().map(|source| label(source).chars().count()).max().unwrap_or(0);
    }

    /// Prints lines; `arrived` is the time of those that come in now.
    pub(super) fn print(
        &self,
        sources: &[Source],
        lines: &[Line],
        arrived: Option<Timestamp>,
    ) -> Result<(), Failure> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::with_capacity(lines.len() * 120);
        for line in lines {
            self.one(&sources[line.source], &line.bytes, arrived, &mut text);
        }
        if matches!(self.format, Format::Text | Format::Pm2) {
            let mut stdout = anstream::stdout().lock();
            stdout.write_all(&text)?;
            stdout.flush()?;
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&text)?;
            stdout.flush()?;
        }
        Ok(())
    }

    fn one(&self, source: &Source, bytes: &[u8], arrived: Option<Timestamp>, out: &mut Vec<u8>) {
        match self.format {
            Format::Raw => out.extend_from_slice(bytes),
            Format::Json => {
                let at = when(bytes, arrived).map(|at| at.to_string());
                let value = json!({
                    "message": String::from_utf8_lossy(bytes),
                    "timestamp": at,
                    "type": source.stream.word(),
                    "process_id": source.id,
                    "index": source.index,
                    "app_name": source.app,
                });
                out.extend_from_slice(value.to_string().as_bytes());
            }
            Format::Pairs => {
                let at = when(bytes, arrived).map_or_else(|| "-".to_owned(), |at| at.to_string());
                let stream = if source.stream == Stream::Err { "error" } else { source.stream.word() };
                let id = source.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
                let pairs = format!("timestamp={at} app={} id={id} type={stream} message=", source.app);
                out.extend_from_slice(pairs.as_bytes());
                self.message(bytes, out);
            }
            Format::Pm2 => {
                let id = source.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
                let width = self.width.saturating_sub(source.index.map_or(0, |it| it.to_string().len() + 1));
                let name = format!("{id}|{:width$} | ", escape::clean(&source.app));
                out.extend_from_slice(paint(colour(&source.app), &name).as_bytes());
                self.message(bytes, out);
            }
            Format::Text => {
                out.extend_from_slice(self.time(source, bytes, arrived).as_bytes());
                let name = label(source);
                let padding = self.width.saturating_sub(name.chars().count());
                out.extend_from_slice(paint(colour(&source.app), &name).as_bytes());
                out.extend(std::iter::repeat_n(b' ', padding));
                let mark = match (source.stream, self.utf8) {
                    (Stream::Err, true) => format!(" {} ", paint(style::ERROR, "‼")),
                    (Stream::Err, false) => format!(" {} ", paint(style::ERROR, "!")),
                    _ => "   ".to_owned(),
                };
                out.extend_from_slice(mark.as_bytes());
                self.message(bytes, out);
            }
        }
        out.push(b'\n');
    }

    fn message(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if !self.terminal && self.highlight.is_none() {
            return out.extend_from_slice(bytes);
        }
        let text =
            if self.terminal { escape::line(bytes) } else { String::from_utf8_lossy(bytes).into_owned() };
        match self.highlight.as_deref().filter(|mark| !mark.is_empty()) {
            Some(mark) => {
                let marked = paint(anstyle::Style::new().invert(), mark);
                out.extend_from_slice(text.replace(mark, &marked).as_bytes());
            }
            None => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// The time column, blank where the time of a line is not known.
    fn time(&self, source: &Source, bytes: &[u8], arrived: Option<Timestamp>) -> String {
        let Some(format) = self.time.as_ref().filter(|_| !self.stamped.contains(&source.app)) else {
            return String::new();
        };
        let shown = |at: Timestamp| dayjs::format(format, &at.to_zoned(TimeZone::system()));
        match when(bytes, arrived) {
            Some(at) => format!("{} ", paint(style::DIM, &shown(at))),
            None => " ".repeat(shown(Timestamp::UNIX_EPOCH).chars().count() + 1),
        }
    }
}

fn when(bytes: &[u8], arrived: Option<Timestamp>) -> Option<Timestamp> {
    stamp(bytes).and_then(|at| Timestamp::from_millisecond(at).ok()).or(arrived)
}

/// `web`, or `web/3` where it is one of several.
pub(super) fn label(source: &Source) -> String {
    let name = escape::clean(&source.app);
    match source.index {
        Some(index) => format!("{name}/{index}"),
        None => name,
    }
}

fn colour(app: &str) -> anstyle::Style {
    let hash = app.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
    anstyle::Style::new().fg_color(Some(COLOURS[hash % COLOURS.len()].into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format, source: &Source, line: &[u8], terminal: bool) -> String {
        let mut printer = Printer::new(format, None, None);
        (printer.utf8, printer.terminal) = (true, terminal);
        printer.width = 6;
        let mut out = Vec::new();
        printer.one(source, line, None, &mut out);
        anstream::adapter::strip_str(&String::from_utf8_lossy(&out)).to_string()
    }

    fn source(stream: Stream, index: Option<u32>) -> Source {
        let (app, namespace) = ("web".to_owned(), "default".to_owned());
        Source { app, namespace, id: Some(3), index, stream, path: "/x".into() }
    }

    #[test]
    fn names_are_aligned_and_stderr_is_marked() {
        assert_eq!(printed(Format::Text, &source(Stream::Out, Some(0)), b"GET /", true), "web/0    GET /\n");
        assert_eq!(printed(Format::Text, &source(Stream::Err, None), b"boom", true), "web    ‼ boom\n");
    }

    #[test]
    fn pm2s_lines_begin_with_id_and_name() {
        assert_eq!(printed(Format::Pm2, &source(Stream::Out, None), b"hello", true), "3|web    | hello\n");
    }

    #[test]
    fn machines_get_json_pairs_and_bytes() {
        let err = source(Stream::Err, None);
        let line = printed(Format::Json, &err, b"2026-01-31T10:00:00Z x\xff", true);
        let value: serde_json::Value = serde_json::from_str(&line).expect("json");
        assert_eq!((&value["type"], &value["process_id"]), (&json!("err"), &json!(3)));
        assert_eq!(value["timestamp"], json!("2026-01-31T10:00:00Z"));
        assert_eq!(
            printed(Format::Pairs, &err, b"x", false),
            "timestamp=- app=web id=3 type=error message=x\n"
        );
        assert_eq!(printed(Format::Raw, &err, b"x", true), "x\n");
    }
}
