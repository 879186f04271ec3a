//! CPU and memory of running apps, read from the kernel by whoever looks.
//!
//! The daemon has no part in it, so looking costs it nothing. One pass over `/proc` serves all
//! instances; whom an earlier one has found to be a stranger is not read again. Invariant: a process id whose start time differs is a stranger and counts for nothing.

mod cache;
mod diag;
mod glance;
mod procfs;
mod samples;
mod sockets;
mod strangers;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use rustix::time::{ClockId, clock_gettime};
use wpm_proto::home::Home;
use wpm_proto::view::InstanceView;

use procfs::Process;
use samples::{Sample, Samples};
pub use sockets::Sockets;
use strangers::Strangers;

/// Instances up to which their processes are found one by one, and not among all.
const FEW: usize = 8;

/// What an instance's process tree uses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Percent of one CPU, since the last look; since its start where there was none.
    pub cpu: f64,
    /// Resident bytes.
    pub memory: u64,
    /// Processes in the tree.
    pub processes: u32,
}

/// Usage of every instance that runs, by public id.
pub fn measure<'a>(home: &Home, instances: impl Iterator<Item = &'a InstanceView>) -> HashMap<u32, Usage> {
    Survey::whole(home, instances).usage(home)
}

/// One pass over `/proc`, which answers every question about these instances.
#[derive(Debug)]
pub struct Survey<'a> {
    /// Those that run.
    instances: Vec<&'a InstanceView>,
    table: Table,
}

impl<'a> Survey<'a> {
    /// Looks at what runs now, without what earlier looks have found.
    pub fn new(instances: impl Iterator<Item = &'a InstanceView>) -> Self {
        Self::look(None, instances, false)
    }

    /// Looks at what runs now of these instances; the home may have others.
    pub fn some(home: &Home, instances: impl Iterator<Item = &'a InstanceView>) -> Self {
        Self::look(Some(home), instances, false)
    }

    /// Looks at what runs now; these instances are all that the home has.
    pub fn whole(home: &Home, instances: impl Iterator<Item = &'a InstanceView>) -> Self {
        Self::look(Some(home), instances, true)
    }

    fn look(home: Option<&Home>, instances: impl Iterator<Item = &'a InstanceView>, whole: bool) -> Self {
        let instances: Vec<&InstanceView> = instances.filter(|instance| instance.pid > 0).collect();
        if instances.is_empty() {
            return Self { instances, table: Table::new(Vec::new()) };
        }
        let roots = || instances.iter().flat_map(|instance| [instance.pid, instance.shim_pid]);
        if instances.len() <= FEW
            && let Some(processes) = procfs::trees(&roots().collect::<Vec<_>>())
        {
            return Self { instances, table: Table::new(processes) };
        }
        let strangers = home.map(|home| Strangers::load(home, roots())).unwrap_or_default();
        let shims: HashSet<i32> = instances.iter().map(|instance| instance.shim_pid).collect();
        let named = procfs::named();
        // Of shims nothing need be known but who their children are.
        let asked = named.iter().filter(|it| !shims.contains(&it.pid) && !strangers.has(**it));
        let processes = procfs::all(&asked.map(|it| it.pid).collect::<Vec<_>>());
        let survey = Self { table: Table::new(processes.clone()), instances };
        if let Some(home) = home.filter(|_| whole) {
            let own: HashSet<i32> = survey.instances.iter().flat_map(|it| survey.table.pids(it)).collect();
            strangers.note(home, &named, &processes, |pid| own.contains(&pid));
        }
        survey
    }

    /// Usage of every instance, by public id. `home` keeps the sample that the next look compares with.
    pub fn usage(&self, home: &Home) -> HashMap<u32, Usage> {
        if self.instances.is_empty() {
            return HashMap::new();
        }
        let mut samples = Samples::load(home);
        let now = boottime_ms();
        let usage = self
            .instances
            .iter()
            .filter_map(|instance| {
                let totals = self.table.tree(instance)?;
                let sample = Sample { at_ms: now, ticks: totals.ticks };
                let per_second = rustix::param::clock_ticks_per_second();
                let started = instance.start_time * 1000 / per_second;
                let earlier = samples.exchange((instance.pid, instance.start_time), sample);
                let earlier = earlier.unwrap_or(Sample { at_ms: started, ticks: 0 });
                let milliseconds = now.saturating_sub(earlier.at_ms).max(1);
                let ticks = totals.ticks.saturating_sub(earlier.ticks);
                #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
                let cpu = ticks as f64 * 100_000.0 / (per_second as f64 * milliseconds as f64);
                Some((instance.id, Usage { cpu, memory: totals.memory, processes: totals.processes }))
            })
            .collect();
        samples.store(home);
        usage
    }

