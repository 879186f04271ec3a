//! The one table: what an instance does next, given what it is and what is wanted of it.
//!
//! [`Core::drive`] compares state and desire, [`Core::event`] takes what happened to a run,
//! [`Core::state_deadline`] what did not happen in time. Ends of runs are in `exit`. Invariant: the
//! state is only set by [`Core::set_state`], which also sets the deadline that it carries.

use crate::core::LAUNCH_TIMEOUT;
use crate::deadlines::Timer;
use crate::operation::Want;
use crate::slot::{Next, Recycle};
use crate::{
    Action, Cause, Core, Desired, Event, Exit, InstanceId, Millis, Note, Now, Outcome, RunId, RunInfo, Scope,
    Spec, State,
};

/// Number of kills after which commands no longer wait for a tree.
pub(crate) const PATIENT_KILLS: u32 = 3;
/// Shortest time between two kills of the same tree.
pub(crate) const SHORTEST_RETRY: Millis = Millis(500);
/// Time between kills of a tree that nobody waits for any more.
pub(crate) const IDLE_RETRY: Millis = Millis(30_000);
/// `SIGABRT`.
const ABORT: i32 = 6;
/// pm2's word for the end.
const SHUTDOWN: &str = "shutdown";
/// `ETIMEDOUT`.
pub(crate) const TIMED_OUT: i32 = 110;

impl Core {
    /// Brings an instance closer to what is wanted of it.
    pub(crate) fn drive(&mut self, now: Now, id: InstanceId) {
        self.drive_beside(now, id);
        let needed = self.is_needed(id);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match (&slot.it.state, slot.it.desired) {
            (State::Stopped, Desired::Up) => match self.waits_for(now, id) {
                Some((app, in_vain)) => self.wait_for(now, id, &app, in_vain),
                None => self.spawn(now, id),
            },
            (State::Launching(_) | State::Online(_), Desired::Up) => {
                if slot.recycle.is_none()
                    && !slot.is_rising()
                    && let Some(cause) = slot.stale.take()
                {
                    return self.restart_by_rule(now, id, &cause);
                }
                if let Some(Recycle { cause, next }) = slot.recycle.take() {
                    self.begin_stop(now, id, &cause, next);
                }
            }
            (State::Launching(_) | State::Online(_), Desired::Down | Desired::Gone) if needed => {}
            (State::Launching(_) | State::Online(_), Desired::Down | Desired::Gone) => {
                self.begin_stop(now, id, &Cause::Asked, Next::Now);
            }
            // What follows is decided once the tree is gone.
            (State::Stopping { .. }, _)
            | (State::Backoff { .. } | State::Errored, Desired::Up)
            | (State::Stopped, Desired::Down) => {}
            (State::Backoff { .. } | State::Errored, Desired::Down) => {
                slot.it.cause = Cause::Asked;
                self.set_state(now, id, State::Stopped);
                self.note(id, Note::Stopped);
                self.persist = true;
            }
            (State::Stopped | State::Backoff { .. } | State::Errored, Desired::Gone) => {
                return self.remove(id);
            }
        }
        self.settle_waiters(now, id);
    }

    /// The only place where a state is set; sets its deadline too.
    pub(crate) fn set_state(&mut self, now: Now, id: InstanceId, state: State) {
        let due = match &state {
            State::Stopped | State::Errored | State::Online(_) => None,
            State::Launching(run) => Some(match run.launched {
                None => now.mono.plus(LAUNCH_TIMEOUT),
                Some(at) => at.plus(self.spec_of(id).map_or(Millis(0), |spec| spec.listen_timeout)),
            }),
            State::Stopping { kill_at, .. } => Some(*kill_at),
            State::Backoff { until } => Some(*until),
        };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.awaits &= matches!(state, State::Stopped | State::Errored | State::Backoff { .. });
        slot.it.state = state;
        match due {
            Some(at) => self.deadlines.arm(id, Timer::State, at),
            None => self.deadlines.disarm(id, Timer::State),
        }
        self.has_moved(id);
    }

