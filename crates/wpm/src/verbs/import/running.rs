//! Takes the list of a running pm2 over: each app is stopped there and started here, one after the other.
//!
//! Invariant: at every moment an app runs on one side at most, and one that does not come up here runs
//! on there.

use std::path::Path;

use wpm_client::Client;
use wpm_proto::ExitCode;
use wpm_proto::app::AppSpec;
use wpm_proto::request::{Detail, Op};
use wpm_proto::response::{Body, Outcome as Came};

use crate::context::{Context, list, unexpected};
use crate::failure::{Code, Failure};
use crate::output;
use crate::pm2::dump::{self, Entry};
use crate::pm2::wire::Daemon;
use crate::target::Caller;
use crate::verbs::Outcome;

/// Moves the apps of these names, or all.
pub(super) fn take_over(context: &mut Context, home: &Path, names: &[String], caller: &Caller) -> Outcome {
    let mut pm2 = Daemon::of(home)?;
    let mut apps = dump::apps(pm2.processes()?);
    if let Some(unknown) = names.iter().find(|name| apps.iter().all(|app| app.name != **name)) {
        return Err(Failure::new(Code::NoSuchApp, format!("pm2 has no app `{unknown}`")));
    }
    apps.retain(|app| names.is_empty() || names.contains(&app.name));
    if apps.is_empty() {
        return Err(Failure::new(
            Code::NothingToDo,
            format!("the list of pm2 in {} is empty", home.display()),
        ));
    }
    let mut client = context.daemon()?;
    let known = match list(&mut client, Vec::new(), Detail::State) {
        Err(failure) if failure.is(Code::NoApps) => Vec::new(),
        known => known?,
    };
    let mut moved = 0;
    for app in &apps {
        let there = known.iter().any(|own| own.name == app.name);
        let done = if there {
            Err(Failure::new(Code::AlreadyRunning, format!("`{}` is in the list of wpm already", app.name)))
        } else {
            dump::spec(app, caller).and_then(|spec| take(&mut pm2, &mut client, app, spec))
        };
        match done {
            Ok(what) => {
                moved += 1;
                context.note(&format!("{}: {what}", app.name));
            }
            Err(failure) => output::say(&failure.render(&[])),
        }
    }
    // Only when nothing is left there is pm2 of no more use.
    let left = dump::apps(pm2.processes()?);
    if let [_, ..] = left.as_slice() {
        let names: Vec<&str> = left.iter().map(|app| app.name.as_str()).collect();
        context.note(&format!("still in pm2: {}", names.join(", ")));
    } else {
        context.note(
            "keep the list: `wpm save && wpm startup`; then end pm2: `pm2 unstartup`, `pm2 kill`, and remove \
             its dump.pm2, so that nothing starts twice",
        );
    }
    Ok(match moved {
        number if number == apps.len() => ExitCode::Ok,
        0 => ExitCode::Failed,
        _ => ExitCode::PartlyFailed,
    })
}

/// Moves one app.
fn take(pm2: &mut Daemon, client: &mut Client, app: &Entry, spec: AppSpec) -> Result<&'static str, Failure> {
    if app.running {
        for id in &app.ids {
            pm2.stop(*id)?;
        }
    }
    match start(client, spec, app.running) {
        Ok(()) => {}
        Err(failure) => {
            let name = &app.name;
            // It may stand in the list although it did not come up.
            drop(client.call(Op::Delete { targets: vec![name.clone()], wait: true }, |_| ()));
            if app.running {
                for id in &app.ids {
                    pm2.restart(*id)?;
                }
                return Err(failure.help(format!("`{name}` was given back to pm2, and runs there")));
            }
            return Err(failure);
        }
    }
    for id in &app.ids {
        pm2.delete(*id)?;
    }
    Ok(if app.running { "moved" } else { "moved, stopped as it was" })
}

/// Puts an app into the list; one that ran is to be up.
fn start(client: &mut Client, spec: AppSpec, running: bool) -> Result<(), Failure> {
    let name = spec.name.clone();
    // A job by the clock comes up when its time comes.
    let waits = running && spec.autostart && spec.schedule.is_none();
    let rise = (!running).then_some(false);
    let outcomes =
        match client.call(Op::Start { apps: vec![spec], force: false, rise, wait: true }, |_| ())? {
            Body::Outcomes { outcomes, .. } => outcomes,
            other => return Err(unexpected(&other)),
        };
    let up = |came: &Came| matches!(came, Came::Up { .. } | Came::Finished { .. } | Came::Done);
    if !waits || outcomes.iter().all(|outcome| up(&outcome.outcome)) {
        return Ok(());
    }
    let why = outcomes.iter().find_map(|outcome| match &outcome.outcome {
        Came::Died { exit, .. } => Some(crate::outcome::ended(*exit)),
        Came::SpawnFailed { stage, errno, .. } => {
            Some(format!("{stage} failed: {}", std::io::Error::from_raw_os_error(*errno)))
        }
        Came::NotReady { .. } => Some("was not ready in time".to_owned()),
        _ => None,
    });
    Err(Failure::new(Code::Failed, format!("`{name}` did not come up: {}", why.unwrap_or_default())))
}
