//! The shared pages of all runs, mapped for one look at them.
//!
//! The keeper maps none for longer: every mapping makes every fork dearer, and only where an app has lost its
//! shim does the keeper read or write one. Invariant: a page is found by its run, whatever has become of the
//! table meanwhile. One that cannot be mapped is left out, and what it would have told is not known.

use std::collections::BTreeMap;

use wpm_sys::slot::SlotMap;

use super::Run;

/// Pages by the number of the run.
pub(super) struct Pages(BTreeMap<u64, SlotMap>);

impl Pages {
    /// Maps the pages of these runs.
    pub(super) fn of(runs: &[Run]) -> Self {
        Self(runs.iter().filter_map(|r| Some((r.wires.run.0, r.wires.page().ok()?))).collect())
    }

    /// The page of a run.
    pub(super) fn get(&self, run: &Run) -> Option<&SlotMap> {
        self.0.get(&run.wires.run.0)
    }

    /// Whether something is true of a run's page.
    pub(super) fn is(&self, run: &Run, what: impl Fn(&SlotMap) -> bool) -> bool {
        self.get(run).is_some_and(what)
    }
}
