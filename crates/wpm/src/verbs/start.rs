//! `wpm start`: starts files, folders, commands, known apps and app files.

use wpm_client::Client;
use wpm_proto::app::AppSpec;
use wpm_proto::request::{Change, Detail, Op};
use wpm_proto::view::{AppView, Status};

use super::changed::{self, Changed};
use super::described::Described;
use super::flags::AppFlags;
use super::targets::Waiting;
use super::{Outcome, logs, run};
use crate::appfile::is_app_file;
use crate::appfile::{self, Choice};
use crate::cli::{Verb, arguments};
use crate::complete;
use crate::context::{Context, list, names_like};
use crate::failure::{Code, Failure};
use crate::outcome::{Words, carry_out};
use crate::pm2;
use crate::render::escape;
use crate::target::Caller;

pub(crate) const VERB: Verb = Verb {
    name: "start",
    aliases: &[],
    about: "Start apps and keep them running",
    examples: "  wpm start app -i max             a folder, as many instances as CPUs\n  \
               wpm start server.js --name web   a file, by its extension\n  \
               wpm start redis-server -- --port 7000\n  \
               wpm start 'npm run dev'          a command line, by the shell\n  \
               wpm start wpm.toml --only web    from an app file\n  \
               wpm start web                    a known app that is stopped",
    args: <Start as clap::Args>::augment_args,
    run,
};

