//! What a line becomes on its way into the file.
//!
//! Pure: bytes in, bytes out, time given from outside. Invariant: the same input, split at the same
//! places, gives the same output but for the time; nothing here keeps more than one batch.

use std::io::Write;

use wpm_sys::launch::LineFormat;

use super::journal::CAPACITY;

/// Output bytes at which a batch is cut.
const BATCH: usize = 256 << 10;
/// RFC 3339, for JSON without a format of its own.
const DEFAULT_TIME: &str = "%Y-%m-%dT%H:%M:%S%.3f%:z";

/// How the lines of one stream are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style<'p> {
    pub(super) format: &'p LineFormat,
    /// `out` or `err`.
    pub(super) kind: &'static str,
    pub(super) app: &'p str,
    pub(super) process_id: u32,
}

/// The time as the format asks for it; empty where none is needed. A format that cannot be used gives
/// RFC 3339: a log line is not the place to fail.
pub(super) fn stamp(format: &LineFormat) -> String {
    let wanted = match format {
        LineFormat::Raw => return String::new(),
        LineFormat::Stamped(f) => f.as_str(),
        LineFormat::Json { time } if time.is_empty() => DEFAULT_TIME,
        LineFormat::Json { time } => time.as_str(),
    };
    let now = jiff::Zoned::now();
    let broken = jiff::fmt::strtime::BrokenDownTime::from(&now);
    broken.to_string(wanted).or_else(|_| broken.to_string(DEFAULT_TIME)).unwrap_or_default()
}

/// What became of a part of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Input bytes used.
    pub(super) bytes: usize,
    /// Whether the used part ends in the middle of a line.
    pub(super) mid_line: bool,
}

/// Appends whole lines of `input` to `out`. What is left at the end without a newline is taken only
/// with `all`, or when it is as long as a piece of a line may be. `limit` cuts the batch by its output;
/// a batch that was begun is done again without one, so that it ends where it ended.
pub(super) fn transform(
    style: &Style<'_>,
    input: &[u8],
    mut mid_line: bool,
    all: bool,
    limit: Option<u64>,
    stamp: &str,
    out: &mut Vec<u8>,
) -> Taken {
    let limit = limit.map(|l| usize::try_from(l).unwrap_or(usize::MAX).min(BATCH));
    let piece = usize::try_from(CAPACITY).unwrap_or(usize::MAX);
    let mut bytes = 0;
    while let Some(rest) = input.get(bytes..).filter(|r| !r.is_empty()) {
        if bytes > 0 && limit.is_some_and(|limit| out.len() >= limit) {
            break;
        }
        let line = match memchr::memchr(b'\n', rest) {
            Some(at) => &rest[..=at],
            None if all || rest.len() >= piece => rest,
            None => break,
        };
        one(style, line, mid_line, stamp, out);
        mid_line = !line.ends_with(b"\n");
        bytes += line.len();
    }
    Taken { bytes, mid_line }
}

fn one(style: &Style<'_>, line: &[u8], mid_line: bool, stamp: &str, out: &mut Vec<u8>) {
    match style.format {
        LineFormat::Raw => out.extend_from_slice(line),
        LineFormat::Stamped(_) => {
            if !mid_line {
                out.extend_from_slice(stamp.as_bytes());
                out.extend_from_slice(b": ");
            }
            out.extend_from_slice(line);
        }
        LineFormat::Json { .. } => {
            out.extend_from_slice(b"{\"message\":");
            string(&String::from_utf8_lossy(line), out);
            out.extend_from_slice(b",\"timestamp\":");
            string(stamp, out);
            // Writing into memory cannot fail.
            drop(write!(
                out,
                ",\"type\":\"{}\",\"process_id\":{},\"app_name\":",
                style.kind, style.process_id
            ));
            string(style.app, out);
            out.extend_from_slice(b"}\n");
        }
    }
}

/// A JSON string. What needs no escape is copied in one piece.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(escape);
        if escape.is_empty() {
            drop(write!(out, "\\u{byte:04x}"));
        }
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(format: &LineFormat) -> Style<'_> {
        Style { format, kind: "out", app: "a\"b", process_id: 4 }
    }

    fn run(format: &LineFormat, input: &[u8], mid: bool, all: bool) -> (String, Taken) {
        let mut out = Vec::new();
        let taken = transform(&style(format), input, mid, all, Some(u64::MAX), "T", &mut out);
        (String::from_utf8(out).unwrap(), taken)
    }

    #[test]
    fn whole_lines_are_stamped_and_a_rest_waits() {
        let f = LineFormat::Stamped("%F".into());
        let (text, taken) = run(&f, b"one\n\ntwo", false, false);
        assert_eq!((text.as_str(), taken), ("T: one\nT: \n", Taken { bytes: 5, mid_line: false }));
        let (text, taken) = run(&f, b"two", false, true);
        assert_eq!((text.as_str(), taken), ("T: two", Taken { bytes: 3, mid_line: true }));
        assert_eq!(run(&f, b" end\nx\n", true, false).0, " end\nT: x\n");
    }

    #[test]
    fn a_line_without_end_goes_in_pieces() {
        let f = LineFormat::Stamped("%F".into());
        let long = vec![b'x'; usize::try_from(CAPACITY).unwrap()];
        let (text, taken) = run(&f, &long, false, false);
        assert_eq!(taken, Taken { bytes: long.len(), mid_line: true });
        assert!(text.starts_with("T: xxx"));
        assert_eq!(run(&f, &long[1..], false, false).1.bytes, 0);
    }

    #[test]
    fn json_takes_any_bytes() {
        let f = LineFormat::Json { time: String::new() };
        let (text, _) = run(&f, b"\"\\\x01\xff\x7f\t\xc3\xa9\n", false, false);
        assert_eq!(
            text,
            "{\"message\":\"\\\"\\\\\\u0001\u{fffd}\\u007f\\t\u{e9}\\n\",\"timestamp\":\"T\",\"type\":\"out\",\
             \"process_id\":4,\"app_name\":\"a\\\"b\"}\n"
        );
    }

    #[test]
    fn a_batch_is_cut_between_lines_by_its_output() {
        let f = LineFormat::Json { time: String::new() };
        let input = b"\n".repeat(30_000);
        let mut out = Vec::new();
        let taken = transform(&style(&f), &input, false, false, Some(u64::MAX), "T", &mut out);
        assert!(taken.bytes < input.len() && out.len() >= BATCH && out.len() < BATCH + 200);
        // A batch that was begun is done again whole, whatever its size.
        out.clear();
        assert_eq!(transform(&style(&f), &input, false, true, None, "T", &mut out).bytes, input.len());
    }

    #[test]
    fn a_format_that_cannot_be_used_still_gives_a_time() {
        assert!(stamp(&LineFormat::Stamped("%Y %!".into())).starts_with("20"));
        assert!(stamp(&LineFormat::Json { time: String::new() }).contains('T'));
        assert_eq!(stamp(&LineFormat::Raw), "");
    }
}
