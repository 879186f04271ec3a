//! `wpm run`: apps in the foreground, as a container or another supervisor wants it.
//!
//! Beneath are the same daemon, keeper and shims as always, in a home of its own; this process is their
//! client, prints what the apps print, and ends with them ([`foreground`]). Invariant: when it ends,
//! nothing that it started is left.

mod foreground;
mod guard;
mod init;
mod verdict;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use wpm_client::saved_apps;
use wpm_proto::ExitCode;
use wpm_proto::app::AppSpec;
use wpm_proto::home::Home;

use super::Outcome;
use super::described::Described;
use super::flags::AppFlags;
use super::logs::Format;
use super::start::or_default;
use crate::appfile::Choice;
use crate::cli::{Verb, arguments};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::target::Caller;

pub(crate) use foreground::Plan;

pub(crate) use guard::run as guard;

pub(crate) const VERB: Verb = Verb {
    name: "run",
    aliases: &[],
    about: "Run apps in the foreground and end with them, as in a container",
    examples: "  wpm run server.js -i max           its output on stdout, its exit code at the end\n  \
               wpm run wpm.toml --essential web   ends when web does, whatever else runs\n  \
               wpm run wpm.toml --json            each line as JSON, with the app's name",
    args: <Run as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Run {
    /// File, folder, command, command line or app file
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    output: OutputFlags,
    /// End when these apps have ended, and stop the others then [default: all apps]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    essential: Vec<String>,
    /// Stay when every app has ended
    #[arg(long)]
    no_auto_exit: bool,
    /// Of an app file, also use its variables of this name
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Of an app file, only the apps of these names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    #[command(flatten)]
    app: AppFlags,
    #[command(flatten)]
    accepted: OfRuntime,
    /// Arguments of the app
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

// How lines are printed.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct OutputFlags {
    /// Lines as they are; stderr of apps on stderr (the default)
    #[arg(long, help_heading = "Output")]
    raw: bool,
    /// Each line behind the name of its app
    #[arg(long, conflicts_with = "raw", help_heading = "Output")]
    formatted: bool,
    /// One line of `key=value` for each line
    #[arg(long, conflicts_with_all = ["raw", "formatted"], help_heading = "Output")]
    format: bool,
    /// One JSON object for each line
    #[arg(long, conflicts_with_all = ["raw", "formatted", "format"], help_heading = "Output")]
    json: bool,
}

// Options of pm2-runtime that have no effect here.
#[derive(Debug, clap::Args)]
struct OfRuntime {
    #[arg(long, hide = true, value_name = "SECONDS")]
    delay: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, value_name = "PORT")]
    web: Option<Option<String>>,
    #[arg(long, hide = true, value_name = "KEY")]
    secret: Option<String>,
    #[arg(long, hide = true, value_name = "KEY")]
    public: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    machine_name: Option<String>,
    #[arg(long, hide = true)]
    no_daemon: bool,
}

impl OutputFlags {
    pub(super) const fn format(self) -> Format {
        match self {
            Self { formatted: true, .. } => Format::Text,
            Self { format: true, .. } => Format::Pairs,
            Self { json: true, .. } => Format::Json,
            _ => Format::Raw,
        }
    }
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let run: Run = arguments(matches)?;
    let caller = Caller::of_this_process()?;
    let choice = Choice { env: run.env, only: run.only };
    let flags = run.app.into_options(run.args).map_err(|why| Failure::new(Code::Usage, why))?;
    for (given, name) in [(run.accepted.delay.is_some(), "--delay"), (run.accepted.web.is_some(), "--web")] {
        if given {
            context.warn(&format!("{name} is an option of pm2-runtime that has no effect"));
        }
    }
    let mut described = Described::default();
    for target in or_default(run.targets, &caller)? {
        described.add(&target, &flags, &choice, &caller, context)?;
    }
    let apps: Vec<AppSpec> = std::mem::take(&mut described.apps).into_iter().map(printing).collect();
    if let Some(unknown) = run.essential.iter().find(|name| apps.iter().all(|app| app.name != **name)) {
        return Err(Failure::new(
            Code::Usage,
            format!("no app `{unknown}` is to be run, so that it cannot be essential"),
        ));
    }
    let own = OwnHome::take(context)?;
    let plan = Plan {
        essential: if run.essential.is_empty() {
            apps.iter().map(|app| app.name.clone()).collect()
        } else {
            run.essential
        },
        apps,
        format: run.output.format(),
        ends: !run.no_auto_exit,
    };
    let code = foreground::run(context, plan);
    own.leave();
    code.map_err(|failure| described.blame(failure))
}

