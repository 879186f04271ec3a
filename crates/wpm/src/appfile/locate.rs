//! Finds the place in an app file that an error is about.
//!
//! By text, not by syntax: one search serves every format. Invariant: what is given is a span of the
//! text, at a boundary of characters; a wrong guess costs nothing but that.

use std::ops::Range;

use serde_json::Value;

/// What of an entry is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

/// The place of an entry; `earlier` apps of the file have the same one, or one of the same key where the value is
/// a list or a table.
pub(super) fn find(text: &str, key: &str, value: &Value, on: On, earlier: usize) -> Option<Range<usize>> {
    let wanted = match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) | Value::Null => String::new(),
        other => other.to_string(),
    };
    let entries: Vec<(usize, Range<usize>)> = entries(text, key).collect();
    let has_value = |entry: &&(usize, Range<usize>)| text[entry.1.clone()].contains(&wanted);
    let with_value: Vec<_> = entries.iter().filter(has_value).collect();
    let (at, value) = match with_value.get(earlier).or(with_value.last()) {
        Some(entry) => (*entry).clone(),
        None => entries.first().cloned().or_else(|| {
            let at = words(text, key).next()?;
            Some((at, at..at + key.len()))
        })?,
    };
    Some(match on {
        On::Key => at..at + key.len(),
        On::Value if value.is_empty() => at..at + key.len(),
        On::Value => value,
    })
}

/// The first character of a line and column, both counted from 1.
pub(super) fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let within = text[start..].char_indices().nth(column.saturating_sub(1));
    within.map_or(text.len(), |(at, _)| start + at)
}

/// From a place to the end of the word that begins there, one character at least.
pub(super) fn word_at(text: &str, at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let rest = &text[at..];
    let word = rest.find(|c: char| !is_part_of_word(c)).unwrap_or(rest.len());
    let first = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    at..at + word.max(first)
}

/// Places of a key, each with the span of its value as far as it stands on the same line.
fn entries<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
    words(text, key).filter_map(move |at| {
        let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
        let behind = at + key.len();
        let rest = text[behind..end].trim_start_matches(['"', '\'']);
        let rest = rest.trim_start();
        let value = rest.strip_prefix([':', '='])?.trim_start();
        let start = end - value.len();
        Some((at, start..start + value_length(value)))
    })
}

/// How much of a line is the value: a quoted text, or all up to a comma, a bracket or a comment.
fn value_length(line: &str) -> usize {
    match line.chars().next() {
        Some(quote @ ('"' | '\'' | '`')) => {
            line[1..].find(quote).map_or(line.trim_end().len(), |end| end + 2)
        }
        Some('[' | '{') => line.trim_end().trim_end_matches(',').len(),
        _ => {
            let end = line.find([',', '}', ']', '#']).unwrap_or(line.len());
            line[..end].trim_end().len()
        }
    }
}

/// Places of a word.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !text[..*at].ends_with(is_part_of_word) && !text[at + word.len()..].starts_with(is_part_of_word)
    })
}

fn is_part_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_with_key_and_value() {
        let text = "[[apps]]\nmax_memory = \"1G\"\n[[apps]]\nmax_memory = \"300Q\" # much\n";
        let shown = |value: &str, on| {
            let value = Value::from(value);
            find(text, "max_memory", &value, on, 0).map(|span| (span.start, &text[span]))
        };
        assert_eq!(shown("300Q", On::Value), Some((49, "\"300Q\"")));
        assert_eq!(shown("300Q", On::Key), Some((36, "max_memory")));
        assert_eq!(find(text, "memory", &Value::Null, On::Key, 0), None);
    }

    #[test]
    fn of_equal_entries_the_one_of_the_app() {
        let text = "{ apps: [ { nice: 99, script: 'a' }, { script: 'b', nice: 99 } ] } // nice";
        let at = |earlier| find(text, "nice", &Value::from(99), On::Value, earlier).expect("there");
        assert_eq!((at(0).start, at(1).start), (18, 58));
        assert_eq!(&text[at(1)], "99");
        assert_eq!(at(7), at(1));
    }

    #[test]
    fn lines_and_columns() {
        let text = "a\nbé = x\n";
        assert_eq!(offset(text, 2, 3), 5);
        assert_eq!(offset(text, 9, 9), text.len());
        assert_eq!(word_at(text, 2), 2..5);
        assert_eq!(word_at(text, text.len()), text.len()..text.len());
    }
}
