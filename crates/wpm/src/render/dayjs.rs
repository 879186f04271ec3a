//! Times in the format language of day.js, which pm2 uses: `YYYY-MM-DD HH:mm:ss.SSS Z`.
//!
//! Knows the tokens that make up dates and times; everything else is printed as it is.

use jiff::Zoned;

/// Tokens, longer ones before their beginnings, and what they stand for in `strftime`.
const TOKENS: [(&str, &str); 20] = [
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("MMMM", "%B"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("dddd", "%A"),
    ("ddd", "%a"),
    ("HH", "%H"),
    ("hh", "%I"),
    ("mm", "%M"),
    ("ss", "%S"),
    ("SSS", "%3f"),
    ("ZZ", "%z"),
    ("Z", "%:z"),
    ("X", "%s"),
    ("A", "%p"),
    ("a", "%P"),
    ("D", "%-d"),
    ("H", "%-H"),
];

/// Writes a time.
pub(crate) fn format(format: &str, at: &Zoned) -> String {
    let mut pattern = String::with_capacity(format.len() * 2);
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        // What stands in brackets is meant literally.
        if let Some((literal, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            pattern.push_str(&literal.replace('%', "%%"));
            rest = behind;
        } else if let Some((token, code)) = TOKENS.iter().find(|(token, _)| rest.starts_with(token)) {
            pattern.push_str(code);
            rest = &rest[token.len()..];
        } else {
            if c == '%' {
                pattern.push('%');
            }
            pattern.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    jiff::fmt::strtime::format(&pattern, at).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_literals() {
        let at: Zoned = "2026-01-31T09:05:03.042+02:00[+02:00]".parse().expect("a time");
        assert_eq!(format("YYYY-MM-DDTHH:mm:ss", &at), "2026-01-31T09:05:03");
        assert_eq!(format("DD.MM.YY H:mm:ss.SSS Z", &at), "31.01.26 9:05:03.042 +02:00");
        assert_eq!(format("[at] HH[h] 100%", &at), "at 09h 100%");
    }
}