#[derive(Debug, clap::Args)]
struct Start {
    /// File, folder, command, command line, app file, or name or id of a known app
    #[arg(value_name = "TARGET", add = complete::apps())]
    targets: Vec<String>,
    #[command(flatten)]
    app: AppFlags,
    /// Of an app file, also use its variables of this name
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Of an app file, only the apps of these names
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Start it a second time even if it runs
    #[arg(short, long)]
    force: bool,
    /// Give known apps the environment of this command
    #[arg(short = 'a', long)]
    update_env: bool,
    /// Follow the logs after the start
    #[arg(long)]
    attach: bool,
    /// Stay in the foreground where no daemon runs, and stop everything on Ctrl-C; see `wpm run`
    #[arg(long)]
    no_daemon: bool,
    #[command(flatten)]
    waiting: Waiting,
    /// Arguments of the app
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

fn run(matches: &clap::ArgMatches, context: &mut Context) -> Outcome {
    let start: Start = arguments(matches)?;
    let caller = Caller::of_this_process()?;
    let choice = Choice { env: start.env, only: start.only };
    let named = start.app.name.is_some();
    let flags = start.app.into_options(start.args).map_err(|why| Failure::new(Code::Usage, why))?;
    let targets = or_default(start.targets, &caller)?;

    let mut client = None;
    let mut known = Vec::new();
    let mut described = Described::default();
    for target in targets {
        let mut similar = Vec::new();
        if !named && !start.no_daemon && may_be_known(&target) {
            let client = match &mut client {
                Some(client) => client,
                none => none.insert(context.daemon()?),
            };
            if is_known(&target, &list(client, Vec::new(), Detail::State)?) {
                known.push(target);
                continue;
            }
            similar = names_like(client, &target);
        }
        let with_names =
            |failure: Failure| if similar.is_empty() { failure } else { failure.similar(similar) };
        described.add(&target, &flags, &choice, &caller, context).map_err(with_names)?;
    }
    let apps = std::mem::take(&mut described.apps);
    if start.no_daemon
        && let Some(code) =
            run::in_place_of_a_daemon(context, &apps).map_err(|failure| described.blame(failure))?
    {
        return Ok(code);
    }
    let mut client = match client {
        Some(client) => client,
        None => context.daemon()?,
    };
    let wait = !start.waiting.no_wait;
    let words = Words::of_start(!wait, true);
    let mut names: Vec<String> = apps.iter().map(|app: &AppSpec| app.name.clone()).collect();
    let mut codes = Vec::new();
    if !known.is_empty() {
        names.extend(known.iter().cloned());
        let changed = changed::of(&mut client, &known, &flags, start.update_env, &caller)?;
        codes.push(start_known(context, &mut client, known, changed, words, start.waiting)?);
    }
    if !apps.is_empty() {
        let expected = apps.iter().map(|app| app.instances as usize).sum();
        if pm2::speaks() {
            pm2::voice::starting(context, &apps);
        }
        let op = Op::Start { apps, force: start.force, rise: None, wait };
        let code = carry_out(context, &mut client, op, words, Some(expected), start.waiting.quiet);
        codes.push(code.map_err(|failure| described.blame(failure))?);
    }
    if start.attach {
        return logs::follow_apps(context, names);
    }
    Ok(worst(&codes))
}

/// One code for several requests.
pub(super) fn worst(codes: &[wpm_proto::ExitCode]) -> wpm_proto::ExitCode {
    use wpm_proto::ExitCode;
    match codes {
        [] => ExitCode::Ok,
        [first, rest @ ..] if rest.iter().all(|code| code == first) => *first,
        _ => ExitCode::PartlyFailed,
    }
}

/// Without a target, the app file of this folder is meant.
pub(super) fn or_default(targets: Vec<String>, caller: &Caller) -> Result<Vec<String>, Failure> {
    if !targets.is_empty() {
        return Ok(targets);
    }
    let file = appfile::default_file(&caller.cwd).ok_or_else(|| {
        Failure::new(Code::Usage, "nothing to start: no target was given, and this folder has no app file")
            .help("`wpm start FILE`, `wpm start FOLDER`, or `wpm start .` for this folder")
            .help(format!("app files that are looked for: {}", appfile::DEFAULT_FILES.join(", ")))
    })?;
    Ok(vec![file.display().to_string()])
}

/// Whether a target has the form of a name: no path, no file name with an extension that is there.
fn may_be_known(target: &str) -> bool {
    let regex = target.len() > 2 && target.starts_with('/') && target.ends_with('/');
    let path = target.contains('/') && !regex && instance(target).is_none();
    let file = target.contains(['.', '/']) && std::path::Path::new(target).exists();
    !path && !file && !is_app_file(target) && target != "-" && !target.is_empty()
}

/// Name and index, where a target has the form `name/1` or `name:1`.
fn instance(target: &str) -> Option<(&str, u32)> {
    let (name, index) = target.rsplit_once(['/', ':'])?;
    Some((name, index.parse().ok()?)).filter(|(name, _)| !name.is_empty() && !name.contains('/'))
}

/// Whether it is the name, namespace or id of something in the list, an instance of it, or a pattern that
/// matches.
fn is_known(target: &str, apps: &[AppView]) -> bool {
    let pattern = target.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    if let Some(pattern) = pattern.and_then(|pattern| regex::Regex::new(pattern).ok()) {
        return apps.iter().any(|app| pattern.is_match(&app.name));
    }
    if let Some((name, index)) = instance(target)
        && apps.iter().any(|app| app.name == name && app.instances.iter().any(|it| it.index == index))
    {
        return true;
    }
    target == "all"
        || apps.iter().any(|app| app.name == target || app.namespace == target)
        || target
            .parse::<u32>()
            .is_ok_and(|id| apps.iter().any(|app| app.instances.iter().any(|instance| instance.id == id)))
}

/// Starts apps that are in the list; those that run are left alone.
fn start_known(
    context: &Context,
    client: &mut Client,
    known: Vec<String>,
    changed: Changed,
    words: Words,
    waiting: Waiting,
) -> Outcome {
    let wait = !waiting.no_wait;
    let views = list(client, known.clone(), Detail::State)?;
    let op = match changed {
        // Another environment means a new run.
        Changed::Little(change) if change.env.is_some() => Op::Restart { targets: known, change, wait },
        Changed::Little(change) => {
            let files = change.file_env.clone();
            if *change != (Change { file_env: files, ..Change::default() }) {
                refuse_running(&views)?;
            } else if !waiting.quiet
                && !pm2::speaks()
                && change.file_env.is_empty()
                && views.iter().all(is_all_up)
            {
                for app in &views {
                    context.note(&format!("{} is up already", escape::clean(&app.name)));
                }
                return Ok(wpm_proto::ExitCode::Ok);
            }
            Op::StartKnown { targets: known, change, wait }
        }
        Changed::Much(apps) => {
            refuse_running(&views)?;
            Op::RestartWith { apps, rise: Some(true), wait }
        }
    };
    carry_out(context, client, op, words, None, waiting.quiet)
}

fn is_all_up(app: &AppView) -> bool {
    app.instances.iter().all(|instance| instance.status == Status::Online)
}

/// Other settings mean a new run, and `start` begins none where one is.
fn refuse_running(apps: &[AppView]) -> Result<(), Failure> {
    let Some(app) = apps.iter().find(|app| app.instances.iter().any(|instance| instance.pid > 0)) else {
        return Ok(());
    };
    let name = escape::clean(&app.name);
    let message = format!("`{name}` is up already, and not with these options");
    Err(Failure::new(Code::AlreadyRunning, message)
        .help(format!("`wpm restart {name}` with the same options starts it anew with them")))
}
