//! `wpm import`: apps of pm2 become an app file of wpm, or, while pm2 runs, move over one by one.
//!
//! Invariant: a file that is there is never overwritten unless that was asked for, and what could not be
//! carried over is told.

mod running;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};
use wpm_proto::ExitCode;

use super::Outcome;
use crate::appfile;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output;
use crate::pm2::dump::{self, Entry};
use crate::target::Caller;

pub(crate) const VERB: Verb = Verb {
    name: "import",
    aliases: &[],
    about: "Take over apps from pm2",
    examples: "  wpm import                          what `pm2 save` kept, as wpm.toml\n  \
               wpm import ecosystem.config.js      an app file of pm2\n  \
               wpm import --output - dump.pm2      to stdout\n  \
               wpm import --running                stop in the running pm2 and start here, app by app",
    args: <Import as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Import {
    /// dump.pm2 or an app file [default: dump.pm2 in $PM2_HOME or ~/.pm2]; with --running names of apps
    #[arg(value_name = "FILE")]
    from: Vec<String>,
    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "wpm.toml")]
    output: String,
    /// Write over a file that is there
    #[arg(short, long)]
    force: bool,
    /// Take the apps of the running pm2 over, one after the other
    #[arg(long, conflicts_with_all = ["output", "force"])]
    running: bool,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let import: Import = arguments(matches)?;
    let caller = Caller::of_this_process()?;
    if import.running {
        return running::take_over(context, &pm2_home()?, &import.from, &caller);
    }
    let file = match import.from.as_slice() {
        [] => pm2_home()?.join("dump.pm2").display().to_string(),
        [one] => one.clone(),
        _ => return Err(Failure::new(Code::Usage, "only one file is read at a time")),
    };
    let into = caller.cwd.join(&import.output);
    let Read { apps, notes, secret } = read(&file, into.parent().unwrap_or(&caller.cwd), &caller)?;
    let text = text(&file, &apps)?;
    if import.output == "-" {
        output::data(&text)?;
    } else {
        write(&into, &text, import.force, secret)?;
        let number = if apps.len() == 1 { "1 app".to_owned() } else { format!("{} apps", apps.len()) };
        context.note(&format!(
            "wrote {number} to {}; look at it, then `wpm start {}`",
            into.display(),
            import.output
        ));
    }
    for note in notes {
        context.warn(&note);
    }
    Ok(ExitCode::Ok)
}

/// pm2's home, whoever this process is called.
fn pm2_home() -> Result<PathBuf, Failure> {
    match std::env::var_os("PM2_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(home.into()),
        None => dirs::home_dir()
            .map(|home| home.join(".pm2"))
            .ok_or_else(|| Failure::new(Code::Home, "neither PM2_HOME nor HOME says where pm2's home is")),
    }
}

/// What was read.
struct Read {
    /// The apps as tables.
    apps: Vec<Map<String, Value>>,
    /// What was left out.
    notes: Vec<String>,
    /// Whether they hold variables that nobody wrote into a file.
    secret: bool,
}

/// Reads a dump or an app file; paths are to be right in a file of the folder `into`.
fn read(file: &str, into: &Path, caller: &Caller) -> Result<Read, Failure> {
    let path = caller.cwd.join(file);
    let is_dump = file.ends_with(".pm2") || file.ends_with(".pm2.bak");
    if !is_dump {
        let carried = appfile::carry(file, caller)?;
        let mut notes = carried.notes;
        if [".js", ".cjs", ".mjs"].iter().any(|end| file.ends_with(end)) {
            notes.push("what the file computes (process.env, require) is written as it is now".to_owned());
        }
        let mut apps = carried.apps;
        let elsewhere = carried.base.canonicalize().ok() != into.canonicalize().ok();
        for app in apps.iter_mut().filter(|_| elsewhere) {
            let cwd = app.get("cwd").and_then(Value::as_str).unwrap_or_default();
            let cwd = carried.base.join(cwd);
            app.insert("cwd".to_owned(), json!(cwd.components().collect::<PathBuf>().display().to_string()));
        }
        return Ok(Read { apps, notes, secret: false });
    }
    let text = fs::read_to_string(&path).map_err(|cause| {
        Failure::new(Code::AppFile, format!("cannot read {}: {cause}", path.display()))
            .help("`pm2 save` writes it; `wpm import --running` asks a pm2 that runs")
    })?;
    let entries = dump::read(&text, file)?;
    if entries.is_empty() {
        return Err(Failure::new(Code::NothingToDo, format!("{} holds no app", path.display())));
    }
    let mut notes = Vec::new();
    let apps = entries.into_iter().map(|entry| table(entry, caller, &mut notes)).collect();
    Ok(Read { apps, notes, secret: true })
}

