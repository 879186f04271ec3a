//! `wpm init`: writes an app file to begin with. Never overwrites one.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use wpm_proto::ExitCode;

use super::Outcome;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::target::{Caller, locate};

pub(crate) const VERB: Verb = Verb {
    name: "init",
    aliases: &[],
    about: "Write a wpm.toml to begin with",
    examples: "  wpm init                         for the program of this folder\n  wpm init && wpm start",
    args: <Init as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Init {
    /// pm2's word for a short file
    #[arg(value_name = "KIND", hide = true)]
    kind: Option<String>,
}

/// What every file offers; each line works once its sign is taken away.
const MORE: &str = r#"
# Remove the `#` before what you need. All keys: docs/configuration.md, or `wpm config schema`.

# args = ["--port", "3000"]
# cwd = "."
# instances = "max"                  # one per CPU
# env = { NODE_ENV = "development" }
# env_production = { NODE_ENV = "production" }   # with --env production
# env_file = ".env"

# max_memory_restart = "300M"
# watch = true
# autorestart = false
# kill_timeout = "5s"
# health = "http://localhost:3000/health"
# cron_restart = "0 4 * * *"

# out_file = "logs/out.log"
# error_file = "logs/error.log"
# time = true
"#;

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let Init { kind: _ } = arguments(matches)?;
    if crate::pm2::speaks() {
        return super::ecosystem::write(context);
    }
    let caller = Caller::of_this_process()?;
    write_new(context, Path::new("wpm.toml"), &text(&caller), "wpm start")
}

/// The file for a folder, which names its program where there is one.
fn text(caller: &Caller) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let (name, script) = program(caller);
    format!(
        "# An app file of wpm.\n\n[[apps]]\nname = {}\nscript = {}\n{MORE}",
        quoted(&name),
        quoted(&script)
    )
}

/// Name and script of the program of the caller's folder.
pub(super) fn program(caller: &Caller) -> (String, String) {
    let name =
        caller.cwd.file_name().map_or_else(|| "app".to_owned(), |name| name.to_string_lossy().into_owned());
    let found = locate(".", &caller.cwd, caller, true).ok();
    let script = found.and_then(|program| {
        let script = Path::new(&program.script).strip_prefix(&caller.cwd).ok()?;
        Some(script.display().to_string())
    });
    (name, script.unwrap_or_else(|| "server.js".to_owned()))
}

/// Writes a file that is not there yet.
pub(super) fn write_new(context: &Context, path: &Path, text: &str, next: &str) -> Outcome {
    let file = File::options().write(true).create_new(true).open(path);
    let failed = |cause: std::io::Error| {
        let failure = Failure::new(Code::Storage, format!("cannot write {}: {cause}", path.display()));
        if cause.kind() == std::io::ErrorKind::AlreadyExists {
            failure.help("it is left as it is; `wpm config check` looks at it")
        } else {
            failure
        }
    };
    file.map_err(failed)?.write_all(text.as_bytes()).map_err(failed)?;
    context.note(&format!("wrote {}; `{next}` starts what it describes", path.display()));
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_works_once_its_sign_is_taken_away() {
        let lines: Vec<&str> = MORE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|it| it.contains(" = ")).unwrap_or(line))
            .collect();
        let text = format!("[[apps]]\nname = 'a'\nscript = 'a'\n{}", lines.join("\n"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wpm.toml");
        std::fs::write(&path, text).expect("written");
        let caller = Caller::of_this_process().expect("a caller");
        let choice = crate::appfile::Choice::default();
        let examined = crate::appfile::examine(path.to_str().expect("utf-8"), &caller, &choice);
        let mut document = examined.expect("can be read").document;
        let apps = document.take_apps().unwrap_or_else(|failure| panic!("{}", failure.render(&[])));
        assert_eq!(apps[0].1.instances.as_deref(), Some("max"));
        assert!(document.notes.is_empty());
    }
}
