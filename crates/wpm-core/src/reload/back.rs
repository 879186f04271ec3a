//! The way back of a reload: a new run did not come up.
//!
//! It says who has to go back and to what; the steps are those of every reload. Invariants: the old spec is
//! in force before the first goes back; what another command has decided meanwhile stays so.

use crate::operation::{Waiter, Want};
use crate::{AppId, Core, Desired, InstanceId, Now, Outcome, Spec, State};

impl Core {
    /// A new run did not come up: the old spec is in force again, and those that run with the new one
    /// go back to it.
    pub(super) fn fall_back(&mut self, now: Now, app: AppId, failed: InstanceId) {
        self.put_spec_back(app);
        self.forget_kept(app);
        let Some(reload) = self.reloads.get_mut(&app) else { return };
        reload.back = true;
        let changed = *reload.old != *reload.new;
        let waiting = std::mem::take(&mut reload.waiting);
        let active: Vec<InstanceId> = reload.active.keys().copied().collect();
        let done = std::mem::take(&mut reload.done);
        for id in active {
            if self.slots.get(&id).is_some_and(|slot| slot.is_rising()) {
                self.end_beside(now, id);
                self.resolve(id, |want| want == Want::Renewed, &Outcome::RolledBack);
            } else if let Some(reload) = self.reloads.get_mut(&app) {
                reload.late.insert(id);
            }
        }
        for id in waiting {
            self.resolve(id, |want| want == Want::Queued, &Outcome::NotTried);
        }
        if changed {
            done.into_iter().for_each(|id| self.queue_back(app, id));
        }
        self.start_again(app, failed);
    }

    /// An instance whose new run failed, and that has no old one, starts with the old spec at once; where
    /// that is the same, its policy decides.
    pub(super) fn start_again(&mut self, app: AppId, id: InstanceId) {
        let serves = self.instance(id).is_some_and(|it| matches!(it.state, State::Online(_)));
        let changed = self.reloads.get(&app).is_some_and(|reload| *reload.old != *reload.new);
        if changed && !serves {
            self.queue_back(app, id);
        }
    }

    pub(super) fn queue_back(&mut self, app: AppId, id: InstanceId) {
        let Some((reload, slot)) = self.reloads.get_mut(&app).zip(self.slots.get_mut(&id)) else { return };
        // What the user has stopped or deleted meanwhile stays so.
        let wanted = slot.it.desired == Desired::Up || reload.failed.contains(&id);
        if wanted && !reload.waiting.contains(&id) {
            reload.waiting.push_back(id);
            slot.waiters.push(Waiter { ticket: reload.ticket, want: Want::Queued });
        }
    }

    /// Puts the old spec back, unless another command has given the app a third one.
    fn put_spec_back(&mut self, id: AppId) {
        let Some((reload, app)) = self.reloads.get(&id).zip(self.apps.get(&id)) else { return };
        let mut spec = (*reload.old).clone();
        if *app.spec != *reload.new {
            // Scaled meanwhile: that stays.
            spec.instances = app.spec.instances;
            if (Spec { instances: app.spec.instances, ..(*reload.new).clone() }) != *app.spec {
                return;
            }
        }
        if self.names.get(&spec.name).is_some_and(|owner| *owner != id) {
            spec.name.clone_from(&app.spec.name);
        }
        if spec != *app.spec {
            self.replace_spec(id, spec);
        }
    }
}
