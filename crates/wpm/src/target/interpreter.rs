//! Which interpreter runs a file: by its extension, else by what the file says of itself.
//!
//! Follows pm2's table; a file that can be executed as it is needs none.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Caller;
use super::path::{is_executable, on_path};

/// How a file is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Runner {
    /// Executed as it is.
    Direct,
    /// By a program with these arguments before the file.
    Interpreter(String, Vec<String>),
    /// It is a program without the permission to be one.
    NotExecutable,
}

/// Extensions and the programs that run them, the first that is there.
const BY_EXTENSION: [(&[&str], &[&str]); 11] = [
    (&["js", "cjs", "mjs"], &["node"]),
    (&["ts", "tsx", "mts", "cts"], &["bun", "node"]),
    (&["py"], &["python3", "python"]),
    (&["sh"], &["bash", "sh"]),
    (&["rb"], &["ruby"]),
    (&["php"], &["php"]),
    (&["pl"], &["perl"]),
    (&["coffee"], &["coffee"]),
    (&["ls"], &["lsc"]),
    (&["lua"], &["lua"]),
    (&["jsx"], &["bun"]),
];

/// How this file is run when nobody says otherwise.
pub(super) fn runner(file: &Path, caller: &Caller) -> Runner {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if let Some((_, programs)) = BY_EXTENSION.iter().find(|(extensions, _)| extensions.contains(&extension)) {
        let there = programs.iter().find(|program| on_path(program, &caller.env, &caller.cwd).is_some());
        // A missing one is named in the error by the name that people know.
        let named = programs.first().filter(|_| extension != "ts" && extension != "tsx").or(programs.last());
        return Runner::Interpreter((*there.or(named).unwrap_or(&"node")).to_owned(), Vec::new());
    }
    let mut head = [0; 256];
    let read = File::open(file).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    by_content(&head[..read], is_executable(file))
}

fn by_content(head: &[u8], executable: bool) -> Runner {
    let is_program = head.starts_with(b"\x7fELF");
    let first_line =
        head.strip_prefix(b"#!").map(|rest| rest.split(|byte| *byte == b'\n').next().unwrap_or(rest));
    match (is_program, first_line, executable) {
        (true, _, true) | (_, Some(_), true) => Runner::Direct,
        (true, _, false) => Runner::NotExecutable,
        (_, Some(line), false) => shebang(line).unwrap_or(Runner::NotExecutable),
        // The kernel executes no script without a first line, a shell does.
        (_, None, true) if !head.contains(&0) => Runner::Interpreter("sh".to_owned(), Vec::new()),
        (_, None, true) => Runner::Direct,
        (_, None, false) if head.contains(&0) => Runner::NotExecutable,
        // pm2's choice for text that says nothing.
        (_, None, false) => Runner::Interpreter("node".to_owned(), Vec::new()),
    }
}

fn shebang(line: &[u8]) -> Option<Runner> {
    let line = std::str::from_utf8(line).ok()?.trim();
    let (program, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim();
    if program.ends_with("/env") && !argument.is_empty() {
        let mut words = argument.strip_prefix("-S").unwrap_or(argument).split_ascii_whitespace();
        let program = words.next()?;
        return Some(Runner::Interpreter(program.to_owned(), words.map(str::to_owned).collect()));
    }
    let arguments = Some(argument.to_owned()).filter(|argument| !argument.is_empty());
    (!program.is_empty()).then(|| Runner::Interpreter(program.to_owned(), arguments.into_iter().collect()))
}

/// The shell that runs command lines: bash where there is one.
pub(super) fn shell(caller: &Caller) -> &'static str {
    if on_path("bash", &caller.env, &caller.cwd).is_some() { "bash" } else { "sh" }
}

/// Whether an interpreter runs JavaScript in pm2's cluster mode.
pub(super) fn is_javascript(interpreter: &str) -> bool {
    let name = Path::new(interpreter).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "node" || name == "nodejs" || name == "bun"
}

/// Whether an interpreter is some Python.
pub(super) fn is_python(interpreter: &str) -> bool {
    Path::new(interpreter)
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("python"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(program: &str, arguments: &[&str]) -> Runner {
        Runner::Interpreter(program.to_owned(), arguments.iter().map(|it| (*it).to_owned()).collect())
    }

    #[test]
    fn content_decides_where_the_extension_does_not() {
        assert_eq!(by_content(b"\x7fELF\x02", true), Runner::Direct);
        assert_eq!(by_content(b"\x7fELF\x02", false), Runner::NotExecutable);
        assert_eq!(by_content(b"#!/bin/sh\n", true), Runner::Direct);
        assert_eq!(by_content(b"#!/bin/sh -e\necho", false), by("/bin/sh", &["-e"]));
        assert_eq!(by_content(b"#!/usr/bin/env python3\n", false), by("python3", &[]));
        assert_eq!(by_content(b"#!/usr/bin/env -S node --x\n", false), by("node", &["--x"]));
        assert_eq!(by_content(b"echo hello\n", true), by("sh", &[]));
        assert_eq!(by_content(b"console.log(1)\n", false), by("node", &[]));
        assert_eq!(by_content(b"", false), by("node", &[]));
    }

    #[test]
    fn families_are_told_by_the_programs_name() {
        assert!(is_javascript("/opt/node/bin/node") && is_javascript("bun") && !is_javascript("deno"));
        assert!(is_python("/usr/bin/python3.11") && !is_python("pypy"));
    }
}
