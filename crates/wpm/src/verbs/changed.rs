//! What the options beside the name of a known app come to.
//!
//! A few settings are changed by the daemon in whatever the app is by then; with others the client sends the
//! whole app anew. Invariant: an option that has no effect is refused, never ignored.

use std::collections::BTreeMap;

use wpm_client::Client;
use wpm_proto::app::AppSpec;
use wpm_proto::request::{Change, Detail};

use super::targets;
use crate::context::list;
use crate::failure::{Code, Failure};
use crate::options::AppOptions;
use crate::render::escape;
use crate::target::{Caller, altered};

/// How known apps are to change.
pub(super) enum Changed {
    /// In what the daemon changes by itself.
    Little(Box<Change>),
    /// To these.
    Much(Vec<AppSpec>),
}

/// What these options change of the apps that these words mean.
pub(super) fn of(
    client: &mut Client,
    known: &[String],
    flags: &AppOptions,
    update_env: bool,
    caller: &Caller,
) -> Result<Changed, Failure> {
    let (mut change, rest) = split(flags)?;
    if rest.is_empty() {
        change.file_env = targets::file_env(client, known)?;
        change.env = update_env.then(|| caller.env.clone());
        return Ok(Changed::Little(Box::new(change)));
    }
    if flags.name.is_some() {
        let message = format!("an app cannot get another name together with another {}", rest.join(", "));
        return Err(Failure::new(Code::Usage, message)
            .help("give it the name in a command of its own: `wpm restart APP --name NAME`"));
    }
    let mut apps = Vec::new();
    for app in list(client, known.to_vec(), Detail::Spec)? {
        let Some(spec) = app.spec else { continue };
        if app.instances.len() < spec.instances as usize {
            let name = escape::clean(&app.name);
            let message =
                format!("{} belongs to `{name}` as a whole, not to one instance of it", rest.join(", "));
            return Err(Failure::new(Code::Usage, message).help(format!("name the app: `{name}`")));
        }
        apps.push(altered(*spec, flags.clone(), update_env, caller)?);
    }
    Ok(Changed::Much(apps))
}

/// What the daemon changes by itself, and the names of the options beyond that.
fn split(flags: &AppOptions) -> Result<(Change, Vec<&'static str>), Failure> {
    let change = Change {
        env: None,
        file_env: BTreeMap::new(),
        args: flags.args.clone(),
        interpreter_args: flags.interpreter_args.clone(),
        name: flags.name.clone(),
        kill_timeout_ms: flags.kill_timeout_ms,
        max_memory_restart: flags.max_memory_restart,
        restart_delay_ms: flags.restart_delay_ms,
        exp_backoff_restart_delay_ms: flags.exp_backoff_restart_delay_ms,
        max_restarts: flags.max_restarts,
        autorestart: flags.autorestart,
        stop_exit_codes: flags.stop_exit_codes.clone(),
        cron_restart: flags.cron_restart.clone(),
        log_date_format: flags.log_date_format.clone(),
        watch: flags.watches.map(|_| watched(flags.watch.as_deref().unwrap_or_default())).transpose()?,
    };
    let rest = AppOptions {
        args: None,
        interpreter_args: None,
        name: None,
        kill_timeout_ms: None,
        max_memory_restart: None,
        restart_delay_ms: None,
        exp_backoff_restart_delay_ms: None,
        max_restarts: None,
        autorestart: None,
        stop_exit_codes: None,
        cron_restart: None,
        log_date_format: None,
        watches: None,
        watch: None,
        ..flags.clone()
    };
    let rest = rest.given().into_iter().map(|name| name.trim_end_matches("_ms")).collect();
    Ok((change, rest))
}

/// Paths that the daemon can use, whose working directory is another.
fn watched(paths: &[String]) -> Result<Vec<String>, Failure> {
    let absolute = |path: &String| match std::path::absolute(path) {
        Ok(path) => Ok(path.display().to_string()),
        Err(cause) => Err(Failure::new(Code::Usage, format!("cannot watch `{path}`: {cause}"))),
    };
    paths.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_settings_are_changed_by_the_daemon() {
        let options = AppOptions { kill_timeout_ms: Some(5), ..AppOptions::default() };
        let (change, rest) = split(&options).expect("can");
        assert_eq!((change.kill_timeout_ms, rest), (Some(5), vec![]));
        let more = AppOptions { instances: Some("2".into()), cwd: Some("/".into()), ..options };
        assert_eq!(split(&more).expect("can").1, ["cwd", "instances"]);
    }
}
