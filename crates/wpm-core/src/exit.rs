//! Ends of runs: what is counted, and what follows.
//!
//! A run is over when nothing of its tree is left; until then its instance is stopping, so that
//! the next run finds its ports free. Invariant: each run gets exactly one `Release`, when it is over.

use crate::backoff::{FIRST_DELAY, is_crash_loop};
use crate::operation::Want;
use crate::slot::{Next, Slot};
use crate::{
    Action, Cause, Core, Desired, Exit, InstanceId, Millis, Note, Now, Outcome, RestartPolicy, RunInfo,
    Scope, State,
};

/// Spawns in a row that were cancelled by nobody's wish, after which a command no longer waits.
const PATIENT_SPAWNS: u32 = 3;
/// `ECANCELED`.
pub(crate) const CANCELLED: i32 = 125;

/// Counts the end of a run and decides what follows where the instance is wanted up.
fn verdict(slot: &mut Slot, policy: &RestartPolicy, exit: Exit, uptime: Millis) -> Next {
    if let Exit::Code(code) = exit
        && policy.stop_exit_codes.contains(&code)
    {
        return Next::Finish(exit);
    }
    if !policy.autorestart {
        return Next::Finish(exit);
    }
    restart_or_give_up(slot, policy, exit, uptime)
}

/// The same for an end that leads to a new run in any case but a crash loop.
pub(crate) fn restart_or_give_up(
    slot: &mut Slot,
    policy: &RestartPolicy,
    last: Exit,
    uptime: Millis,
) -> Next {
    let count = slot.window.note_end(policy, uptime);
    slot.it.unstable = count;
    if uptime < policy.min_uptime && is_crash_loop(policy, count) {
        return Next::GiveUp(Cause::CrashLoop { last, count });
    }
    slot.it.restarts = slot.it.restarts.saturating_add(1);
    match slot.pace.after_run(policy, uptime) {
        Millis(0) => Next::Now,
        delay => Next::Later(delay),
    }
}

/// How long a run was up; what its shim has measured is truer than when the daemon heard of it.
pub(crate) fn uptime(run: &RunInfo, now: Now, ran_ms: Option<u64>) -> Millis {
    let heard = run.launched.map_or(Millis(0), |at| now.mono.since(at));
    ran_ms.map_or(heard, Millis)
}

impl Core {
    /// The main process ended.
    pub(crate) fn exited(
        &mut self,
        now: Now,
        id: InstanceId,
        exit: Exit,
        tree_gone: bool,
        ran_ms: Option<u64>,
    ) {
        let Some(spec) = self.spec_of(id) else { return };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match slot.it.state {
            State::Launching(run) | State::Online(run) => {
                let up = uptime(&run, now, ran_ms);
                self.judge(id, &spec.restart, exit, up);
                self.note(id, Note::Exited { exit, uptime_ms: up.0 });
                let kill_at = now.mono.plus(spec.stop.kill_timeout);
                self.set_state(now, id, State::Stopping { run, kill_at, killed: false, exit: Some(exit) });
                if !tree_gone {
                    self.push(Action::Signal { run: run.id, signal: spec.stop.signal, scope: Scope::Tree });
                }
            }
            State::Stopping { run, kill_at, killed, exit: None } => {
                let up = uptime(&run, now, ran_ms);
                slot.it.last_exit = Some(exit);
                slot.it.last_uptime = Some(up);
                if slot.next == Next::Judge {
                    self.judge(id, &spec.restart, exit, up);
                }
                self.note(id, Note::Exited { exit, uptime_ms: up.0 });
                self.set_state(now, id, State::Stopping { run, kill_at, killed, exit: Some(exit) });
            }
            _ => {}
        }
        if tree_gone {
            self.run_over(now, id);
        }
    }