    /// TCP addresses on which those listen that do not tell themselves, by public id: what [`Self::sockets`]
    /// tells, for a list that is asked for often. Instances in other network namespaces are left out.
    pub fn listening(&self, home: &Home) -> HashMap<u32, Vec<SocketAddr>> {
        let lives = |(pid, start)| self.table.processes.get(&pid).is_some_and(|it| it.start_time == start);
        glance::listening(home, &self.instances, |instance| self.table.pids(instance), lives)
    }

    /// Sockets of every instance, by public id.
    pub fn sockets(&self) -> HashMap<u32, Sockets> {
        sockets::of_trees(self.instances.iter().map(|instance| (*instance, self.table.pids(instance))))
    }
}

fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

#[derive(Debug, Default)]
struct Totals {
    ticks: u64,
    memory: u64,
    processes: u32,
}

/// All processes, with who is whose child.
#[derive(Debug)]
struct Table {
    processes: HashMap<i32, Process>,
    children: HashMap<i32, Vec<i32>>,
}

impl Table {
    fn new(list: Vec<Process>) -> Self {
        let mut processes = HashMap::with_capacity(list.len());
        let mut children: HashMap<i32, Vec<i32>> = HashMap::with_capacity(list.len());
        for process in list {
            children.entry(process.parent).or_default().push(process.pid);
            processes.insert(process.pid, process);
        }
        Self { processes, children }
    }

    /// Sums up the processes of an instance.
    fn tree(&self, instance: &InstanceView) -> Option<Totals> {
        let pids = self.pids(instance);
        if pids.is_empty() {
            return None;
        }
        let mut totals = Totals::default();
        for process in pids.iter().filter_map(|pid| self.processes.get(pid)) {
            totals.ticks += process.ticks;
            totals.memory += process.memory;
            totals.processes += 1;
        }
        Some(totals)
    }

    /// The main process, its descendants, and what its shim has inherited from them; none of a stranger.
    fn pids(&self, instance: &InstanceView) -> Vec<i32> {
        if self.processes.get(&instance.pid).is_none_or(|main| main.start_time != instance.start_time) {
            return Vec::new();
        }
        let mut todo = vec![instance.pid];
        if instance.shim_pid > 0 {
            let inherited = self.children.get(&instance.shim_pid).into_iter().flatten();
            todo.extend(inherited.filter(|pid| **pid != instance.pid));
        }
        let mut next = 0;
        while let Some(pid) = todo.get(next).copied() {
            todo.extend(self.children.get(&pid).into_iter().flatten());
            next += 1;
        }
        todo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, start_time: 7, ticks: 10, memory: 100, wpms: false }
    }

    fn instance(pid: i32, shim_pid: i32) -> InstanceView {
        serde_json::from_value(serde_json::json!({
            "id": 0, "index": 0, "pid": pid, "start_time": 7, "shim_pid": shim_pid, "status": "online",
            "reason": null, "restarts": 0, "unstable": 0, "started_ms": 0, "created_ms": 0, "last_exit": null,
            "restart_in_ms": null, "log_errno": 0, "log_dropped": 0
        }))
        .expect("complete")
    }

    #[test]
    fn the_tree_is_the_app_its_descendants_and_the_orphans_at_its_shim() {
        let table = Table::new(vec![
            process(10, 1),
            process(11, 10),
            process(12, 11),
            process(13, 10),
            process(14, 13),
            process(99, 1),
        ]);
        let totals = table.tree(&instance(11, 10)).expect("runs");
        assert_eq!((totals.processes, totals.memory, totals.ticks), (4, 400, 40));
        // Taken over by a shim that is not its parent.
        let totals = table.tree(&instance(13, 99)).expect("runs");
        assert_eq!(totals.processes, 2);
        assert!(table.tree(&InstanceView { start_time: 8, ..instance(11, 10) }).is_none());
        assert!(table.tree(&instance(1000, 10)).is_none());
    }

    #[test]
    fn this_process_is_found_with_its_memory() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        let all = procfs::all(&procfs::named().iter().map(|it| it.pid).collect::<Vec<_>>());
        let found = all.iter().find(|process| process.pid == me).expect("runs");
        assert!(found.memory > 0 && found.start_time > 0);
        let dir = tempfile::tempdir().expect("temp dir");
        let seen = InstanceView { start_time: found.start_time, ..instance(me, 0) };
        let usage = measure(&Home::new(dir.path()), std::iter::once(&seen));
        assert!(usage[&0].processes >= 1 && usage[&0].memory > 0 && usage[&0].cpu >= 0.0);
    }
}
