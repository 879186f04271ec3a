//! The second run of an instance, which only a reload makes: the new one while it comes up beside the
//! old one that serves, then the old one while it finishes its work and ends.
//!
//! It knows nothing of other instances; what a reload does next is in `reload`. Invariant: an
//! instance has at most one run beside its own, and that one always has a deadline.

use crate::core::LAUNCH_TIMEOUT;
use crate::deadlines::Timer;
use crate::exit::{CANCELLED, uptime};
use crate::lifecycle::{IDLE_RETRY, PATIENT_KILLS, SHORTEST_RETRY, TIMED_OUT};
use crate::operation::Want;
use crate::slot::{Beside, Next, Phase};
use crate::{
    Action, Cause, Core, Desired, Event, Exit, InstanceId, Millis, Note, Now, Outcome, RunId, RunInfo, Scope,
    Spec, State,
};

/// Whether a new run has to say that it is ready, and how long it is waited for. `listened`: the old one did.
fn rise(spec: &Spec, listened: bool) -> (bool, Millis) {
    // Workers of a cluster say when they listen; where the old one never did, the new one need not.
    let must = spec.has_readiness_rule() || (spec.is_clustered() && listened);
    let says = spec.has_readiness_rule() || spec.is_clustered();
    (must, if says { spec.listen_timeout } else { spec.start_check })
}

impl Core {
    /// Starts a new run beside the one that serves; both write the same files from now on.
    pub(crate) fn begin_rise(&mut self, now: Now, id: InstanceId) {
        let Some(old) = self.slots.get(&id).and_then(|slot| Some(slot.it.run()?.id)) else { return };
        let run = self.new_run(id);
        self.push(Action::Share { run: old, on: true });
        let info = RunInfo { id: run, pid: 0, start_time: 0, launched: None, launched_wall_ms: 0 };
        self.set_beside(id, Beside { run: info, phase: Phase::Rising { ready: false, must: false } });
        self.deadlines.arm(id, Timer::Beside, now.mono.plus(LAUNCH_TIMEOUT));
        self.push(Action::Spawn { run, instance: id, shared: true });
    }

