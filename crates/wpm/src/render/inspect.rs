//! Values as Node's `util.inspect` prints them, for `prettylist`: single quotes, bare keys, short
//! objects in one line.
//!
//! Pure. An object stays in one line when it fits into 72 columns and holds at most three levels.

use serde_json::Value;

/// Columns that a one-line object may fill, counted from its first entry.
const BREAK: usize = 80;
/// Levels of nesting within one line.
const COMPACT: usize = 3;

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
            Value::Number(number) => number.to_string(),
            Value::String(text) => quoted(text),
            Value::Array(list) if list.is_empty() => "[]".to_owned(),
            Value::Object(table) if table.is_empty() => "{}".to_owned(),
            Value::Array(list) => {
                self.deepest = level;
                let entries: Vec<String> =
                    list.iter().map(|entry| self.write(entry, level + 1, indent + 2)).collect();
                // Node sets many short entries of a list in columns; one line each is as readable.
                self.join(&entries, ["[", "]"], level, indent, entries.len() <= 6)
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
                entries.iter().map(|entry| entry.chars().count()).sum::<usize>() + entries.len() + start;
            if length <= BREAK && !entries.iter().any(|entry| entry.contains('\n')) {
                return format!("{open} {} {close}", entries.join(", "));
            }
        }
        let space = " ".repeat(indent);
        format!("{open}\n{space}  {}\n{space}{close}", entries.join(&format!(",\n{space}  ")))
    }
}

fn key(name: &str) -> String {
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '$');
    if starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$') {
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
}
