//! What a run that is up says, or what is found out about it: memory, health, watchdog, notify.
//!
//! Measuring and asking is the daemon's. Invariant: a run that wpm replaces for its own reasons counts
//! like an end, so that a limit which an app cannot keep is a crash loop and not a storm.

use crate::deadlines::Timer;
use crate::exit::{restart_or_give_up, uptime};
use crate::slot::{Next, Recycle};
use crate::{Action, Cause, Core, Desired, Exit, InstanceId, Millis, Now, RunId, State};

/// Longest time by which an app may extend a deadline at once.
const LONGEST_EXTENSION: Millis = Millis(3_600_000);

/// How far an app's wish for more time goes.
pub(crate) fn extension(ms: u64) -> Millis {
    Millis(ms).min(LONGEST_EXTENSION)
}

impl Core {
    /// Has the health of a run watched, if its spec says how. Not before it is up: until then it is waited for.
    pub(crate) fn watch_health(&mut self, id: InstanceId, run: RunId) {
        if self.spec_of(id).is_some_and(|spec| spec.health.is_some()) {
            self.push(Action::WatchHealth { run });
        }
    }

    /// Memory of the tree was measured.
    pub(crate) fn memory_sampled(&mut self, now: Now, id: InstanceId, bytes: u64) {
        let limit = self.spec_of(id).and_then(|spec| spec.restart.max_memory);
        if limit.is_some_and(|limit| bytes > limit) {
            self.replace_for(now, id, Cause::Memory { bytes });
        }
    }

    /// Its checks failed, or it missed its watchdog: a new run.
    pub(crate) fn replace_for(&mut self, now: Now, id: InstanceId, cause: Cause) {
        let Some(spec) = self.spec_of(id) else { return };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let (State::Launching(run) | State::Online(run)) = slot.it.state else { return };
        // One that is being replaced anyway is left alone.
        if run.launched.is_none() || slot.is_rising() || slot.it.desired != Desired::Up {
            return;
        }
        let last = slot.it.last_exit.unwrap_or(Exit::Unknown);
        let next = restart_or_give_up(slot, &spec.restart, last, uptime(&run, now, None));
        slot.recycle = Some(Recycle { cause, next });
        self.came_up_before(id);
        self.drive(now, id);
    }

    /// The app says that it is about to end: it gets its time, and its policy judges the end.
    pub(crate) fn asked_to_stop(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get(&id) else { return };
        if let State::Launching(run) | State::Online(run) = slot.it.state
            && run.launched.is_some()
        {
            self.begin_stop(now, id, &Cause::Leaving, Next::Judge);
        }
    }

    /// The app asks for more time, to become ready or to end.
    pub(crate) fn extend_timeout(&mut self, now: Now, id: InstanceId, ms: u64) {
        let until = now.mono.plus(extension(ms));
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match &mut slot.it.state {
            State::Launching(run) if run.launched.is_some() => {}
            State::Stopping { kill_at, killed: false, .. } => *kill_at = until.max(*kill_at),
            _ => return,
        }
        self.deadlines.extend(id, Timer::State, until);
    }
}
