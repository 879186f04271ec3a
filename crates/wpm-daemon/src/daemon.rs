//! Everything that the daemon holds while it runs.
//!
//! Each capability is an `impl Daemon` in a file of its own; what belongs to one of them alone is a struct of its own,
//! kept there. Invariant: it belongs to one task, the loop ([`serve`](crate::serve)): nothing here is shared or locked.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use tokio::sync::mpsc::UnboundedSender;
use wpm_core::{Action, Core, InstanceId, RunId};
use wpm_proto::home::Home;

use crate::answers::Askers;
use crate::clock;
use crate::cron::Cron;
use crate::events::Events;
use crate::hooks::Hooks;
use crate::keeper::Keeper;
use crate::memory::Sampler;
use crate::message::Message;
use crate::notify::Notes;
use crate::persistence::Persistence;
use crate::recover::Recovered;
use crate::run::Run;
use crate::session::{Session, SessionId};
use crate::settings::Settings;
use crate::stderr::Offsets;
use crate::update::Update;

/// Everything that the loop holds.
pub(crate) struct Daemon {
    pub(crate) home: Home,
    /// Held for life: two daemons in one home cannot be.
    pub(crate) lock: std::fs::File,
    pub(crate) core: Core,
    pub(crate) settings: Settings,
    pub(crate) started_ms: u64,
    /// Everything is down or about to be: the daemon ends, and its keeper with it.
    pub(crate) quitting: bool,
    pub(crate) keeper: Keeper,
    pub(crate) runs: HashMap<RunId, Run>,
    /// What goes to the keeper with a run that is just being written down.
    pub(crate) to_spawn: HashMap<RunId, Vec<OwnedFd>>,
    /// What is decided of instances, and waits until the journal knows what it follows from.
    pub(crate) held_back: HashMap<InstanceId, Vec<Action>>,
    /// Where tasks tell the loop what they have found.
    pub(crate) inbox: UnboundedSender<Message>,
    pub(crate) sessions: HashMap<SessionId, Session>,
    pub(crate) askers: Askers,
    pub(crate) events: Events,
    pub(crate) stderr: Offsets,
    pub(crate) persistence: Persistence,
    pub(crate) update: Update,
    pub(crate) guard: crate::renew::Guard,
    /// In place of the socket of clients, where that was taken away.
    pub(crate) fresh_listener: Option<interprocess::local_socket::tokio::Listener>,
    pub(crate) cron: Cron,
    pub(crate) watches: crate::watch::Watches,
    pub(crate) hooks: Hooks,
    pub(crate) clusters: crate::cluster::Clusters,
    pub(crate) notes: Notes,
    /// Where runs get control groups, if anywhere.
    pub(crate) groups: Option<wpm_sys::cgroup::Delegation>,
    /// Whether an app has a memory limit.
    pub(crate) limited: bool,
    pub(crate) sampler: Sampler,
    /// Whether memory is to be given back once no client is connected: after the start and after commands
    /// that change things, which touch much that is not needed for long.
    pub(crate) untidy: bool,
}

impl Daemon {
    /// A daemon that knows what its predecessor left, and has taken over nothing yet.
    pub(crate) fn new(
        (home, lock): (Home, std::fs::File),
        settings: Settings,
        keeper: Keeper,
        inbox: UnboundedSender<Message>,
        persistence: Persistence,
        recovered: &Recovered,
    ) -> Self {
        Self {
            home,
            lock,
            core: Core::new(RunId(recovered.first_run)),
            settings,
            started_ms: clock::wall_ms(),
            quitting: false,
            keeper,
            runs: HashMap::new(),
            to_spawn: HashMap::new(),
            held_back: HashMap::new(),
            inbox,
            sessions: HashMap::new(),
            askers: Askers::default(),
            events: Events::default(),
            stderr: Offsets::default(),
            persistence,
            update: Update::default(),
            guard: crate::renew::Guard::default(),
            fresh_listener: None,
            cron: Cron::with_rotation(std::env::var(wpm_proto::env::LOG_ROTATE_INTERVAL).ok()),
            watches: crate::watch::Watches::default(),
            hooks: Hooks::default(),
            clusters: crate::cluster::Clusters::default(),
            notes: Notes::default(),
            groups: recovered.groups.clone(),
            limited: false,
            sampler: Sampler::default(),
            untidy: true,
        }
    }
}
