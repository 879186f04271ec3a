//! Bytes of a terminal as keys.
//!
//! Pure. Invariant: what means nothing here is passed over, never taken for text.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Return.
    Enter,
    /// Escape alone.
    Escape,
    /// Backspace.
    Backspace,
    /// Ctrl-C, Ctrl-D.
    Interrupt,
    /// A character.
    Char(char),
}

/// The keys of what was read at once. An escape that nothing follows is the key.
pub(super) fn keys(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = text.as_ref();
    let mut keys = Vec::new();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\u{1b}' => match sequence(rest) {
                Some((key, length)) => {
                    keys.extend(key);
                    rest = &rest[length..];
                }
                None => keys.push(Key::Escape),
            },
            '\r' | '\n' => keys.push(Key::Enter),
            '\u{7f}' | '\u{8}' => keys.push(Key::Backspace),
            '\u{3}' | '\u{4}' => keys.push(Key::Interrupt),
            c if c.is_control() || c == char::REPLACEMENT_CHARACTER => {}
            c => keys.push(Key::Char(c)),
        }
    }
    keys
}

/// The key of what follows an escape, if it is one that is used, and the length; none where it is no sequence.
fn sequence(rest: &str) -> Option<(Option<Key>, usize)> {
    if !rest.starts_with(['[', 'O']) {
        return None;
    }
    let last = rest.char_indices().skip(1).find(|(_, c)| ('@'..='~').contains(c));
    let Some((at, last)) = last else { return Some((None, rest.len())) };
    let key = match (&rest[1..at], last) {
        ("", 'A') => Some(Key::Up),
        ("", 'B') => Some(Key::Down),
        ("", 'H') | ("1" | "7", '~') => Some(Key::Home),
        ("", 'F') | ("4" | "8", '~') => Some(Key::End),
        ("5", '~') => Some(Key::PageUp),
        ("6", '~') => Some(Key::PageDown),
        _ => None,
    };
    Some((key, at + last.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_terminal() {
        let both = [Key::Up, Key::Down, Key::Char('r'), Key::Char('é'), Key::Enter];
        assert_eq!(keys("\u{1b}[A\u{1b}OBré\r".as_bytes()), both);
        assert_eq!(keys(b"\x1b[5~\x1b[6~\x1b[H\x1b[4~"), [Key::PageUp, Key::PageDown, Key::Home, Key::End]);
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1bq\x7f\x03"), [Key::Escape, Key::Char('q'), Key::Backspace, Key::Interrupt]);
    }

    #[test]
    fn what_means_nothing_is_passed_over() {
        // A function key, a mouse report that was cut, a byte that is no text.
        assert_eq!(keys(b"\x1b[15~\x01\xff"), []);
        assert_eq!(keys(b"\x1b[<0;1"), []);
    }
}