/// `start --no-daemon`: the same in the home as it is, or a plain start where its daemon runs (none).
pub(super) fn in_place_of_a_daemon(
    context: &mut Context,
    apps: &[AppSpec],
) -> Result<Option<ExitCode>, Failure> {
    if context.running_daemon()?.is_some() {
        context.note("the daemon runs already, in the background");
        return Ok(None);
    }
    let essential = apps.iter().map(|app| app.name.clone()).collect();
    foreground::run(context, Plan { apps: apps.to_vec(), essential, format: Format::Text, ends: false })
        .map(Some)
}

/// An app whose output is printed: it must be written somewhere, and not fill the disk there.
fn printing(mut app: AppSpec) -> AppSpec {
    const NOWHERE: [&str; 8] = [
        "/dev/null",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/fd/1",
        "/dev/fd/2",
        "/proc/1/fd/1",
        "/proc/1/fd/2",
        "/proc/self/fd/1",
    ];
    app.disable_logs = false;
    for file in [&mut app.out_file, &mut app.error_file] {
        if file.as_deref().is_some_and(|path| NOWHERE.contains(&path)) {
            *file = None;
        }
    }
    app.log_max_size.get_or_insert(10 << 20);
    app.log_retain.get_or_insert(1);
    app
}

/// The home of a foreground run.
struct OwnHome {
    temporary: Option<PathBuf>,
}

impl OwnHome {
    /// The given home, that of the user in a container of its own (as process 1), else a temporary one.
    fn take(context: &mut Context) -> Result<Self, Failure> {
        let given = std::env::var_os(wpm_proto::env::HOME).is_some_and(|home| !home.is_empty());
        let mut temporary = None;
        if !given && std::process::id() != 1 {
            let path = temporary_folder()?;
            context.use_home(Home::new(&path));
            temporary = Some(path);
        }
        let home = context.home()?;
        wpm_client::home::prepare(&home)?;
        if context.running_daemon()?.is_some() {
            return Err(Failure::new(
                Code::AlreadyRunning,
                format!("a daemon runs already in {}, in the background", home.path().display()),
            )
            .help("`wpm start` gives it apps; `wpm run` needs a home without one: `wpm kill`, or WPM_HOME for another"));
        }
        let mark = home.foreground();
        if mark.exists() {
            // An earlier foreground run that was killed: its apps are not those of this one.
            for file in [home.state(), home.state_backup()] {
                drop(fs::remove_file(file));
            }
        } else if !saved_apps(&home).is_empty() {
            return Err(Failure::new(
                Code::AlreadyRunning,
                format!("{} holds the list of a daemon in the background", home.path().display()),
            )
            .help("`wpm run` needs a home of its own: set WPM_HOME to another folder"));
        }
        fs::write(&mark, "").map_err(|cause| cannot("write", &mark, &cause))?;
        Ok(Self { temporary })
    }

    fn leave(self) {
        if let Some(path) = self.temporary {
            // What is left there is of no use to anybody.
            drop(fs::remove_dir_all(path));
        }
    }
}

fn temporary_folder() -> Result<PathBuf, Failure> {
    let below = std::env::temp_dir();
    let pid = std::process::id();
    let mut failed = None;
    for number in 0..100 {
        let path = below.join(format!("wpm-run-{pid}-{number}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(cause) => failed = Some(cannot("create", &path, &cause)),
        }
    }
    let failure = failed.unwrap_or_else(|| Failure::new(Code::Storage, "no temporary folder"));
    Err(failure.help("WPM_HOME names a folder for the state of wpm; TMPDIR one for temporary files"))
}

fn cannot(what: &str, path: &Path, cause: &std::io::Error) -> Failure {
    Failure::new(Code::Storage, format!("cannot {what} {}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_prints_is_kept_to_be_printed_and_only_a_little_of_it() {
        let app: AppSpec = serde_json::from_value(serde_json::json!({
            "name": "web", "script": "/srv/web", "cwd": "/", "disable_logs": true,
            "out_file": "/dev/null", "error_file": "/var/log/web.log", "log_retain": 7
        }))
        .expect("a spec");
        let app = printing(app);
        assert_eq!((app.disable_logs, app.out_file), (false, None));
        assert_eq!(app.error_file.as_deref(), Some("/var/log/web.log"));
        assert_eq!((app.log_max_size, app.log_retain), (Some(10 << 20), Some(7)));
    }
}