    /// Decides what follows an end that wpm did not bring about.
    fn judge(&mut self, id: InstanceId, policy: &RestartPolicy, exit: Exit, up: Millis) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.it.last_exit = Some(exit);
        slot.it.last_uptime = Some(up);
        slot.it.cause = Cause::Exited(exit);
        if slot.is_rising() {
            // Its successor is on the way up.
            slot.next = Next::Now;
            return;
        }
        slot.next = verdict(slot, policy, exit, up);
        let done = matches!(slot.next, Next::Finish(Exit::Code(code))
            if code == 0 || policy.stop_exit_codes.contains(&code));
        let after_ms = up.0;
        let outcome =
            if done { Outcome::Finished { exit, after_ms } } else { Outcome::Died { exit, after_ms } };
        self.resolve(id, Want::is_up, &outcome);
    }

    /// Nothing of the tree is left.
    pub(crate) fn tree_gone(&mut self, now: Now, id: InstanceId) {
        match self.seen_exit(id) {
            Some(_) => self.run_over(now, id),
            None => self.exited(now, id, Exit::Unknown, true, None),
        }
    }

    /// A stage of the preparation failed: nothing ran.
    pub(crate) fn spawn_failed(
        &mut self,
        now: Now,
        id: InstanceId,
        stage: &'static str,
        errno: i32,
        transient: bool,
    ) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if matches!(slot.it.state, State::Launching(_)) {
            let cause = Cause::SpawnFailed { stage, errno };
            slot.next = if transient {
                Next::Later(slot.spawn_pace.grow_from(FIRST_DELAY))
            } else {
                Next::GiveUp(cause.clone())
            };
            slot.it.cause = cause;
            self.resolve(id, Want::is_up, &Outcome::SpawnFailed { stage, errno });
        }
        self.run_over(now, id);
    }

    /// The run is not there any more and never ran; unless it had been launched, which makes it an
    /// end that nobody saw.
    pub(crate) fn cancelled(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.it.run().is_some_and(|run| run.launched.is_some()) && self.seen_exit(id).is_none() {
            return self.exited(now, id, Exit::Unknown, true, None);
        }
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if matches!(slot.it.state, State::Launching(_)) {
            // Nobody wished it: keeper and shim were killed meanwhile, most likely. Try again.
            slot.false_starts = slot.false_starts.saturating_add(1);
            slot.next = match slot.false_starts {
                1 => Next::Now,
                _ => Next::Later(slot.spawn_pace.grow_from(FIRST_DELAY)),
            };
            if slot.false_starts >= PATIENT_SPAWNS {
                let (stage, errno) = ("waiting at the gate", CANCELLED);
                slot.it.cause = Cause::SpawnFailed { stage, errno };
                self.resolve(id, Want::is_up, &Outcome::SpawnFailed { stage, errno });
            }
        }
        self.run_over(now, id);
    }

    /// The run is over: lets it go and does what follows.
    fn run_over(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(run) = slot.it.run().map(|run| run.id) else { return };
        self.runs.remove(&run);
        let next = std::mem::take(&mut slot.next);
        let desired = slot.it.desired;
        let successor = slot.beside.is_some() && (slot.is_rising() || desired != Desired::Up);
        self.push(Action::Release { run });
        if successor {
            // Its place is taken by the run beside it: the new one, or an old one that must end first.
            self.stand_in(now, id);
            return self.drive(now, id);
        }
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match (desired, next) {
            (Desired::Down, _) => {
                self.set_state(now, id, State::Stopped);
                self.note(id, Note::Stopped);
            }
            (Desired::Gone, _) => self.set_state(now, id, State::Stopped),
            (Desired::Up, Next::Now | Next::Judge) => {
                self.plan_restart(id, Millis(0));
                self.set_state(now, id, State::Stopped);
            }
            (Desired::Up, Next::Later(delay)) => {
                self.plan_restart(id, delay);
                self.set_state(now, id, State::Backoff { until: now.mono.plus(delay) });
            }
            (Desired::Up, Next::Finish(exit)) => {
                slot.it.desired = Desired::Down;
                // Where wpm ended it, it has become a job.
                let ended = exit == Exit::Unknown && slot.it.cause == Cause::Scheduled;
                slot.it.cause = if ended { Cause::Scheduled } else { Cause::Finished(exit) };
                self.persist = true;
                let again = std::mem::take(&mut slot.queued);
                self.set_state(now, id, State::Stopped);
                self.note(id, Note::Stopped);
                if again {
                    return self.run_job(now, id);
                }
            }
            (Desired::Up, Next::GiveUp(cause)) => {
                slot.queued = false;
                slot.it.cause = cause.clone();
                self.persist = true;
                self.set_state(now, id, State::Errored);
                self.note(id, Note::Errored { cause });
            }
        }
        self.drive(now, id);
    }

    fn plan_restart(&mut self, id: InstanceId, delay: Millis) {
        let Some(cause) = self.slots.get(&id).map(|slot| slot.it.cause.clone()) else { return };
        self.note(id, Note::RestartPlanned { delay_ms: delay.0, cause });
    }
}
