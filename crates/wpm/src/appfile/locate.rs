//! Finds the line of an app file that an error is about.
//!
//! By text, not by syntax: one search serves every format. A wrong guess costs nothing but a line
//! number, so the first line that has key and value is taken.

use serde_json::Value;

/// Number and text of the line where this key has this value.
pub(super) fn find(text: &str, key: &str, value: &Value) -> Option<(usize, Vec<String>)> {
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) | Value::Null => String::new(),
        other => other.to_string(),
    };
    let with_key = |line: &str| line.match_indices(key).any(|(at, _)| is_word(line, at, key.len()));
    let line = text
        .lines()
        .position(|line| with_key(line) && line.contains(&value))
        .or_else(|| text.lines().position(with_key))?
        + 1;
    Some((line, excerpt(text, line)))
}

/// The text of one line, for showing.
pub(super) fn excerpt(text: &str, line: usize) -> Vec<String> {
    let shown = text.lines().nth(line.saturating_sub(1)).map(|line| line.chars().take(100).collect());
    shown.into_iter().collect()
}

fn is_word(line: &str, at: usize, length: usize) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    !line[..at].ends_with(part_of_word) && !line[at + length..].starts_with(part_of_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_with_key_and_value() {
        let text = "[[apps]]\nmax_memory = \"1G\"\n[[apps]]\nmax_memory = \"300Q\"\n";
        let (line, shown) = find(text, "max_memory", &Value::from("300Q")).expect("there");
        assert_eq!((line, shown), (4, vec!["max_memory = \"300Q\"".to_owned()]));
        assert_eq!(find(text, "memory", &Value::Null), None);
    }
}
