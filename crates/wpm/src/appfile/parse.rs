//! Formats of app files: from text to one tree of values.
//!
//! Knows nothing of what keys mean. JSON is read as JSON5, because files with comments, single quotes
//! and trailing commas are common under the name `.json`.

use serde_json::Value;

use super::locate;
use crate::failure::{Code, Failure};

/// Format of an app file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON, with what JSON5 allows.
    Json,
    /// TOML.
    Toml,
    /// YAML, which cannot be read yet.
    Yaml,
    /// JavaScript, which cannot be read yet.
    Script,
}

impl Format {
    /// By the file's name; none where it is no app file.
    pub(super) fn of(name: &str) -> Option<Self> {
        let has = |part: &str| name.contains(part);
        if has(".config.js") && !has(".config.json") || has(".config.cjs") || has(".config.mjs") {
            Some(Self::Script)
        } else if has(".json") {
            Some(Self::Json)
        } else if name.ends_with(".toml") {
            Some(Self::Toml)
        } else if has(".yml") || has(".yaml") {
            Some(Self::Yaml)
        } else {
            None
        }
    }
}

/// Reads a text.
pub(super) fn parse(text: &str, format: Format, shown: &str) -> Result<Value, Failure> {
    let syntax = |message: String, line: Option<usize>| {
        let failure = Failure::new(Code::Syntax, message);
        match line {
            Some(line) => failure.at(format!("{shown}:{line}")).excerpt(locate::excerpt(text, line)),
            None => failure.at(shown),
        }
    };
    match format {
        Format::Json => json5::from_str(text).map_err(|error| {
            let line = error.position().map(|position| position.line + 1);
            let message = error.to_string();
            // The position is in the place already.
            let message = message.split(" at line ").next().unwrap_or(&message);
            syntax(format!("not JSON: {message}"), line)
        }),
        Format::Toml => toml::from_str::<toml::Table>(text)
            .map_err(|error| {
                let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
                syntax(format!("not TOML: {}", error.message()), line)
            })
            .and_then(|table| {
                serde_json::to_value(table).map_err(|error| syntax(format!("not TOML: {error}"), None))
            }),
        Format::Yaml | Format::Script => {
            let name = if format == Format::Yaml { "YAML" } else { "JavaScript" };
            Err(Failure::new(Code::AppFile, format!("cannot read {shown}: {name} files are not supported"))
                .help("write it as JSON or TOML"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_the_name() {
        assert_eq!(Format::of("ecosystem.config.js"), Some(Format::Script));
        assert_eq!(Format::of("ecosystem.config.json"), Some(Format::Json));
        assert_eq!(Format::of("process.json5"), Some(Format::Json));
        assert_eq!(Format::of("wpm.toml"), Some(Format::Toml));
        assert_eq!(Format::of("apps.yml"), Some(Format::Yaml));
        assert_eq!((Format::of("app.js"), Format::of("server")), (None, None));
    }
}
