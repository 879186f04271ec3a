//! The control groups of runs, where one was delegated to wpm.
//!
//! Only says which group a run gets and with which settings; the shim makes it, the child enters it.
//! Invariant: without a delegated group nothing is different but what needs one.

use wpm_core::{Command, RunId, Spec};
use wpm_sys::launch::ControlGroup;

use crate::daemon::Daemon;

impl Daemon {
    /// The group of a new run.
    pub(crate) fn control_group(&self, run: RunId, spec: &Spec) -> ControlGroup {
        use std::os::unix::ffi::OsStrExt;
        let Some(groups) = &self.groups else { return ControlGroup::default() };
        let path = groups.group(run.0).path().as_os_str().as_bytes().to_vec();
        let there = groups.controllers();
        let asked = settings(spec).into_iter();
        let possible = asked.filter(|(controller, ..)| there.iter().any(|name| name == controller));
        let bytes = |(_, file, value): (&str, &str, String)| (file.as_bytes().to_vec(), value.into_bytes());
        ControlGroup { path, settings: possible.map(bytes).collect() }
    }

    /// Limits that a command asks for and that have no effect here.
    pub(crate) fn limits_without_effect(&self, command: &Command) -> Vec<String> {
        let apps = match command {
            Command::Start(start) => &start.apps,
            Command::RestartWith(apps) | Command::ReloadWith { apps, .. } => apps,
            Command::Apply(apply) => &apply.apps,
            _ => return Vec::new(),
        };
        if apps.iter().all(|app| settings(&app.spec).is_empty()) {
            return Vec::new();
        }
        let there = self.groups.as_ref().map(wpm_sys::cgroup::Delegation::controllers).unwrap_or_default();
        let mut remarks = Vec::new();
        for app in apps {
            for (controller, ..) in settings(&app.spec) {
                if !there.iter().any(|name| name == controller) {
                    let remark = format!(
                        "{}: `{controller}_max` has no effect: no control group with it was delegated to wpm, see `wpm doctor`",
                        app.spec.name
                    );
                    tracing::warn!("{remark}");
                    remarks.push(remark);
                }
            }
        }
        remarks
    }
}

/// What the limits of an app are in the files of its group: controller, file, value.
fn settings(spec: &Spec) -> Vec<(&'static str, &'static str, String)> {
    /// Microseconds in which a quota of CPU time may be used up.
    const PERIOD: u64 = 100_000;
    let memory = spec.memory_max.map(|bytes| ("memory", "memory.max", bytes.to_string()));
    let cpu = spec.cpu_max.map(|percent| {
        let quota = u64::from(percent).saturating_mul(PERIOD / 100).max(1000);
        ("cpu", "cpu.max", format!("{quota} {PERIOD}"))
    });
    memory.into_iter().chain(cpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_the_kernel_reads_them() {
        let mut spec = Spec::new("web", "/srv/web", "/srv");
        assert!(settings(&spec).is_empty());
        (spec.memory_max, spec.cpu_max) = (Some(64 << 20), Some(150));
        let files: Vec<(&str, String)> =
            settings(&spec).into_iter().map(|(_, file, value)| (file, value)).collect();
        assert_eq!(files, [("memory.max", "67108864".to_owned()), ("cpu.max", "150000 100000".to_owned())]);
    }
}