/// Variables of a session, which no app was given on purpose.
const OF_A_SESSION: [&str; 22] = [
    "_",
    "COLORTERM",
    "COLUMNS",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "LINES",
    "LOGNAME",
    "LS_COLORS",
    "MAIL",
    "OLDPWD",
    "PATH",
    "PWD",
    "SHELL",
    "SHLVL",
    "SSH_AUTH_SOCK",
    "TERM",
    "TMUX",
    "USER",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_ID",
    "WINDOWID",
];

/// An app of a dump with the variables that seem to be its own.
fn table(entry: Entry, caller: &Caller, notes: &mut Vec<String>) -> Map<String, Value> {
    let name = entry.name;
    let all = entry.env.len();
    let inherited = |key: &str, value: &str| caller.env.get(key).is_some_and(|own| own == value);
    let session = |key: &str| {
        OF_A_SESSION.contains(&key)
            || ["SSH_", "PM2_", "XDG_", "npm_"].iter().any(|start| key.starts_with(start))
    };
    let own: Map<String, Value> = entry
        .env
        .into_iter()
        .filter(|(key, value)| !inherited(key, value) && !session(key))
        .map(|(key, value)| (key, json!(value)))
        .collect();
    if own.len() < all {
        notes.push(format!(
            "{name}: {} variables that your shell has too, or that belong to a session, were left out",
            all - own.len()
        ));
    }
    if !entry.running {
        notes.push(format!("{name} was stopped; `wpm start FILE` will start it"));
    }
    let mut table = entry.table;
    if let Some(bytes) = table.get("max_memory_restart").and_then(Value::as_u64)
        && bytes % (1 << 20) == 0
    {
        table.insert("max_memory_restart".to_owned(), json!(format!("{}M", bytes >> 20)));
    }
    if !own.is_empty() {
        table.insert("env".to_owned(), Value::Object(own));
    }
    table
}

/// The file.
fn text(from: &str, apps: &[Map<String, Value>]) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct File<'a> {
        apps: &'a [Map<String, Value>],
    }
    let apps = toml::to_string_pretty(&File { apps })
        .map_err(|error| Failure::new(Code::Internal, format!("cannot write {from} as TOML: {error}")))?;
    let from = from.rsplit('/').next().unwrap_or(from).escape_default();
    Ok(format!("# Apps of {from}, taken over by `wpm import`.\n\n{apps}"))
}

fn write(path: &Path, text: &str, force: bool, secret: bool) -> Result<(), Failure> {
    let mut options = fs::File::options();
    options.write(true).mode(if secret { 0o600 } else { 0o644 });
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|cause| {
        let failure = Failure::new(Code::Storage, format!("cannot write {}: {cause}", path.display()));
        match cause.kind() {
            std::io::ErrorKind::AlreadyExists => {
                failure.help("--force writes over it; --output names another file, `-` is stdout")
            }
            _ => failure,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_before_tables() {
        let app = json!({"name": "web", "env": {"A": "1"}, "args": ["x"], "instances": 2});
        let apps = [app.as_object().expect("an object").clone()];
        assert_eq!(
            text("/x/dump.pm2", &apps).expect("toml"),
            "# Apps of dump.pm2, taken over by `wpm import`.\n\n\
             [[apps]]\nname = \"web\"\nargs = [\"x\"]\ninstances = 2\n\n[apps.env]\nA = \"1\"\n"
        );
    }
}
