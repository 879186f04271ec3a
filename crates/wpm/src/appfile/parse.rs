//! Formats of app files: from text to one tree of values.
//!
//! Knows nothing of what keys mean. JSON is read as JSON5, because files with comments, single quotes
//! and trailing commas are common under the name `.json`. Programs ([`super::script`]) and Procfiles
//! ([`super::procfile`]) have modules of their own.

use serde_json::Value;

use super::{locate, procfile};
use crate::failure::{Code, Failure, Spot};

/// Format of an app file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A notation for data.
    Data(Data),
    /// A line for each app.
    Procfile,
    /// JavaScript, which may have to be run.
    Script,
}

/// A notation for data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// JSON, with what JSON5 allows.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
}

impl Format {
    /// By the file's name; none where it is no app file.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let has = |part: &str| name.contains(part);
        let script = [".config.cjs", ".config.mjs", ".config.ts"].into_iter().any(has);
        if script || (has(".config.js") && !has(".config.json")) {
            Some(Self::Script)
        } else if has(".json") {
            Some(Self::Data(Data::Json))
        } else if name.ends_with(".toml") {
            Some(Self::Data(Data::Toml))
        } else if has(".yml") || has(".yaml") {
            Some(Self::Data(Data::Yaml))
        } else if procfile::is_one(name) {
            Some(Self::Procfile)
        } else {
            None
        }
    }
}

/// Reads a text in one of the formats that are data.
pub(super) fn data(text: &str, format: Data, shown: &str) -> Result<Value, Failure> {
    let syntax = |message: String, at: Option<usize>| {
        let failure = Failure::new(Code::Syntax, message);
        match at {
            Some(at) => failure.on(Spot::new(shown, text, locate::word_at(text, at))),
            None => failure.at(shown),
        }
    };
    match format {
        Data::Json => json5::from_str(text).map_err(|error| {
            let at = error.position().map(|it| locate::offset(text, it.line + 1, it.column + 1));
            let message = error.to_string();
            // The position is in the place already.
            let message = message.split(" at line ").next().unwrap_or(&message);
            syntax(format!("not JSON: {message}"), at)
        }),
        Data::Toml => toml::from_str::<toml::Table>(text)
            .map_err(|error| {
                let message = error.message().lines().next().unwrap_or("it cannot be read");
                syntax(format!("not TOML: {message}"), error.span().map(|span| span.start))
            })
            .and_then(|table| {
                serde_json::to_value(table).map_err(|error| syntax(format!("not TOML: {error}"), None))
            }),
        Data::Yaml => serde_saphyr::from_str(text).map_err(|error| {
            let number = |it: u64| usize::try_from(it).unwrap_or(1);
            let at = error.location().map(|it| locate::offset(text, number(it.line()), number(it.column())));
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or("it cannot be read");
            let message = message.split(" at line ").next().unwrap_or(message);
            syntax(format!("not YAML: {message}"), at)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_the_name() {
        assert_eq!(Format::of("ecosystem.config.js"), Some(Format::Script));
        assert_eq!(Format::of("ecosystem.config.json"), Some(Format::Data(Data::Json)));
        assert_eq!(Format::of("process.json5"), Some(Format::Data(Data::Json)));
        assert_eq!(Format::of("wpm.toml"), Some(Format::Data(Data::Toml)));
        assert_eq!(Format::of("apps.yml"), Some(Format::Data(Data::Yaml)));
        assert_eq!(Format::of("/srv/my.json.d/Procfile"), Some(Format::Procfile));
        assert_eq!((Format::of("app.js"), Format::of("server")), (None, None));
    }
}
