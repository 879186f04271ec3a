//! Manual pages, made of the command tree: one for wpm and one for each command.
//!
//! The installer asks for them (`wpm __man FOLDER`). Says nothing that the tree does not say, but for the
//! exit codes, which are a table of their own. Invariant: no line of an example is taken for a request
//! of the formatter.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use clap_mangen::Man;
use wpm_proto::ExitCode;

use crate::cli;
use crate::verbs::VERBS;

/// Writes every page into a folder, which must be there.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    for (name, page) in pages()? {
        fs::write(folder.join(name), page)?;
    }
    Ok(())
}

/// Names and texts of the pages.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut tree = cli::command();
    tree.build();
    let mut pages = vec![("wpm.1".to_owned(), root(&tree)?)];
    for verb in VERBS {
        let Some(command) = tree.find_subcommand(verb.name) else { continue };
        pages.push((format!("wpm-{}.1", verb.name), page(verb, command)?));
    }
    Ok(pages)
}

fn root(tree: &clap::Command) -> io::Result<Vec<u8>> {
    let long = tree.get_long_about().map(ToString::to_string).unwrap_or_default();
    let examples = long.split_once("Examples:\n").map_or("", |(_, examples)| examples);
    let about = tree.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = head(&man(tree.clone(), "wpm"), "wpm", &about, "wpm [OPTIONS] COMMAND", examples)?;
    let man = man(tree.clone(), "wpm");
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut rest = String::from(".SH \"EXIT STATUS\"\n");
    for (code, meaning) in ExitCode::TABLE {
        let _ = write!(rest, ".TP\n\\fB{}\\fR\n{}\n", code as u8, plain(meaning));
    }
    rest.push_str(
        ".SH ENVIRONMENT\n.TP\n\\fBWPM_HOME\\fR\nfolder of the state and the logs, instead of ~/.wpm\n\
         .TP\n\\fBNO_COLOR\\fR\nno colours\n",
    );
    page.extend_from_slice(rest.as_bytes());
    Ok(page)
}

fn page(verb: &cli::Verb, command: &clap::Command) -> io::Result<Vec<u8>> {
    let name = format!("wpm-{}", verb.name);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let man = man(command.clone(), &name);
    let mut page = head(&man, &name, verb.about, usage, verb.examples)?;
    man.render_options_section(&mut page)?;
    let mut rest = String::new();
    if !verb.aliases.is_empty() {
        let _ = write!(rest, ".SH \"OTHER NAMES\"\n{}\n", plain(&verb.aliases.join(", ")));
    }
    rest.push_str(".SH \"SEE ALSO\"\n\\fBwpm\\fR(1)\n");
    page.extend_from_slice(rest.as_bytes());
    Ok(page)
}

/// A page as far as its options. Examples have a section of their own, in which lines stay lines.
fn head(man: &Man, name: &str, about: &str, usage: &str, examples: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    let mut text = format!(
        ".SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}\n.SH EXAMPLES\n.nf\n",
        plain(name),
        plain(about),
        plain(usage)
    );
    for line in examples.lines() {
        let _ = writeln!(text, "{}", plain(line.strip_prefix("  ").unwrap_or(line)));
    }
    text.push_str(".fi\n");
    page.extend_from_slice(text.as_bytes());
    Ok(page)
}

fn man(command: clap::Command, name: &str) -> Man {
    Man::new(command)
        .title(name)
        .section("1")
        .source(format!("wpm {}", env!("CARGO_PKG_VERSION")))
        .manual("wpm")
}

/// Text in which nothing means anything to the formatter.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    // A line that begins with a dot or an apostrophe would be a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_examples_and_options() {
        let pages = pages().expect("written");
        assert_eq!(pages.len(), VERBS.len() + 1);
        let text = |name: &str| {
            let page = &pages.iter().find(|(other, _)| other == name).expect(name).1;
            String::from_utf8(page.clone()).expect("text")
        };
        let start = text("wpm-start.1");
        assert!(start.contains("wpm start server.js \\-\\-name web"), "{start}");
        assert!(start.contains("\\-\\-instances"), "{start}");
        assert!(!start.contains("\n'npm"), "no request by chance");
        assert!(text("wpm.1").contains("EXIT STATUS"));
    }
}
