//! Commands that wait: which instances they wait for, what came of each, and their one reply.
//!
//! It does not know what an outcome means. Invariant: each command gets exactly one reply, when every
//! instance that it concerns has its outcome, or none if its client is gone.

use std::collections::BTreeMap;

use crate::reload::Turn;
use crate::{Action, CommandError, Core, InstanceId, InstanceOutcome, Millis, Now, Outcome, Reply, Ticket};

/// What a command wants of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Up and past its start check.
    Up,
    /// Down, tree gone.
    Down,
    /// Out of the list.
    Gone,
    /// Nothing to wait for.
    Nothing,
    /// Its turn in a reload.
    Queued,
    /// In a reload: a new run in place of the old one, and that one gone.
    Renewed,
    /// In a reload: up and past its start check, without an old run to fall back on.
    Restarted,
}

impl Want {
    /// Whether it is met by the instance's own run coming up.
    pub(crate) const fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Restarted)
    }

    /// Whether it belongs to a reload.
    pub(crate) const fn is_turn(self) -> bool {
        matches!(self, Self::Queued | Self::Renewed | Self::Restarted)
    }

    /// Whether it is in vain when the instance is to be down.
    pub(crate) const fn ends_up(self) -> bool {
        self.is_up() || self.is_turn()
    }
}

/// A command that waits for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// The command.
    pub(crate) ticket: Ticket,
    /// What it waits for.
    pub(crate) want: Want,
}

/// What comes after the last outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finale {
    /// The reply.
    Reply,
    /// The reply and the end of the daemon.
    Quit,
}

/// Instances in the order of the reply, with what is wanted of each.
pub(crate) type Plan = Vec<(InstanceId, Want)>;

/// One command that was taken.
#[derive(Debug)]
pub(crate) struct Operation {
    order: Vec<InstanceId>,
    outcomes: BTreeMap<InstanceId, InstanceOutcome>,
    finale: Finale,
    /// Whether the client is still there.
    heard: bool,
    /// Reloads under way: no reply before they are through, whatever is known.
    held: usize,
}

