//! Jobs: apps that run when the clock says so, and rest in between.
//!
//! When a rule fires is the daemon's; what a firing means is decided here. A job that waits for the clock
//! is stopped because of [`Cause::Scheduled`] or [`Cause::Finished`]; one that the user stopped is off
//! the clock. Invariant: a job has one run at a time, and a firing starts at most one.

use crate::operation::Want;
use crate::slot::{Next, Recycle};
use crate::{Cause, Core, Desired, Exit, InstanceId, Note, Now, Outcome, ScheduleOverlap, State};

impl Core {
    /// Whether an instance belongs to a job.
    pub(crate) fn is_job(&self, id: InstanceId) -> bool {
        self.newest_spec(id).is_some_and(|spec| spec.schedule.is_some())
    }

    /// It shall be up; a job waits for the clock instead.
    pub(crate) fn want_begun(&mut self, now: Now, id: InstanceId) -> Want {
        if self.is_job(id) { self.want_scheduled(now, id) } else { self.want_up(now, id) }
    }

    /// The job of this instance is put on the clock. What runs as a job runs on; what ran as another kind
    /// of app is ended.
    fn want_scheduled(&mut self, now: Now, id: InstanceId) -> Want {
        self.resolve(id, |want| matches!(want, Want::Down | Want::Gone), &Outcome::Superseded);
        let Some(slot) = self.slots.get_mut(&id) else { return Want::Nothing };
        match slot.it.state {
            State::Stopped if slot.it.is_finished() => {}
            State::Stopped | State::Errored | State::Backoff { .. } => {
                slot.it.desired = Desired::Down;
                slot.it.cause = Cause::Scheduled;
                slot.it.created_wall_ms = now.wall_ms;
                slot.forgive();
                self.persist = true;
                self.set_state(now, id, State::Stopped);
            }
            State::Launching(_) | State::Online(_) if slot.job => {}
            State::Launching(_) | State::Online(_) => {
                slot.it.desired = Desired::Up;
                slot.recycle = Some(Recycle { cause: Cause::Scheduled, next: Next::Finish(Exit::Unknown) });
                self.persist = true;
            }
            State::Stopping { .. } if slot.job && slot.it.desired == Desired::Up => {}
            State::Stopping { .. } => {
                slot.it.desired = Desired::Up;
                slot.next = Next::Finish(Exit::Unknown);
                self.persist = true;
            }
        }
        Want::Nothing
    }

    /// The rule of a job fired.
    pub(crate) fn schedule_fired(&mut self, now: Now, id: InstanceId) {
        let Some(overlap) = self.newest_spec(id).map(|spec| spec.schedule_overlap) else { return };
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if self.quitting || slot.it.desired == Desired::Gone {
            return;
        }
        match (&slot.it.state, slot.it.desired) {
            (State::Stopped, Desired::Down) if !slot.it.is_finished() => {}
            // It waits for an app that it depends on, or is on its way to a new run.
            (State::Stopped, Desired::Up) => {}
            (State::Stopping { .. }, Desired::Up) if slot.next == Next::Now => {}
            (State::Stopped | State::Errored | State::Backoff { .. }, _) => self.run_job(now, id),
            (State::Launching(_) | State::Online(_) | State::Stopping { .. }, Desired::Up) => match overlap {
                ScheduleOverlap::Skip => self.note(id, Note::Skipped),
                ScheduleOverlap::Queue => slot.queued = true,
                ScheduleOverlap::Kill if matches!(slot.it.state, State::Stopping { .. }) => {
                    slot.queued = true;
                }
                ScheduleOverlap::Kill => {
                    slot.recycle = Some(Recycle { cause: Cause::Scheduled, next: Next::Now });
                    self.came_up_before(id);
                    self.drive(now, id);
                }
            },
            // The user stops it.
            (_, Desired::Down | Desired::Gone) => {}
        }
    }

    /// Begins a run of a job that rests.
    pub(crate) fn run_job(&mut self, now: Now, id: InstanceId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.it.desired = Desired::Up;
        slot.it.cause = Cause::Scheduled;
        slot.queued = false;
        slot.forgive();
        self.persist = true;
        self.set_state(now, id, State::Stopped);
        self.note(id, Note::RestartPlanned { delay_ms: 0, cause: Cause::Scheduled });
        self.drive(now, id);
    }
}
