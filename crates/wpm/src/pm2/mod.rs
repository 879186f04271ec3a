//! The binary under pm2's names: `pm2`, `pm2-runtime` and `pm2-docker` are links to wpm, and it then
//! speaks as pm2 does.
//!
//! Owns the difference and nothing else: the words of the command line, the place of the home, what is
//! printed, two exit codes. Everything between is wpm. Invariant: under its own name wpm reads nothing
//! of this module but the tables of pm2's words.

pub(crate) mod commands;
pub(crate) mod dump;
mod place;
pub(crate) mod tables;
pub(crate) mod voice;
pub(crate) mod wire;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use wpm_proto::ExitCode as Code;

use crate::cli;
use crate::context::Context;
use crate::output;
use commands::Means;
use words::{Meaning, Tree};

pub(crate) use place::furnish;

/// The version of pm2 whose words are spoken, for scripts that ask `pm2 -v`.
pub(crate) const VERSION: &str = "7.0.4";

/// As what this process was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `pm2`.
    Cli,
    /// `pm2-runtime`, `pm2-docker`.
    Runtime,
}

/// The role that the name of this process gives it, if it is one of pm2's.
pub(crate) fn role() -> Option<Role> {
    role_of(std::env::args_os().next()?.to_str()?)
}

fn role_of(program: &str) -> Option<Role> {
    match program.rsplit('/').next()? {
        "pm2" => Some(Role::Cli),
        "pm2-runtime" | "pm2-docker" => Some(Role::Runtime),
        _ => None,
    }
}

/// Whether pm2 is spoken.
pub(crate) fn speaks() -> bool {
    role().is_some()
}

/// Runs the command line of this process as pm2 would.
pub(crate) fn run(role: Role) -> ExitCode {
    if role == Role::Cli
        && let Err(failure) = place::enter()
    {
        voice::fail(&failure);
        return ExitCode::FAILURE;
    }
    let typed: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words = match role {
        Role::Runtime => runtime_words(typed),
        Role::Cli => match words::translate(&typed, &Verbs) {
            Meaning::Words(words) => words,
            other => return answer(other, &typed),
        },
    };
    let line: Vec<OsString> =
        std::iter::once("wpm".to_owned()).chain(words.iter().cloned()).map(OsString::from).collect();
    let mut context = Context::new(false);
    match cli::execute(&line, &mut context) {
        Ok(code) if role == Role::Runtime => ExitCode::from(context.exit_of_app.unwrap_or(code as u8)),
        Ok(Code::Ok) => {
            voice::afterwards(&words, &mut context);
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            if failure.speaks() {
                voice::fail(&failure);
            }
            if failure.exit == Code::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

/// `pm2-runtime start FILE` and `pm2-runtime FILE` are the same.
fn runtime_words(mut typed: Vec<String>) -> Vec<String> {
    match typed.first().map(String::as_str) {
        Some("start") => "run".clone_into(&mut typed[0]),
        _ => typed.insert(0, "run".to_owned()),
    }
    typed
}

/// Answers a command line that no verb is needed for.
fn answer(meaning: Meaning, typed: &[String]) -> ExitCode {
    // Who does not read what is said here has the exit code.
    let print = |text: &str| drop(output::line(text));
    match meaning {
        Meaning::Version => {
            print(VERSION);
            ExitCode::SUCCESS
        }
        Meaning::Help => {
            drop(cli::execute(&["wpm".into(), "--help".into()], &mut Context::new(false)));
            ExitCode::SUCCESS
        }
        Meaning::Nothing(why) => {
            voice::warn(why);
            ExitCode::SUCCESS
        }
        Meaning::Refused(why) => {
            voice::error(why);
            ExitCode::FAILURE
        }
        Meaning::UnknownOption(option) => {
            output::say(&format!("\n  error: unknown option `{option}'\n"));
            ExitCode::FAILURE
        }
        Meaning::UnknownCommand | Meaning::Words(_) => {
            if typed.iter().any(|word| !word.starts_with('-')) {
                print("[PM2][ERROR] Command not found\n");
            }
            print(
                "usage: pm2 [options] <command>\n\n\
                 pm2 -h, --help             all available commands and options\n\
                 pm2 <command> -h           help on a specific command",
            );
            ExitCode::FAILURE
        }
    }
}

/// Says under wpm's own name what a command of pm2 comes to that wpm has no verb for.
pub(crate) fn answer_as_wpm(command: &str) -> Option<Code> {
    match commands::meaning(command)? {
        Means::Nothing(why) => {
            output::say(&format!("nothing to do for `{command}`: {why}"));
            Some(Code::Ok)
        }
        Means::Refused(why) => {
            output::say(&format!("`{command}` is not part of wpm: {why}"));
            Some(Code::Failed)
        }
        Means::Verb(_) => None,
    }
}

/// wpm's own commands and options.
struct Verbs;

impl Tree for Verbs {
    fn verb(&self, name: &str) -> Option<&'static str> {
        cli::find(name).map(|verb| verb.name)
    }

    fn option(&self, verb: &str, option: &str) -> Option<bool> {
        cli::find(verb).and_then(|verb| cli::definition(verb, option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_makes_the_role() {
        assert_eq!(role_of("/usr/local/bin/pm2"), Some(Role::Cli));
        assert_eq!(role_of("pm2-docker"), Some(Role::Runtime));
        assert_eq!(role_of("/opt/pm2/wpm"), None);
    }

    /// Words in backticks of the first cells of a section's table.
    fn first_cells(section: &str) -> Vec<&'static str> {
        let page = include_str!("../../../../docs/pm2.md");
        let start = page.find(&format!("\n## {section}\n")).expect("the section");
        let text = &page[start + 4..];
        let text = &text[..text.find("\n## ").unwrap_or(text.len())];
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        rows.flat_map(|cell| cell.split("`, `")).map(|word| word.trim_matches('`')).collect()
    }

    #[test]
    fn the_page_has_every_word_of_pm2_and_wpm_understands_each() {
        let commands = first_cells("Commands");
        for command in &commands {
            assert!(Verbs.verb(command).is_some() || commands::meaning(command).is_some(), "{command}");
        }
        for (command, _) in commands::COMMANDS {
            assert!(commands.contains(command), "docs/pm2.md lacks `{command}`");
        }
        let options = first_cells("Options");
        let known =
            |option: &str| crate::verbs::VERBS.iter().any(|verb| cli::definition(verb, option).is_some());
        for option in options.iter().filter(|option| **option != "--version") {
            assert!(known(option) || commands::takes(option).is_some(), "{option}");
        }
        for (option, ..) in commands::OPTIONS {
            assert!(options.contains(&format!("--{option}").as_str()), "docs/pm2.md lacks `--{option}`");
        }
    }

    #[test]
    fn start_is_said_or_meant() {
        let words = |line: &str| runtime_words(line.split(' ').map(str::to_owned).collect()).join(" ");
        assert_eq!(words("start app.js -i 2"), "run app.js -i 2");
        assert_eq!(words("app.js"), "run app.js");
    }
}
