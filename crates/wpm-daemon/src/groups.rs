//! The control groups of runs, where one was delegated to wpm.
//!
//! Only says which group a run gets and with which settings; the shim makes it, the child enters it.
//! Invariant: without a delegated group nothing is different but what needs one.

use wpm_core::RunId;
use wpm_sys::launch::ControlGroup;

use crate::daemon::Daemon;

impl Daemon {
    /// The group of a new run.
    pub(crate) fn control_group(&self, run: RunId) -> ControlGroup {
        use std::os::unix::ffi::OsStrExt;
        let Some(groups) = &self.groups else { return ControlGroup::default() };
        let path = groups.group(run.0).path().as_os_str().as_bytes().to_vec();
        ControlGroup { path, settings: vec![] }
    }
}
