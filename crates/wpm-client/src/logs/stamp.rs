//! Reads the time that a log line begins with.
//!
//! Understands what wpm itself writes by default (`--time`, ISO formats, `--log-type json`) and what
//! many programs print; guesses nothing.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Longest prefix that can be a time.
const MAX_STAMP: usize = 40;

/// Milliseconds since 1970 that the line names at its beginning.
pub fn stamp(line: &[u8]) -> Option<i64> {
    match line.first()? {
        b'{' => json_stamp(line),
        b'[' => stamp(&line[1..]),
        b'0'..=b'9' => text_stamp(line),
        _ => None,
    }
}

fn text_stamp(line: &[u8]) -> Option<i64> {
    // The shortest is `2026-01-31 10:00:00`.
    if line.len() < 19 || line[4] != b'-' || line[13] != b':' {
        return None;
    }
    let line = &line[..line.len().min(MAX_STAMP)];
    let text =
        std::str::from_utf8(line).or_else(|error| std::str::from_utf8(&line[..error.valid_up_to()])).ok()?;
    let zone_or_end = |c: char| !(c.is_ascii_digit() || c == '.' || c == ',');
    let rest = text.get(19..)?;
    let fraction = rest.find(zone_or_end).unwrap_or(rest.len());
    let fraction = if rest.starts_with(['.', ',']) { fraction } else { 0 };
    let (clock, zone) = text.split_at(19 + fraction);
    let civil: DateTime = clock.replace(',', ".").parse().ok()?;
    let zone = zone.strip_prefix(' ').filter(|zone| zone.starts_with(['+', '-'])).unwrap_or(zone);
    let zoned = if zone.starts_with(['Z', 'z']) {
        civil.to_zoned(TimeZone::UTC).ok()?
    } else if let Some(seconds) = offset(zone) {
        civil.to_zoned(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?)).ok()?
    } else {
        civil.to_zoned(TimeZone::system()).ok()?
    };
    Some(zoned.timestamp().as_millisecond())
}

/// Seconds of `+02:00` or `-0130`.
fn offset(zone: &str) -> Option<i32> {
    let sign = match zone.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits: String =
        zone[1..].chars().filter(|c| *c != ':').take_while(char::is_ascii_digit).take(4).collect();
    let number: i32 = (digits.len() == 4).then(|| digits.parse().ok())??;
    Some(sign * (number / 100 * 3600 + number % 100 * 60))
}

fn json_stamp(line: &[u8]) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Stamped {
        timestamp: serde_json::Value,
    }
    let stamped: Stamped = serde_json::from_slice(line).ok()?;
    match stamped.timestamp {
        serde_json::Value::String(text) => text_stamp(text.as_bytes()),
        serde_json::Value::Number(number) => number.as_i64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_769_853_600_000;

    #[test]
    fn times_with_a_zone() {
        assert_eq!(stamp(b"2026-01-31T10:00:00Z: x"), Some(AT));
        assert_eq!(stamp(b"2026-01-31T10:00:00.125Z x"), Some(AT + 125));
        assert_eq!(stamp(b"2026-01-31T12:00:00.125+02:00: x"), Some(AT + 125));
        assert_eq!(stamp(b"[2026-01-31 08:30:00 -0130] x"), Some(AT));
        assert_eq!(stamp(br#"{"message":"a","timestamp":"2026-01-31T10:00:00.000Z"}"#), Some(AT));
    }

    #[test]
    fn a_time_without_a_zone_is_local() {
        let local = "2026-01-31T10:00:00".parse::<DateTime>().expect("a time");
        let at = local.to_zoned(TimeZone::system()).expect("there").timestamp().as_millisecond();
        assert_eq!(stamp(b"2026-01-31T10:00:00: hello"), Some(at));
        assert_eq!(stamp(b"2026-01-31 10:00:00,250 hello"), Some(at + 250));
    }

    #[test]
    fn other_lines_have_none() {
        for line in
            [&b""[..], b"hello", b"2026", b"{}", b"{\"timestamp\":{}}", b"1234567890123456789012", b"[["]
        {
            assert_eq!(stamp(line), None, "{line:?}");
        }
        assert_eq!(stamp(b"2026-01-31T10:00:00Z\xff\xff"), Some(AT));
    }
}
