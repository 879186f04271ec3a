//! Restarts apps when their files change (`--watch`).
//!
//! [`rules`] says which changes count, [`watcher`] hears them in a thread of its own, which exists once
//! an app is watched. What a change means for an app is the core's. Nothing is read from the files.

mod rules;
mod watcher;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use wpm_core::{AppId, Core, Spec};
use wpm_proto::home::Home;

use crate::daemon::Daemon;
use crate::message::Message;
use rules::Own;
use watcher::{Job, Order};

/// Quiet time after a change where the app does not say.
const QUIET: Duration = Duration::from_millis(200);

/// The apps that are watched.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    followed: Vec<(AppId, Arc<Spec>)>,
    /// Those of them that are not watched for now, with the file that changed too often.
    paused: BTreeMap<AppId, String>,
    thread: Option<Sender<Order>>,
}

impl Daemon {
    /// An app restarts again and again for its files: it probably writes them itself.
    pub(crate) fn watch_paused(&mut self, app: AppId, path: &str) {
        self.watches.pause(app, path);
        let name = self.core.app(app).map_or("", |app| app.spec.name.as_str());
        tracing::warn!(
            "{name:?}: restarted 10 times within 30 s for changed files, last {path:?}: it is not watched any more \
             until its configuration changes; ignore_watch leaves a file out"
        );
    }
}

impl Watches {
    /// Notes that an app is not watched until the next [`Self::follow`] that finds it changed.
    pub(crate) fn pause(&mut self, app: AppId, path: &str) {
        self.paused.insert(app, path.to_owned());
    }

    /// The file for which an app is not watched for now.
    pub(crate) fn paused(&self, app: AppId) -> Option<&str> {
        self.paused.get(&app).map(String::as_str)
    }

    /// Follows the apps: those that are to be watched, as they are now.
    pub(crate) fn follow(&mut self, core: &Core, home: &Home, inbox: &UnboundedSender<Message>) {
        let watched = |app: &&wpm_core::App| !app.spec.watch.paths.is_empty();
        let same = self.followed.len() == core.apps().filter(watched).count()
            && core
                .apps()
                .filter(watched)
                .zip(&self.followed)
                .all(|(app, (id, spec))| app.id == *id && Arc::ptr_eq(&app.spec, spec));
        if same {
            return;
        }
        let before = std::mem::take(&mut self.followed);
        let same = |app: &wpm_core::App| {
            before.iter().any(|(id, spec)| app.id == *id && Arc::ptr_eq(&app.spec, spec))
        };
        self.paused.retain(|id, _| core.app(*id).is_some_and(same));
        let jobs = core.apps().filter(watched).map(|app| job(app, home, same(app))).collect();
        self.followed = core.apps().filter(watched).map(|app| (app.id, Arc::clone(&app.spec))).collect();
        let thread = self.thread.get_or_insert_with(|| {
            let (orders, received) = channel();
            let (to_self, inbox) = (orders.clone(), inbox.clone());
            drop(std::thread::spawn(move || watcher::run(&received, &to_self, &inbox)));
            orders
        });
        let _gone = thread.send(Order::Follow(jobs));
    }
}

fn job(app: &wpm_core::App, home: &Home, same: bool) -> Job {
    let spec = &app.spec;
    let own = app.instances.keys().flat_map(|index| {
        let files = crate::launch::files(home, spec, *index);
        [files.out, files.err, files.both.unwrap_or_default(), files.pid]
    });
    Job {
        app: app.id,
        same,
        name: spec.name.clone(),
        paths: spec.watch.paths.iter().map(PathBuf::from).collect(),
        ignore: spec.watch.ignore.clone(),
        delay: spec.watch.delay.map_or(QUIET, |delay| Duration::from_millis(delay.0)),
        own: Own::new(own.filter(|path| !path.is_empty() && path != "/dev/null"), home.path()),
    }
}
