//! Where in the files of stderr runs began, so that an answer can show what the one that failed has said.

use std::collections::HashMap;

use wpm_core::{InstanceId, Ticket};
use wpm_proto::response::Outcome;

/// Offsets, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    /// Of each instance, where its last run began.
    last: HashMap<InstanceId, u64>,
    /// Of one that has failed, for an answer that tells of it later: a reload may start the instance again before.
    failed: HashMap<(Ticket, InstanceId), u64>,
}

impl Offsets {
    /// A run begins.
    pub(crate) fn begin(&mut self, instance: InstanceId, offset: u64) {
        self.last.insert(instance, offset);
    }

    /// Where the last run began.
    pub(crate) fn of(&self, instance: InstanceId) -> u64 {
        self.last.get(&instance).copied().unwrap_or(0)
    }

    /// Remembers that of a failure, of which the answer to `ticket` tells again.
    pub(crate) fn remember(&mut self, ticket: Ticket, instance: InstanceId, outcome: &Outcome) {
        if let Outcome::Died { error_offset, .. } | Outcome::NotReady { error_offset, .. } = outcome {
            self.failed.insert((ticket, instance), *error_offset);
        }
    }

    /// Puts it into that answer.
    pub(crate) fn recall(&mut self, ticket: Ticket, instance: InstanceId, outcome: &mut Outcome) {
        let offset = self.failed.remove(&(ticket, instance));
        if let Outcome::Died { error_offset, .. } | Outcome::NotReady { error_offset, .. } = outcome {
            *error_offset = offset.unwrap_or(*error_offset);
        }
    }

    /// There will be no answer.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.failed.retain(|(of, _), _| *of != ticket);
    }
}
