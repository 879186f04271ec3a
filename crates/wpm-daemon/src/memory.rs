//! Resident memory of whole process trees, for the apps that have a limit.
//!
//! Runs only while there is such an app; everyone else pays nothing.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use wpm_core::{Event, Input, RunId};

use crate::clock;
use crate::daemon::Daemon;

/// Reads sizes of trees.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    system: Option<System>,
}

impl Sampler {
    /// Resident bytes of each tree; `roots` are shims, whose descendants are the app.
    pub(crate) fn sample<K: Copy>(&mut self, roots: &[(K, i32)]) -> Vec<(K, u64)> {
        if self.system.is_none() {
            self.system = System::new().ok();
        }
        let Some(system) = &mut self.system else { return Vec::new() };
        let trees: Vec<(K, Vec<Pid>)> = roots.iter().map(|(key, shim)| (*key, descendants(*shim))).collect();
        let all: Vec<Pid> = trees.iter().flat_map(|(_, pids)| pids.iter().copied()).collect();
        let _ = system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&all),
            true,
            ProcessRefreshKind::nothing().with_memory().without_tasks(),
        );
        trees
            .into_iter()
            .map(|(key, pids)| {
                (key, pids.iter().filter_map(|p| system.process(*p)).map(sysinfo::Process::memory).sum())
            })
            .collect()
    }
}

impl Daemon {
    /// Has the core know the memory of every run that has a limit.
    pub(crate) fn sample(&mut self) {
        let roots: Vec<(RunId, i32)> = self
            .core
            .sampled()
            .into_keys()
            .filter_map(|run| self.runs.get(&run).map(|r| (run, r.shim_pid)))
            .filter(|(_, shim)| *shim > 0)
            .collect();
        for (run, bytes) in self.sampler.sample(&roots) {
            self.core.handle(clock::now(), Input::Event(run, Event::MemorySampled { bytes }));
        }
    }
}

/// All descendants of a process, itself left out.
fn descendants(root: i32) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_ascii_whitespace().filter_map(|c| c.parse::<i32>().ok()) {
                open.push(child);
                found.push(Pid::from(usize::try_from(child).unwrap_or(0)));
            }
        }
    }
    found
}
