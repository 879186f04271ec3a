//! The thread that watches files: walks folders, hears the kernel, waits until it is quiet.
//!
//! Blocks while nothing happens: without watched apps it does not exist, and with them it sleeps in
//! the kernel. Invariants: a folder that appears below a watched one is watched, too, unless its app
//! ignores it; a watched path that is taken away and comes back is watched again; no change falls between
//! two watchers of the kernel.

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
    /// Whether it is configured as when it was last followed.
    pub(super) same: bool,
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
    /// For each root the folder by which it is watched: itself, or the nearest that is there.
    anchors: Vec<PathBuf>,
    breaker: LoopBreaker,
    paused: bool,
    /// When it is quiet enough, and what has changed first.
    due: Option<(Instant, PathBuf)>,
}

impl Watched {
    fn new(job: Job) -> Self {
        let (roots, anchors) = (Vec::new(), Vec::new());
        Self { job, roots, anchors, breaker: LoopBreaker::default(), paused: false, due: None }
    }

    /// Takes note of a change.
    fn changed(&mut self, path: PathBuf) {
        if !self.paused {
            let first = self.due.take().map_or(path, |(_, first)| first);
            self.due = Some((Instant::now() + self.job.delay, first));
        }
    }
}

/// Runs until nobody can give orders any more.
pub(super) fn run(orders: &Receiver<Order>, to_self: &Sender<Order>, inbox: &UnboundedSender<Message>) {
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
                let mut before = std::mem::take(&mut apps);
                for job in jobs {
                    // What has changed just now still counts, and so does how often it has restarted.
                    let known = before.remove(&job.app).filter(|_| job.same);
                    let mut app = Watched::new(job);
                    if let Some(known) = known {
                        (app.breaker, app.paused, app.due) = (known.breaker, known.paused, known.due);
                    }
                    apps.insert(app.job.app, app);
                }
                watch_anew(&mut watcher, to_self, &mut apps);
            }
            Ok(Order::Changed(Ok(event))) if event.need_rescan() => {
                // More has changed than the kernel could tell: anything may have.
                watch_anew(&mut watcher, to_self, &mut apps);
                for app in apps.values_mut() {
                    if let Some(path) = app.job.paths.first().cloned() {
                        app.changed(path);
                    }
                }
            }
            Ok(Order::Changed(Ok(event))) => {
                let mut moved = false;
                if let Some(watcher) = &mut watcher {
                    apps.values_mut().for_each(|app| moved |= take(watcher, app, &event));
                }
                if moved {
                    watch_anew(&mut watcher, to_self, &mut apps);
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

/// Watches all paths of all apps by a new watcher: what is not watched any more ends with the old one,
/// which hears until then.
fn watch_anew(
    watcher: &mut Option<RecommendedWatcher>,
    to_self: &Sender<Order>,
    apps: &mut BTreeMap<AppId, Watched>,
) {
    let own = to_self.clone();
    let heard = move |event| {
        let _gone = own.send(Order::Changed(event));
    };
    let mut fresh = match notify::recommended_watcher(heard) {
        Ok(fresh) => fresh,
        Err(error) => return tracing::error!("files cannot be watched: {error}"),
    };
    for app in apps.values_mut() {
        let before = std::mem::take(&mut app.anchors);
        app.roots = app.job.paths.iter().map(|path| Root::new(path, &app.job.ignore)).collect();
        let (mut folders, mut changed) = (0, None);
        for (at, root) in app.roots.iter().enumerate() {
            let (anchor, below) = watch_root(&mut fresh, root, &app.job.name);
            folders += below.folders;
            // It came, or comes back, with files in it.
            if before.get(at).is_some_and(|before| *before != anchor) {
                changed = changed.or(below.file);
            }
            app.anchors.push(anchor);
        }
        if before.is_empty() {
            tracing::info!("{:?}: {folders} folders are watched", app.job.name);
        }
        if let Some(path) = changed {
            app.changed(path);
        }
    }
    *watcher = Some(fresh);
}

/// Watches one path; where it is not there, the nearest folder in which it could appear.
fn watch_root(watcher: &mut RecommendedWatcher, root: &Root, app: &str) -> (PathBuf, Below) {
    let mut anchor = anchor(&root.path);
    loop {
        let below = if anchor == root.path {
            watch_below(watcher, root, &anchor, app)
        } else {
            // A file, which editors replace, or nothing yet.
            let mut below = Below::default();
            below.watch(watcher, &anchor, app);
            below.file = Some(root.path.clone()).filter(|path| path.is_file());
            below
        };
        let now = self::anchor(&root.path);
        // It came or went before it was watched.
        if now == anchor {
            return (anchor, below);
        }
        anchor = now;
    }
}

/// Takes an event of the kernel, if it is about this app; whether one of its paths has come or gone.
fn take(watcher: &mut RecommendedWatcher, app: &mut Watched, event: &notify::Event) -> bool {
    let changes = match event.kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Any | EventKind::Other => false,
    };
    if !changes {
        return false;
    }
    let goes = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    let mut moved = false;
    for path in &event.paths {
        moved |= app.roots.iter().zip(&app.anchors).any(|(root, anchor)| {
            root.path.starts_with(path) && ((goes && path == anchor) || self::anchor(&root.path) != *anchor)
        });
        let is_folder = path.is_dir();
        let Some(root) = app.roots.iter().find(|root| root.covers(path, is_folder)) else { continue };
        if app.paused || app.job.own.has(path) {
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
        app.changed(changed);
    }
    moved
}

/// The folder by which a path is watched: itself, else the nearest that is there.
fn anchor(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// What was found while a path was watched.
#[derive(Debug, Default)]
struct Below {
    folders: usize,
    /// A file that counts.
    file: Option<PathBuf>,
}

impl Below {
    fn watch(&mut self, watcher: &mut RecommendedWatcher, folder: &Path, app: &str) {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            tracing::warn!("{app:?}: {} cannot be watched: {error}", folder.display());
        }
        self.folders += 1;
    }
}

/// Watches a folder and those in it that belong to a root.
fn watch_below(watcher: &mut RecommendedWatcher, root: &Root, path: &Path, app: &str) -> Below {
    let mut below = Below::default();
    let rules = root.clone();
    let mut entries = WalkBuilder::new(path);
    entries.standard_filters(false).filter_entry(move |entry| {
        rules.covers(entry.path(), entry.file_type().is_some_and(|kind| kind.is_dir()))
    });
    // A folder is watched before what is in it is read, so that nothing falls between.
    for entry in entries.build().flatten() {
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            below.watch(watcher, entry.path(), app);
        } else if below.file.is_none() {
            below.file = Some(entry.into_path());
        }
    }
    below
}
