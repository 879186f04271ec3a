//! The thread that watches files: walks folders, hears the kernel, waits until it is quiet.
//!
//! Blocks while nothing happens: without watched apps it does not exist, and with them it sleeps in
//! the kernel. Invariant: a folder that appears below a watched one is watched, too, unless its app
//! ignores it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use ignore::WalkBuilder;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::UnboundedSender;
use wpm_core::AppId;

use super::rules::{LoopBreaker, Own, Root};
use crate::message::Message;

/// What one app is watched for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) app: AppId,
    pub(super) name: String,
    pub(super) paths: Vec<PathBuf>,
    pub(super) ignore: Vec<String>,
    pub(super) delay: Duration,
    pub(super) own: Own,
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Watch for these apps, and for no others.
    Follow(Vec<Job>),
    /// The kernel says.
    Changed(notify::Result<notify::Event>),
}

struct Watched {
    job: Job,
    roots: Vec<Root>,
    breaker: LoopBreaker,
    paused: bool,
    /// When it is quiet enough, and what has changed first.
    due: Option<(Instant, PathBuf)>,
}

/// Runs until nobody can give orders any more.
pub(super) fn run(orders: &Receiver<Order>, to_self: &Sender<Order>, inbox: &UnboundedSender<Message>) {
    // A new one for each list of apps: what is not watched any more ends with the old one.
    let mut watcher = None;
    let mut apps: BTreeMap<AppId, Watched> = BTreeMap::new();
    loop {
        let next = apps.values().filter_map(|app| app.due.as_ref().map(|(at, _)| *at)).min();
        let order = match next {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => orders.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match order {
            Ok(Order::Follow(jobs)) => {
                apps.clear();
                let own = to_self.clone();
                let heard = move |event| {
                    let _gone = own.send(Order::Changed(event));
                };
                let watcher = match notify::recommended_watcher(heard) {
                    Ok(fresh) => watcher.insert(fresh),
                    Err(error) => {
                        tracing::error!("files cannot be watched: {error}");
                        continue;
                    }
                };
                for job in jobs {
                    let roots: Vec<Root> =
                        job.paths.iter().map(|path| Root::new(path, &job.ignore)).collect();
                    let folders: usize = roots
                        .iter()
                        .map(|root| watch_below(watcher, root, &root.path, &job.name).folders)
                        .sum();
                    tracing::info!("{:?}: {folders} folders are watched", job.name);
                    let watched =
                        Watched { job, roots, breaker: LoopBreaker::default(), paused: false, due: None };
                    apps.insert(watched.job.app, watched);
                }
            }
            Ok(Order::Changed(Ok(event))) => {
                if let Some(watcher) = &mut watcher {
                    apps.values_mut().for_each(|app| take(watcher, app, &event));
                }
            }
            Ok(Order::Changed(Err(error))) => tracing::warn!("a change of files may be missed: {error}"),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        for app in apps.values_mut() {
            if let Some((_, path)) = app.due.take_if(|(at, _)| *at <= now) {
                app.paused = !app.breaker.allows(now);
                let path = path.to_string_lossy().into_owned();
                let message = Message::Changed { app: app.job.app, path, paused: app.paused };
                let _gone = inbox.send(message);
            }
        }
    }
}

/// Takes an event of the kernel, if it is about this app.
fn take(watcher: &mut RecommendedWatcher, app: &mut Watched, event: &notify::Event) {
    let changes = match event.kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Any | EventKind::Other => false,
    };
    if !changes || app.paused {
        return;
    }
    for path in &event.paths {
        let is_folder = path.is_dir();
        let Some(root) = app.roots.iter().find(|root| root.covers(path, is_folder)) else { continue };
        if app.job.own.has(path) {
            continue;
        }
        let mut changed = path.clone();
        if is_folder {
            // What is in it counts, not the folder: it may be older than the watch.
            match watch_below(watcher, root, path, &app.job.name).file {
                Some(file) => changed = file,
                None => continue,
            }
        }
        let first = app.due.take().map_or(changed, |(_, first)| first);
        app.due = Some((Instant::now() + app.job.delay, first));
    }
}

/// What was found while a path was watched.
#[derive(Debug, Default)]
struct Below {
    folders: usize,
    /// A file that counts.
    file: Option<PathBuf>,
}

/// Watches a folder and those in it; for a file, the folder that it is in, as editors replace files.
fn watch_below(watcher: &mut RecommendedWatcher, root: &Root, path: &Path, app: &str) -> Below {
    let mut below = Below::default();
    let mut add = |folder: &Path| {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!("{app:?}: {} cannot be watched: {error}", folder.display());
        }
        1
    };
    if !path.is_dir() {
        below.folders = path.parent().map_or(0, add);
        return below;
    }
    let rules = root.clone();
    let mut entries = WalkBuilder::new(path);
    entries.standard_filters(false).filter_entry(move |entry| {
        rules.covers(entry.path(), entry.file_type().is_some_and(|kind| kind.is_dir()))
    });
    // A folder is watched before what is in it is read, so that nothing falls between.
    for entry in entries.build().flatten() {
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            below.folders += add(entry.path());
        } else if below.file.is_none() {
            below.file = Some(entry.into_path());
        }
    }
    below
}
