//! Finds the program behind a word: a command line, a file, a folder, a command on PATH.
//!
//! Invariant: an error names everything that was looked for.

use std::path::{Path, PathBuf};

use super::Caller;
use super::folder;
use super::interpreter::{Runner, runner, shell};
use super::path::{absolute, on_path};
use crate::failure::{Code, Failure};
use crate::nearest::nearest;

/// A program that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Absolute path, or the line for a shell.
    pub(crate) script: String,
    /// Whether `script` is a line for a shell.
    pub(crate) shell: bool,
    /// Interpreter that suits it.
    pub(crate) interpreter: Option<String>,
    /// Arguments that the file itself asks for.
    pub(crate) interpreter_args: Vec<String>,
    /// Name of the app unless one is given.
    pub(crate) name: String,
    /// The folder that was named, where it was one.
    pub(crate) folder: Option<PathBuf>,
}

/// Finds a program, seen from `base`.
pub(crate) fn locate(
    word: &str,
    base: &Path,
    caller: &Caller,
    interpreted: bool,
) -> Result<Program, Failure> {
    if word.trim().is_empty() {
        return Err(Failure::new(Code::Usage, "nothing to start: an empty name names nothing"));
    }
    let path = absolute(word, base, &caller.env);
    if path.is_dir() {
        let name =
            path.file_name().map_or_else(|| "app".to_owned(), |name| name.to_string_lossy().into_owned());
        let file = folder::entry(&path).map_err(|looked| {
            Failure::new(Code::NoTarget, format!("nothing to start in the folder `{word}`"))
                .help(format!("looked for {looked}"))
        })?;
        return Ok(Program { name, folder: Some(path), ..of_file(&file, caller, interpreted)? });
    }
    if path.is_file() {
        return of_file(&path, caller, interpreted);
    }
    if path.exists() {
        // Opening it, to see what it is, might wait for ever.
        let message = format!("cannot start `{word}`: {} is a device, pipe or socket", path.display());
        return Err(Failure::new(Code::NoTarget, message));
    }
    let word = word.trim();
    if word.contains(char::is_whitespace) {
        return Ok(Program {
            script: word.to_owned(),
            shell: true,
            interpreter: Some(shell(caller).to_owned()),
            interpreter_args: Vec::new(),
            name: word.to_owned(),
            folder: None,
        });
    }
    if let Some(command) = on_path(word, &caller.env, &caller.cwd) {
        return Ok(Program { name: word.to_owned(), ..of_file(&command, caller, interpreted)? });
    }
    let shown = path.display();
    let message = if word.contains('/') {
        format!("cannot start `{word}`: there is no {shown}")
    } else {
        format!("cannot start `{word}`: there is no {shown}, no command on PATH and no app of that name")
    };
    let near = neighbours(&path);
    let similar = nearest(word.rsplit('/').next().unwrap_or(word), near.iter().map(String::as_str));
    let failure = Failure::new(Code::NoTarget, message);
    Err(match similar.zip(Path::new(word).parent()) {
        Some((name, folder)) => failure.similar(vec![folder.join(name).display().to_string()]),
        None => failure,
    })
}

/// Names of the files beside a path that is not there; not of hidden ones.
fn neighbours(path: &Path) -> Vec<String> {
    let entries = path.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let names = entries.take(1000).filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn of_file(file: &Path, caller: &Caller, interpreted: bool) -> Result<Program, Failure> {
    let script = file.to_str().ok_or_else(|| {
        Failure::new(Code::NoTarget, format!("cannot start {}: its path is not UTF-8", file.display()))
    })?;
    let (interpreter, interpreter_args) = match runner(file, caller) {
        _ if interpreted => (None, Vec::new()),
        Runner::Direct => (None, Vec::new()),
        Runner::Interpreter(program, arguments) => (Some(program), arguments),
        Runner::NotExecutable => {
            return Err(Failure::new(Code::NoTarget, format!("cannot start {script}: it is not executable"))
                .help(format!("chmod +x {}", shlex::try_quote(script).unwrap_or(script.into()))));
        }
    };
    let name = file.file_stem().map_or_else(|| script.to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Program { script: script.to_owned(), shell: false, interpreter, interpreter_args, name, folder: None })
}
