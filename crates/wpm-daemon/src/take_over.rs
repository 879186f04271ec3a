//! A new daemon takes over: what was found goes to the core, live runs get connected with the loop.
//!
//! Invariant: of each instance one run goes on, any other is ended; nobody's process but a run's own is
//! touched.

use std::collections::BTreeMap;
use std::rc::Rc;

use wpm_core::{Desired, InstanceId, RestoredApp, RestoredInstance, RestoredRun, RunId};
use wpm_proto::state::{SavedDesire, SavedInstance};
use wpm_sys::contract::ToKeeper;

use crate::daemon::Daemon;
use crate::journal::Account;
use crate::link::Link;
use crate::live::{Live, Shim};
use crate::recover::{Recovered, account_of};
use crate::run::Run;
use crate::shims::dismiss;
use crate::witness::Witness;
use crate::{clock, convert};

impl Daemon {
    /// Puts everything that was found in its place.
    pub(crate) fn take_over(&mut self, found: Recovered) {
        let Recovered { apps, live, accounts, defaults, mut witnesses, .. } = found;
        for run in witnesses.keys() {
            self.keeper.send(ToKeeper::Drop { key: run.0 }.encode(), vec![]);
        }
        let (mut runs, mut superfluous) = (BTreeMap::new(), Vec::new());
        let mut others: BTreeMap<u32, Vec<RestoredRun>> = BTreeMap::new();
        for l in live {
            let wanted = apps.iter().any(|a| a.instances.iter().any(|i| i.id == l.instance));
            if l.over || !wanted || runs.contains_key(&l.instance) {
                if wanted && !l.over {
                    others.entry(l.instance).or_default().push(restored_run(&l));
                }
                superfluous.push(l);
            } else {
                runs.insert(l.instance, l);
            }
        }
        tracing::info!(
            "daemon {} ({}) with {} apps, {} of whose instances are running",
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            apps.len(),
            runs.len()
        );
        let restored = apps
            .into_iter()
            .map(|app| RestoredApp {
                instances: app
                    .instances
                    .iter()
                    .map(|i| {
                        let now =
                            accounts.get(&i.id).map_or_else(|| account_of(i, 0), |(_, account)| *account);
                        let others = others.remove(&i.id).unwrap_or_default();
                        restored_instance(i, now, runs.get(&i.id), others)
                    })
                    .collect(),
                spec: convert::restored_spec(app.spec, defaults),
                before: app.before.map(|spec| convert::restored_spec(*spec, defaults)),
            })
            .collect();
        self.core.restore(clock::now(), restored);
        self.follow_specs();
        if self.core.apps().any(|app| crate::notify::is_used(&app.spec))
            && let Err(error) = self.listen_for_notes()
        {
            tracing::error!(%error, "what apps say at NOTIFY_SOCKET is not heard");
        }
        self.claim_sockets();
        for l in runs.into_values().chain(superfluous) {
            let witness = witnesses.remove(&RunId(l.run));
            self.attach(l, witness);
        }
        self.forget_dead_workers();
    }

    /// Connects a live run with the loop; adopts its app where the shim is gone.
    fn attach(&mut self, l: Live, witness: Option<Witness>) {
        let (instance, run) = (InstanceId(l.instance), RunId(l.run));
        let current = self.core.instance_of(run).is_some();
        let fd = match l.shim {
            Shim::There(fd) => fd,
            Shim::Busy => {
                let mut held = Run::restored(instance, None, l.process, l.launched.is_some(), witness);
                held.released = !current;
                self.runs.insert(run, held);
                self.try_shim_later(run);
                return;
            }
            Shim::Gone => match self.adopt(instance, run, l.process) {
                Ok(fd) => fd,
                Err(error) => {
                    tracing::error!(%error, run = run.0, "cannot adopt a running app");
                    return;
                }
            },
        };
        let link = match Link::new(fd) {
            Ok(link) => Rc::new(link),
            Err(error) => {
                tracing::error!(%error, "cannot use the connection to a shim");
                return;
            }
        };
        self.listen_to(run, &link);
        if !current {
            dismiss(&link);
        }
        let mut held = Run::restored(instance, Some(link), l.process, l.launched.is_some(), witness);
        held.released = !current;
        self.runs.insert(run, held);
        if current {
            self.worker_joins(run, instance);
        }
    }
}

fn restored_instance(
    i: &SavedInstance,
    now: Account,
    run: Option<&Live>,
    others: Vec<RestoredRun>,
) -> RestoredInstance {
    RestoredInstance {
        id: InstanceId(i.id),
        index: i.index,
        desired: match now.desire {
            SavedDesire::Down | SavedDesire::Finished => Desired::Down,
            SavedDesire::Up | SavedDesire::Errored => Desired::Up,
            SavedDesire::Gone => Desired::Gone,
        },
        errored: now.desire == SavedDesire::Errored,
        finished: now.desire == SavedDesire::Finished,
        restarts: now.restarts,
        last_exit: now.exit.map(convert::restored_exit),
        created_wall_ms: i.created_ms,
        renews: i.renews.map(RunId),
        run: run.map(restored_run),
        others,
        cause: i.cause.clone(),
    }
}

fn restored_run(l: &Live) -> RestoredRun {
    let (pid, start_time) = l.process.unwrap_or((0, 0));
    RestoredRun {
        run: RunId(l.run),
        pid,
        start_time,
        launched: l.launched.map(|(boot, _)| wpm_core::Millis(boot)),
        launched_wall_ms: l.launched.map_or(0, |(_, wall)| wall),
        came_up: l.came_up,
    }
}
