//! Procfiles, as foreman and Heroku know them: a line `NAME: COMMAND` for each app.
//!
//! Knows the form only. The file `.env` beside it is taken as foreman takes it.

use std::path::Path;

use serde_json::{Value, json};

use crate::failure::{Code, Failure, Spot};

/// Whether a file of this name is one: `Procfile`, `Procfile.dev`.
pub(super) fn is_one(name: &str) -> bool {
    name == "Procfile" || name.starts_with("Procfile.")
}

/// The apps of a Procfile in `folder`.
pub(super) fn parse(text: &str, folder: &Path, shown: &str) -> Result<Value, Failure> {
    let env_file = folder.join(".env");
    let mut apps = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let entry = line.split_once(':').map(|(name, command)| (name.trim(), command.trim()));
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        let Some((name, command)) = entry.filter(|(name, command)| plain(name) && !command.is_empty()) else {
            let start = super::locate::offset(text, number + 1, 1);
            return Err(Failure::new(Code::Syntax, "not a line of a Procfile, which is `NAME: COMMAND`")
                .on(Spot::new(shown, text, start..start + line.trim_end().len())));
        };
        let mut app = json!({ "name": name, "script": command });
        if env_file.is_file() {
            app["env_file"] = json!(env_file);
        }
        apps.push(app);
    }
    Ok(json!({ "apps": apps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_app() {
        let read = parse(
            "# shop\nweb: node web.js --port $PORT\n\nworker : ./work a:b\n",
            Path::new("/none"),
            "Procfile",
        );
        assert_eq!(
            read.expect("read"),
            json!({"apps": [{"name": "web", "script": "node web.js --port $PORT"},
                            {"name": "worker", "script": "./work a:b"}]})
        );
        for wrong in ["web", "web:", ": x", "a b: c"] {
            assert!(parse(wrong, Path::new("/none"), "Procfile").is_err(), "{wrong}");
        }
        assert!(is_one("Procfile.dev") && !is_one("procfile") && !is_one("Procfiles"));
    }
}
