//! day.js date formats, as pm2 takes them, in terms of strftime, as the log pump takes them.
//!
//! It formats nothing itself. Invariant: what is no day.js token comes out as it is.

/// Tokens and their strftime; a longer token stands before its own beginnings.
const TOKENS: [(&str, &str); 30] = [
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("MMMM", "%B"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("M", "%-m"),
    ("DD", "%d"),
    ("D", "%-d"),
    ("dddd", "%A"),
    ("ddd", "%a"),
    ("dd", "%a"),
    ("d", "%w"),
    ("HH", "%H"),
    ("H", "%-H"),
    ("hh", "%I"),
    ("h", "%-I"),
    ("mm", "%M"),
    ("m", "%-M"),
    ("SSS", "%3f"),
    ("SS", "%2f"),
    ("S", "%1f"),
    ("ss", "%S"),
    ("s", "%-S"),
    ("A", "%p"),
    ("a", "%P"),
    ("ZZ", "%z"),
    ("Z", "%:z"),
    ("X", "%s"),
    ("x", "%s%3f"),
    ("%", "%%"),
];

/// The strftime format that prints what this day.js format prints (`YYYY-MM-DD HH:mm:ss.SSS Z`).
/// Text in `[` `]` is literal.
pub fn strftime_of_dayjs(format: &str) -> String {
    let mut out = String::with_capacity(format.len() + 8);
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some((literal, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            out.push_str(&literal.replace('%', "%%"));
            rest = after;
        } else if let Some((token, strftime)) = TOKENS.iter().find(|(token, _)| rest.starts_with(token)) {
            out.push_str(strftime);
            rest = &rest[token.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translates() {
        for (dayjs, strftime) in [
            ("YYYY-MM-DDTHH:mm:ss", "%Y-%m-%dT%H:%M:%S"),
            ("YYYY-MM-DD HH:mm:ss.SSS Z", "%Y-%m-%d %H:%M:%S.%3f %:z"),
            ("DD/M/YY h:m:s a ZZ", "%d/%-m/%y %-I:%-M:%-S %P %z"),
            ("dddd D MMMM", "%A %-d %B"),
            ("[at] HH [100%]", "at %H 100%%"),
            ("x X", "%s%3f %s"),
            ("", ""),
            ("[no end", "[no en%w"),
            ("é %", "é %%"),
        ] {
            assert_eq!(strftime_of_dayjs(dayjs), strftime, "{dayjs}");
        }
    }

    #[test]
    fn no_token_hides_a_longer_one() {
        for (at, (token, _)) in TOKENS.iter().enumerate() {
            assert!(!TOKENS[..at].iter().any(|(earlier, _)| token.starts_with(earlier)), "{token}");
        }
    }
}
