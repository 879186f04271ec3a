//! Values as Node's `util.inspect` prints them, for `prettylist`: single quotes, bare keys, short
//! objects in one line, many short entries of a list in columns.
//!
//! Pure. Invariant: nothing is cut off, however long a list or text is (Node stops at 100 entries).

use serde_json::{Number, Value};

/// Columns that an object or list in one line may fill.
const WIDTH: usize = 80;
/// Levels of nesting within one line; also a quarter of the most columns of a list.
const COMPACT: usize = 3;
/// Entries from which a list is set in columns.
const MANY: usize = 7;
/// Most columns of a list.
const COLUMNS: usize = COMPACT * 4;
/// Texts up to this length are not broken at their line ends.
const SHORT_TEXT: usize = 16;

/// Writes a value.
pub(crate) fn inspect(value: &Value) -> String {
    Writer { deepest: 0 }.write(value, 0, 0)
}

struct Writer {
    /// Level of the object that was begun last.
    deepest: usize,
}

impl Writer {
    fn write(&mut self, value: &Value, level: usize, indent: usize) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => shown(number),
            Value::String(text) => lines(text, indent),
            Value::Array(list) if list.is_empty() => "[]".to_owned(),
            Value::Object(table) if table.is_empty() => "{}".to_owned(),
            Value::Array(list) => {
                self.deepest = level;
                let entries: Vec<String> =
                    list.iter().map(|entry| self.write(entry, level + 1, indent + 2)).collect();
                let rows = if entries.len() >= MANY {
                    in_columns(&entries, list.iter().all(Value::is_number), indent)
                } else {
                    None
                };
                let one_line = rows.is_none();
                self.join(&rows.unwrap_or(entries), ["[", "]"], level, indent, one_line)
            }
            Value::Object(table) => {
                self.deepest = level;
                let entries: Vec<String> = table
                    .iter()
                    .map(|(name, entry)| {
                        format!("{}: {}", key(name), self.write(entry, level + 1, indent + 2))
                    })
                    .collect();
                self.join(&entries, ["{", "}"], level, indent, true)
            }
        }
    }

    fn join(
        &self,
        entries: &[String],
        braces: [&str; 2],
        level: usize,
        indent: usize,
        may_be_short: bool,
    ) -> String {
        let [open, close] = braces;
        if may_be_short && self.deepest - level < COMPACT {
            let start = entries.len() + indent + open.len() + 10;
            let length: usize =
                entries.iter().map(|entry| width(entry)).sum::<usize>() + entries.len() + start;
            if length <= WIDTH && !entries.iter().any(|entry| entry.contains('\n')) {
                return format!("{open} {} {close}", entries.join(", "));
            }
        }
        let space = " ".repeat(indent);
        format!("{open}\n{space}  {}\n{space}{close}", entries.join(&format!(",\n{space}  ")))
    }
}

/// The rows of a list whose entries are short and much alike; numbers stand at the right of their column.
fn in_columns(entries: &[String], numbers: bool, indent: usize) -> Option<Vec<String>> {
    const GAP: usize = 2;
    let widths: Vec<usize> = entries.iter().map(|entry| width(entry) + GAP).collect();
    let total: usize = widths.iter().sum();
    let widest = widths.iter().copied().max()?;
    let alike = total > 5 * widest || widest <= 6 + GAP;
    if widest * 3 + indent >= WIDTH || !alike {
        return None;
    }
    // About as wide as high, a sign being two and a half times as high as wide.
    #[expect(clippy::cast_precision_loss, reason = "widths and counts of a text are small")]
    let (most, all, count) = (widest as f64, total as f64, entries.len() as f64);
    let biased = (most - 3.0 - (most - all / count).sqrt()).max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and below the number of entries"
    )]
    let square = ((2.5 * biased * count).sqrt() / biased + 0.5).floor() as usize;
    let columns = square.min((WIDTH - indent) / widest).min(COLUMNS);
    if columns <= 1 {
        return None;
    }
    let column_width =
        |column: usize| widths.iter().skip(column).step_by(columns).copied().max().unwrap_or(0);
    let column_widths: Vec<usize> = (0..columns).map(column_width).collect();
    let row = |row: &[String]| {
        let last = row.len() - 1;
        let cell = |(at, entry): (usize, &String)| {
            let text = if at < last { format!("{entry}, ") } else { entry.clone() };
            let wanted = if at < last { column_widths[at] } else { column_widths[at] - GAP };
            let padding = " ".repeat(wanted.saturating_sub(width(&text)));
            match (numbers, at < last) {
                (true, _) => padding + &text,
                (false, true) => text + &padding,
                (false, false) => text,
            }
        };
        row.iter().enumerate().map(cell).collect::<String>()
    };
    Some(entries.chunks(columns).map(row).collect())
}