    fn set_beside(&mut self, id: InstanceId, beside: Beside) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.beside = Some(beside);
        }
    }

    fn beside(&self, id: InstanceId) -> Option<Beside> {
        self.slots.get(&id)?.beside
    }

    /// Takes what happened to the run beside.
    pub(crate) fn beside_event(&mut self, now: Now, id: InstanceId, event: &Event) {
        match *event {
            Event::Registered { pid, start_time } => self.beside_registered(id, pid, start_time),
            Event::Launched => self.beside_launched(now, id),
            Event::BecameReady => self.beside_ready(now, id),
            Event::SpawnFailed { stage, errno, .. } => {
                self.fail_rise(
                    id,
                    &Outcome::SpawnFailed { stage, errno },
                    Cause::SpawnFailed { stage, errno },
                );
                self.beside_over(now, id);
            }
            Event::Exited { exit, tree_gone, ran_ms } => self.beside_exited(now, id, exit, tree_gone, ran_ms),
            Event::TreeGone => match self.beside(id).map(|beside| beside.phase) {
                Some(Phase::Stopping { exit: Some(_), .. }) => self.beside_over(now, id),
                _ => self.beside_exited(now, id, Exit::Unknown, true, None),
            },
            Event::Cancelled => self.beside_cancelled(now, id),
            Event::Drained => {
                if self.beside(id).is_some_and(|beside| beside.phase == Phase::Draining) {
                    self.end_beside(now, id);
                }
            }
            Event::ExtendTimeout { ms } => self.extend_beside(now, id, ms),
            Event::LogTrouble { errno, dropped } => self.log_trouble(id, errno, dropped),
            // Of a run that is on its way in or out: its deadline tells.
            Event::MemorySampled { .. }
            | Event::BecameHealthy
            | Event::BecameUnhealthy
            | Event::WatchdogMissed
            | Event::AskedToStop => {}
        }
    }

    fn beside_registered(&mut self, id: InstanceId, pid: i32, start_time: u64) {
        let Some(beside) = self.slots.get_mut(&id).and_then(|slot| slot.beside.as_mut()) else { return };
        let run = beside.run.id;
        match beside.phase {
            Phase::Rising { .. } if beside.run.launched.is_none() => {
                (beside.run.pid, beside.run.start_time) = (pid, start_time);
                self.push(Action::Go { run });
            }
            Phase::Stopping { .. } if beside.run.pid == 0 => {
                (beside.run.pid, beside.run.start_time) = (pid, start_time);
                self.push(Action::KillTree { run });
            }
            _ => {}
        }
    }

    fn beside_launched(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(spec) = self.apps.get(&slot.it.app).map(|app| app.spec.clone()) else { return };
        let listened = slot.ready;
        let Some(beside) = slot.beside.as_mut().filter(|beside| beside.run.launched.is_none()) else {
            return;
        };
        beside.run.launched = Some(now.mono);
        beside.run.launched_wall_ms = now.wall_ms;
        let (run, pid) = (beside.run.id, beside.run.pid);
        let Phase::Rising { ready, must } = &mut beside.phase else { return };
        let patience;
        (*must, patience) = rise(&spec, listened);
        let ready = *ready;
        self.note(id, Note::Online { pid });
        if spec.has_readiness_rule() {
            self.push(Action::AwaitReady { run });
        }
        if ready {
            return self.replace(now, id);
        }
        self.deadlines.arm(id, Timer::Beside, now.mono.plus(patience));
    }

    fn beside_ready(&mut self, now: Now, id: InstanceId) {
        let Some(beside) = self.slots.get_mut(&id).and_then(|slot| slot.beside.as_mut()) else { return };
        let Phase::Rising { ready: ready @ false, .. } = &mut beside.phase else { return };
        *ready = true;
        let launched = beside.run.launched.is_some();
        self.note(id, Note::Ready);
        if launched {
            self.replace(now, id);
        }
    }

    fn beside_exited(&mut self, now: Now, id: InstanceId, exit: Exit, tree_gone: bool, ran_ms: Option<u64>) {
        let Some(beside) = self.beside(id) else { return };
        let Some(spec) = self.newest_spec(id) else { return };
        let run = beside.run;
        let up = uptime(&run, now, ran_ms);
        let stopping = |kill_at, kills| Phase::Stopping { kill_at, kills, exit: Some(exit) };
        let phase = match beside.phase {
            Phase::Stopping { exit: Some(_), .. } => None,
            Phase::Stopping { kill_at, kills, exit: None } => Some(stopping(kill_at, kills)),
            Phase::Rising { .. } | Phase::Draining => {
                let kill_at = now.mono.plus(spec.stop.kill_timeout);
                self.deadlines.arm(id, Timer::Beside, kill_at);
                if !tree_gone {
                    self.push(Action::Signal { run: run.id, signal: spec.stop.signal, scope: Scope::Tree });
                }
                Some(stopping(kill_at, 0))
            }
        };
        if let Some(phase) = phase {
            self.note(id, Note::Exited { exit, uptime_ms: up.0 });
            self.set_beside(id, Beside { run, phase });
        }
        if matches!(beside.phase, Phase::Rising { .. }) {
            self.fail_rise(id, &Outcome::Died { exit, after_ms: up.0 }, Cause::Exited(exit));
        }
        if tree_gone {
            self.beside_over(now, id);
        }
    }

    fn beside_cancelled(&mut self, now: Now, id: InstanceId) {
        let Some(beside) = self.beside(id) else { return };
        let ended = matches!(beside.phase, Phase::Stopping { exit: Some(_), .. });
        if beside.run.launched.is_some() && !ended {
            return self.beside_exited(now, id, Exit::Unknown, true, None);
        }
        let (stage, errno) = ("waiting at the gate", CANCELLED);
        self.fail_rise(id, &Outcome::SpawnFailed { stage, errno }, Cause::SpawnFailed { stage, errno });
        self.beside_over(now, id);
    }

    /// The new run will not come up: the old one serves on.
    fn fail_rise(&mut self, id: InstanceId, outcome: &Outcome, cause: Cause) {
        if self.beside(id).is_some() && self.slots.get(&id).is_some_and(|slot| slot.waits(Want::Renewed)) {
            self.note(id, Note::NotReplaced { cause });
        }
        self.resolve(id, |want| want == Want::Renewed, outcome);
    }

    /// The deadline of the run beside has come.
    pub(crate) fn beside_deadline(&mut self, now: Now, id: InstanceId) {
        let Some(Beside { run, phase }) = self.beside(id) else { return };
        match (phase, run.launched) {
            (Phase::Rising { .. }, None) => {
                let (stage, errno) = ("waiting for the program to start", TIMED_OUT);
                let outcome = Outcome::SpawnFailed { stage, errno };
                self.fail_rise(id, &outcome, Cause::SpawnFailed { stage, errno });
                self.end_beside(now, id);
                if run.pid != 0 {
                    self.kill_beside(now, id);
                }
            }
            (Phase::Rising { must: true, .. }, Some(at)) => {
                let after_ms = now.mono.since(at).0;
                self.fail_rise(id, &Outcome::NotReady { after_ms }, Cause::NotReady);
                self.end_beside(now, id);
            }
            (Phase::Rising { .. }, Some(_)) => self.replace(now, id),
            (Phase::Draining, _) => self.end_beside(now, id),
            (Phase::Stopping { .. }, _) => self.kill_beside(now, id),
        }
    }

    /// The new run becomes the instance's own; the old one finishes what it is doing, and ends.
    fn replace(&mut self, now: Now, id: InstanceId) {
        let before = self.spec_of(id);
        let Some((slot, before)) = self.slots.get_mut(&id).zip(before) else { return };
        let kills = slot.kills;
        let old = std::mem::replace(&mut slot.it.state, State::Stopped);
        self.take_beside_in(now, id);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if let State::Launching(run) | State::Online(run) = slot.it.state {
            slot.forgive();
            slot.it.cause = Cause::Asked;
            slot.it.created_wall_ms = now.wall_ms;
            self.set_state(now, id, State::Online(run));
            self.push(Action::Remember { run, replaced: Some(id) });
            self.note(id, Note::Replaced { pid: run.pid });
        }
        match old {
            State::Launching(run) | State::Online(run) => {
                self.drain_beside(now, id, run, &before);
            }
            State::Stopping { run, kill_at, exit, .. } => {
                self.set_beside(id, Beside { run, phase: Phase::Stopping { kill_at, kills, exit } });
                self.deadlines.arm(id, Timer::Beside, kill_at);
            }
            State::Stopped | State::Backoff { .. } | State::Errored => self.settle_renewed(now, id),
        }
        self.drive(now, id);
    }

    /// Has an old run finish what it has begun, and end.
    fn drain_beside(&mut self, now: Now, id: InstanceId, run: RunInfo, spec: &Spec) {
        self.set_beside(id, Beside { run, phase: Phase::Draining });
        if run.launched.is_some() && spec.shares_sockets() && spec.drain_timeout > Millis(0) {
            self.push(Action::Drain { run: run.id });
            self.deadlines.arm(id, Timer::Beside, now.mono.plus(spec.drain_timeout));
        } else {
            self.end_beside(now, id);
        }
    }

    /// Takes back the run beside that an earlier daemon left: a new one rises on, an old one goes on to end.
    pub(crate) fn put_beside_back(&mut self, now: Now, id: InstanceId, run: RunInfo, rises: bool) {
        let Some((slot, spec)) = self.slots.get(&id).zip(self.newest_spec(id)) else { return };
        if !rises {
            return self.drain_beside(now, id, run, &spec);
        }
        let (must, patience) = rise(&spec, slot.ready);
        self.set_beside(id, Beside { run, phase: Phase::Rising { ready: false, must } });
        if run.launched.is_some() && spec.has_readiness_rule() {
            self.push(Action::AwaitReady { run: run.id });
        }
        // In full: what it said while there was no daemon is yet to be heard.
        let patience = if run.launched.is_some() { patience } else { LAUNCH_TIMEOUT };
        self.deadlines.arm(id, Timer::Beside, now.mono.plus(patience));
    }

    /// Makes the run beside the instance's own, whatever it is doing.
    pub(crate) fn take_beside_in(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(Beside { run, phase }) = slot.beside.take() else { return };
        self.deadlines.disarm(id, Timer::Beside);
        slot.recycle = None;
        slot.next = Next::Now;
        let state = match phase {
            Phase::Rising { ready, .. } => {
                slot.keeps = None;
                slot.ready = ready;
                slot.kills = 0;
                slot.it.restarts = slot.it.restarts.saturating_add(1);
                self.persist = true;
                let waits = !ready && self.newest_spec(id).is_some_and(|spec| spec.has_readiness_rule());
                if run.launched.is_none() || waits { State::Launching(run) } else { State::Online(run) }
            }
            Phase::Draining => State::Online(run),
            Phase::Stopping { kill_at, kills, exit } => {
                slot.kills = kills;
                State::Stopping { run, kill_at, killed: kills > 0, exit }
            }
        };
        let rose = matches!((&phase, &state), (Phase::Rising { .. }, State::Online(_)));
        self.set_state(now, id, state);
        if rose {
            self.watch_health(id, run.id);
        }
    }

    /// Begins to bring down the run beside.
    pub(crate) fn end_beside(&mut self, now: Now, id: InstanceId) {
        let Some(Beside { run, phase: Phase::Rising { .. } | Phase::Draining }) = self.beside(id) else {
            return;
        };
        let Some(spec) = self.newest_spec(id) else { return };
        let (kill_at, kills) = self.ask_to_end(now, &spec, &run, &Cause::Asked);
        self.set_beside(id, Beside { run, phase: Phase::Stopping { kill_at, kills, exit: None } });
        self.deadlines.arm(id, Timer::Beside, kill_at);
    }

    fn kill_beside(&mut self, now: Now, id: InstanceId) {
        let Some(Beside { run, phase: Phase::Stopping { kills, exit, .. } }) = self.beside(id) else {
            return;
        };
        let given_up = kills >= PATIENT_KILLS;
        if given_up && run.pid == 0 {
            return self.beside_over(now, id);
        }
        let kill_timeout = self.newest_spec(id).map_or(Millis(0), |spec| spec.stop.kill_timeout);
        let retry = kill_timeout.max(if given_up { IDLE_RETRY } else { SHORTEST_RETRY });
        let kill_at = now.mono.plus(retry);
        self.push(Action::KillTree { run: run.id });
        let phase = Phase::Stopping { kill_at, kills: kills.saturating_add(1), exit };
        self.set_beside(id, Beside { run, phase });
        self.deadlines.arm(id, Timer::Beside, kill_at);
        if given_up {
            // The new run serves: nobody waits for an old one that cannot be killed.
            self.settle_renewed(now, id);
            self.resolve(id, |want| want == Want::Queued, &Outcome::StillAlive { pid: run.pid });
        }
    }

    /// The run beside is over: lets it go.
    fn beside_over(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(Beside { run, .. }) = slot.beside.take() else { return };
        let own = slot.it.run().map(|run| run.id);
        self.deadlines.disarm(id, Timer::Beside);
        self.runs.remove(&run.id);
        self.push(Action::Release { run: run.id });
        if let Some(own) = own {
            self.push(Action::Share { run: own, on: false });
        }
        self.settle_renewed(now, id);
        self.may_go_on(id);
        self.drive(now, id);
    }

    /// The old run is out of the way: tells the reload what became of the new one.
    fn settle_renewed(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if !slot.waits(Want::Renewed) {
            return;
        }
        match (&slot.it.state, slot.it.desired) {
            (State::Online(run), Desired::Up) => {
                let pid = run.pid;
                self.resolve(id, |want| want == Want::Renewed, &Outcome::Up { pid });
            }
            (State::Launching(_) | State::Stopping { .. } | State::Backoff { .. }, Desired::Up) => {
                slot.turn(Want::Renewed, Want::Restarted);
                self.settle_waiters(now, id);
            }
            _ => {
                let exit = slot.it.last_exit.unwrap_or(Exit::Unknown);
                self.resolve(id, |want| want == Want::Renewed, &Outcome::Died { exit, after_ms: 0 });
            }
        }
    }

    /// The run beside takes the place of the instance's own, which is over: the new one of an old one that
    /// ended by itself, or an old one that must be gone before anything else.
    pub(crate) fn stand_in(&mut self, now: Now, id: InstanceId) {
        let Some(run) = self.beside(id).map(|beside| beside.run.id) else { return };
        if self.beside(id).is_some_and(|beside| beside.phase == Phase::Draining) {
            self.end_beside(now, id);
        }
        self.take_beside_in(now, id);
        self.push(Action::Share { run, on: false });
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.turn(Want::Renewed, Want::Restarted);
        }
        self.may_go_on(id);
    }

    fn extend_beside(&mut self, now: Now, id: InstanceId, ms: u64) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let until = now.mono.plus(crate::health::extension(ms));
        let Some(beside) = slot.beside.as_mut() else { return };
        match &mut beside.phase {
            Phase::Rising { .. } if beside.run.launched.is_some() => {}
            Phase::Stopping { kill_at, kills: 0, .. } => *kill_at = until.max(*kill_at),
            _ => return,
        }
        self.deadlines.extend(id, Timer::Beside, until);
    }

    /// A number for a new run of this instance.
    pub(crate) fn new_run(&mut self, id: InstanceId) -> RunId {
        let run = self.next_run;
        self.next_run = RunId(run.0.saturating_add(1));
        self.runs.insert(run, id);
        run
    }
}