impl Core {
    /// Takes a command: refuses it, or makes the plan wait and drives each of its instances.
    pub(crate) fn undertake(
        &mut self,
        now: Now,
        ticket: Ticket,
        plan: Result<Plan, CommandError>,
        finale: Finale,
    ) {
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                self.push(Action::Reply { ticket, reply: Reply::Refused(error) });
                return;
            }
        };
        let order = plan.iter().map(|(id, _)| *id).collect();
        let held = self.reloads.values().filter(|reload| reload.ticket == ticket).count();
        let operation = Operation { order, outcomes: BTreeMap::new(), finale, heard: true, held };
        self.operations.insert(ticket, operation);
        for (id, want) in &plan {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.waiters.push(Waiter { ticket, want: *want });
            }
        }
        for (id, _) in &plan {
            self.drive(now, *id);
        }
        self.conclude(ticket);
    }

    /// Nobody waits for this reply any more; the work goes on.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        if let Some(operation) = self.operations.get_mut(&ticket) {
            operation.heard = false;
        }
    }

    /// Gives the outcome to those who wait at an instance and whom `concerned` picks.
    pub(crate) fn resolve(&mut self, id: InstanceId, concerned: impl Fn(Want) -> bool, outcome: &Outcome) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.waiters.is_empty() {
            return;
        }
        let (done, left) =
            std::mem::take(&mut slot.waiters).into_iter().partition(|waiter| concerned(waiter.want));
        slot.waiters = left;
        let (index, of_app) = (slot.it.index, slot.it.app);
        let app = self.apps.get(&slot.it.app).map_or_else(String::new, |app| app.spec.name.clone());
        let done: Vec<Waiter> = done;
        for waiter in done {
            let outcome = InstanceOutcome { instance: id, app: app.clone(), index, outcome: outcome.clone() };
            if waiter.want.is_turn() {
                self.turns.push_back(Turn::Ended(waiter.ticket, of_app, outcome));
            } else {
                self.report(waiter.ticket, outcome);
            }
        }
    }

    /// Has a command wait for one more instance.
    pub(crate) fn join(&mut self, ticket: Ticket, id: InstanceId, want: Want) {
        let Some(operation) = self.operations.get_mut(&ticket) else { return };
        if !operation.order.contains(&id) {
            operation.order.push(id);
        }
        operation.outcomes.remove(&id);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.waiters.push(Waiter { ticket, want });
        }
    }

    /// A reload of this command is through.
    pub(crate) fn let_reply(&mut self, ticket: Ticket) {
        if let Some(operation) = self.operations.get_mut(&ticket) {
            operation.held = operation.held.saturating_sub(1);
        }
        self.conclude(ticket);
    }

    pub(crate) fn report(&mut self, ticket: Ticket, outcome: InstanceOutcome) {
        let Some(operation) = self.operations.get_mut(&ticket) else { return };
        if !operation.order.contains(&outcome.instance) {
            return;
        }
        let heard = operation.heard;
        operation.outcomes.insert(outcome.instance, outcome.clone());
        if heard {
            self.push(Action::Progress { ticket, outcome });
        }
        self.conclude(ticket);
    }

    /// Replies if every outcome is there.
    fn conclude(&mut self, ticket: Ticket) {
        let complete =
            |operation: &Operation| operation.held == 0 && operation.outcomes.len() >= operation.order.len();
        if !self.operations.get(&ticket).is_some_and(complete) {
            return;
        }
        let Some(mut operation) = self.operations.remove(&ticket) else { return };
        if operation.heard {
            let outcomes = operation.order.iter().filter_map(|id| operation.outcomes.remove(id)).collect();
            self.push(Action::Reply { ticket, reply: Reply::Done(outcomes) });
        }
        if operation.finale == Finale::Quit && !self.quit_sent {
            self.quit_sent = true;
            self.push(Action::Quit);
        }
    }

    /// Gives their outcome to those whose wish an instance meets now, and sets the deadline of the
    /// start check for the others.
    pub(crate) fn settle_waiters(&mut self, now: Now, id: InstanceId) {
        use crate::deadlines::Timer;
        use crate::{Desired, State};

        let Some(slot) = self.slots.get(&id) else { return };
        if slot.waiters.is_empty() {
            return self.deadlines.disarm(id, Timer::Check);
        }
        let check = self.spec_of(id).map_or(Millis(0), |spec| spec.start_check);
        let mut check_at = None;
        let up = match (&slot.it.state, slot.it.desired) {
            (State::Online(run), Desired::Up) => {
                let due = run.launched.unwrap_or(now.mono).plus(check);
                if slot.ready || due <= now.mono {
                    Some(Outcome::Up { pid: run.pid })
                } else {
                    check_at = Some(due);
                    None
                }
            }
            (State::Stopped | State::Errored | State::Backoff { .. }, Desired::Down | Desired::Gone)
            | (State::Errored, Desired::Up) => Some(Outcome::Superseded),
            _ => None,
        };
        let down = matches!(slot.it.state, State::Stopped | State::Errored);
        let waits_for_up = slot.waiters.iter().any(|waiter| waiter.want.is_up());
        match check_at {
            Some(due) if waits_for_up => self.deadlines.arm(id, Timer::Check, due),
            _ => self.deadlines.disarm(id, Timer::Check),
        }
        let on_clock = slot.it.is_finished() && self.is_job(id);
        let nothing = if on_clock { Outcome::Scheduled } else { Outcome::Done };
        self.resolve(id, |want| want == Want::Nothing, &nothing);
        if let Some(outcome) = up {
            self.resolve(id, Want::is_up, &outcome);
        }
        if down {
            self.resolve(id, |want| want == Want::Down, &Outcome::Down);
        }
    }
}