/// Length as JavaScript counts it.
fn width(text: &str) -> usize {
    text.encode_utf16().count()
}

/// JavaScript has no 0.0.
fn shown(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A text, in as many lines as it has where it is too long for one.
fn lines(text: &str, indent: usize) -> String {
    let length = width(text);
    if length <= SHORT_TEXT || length + indent + 4 <= WIDTH || !text.contains('\n') {
        return quoted(text);
    }
    let parts: Vec<String> = text.split_inclusive('\n').map(quoted).collect();
    parts.join(&format!(" +\n{}", " ".repeat(indent + 2)))
}

fn key(name: &str) -> String {
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn quoted(text: &str) -> String {
    let quote = match (text.contains('\''), text.contains('"'), text.contains('`') || text.contains("${")) {
        (false, ..) => '\'',
        (true, false, _) => '"',
        (true, true, false) => '`',
        _ => '\'',
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_and_strings() {
        assert_eq!(inspect(&json!("it's")), "\"it's\"");
        assert_eq!(inspect(&json!("a\n\"b\"")), "'a\\n\"b\"'");
        assert_eq!(inspect(&json!("\u{1b}[1m\\")), "'\\x1B[1m\\\\'");
        assert_eq!(inspect(&json!([])), "[]");
        assert_eq!(inspect(&json!({"a-b": null, "c": [1, true]})), "{ 'a-b': null, c: [ 1, true ] }");
    }

    #[test]
    fn long_objects_have_a_line_for_each_key() {
        let value = json!([{
            "pid": 1, "name": "web", "pm2_env": { "status": "online", "path": "/a/rather/long/path/to/the/app/main.js" },
            "monit": { "memory": 100, "cpu": 0 }
        }]);
        assert_eq!(
            inspect(&value),
            "[\n  {\n    pid: 1,\n    name: 'web',\n    pm2_env: {\n      status: 'online',\n      \
             path: '/a/rather/long/path/to/the/app/main.js'\n    },\n    monit: { memory: 100, cpu: 0 }\n  }\n]"
        );
    }

    #[test]
    fn many_short_entries_stand_in_columns() {
        let numbers: Vec<u32> = (0..24).map(|n| n * 37 % 100).collect();
        assert_eq!(
            inspect(&json!(numbers)),
            "[\n   0, 37, 74, 11, 48, 85, 22, 59,\n  96, 33, 70,  7, 44, 81, 18, 55,\n  92, 29, 66,  3, 40, 77, 14, 51\n]"
        );
        let words: Vec<String> =
            "abcdefghi".chars().enumerate().map(|(i, c)| c.to_string().repeat(1 + i % 3)).collect();
        assert_eq!(
            inspect(&json!(words)),
            "[\n  'a', 'bb', 'ccc',\n  'd', 'ee', 'fff',\n  'g', 'hh', 'iii'\n]"
        );
        let unlike = ["--port", "8080", "-v", "a", "b", "--name", "x"];
        assert_eq!(inspect(&json!(unlike)), "[ '--port', '8080', '-v', 'a', 'b', '--name', 'x' ]");
    }

    #[test]
    fn what_javascript_writes_otherwise() {
        assert_eq!(inspect(&json!({ "cpu": 0.0, "$a": 0.25 })), "{ cpu: 0, '$a': 0.25 }");
        let long = format!("first\n{}", "x".repeat(80));
        assert_eq!(inspect(&json!(long)), format!("'first\\n' +\n  '{}'", "x".repeat(80)));
    }
}
