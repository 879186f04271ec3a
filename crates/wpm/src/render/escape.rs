//! Makes text of apps harmless for a terminal.
//!
//! Colours of log lines stay; everything else that drives a terminal goes. Invariant: no output of an
//! app can move the cursor, set a title or answer for the user.

/// What stands for a value that is not shown.
pub(crate) const MASK: &str = "••••••";

/// A log line: colours (`ESC [ … m`) and tabs stay, other control sequences are dropped.
pub(crate) fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    if !text.chars().any(is_control) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        match c {
            '\t' => clean.push(c),
            '\u{1b}' => {
                let (sequence, is_colour) = escape_sequence(behind);
                if is_colour {
                    clean.push(c);
                    clean.push_str(&behind[..sequence]);
                    coloured = true;
                }
                rest = &behind[sequence..];
                continue;
            }
            // The one-character form of `ESC [` and its kin.
            '\u{80}'..='\u{9f}' => {}
            c if is_control(c) => {}
            c => clean.push(c),
        }
        rest = behind;
    }
    if coloured {
        // A colour that the app leaves on does not leak into the next line.
        clean.push_str("\u{1b}[0m");
    }
    clean
}

/// A name: no control characters at all.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect()
}

fn is_control(c: char) -> bool {
    // Besides C0 and C1: what turns the direction of text around.
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Length of the escape sequence behind an ESC, and whether it only sets colours.
fn escape_sequence(behind: &str) -> (usize, bool) {
    let bytes = behind.as_bytes();
    match bytes.first() {
        Some(b'[') => {
            let parameters = bytes[1..].iter().take_while(|byte| (0x20..=0x3f).contains(*byte)).count();
            match bytes.get(1 + parameters) {
                Some(b'm') => {
                    let plain = bytes[1..=parameters]
                        .iter()
                        .all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':'));
                    (parameters + 2, plain)
                }
                Some(0x40..=0x7e) => (parameters + 2, false),
                _ => (1 + parameters, false),
            }
        }
        // A string (title, clipboard, hyperlink) up to its end: BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = bytes.iter().position(|byte| *byte == 0x07).map(|at| at + 1);
            let other = behind.find("\u{1b}\\").map(|at| at + 2);
            let end = match (end, other) {
                (Some(a), Some(b)) => a.min(b),
                (a, b) => a.or(b).unwrap_or(bytes.len()),
            };
            (end, false)
        }
        Some(0x20..=0x2f) => {
            let between = bytes.iter().take_while(|byte| (0x20..=0x2f).contains(*byte)).count();
            (between + usize::from(bytes.get(between).is_some_and(u8::is_ascii)), false)
        }
        Some(0x30..=0x7e) => (1, false),
        _ => (0, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_end_with_the_line() {
        assert_eq!(line(b"plain\ttext"), "plain\ttext");
        assert_eq!(line(b"\x1b[1;31mred\x1b[0m"), "\x1b[1;31mred\x1b[0m\x1b[0m");
        assert_eq!(line(b"\x1b[38:5:1mred"), "\x1b[38:5:1mred\x1b[0m");
    }

    #[test]
    fn everything_else_goes() {
        assert_eq!(line(b"a\x1b[2Jb\x1b[10;10Hc\x1b[?25ld"), "abcd");
        assert_eq!(line(b"a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c"), "abc");
        assert_eq!(line(b"a\x1bPq#0\x1b\\b\x1b(0c\x1b7d\x1bc"), "abcd");
        assert_eq!(line(b"a\x07\x08\x0bb\rc\r"), "abc");
        assert_eq!(line("a\u{9b}2Jb\u{202e}c".as_bytes()), "a2Jbc");
        assert_eq!(line(b"a\x1b"), "a");
        assert_eq!(line(b"a\x1b[>4;2mb"), "ab");
        assert_eq!(line(b"a\x1b]unterminated"), "a");
        assert_eq!(line(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn names_have_no_controls() {
        assert_eq!(clean("web\x1b[2J\n"), "web\u{fffd}[2J\u{fffd}");
        assert_eq!(clean("größe"), "größe");
    }
}