    fn spawn(&mut self, now: Now, id: InstanceId) {
        let run = self.new_run(id);
        let job = self.is_job(id);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let shared = slot.beside.is_some();
        (slot.ready, slot.healthy, slot.waits_in_vain) = (false, false, false);
        if matches!(slot.it.cause, Cause::Waits { .. }) {
            slot.it.cause = Cause::Asked;
        }
        slot.job = job;
        slot.kills = 0;
        (slot.recycle, slot.stale) = (None, None);
        slot.next = Next::Now;
        let info = RunInfo { id: run, pid: 0, start_time: 0, launched: None, launched_wall_ms: 0 };
        self.set_state(now, id, State::Launching(info));
        self.push(Action::Spawn { run, instance: id, shared });
    }

    /// Begins to bring down the run of an instance.
    pub(crate) fn begin_stop(&mut self, now: Now, id: InstanceId, cause: &Cause, next: Next) {
        let Some(spec) = self.spec_of(id) else { return };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let (State::Launching(run) | State::Online(run)) = slot.it.state else { return };
        slot.it.cause = cause.clone();
        slot.next = next;
        self.note(id, Note::Stopping { cause: cause.clone() });
        let (kill_at, kills) = self.ask_to_end(now, &spec, &run, cause);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.kills = kills;
        }
        self.set_state(now, id, State::Stopping { run, kill_at, killed: kills > 0, exit: None });
    }

    /// Tells a run to end; gives the time of SIGKILL, and how often it was killed already.
    pub(crate) fn ask_to_end(
        &mut self,
        now: Now,
        spec: &Spec,
        run: &RunInfo,
        cause: &Cause,
    ) -> (Millis, u32) {
        let (policy, run, unrun) = (&spec.stop, run.id, run.pid == 0);
        if unrun {
            // Before its gate was opened nothing has run that could end in good order.
            self.push(Action::KillTree { run });
            return (now.mono.plus(SHORTEST_RETRY.max(policy.kill_timeout)), 1);
        }
        let scope = if policy.tree { Scope::Tree } else { Scope::Main };
        match cause {
            Cause::Leaving => {}
            // It hangs: a core file tells where.
            Cause::Watchdog => self.push(Action::Signal { run, signal: ABORT, scope }),
            _ if policy.with_message => self.push(Action::SendMessage { run, text: SHUTDOWN.to_owned() }),
            _ => self.push(Action::Signal { run, signal: policy.signal, scope }),
        }
        (now.mono.plus(policy.kill_timeout), 0)
    }

    /// Ends a run beside that is not wanted any more, and has the next run wait for it where it must.
    fn drive_beside(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get(&id).filter(|slot| slot.beside.is_some()) else { return };
        let desired = slot.it.desired;
        let alone = match slot.it.state {
            State::Stopped => desired != Desired::Up || !self.spec_of(id).is_some_and(|spec| spec.overlaps()),
            State::Backoff { .. } | State::Errored => desired != Desired::Up,
            State::Launching(_) | State::Online(_) | State::Stopping { .. } => false,
        };
        if desired != Desired::Up {
            self.end_beside(now, id);
        }
        if alone {
            self.stand_in(now, id);
        }
    }

    /// Takes what happened to a run; drops it if the run is nobody's.
    pub(crate) fn event(&mut self, now: Now, run: RunId, event: &Event) {
        let Some(id) = self.runs.get(&run).copied() else { return };
        if self.slots.get(&id).is_some_and(|slot| slot.beside.is_some_and(|beside| beside.run.id == run)) {
            return self.beside_event(now, id, event);
        }
        match *event {
            Event::Registered { pid, start_time } => self.registered(now, id, pid, start_time),
            Event::Launched => self.launched(now, id),
            Event::BecameReady => self.became_ready(now, id),
            Event::SpawnFailed { stage, errno, transient } => {
                self.spawn_failed(now, id, stage, errno, transient);
            }
            Event::Exited { exit, tree_gone, ran_ms } => self.exited(now, id, exit, tree_gone, ran_ms),
            Event::TreeGone => self.tree_gone(now, id),
            Event::Cancelled => self.cancelled(now, id),
            Event::BecameHealthy => {
                if let Some(slot) = self.slots.get_mut(&id).filter(|slot| !slot.healthy) {
                    slot.healthy = true;
                    self.has_moved(id);
                }
            }
            Event::BecameUnhealthy => self.replace_for(now, id, Cause::Unhealthy),
            Event::WatchdogMissed => self.replace_for(now, id, Cause::Watchdog),
            Event::AskedToStop => self.asked_to_stop(now, id),
            Event::ExtendTimeout { ms } => self.extend_timeout(now, id, ms),
            // Only an old run that a reload has replaced is asked to drain.
            Event::Drained => {}
            Event::MemorySampled { bytes } => self.memory_sampled(now, id, bytes),
            Event::LogTrouble { errno, dropped } => self.log_trouble(id, errno, dropped),
        }
    }

    fn registered(&mut self, now: Now, id: InstanceId, pid: i32, start_time: u64) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match &mut slot.it.state {
            State::Launching(run) if run.launched.is_none() => {
                (run.pid, run.start_time) = (pid, start_time);
                let run = run.id;
                self.push(Action::Go { run });
            }
            State::Stopping { run, .. } if run.pid == 0 => {
                (run.pid, run.start_time) = (pid, start_time);
                let run = run.id;
                self.push(Action::KillTree { run });
            }
            _ => return,
        }
        self.drive(now, id);
    }

    fn launched(&mut self, now: Now, id: InstanceId) {
        let Some(spec) = self.spec_of(id) else { return };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let waits = spec.has_readiness_rule() && !slot.ready;
        match &mut slot.it.state {
            State::Launching(run) if run.launched.is_none() => {
                let run = RunInfo { launched: Some(now.mono), launched_wall_ms: now.wall_ms, ..*run };
                slot.false_starts = 0;
                slot.spawn_pace.forgive();
                let ready = slot.ready;
                self.set_state(now, id, if waits { State::Launching(run) } else { State::Online(run) });
                if ready {
                    self.push(Action::Remember { run, replaced: None });
                }
                self.note(id, Note::Online { pid: run.pid });
                if waits {
                    self.push(Action::AwaitReady { run: run.id });
                } else {
                    self.watch_health(id, run.id);
                }
                self.drive(now, id);
            }
            State::Stopping { run, .. } if run.launched.is_none() => {
                run.launched = Some(now.mono);
                run.launched_wall_ms = now.wall_ms;
            }
            _ => {}
        }
    }

    fn became_ready(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.ready || !matches!(slot.it.state, State::Launching(_) | State::Online(_)) {
            return;
        }
        slot.ready = true;
        let waited = matches!(slot.it.state, State::Launching(_));
        if let State::Launching(run) | State::Online(run) = slot.it.state
            && run.launched.is_some()
        {
            self.set_state(now, id, State::Online(run));
            self.push(Action::Remember { run, replaced: None });
            if waited {
                self.watch_health(id, run.id);
            }
        }
        self.note(id, Note::Ready);
        self.has_moved(id);
        self.drive(now, id);
    }

    /// The deadline of an instance's state has come.
    pub(crate) fn state_deadline(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match slot.it.state {
            State::Launching(run) if run.launched.is_some() && slot.waits(Want::Restarted) => {
                let after_ms = run.launched.map_or(0, |at| now.mono.since(at).0);
                self.resolve(id, Want::is_up, &Outcome::NotReady { after_ms });
                self.replace_for(now, id, Cause::NotReady);
            }
            State::Launching(run) if run.launched.is_some() => {
                slot.ready = true;
                self.set_state(now, id, State::Online(run));
                self.watch_health(id, run.id);
                self.drive(now, id);
            }
            State::Launching(run) => {
                let (stage, errno) = ("waiting for the program to start", TIMED_OUT);
                let delay = slot.spawn_pace.grow_from(crate::backoff::FIRST_DELAY);
                self.resolve(id, Want::is_up, &Outcome::SpawnFailed { stage, errno });
                // A child that is stuck before exec has nothing to end in good order.
                self.begin_stop(now, id, &Cause::SpawnFailed { stage, errno }, Next::Later(delay));
                if run.pid != 0 {
                    self.kill(now, id);
                }
            }
            State::Stopping { .. } => self.kill(now, id),
            State::Backoff { .. } => {
                self.set_state(now, id, State::Stopped);
                self.drive(now, id);
            }
            State::Stopped | State::Online(_) | State::Errored => {}
        }
    }

    /// Kills what is left of a run that is being stopped.
    fn kill(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let State::Stopping { run, exit, .. } = slot.it.state else { return };
        let given_up = slot.kills >= PATIENT_KILLS;
        if given_up && run.pid == 0 {
            // Its gate was never opened and never will be: nothing can run, even if a shim turns up.
            return self.cancelled(now, id);
        }
        slot.kills = slot.kills.saturating_add(1);
        let kill_timeout = self.spec_of(id).map_or(Millis(0), |spec| spec.stop.kill_timeout);
        let retry = kill_timeout.max(if given_up { IDLE_RETRY } else { SHORTEST_RETRY });
        self.push(Action::KillTree { run: run.id });
        self.set_state(now, id, State::Stopping { run, kill_at: now.mono.plus(retry), killed: true, exit });
        if given_up {
            self.resolve(id, |_| true, &Outcome::StillAlive { pid: run.pid });
        }
    }

    pub(crate) fn log_trouble(&mut self, id: InstanceId, errno: i32, dropped: u64) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.it.log_dropped = dropped;
        if slot.it.log_errno != errno {
            slot.it.log_errno = errno;
            self.note(id, Note::LogTrouble { errno });
        }
    }

    /// A cron rule fired or a watched file changed. It starts what ended by itself or was given up, but not
    /// what the user stopped.
    pub(crate) fn restart_by_rule(&mut self, now: Now, id: InstanceId, cause: &Cause) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if self.quitting || slot.it.desired == Desired::Gone {
            return;
        }
        match slot.it.state {
            // It is being replaced anyway; by a run that may have read an older file.
            State::Launching(_) | State::Online(_) if slot.is_rising() => {
                if matches!(cause, Cause::Changed { .. }) {
                    slot.stale = Some(cause.clone());
                }
                return;
            }
            State::Launching(_) | State::Online(_) => {
                slot.it.restarts = slot.it.restarts.saturating_add(1);
                slot.recycle = Some(Recycle { cause: cause.clone(), next: Next::Now });
                self.came_up_before(id);
            }
            State::Stopped if !slot.it.is_finished() => return,
            State::Stopped | State::Errored | State::Backoff { .. } => {
                slot.it.desired = Desired::Up;
                slot.it.cause = cause.clone();
                slot.forgive();
                self.persist = true;
                self.set_state(now, id, State::Stopped);
            }
            // It is on its way to a new run, or was just stopped by the user.
            State::Stopping { .. } => return,
        }
        self.note(id, Note::RestartPlanned { delay_ms: 0, cause: cause.clone() });
        self.drive(now, id);
    }

    /// wpm itself replaces a run during its start check: as far as commands go, it came up.
    pub(crate) fn came_up_before(&mut self, id: InstanceId) {
        if let Some(State::Launching(run) | State::Online(run)) =
            self.slots.get(&id).map(|slot| slot.it.state.clone())
            && run.launched.is_some()
        {
            self.resolve(id, Want::is_up, &Outcome::Up { pid: run.pid });
        }
    }

    /// The end of the main process as it is known so far.
    pub(crate) fn seen_exit(&self, id: InstanceId) -> Option<Exit> {
        match self.slots.get(&id)?.it.state {
            State::Stopping { exit, .. } => exit,
            _ => None,
        }
    }
}
