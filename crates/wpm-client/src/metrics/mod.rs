//! CPU and memory of running apps, read from the kernel by whoever looks.
//!
//! The daemon has no part in it, so looking costs it nothing. One pass over `/proc` serves all
//! instances; whom an earlier one has found to be a bystander is not read again. Invariant: a process id whose start time differs is a stranger and counts for nothing.

mod bystanders;
mod cache;
mod diag;
mod early;
mod glance;
mod procfs;
mod samples;
mod sockets;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use rustix::time::{ClockId, clock_gettime};
use wpm_proto::home::Home;
use wpm_proto::view::InstanceView;

use bystanders::Bystanders;
pub use early::Early;
use glance::Listening;
use procfs::{Named, Process};
use samples::{Sample, Samples};
pub use sockets::Sockets;

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

/// One pass over `/proc`, which answers every question about these instances.
#[derive(Debug)]
pub struct Survey<'a> {
    /// Those that run, each with the processes of its tree: none of a stranger.
    trees: Vec<(&'a InstanceView, Vec<i32>)>,
    table: Table,
    /// When it looked, in milliseconds since boot.
    at_ms: u64,
    earlier: Earlier,
}

/// What earlier looks have left for this one, as far as it was fetched already.
#[derive(Debug, Default)]
struct Earlier {
    samples: Option<Samples>,
    listening: Option<Listening>,
}

impl<'a> Survey<'a> {
    /// Looks at what runs now, without what earlier looks have found.
    pub fn new(instances: impl Iterator<Item = &'a InstanceView>) -> Self {
        Self::look(None, running(instances), false)
    }

    /// Looks at what runs now of these instances; the home may have others.
    pub fn some(home: &Home, instances: impl Iterator<Item = &'a InstanceView>) -> Self {
        Self::look(Some(home), running(instances), false)
    }

    fn look(home: Option<&Home>, instances: Vec<&'a InstanceView>, whole: bool) -> Self {
        if instances.is_empty() {
            return Self::of(instances, Table::new(Vec::new()), boottime_ms());
        }
        let roots = || instances.iter().flat_map(|instance| [instance.pid, instance.shim_pid]);
        if instances.len() <= FEW
            && let Some(processes) = procfs::trees(&roots().collect::<Vec<_>>())
        {
            return Self::of(instances, Table::new(processes), boottime_ms());
        }
        let shims = shims_of(&instances);
        let mistaken = |known: &Bystanders| instances.iter().any(|it| known.mistakes(it.pid, it.shim_pid));
        let known = home.map(Bystanders::load).filter(|known| !mistaken(known)).unwrap_or_default();
        let named = procfs::named();
        // Of shims nothing need be known but who their children are.
        let asked = named.iter().filter(|it| shims.binary_search(&it.pid).is_err() && !known.has(**it));
        let processes = procfs::all(asked.map(|it| it.pid).collect());
        let survey = Self::of(instances, Table::new(processes), boottime_ms());
        if let Some(home) = home.filter(|_| whole) {
            survey.note(home, &known, &named, &shims, known.unknown(&named, &shims));
        }
        survey
    }

    fn of(instances: Vec<&'a InstanceView>, table: Table, at_ms: u64) -> Self {
        let trees = instances.into_iter().map(|instance| (instance, table.pids(instance))).collect();
        Self { trees, table, at_ms, earlier: Earlier::default() }
    }

    /// Leaves to the next look whom it need not read, where this one has read some of them; so many of them shims.
    fn note(&self, home: &Home, known: &Bystanders, named: &[Named], shims: &[i32], unknown_shims: usize) {
        let own = || self.trees.iter().flat_map(|(_, pids)| pids);
        let others = self.table.processes.len().saturating_sub(own().count());
        if Bystanders::is_worth_it(others + unknown_shims) {
            let own: HashSet<i32> = own().copied().collect();
            known.note(home, named, &self.table.processes, shims, |pid| own.contains(&pid));
        }
    }

    /// Usage of every instance, by public id. `home` keeps the sample that the next look compares with.
    pub fn usage(&mut self, home: &Home) -> HashMap<u32, Usage> {
        if self.trees.is_empty() {
            return HashMap::new();
        }
        let mut samples = self.earlier.samples.take().unwrap_or_else(|| Samples::load(home));
        let (now, per_second) = (self.at_ms, rustix::param::clock_ticks_per_second());
        let usage = self
            .trees
            .iter()
            .filter_map(|(instance, pids)| {
                let totals = self.table.sum(pids)?;
                let sample = Sample { at_ms: now, ticks: totals.ticks };
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
    pub fn listening(&mut self, home: &Home) -> HashMap<u32, Vec<SocketAddr>> {
        let looked = self.earlier.listening.take();
        let table = &self.table;
        let lives = |(pid, start)| table.get(pid).is_some_and(|it| it.start_time == start);
        glance::listening(home, looked, &self.trees, lives)
    }

    /// Sockets of every instance, by public id.
    pub fn sockets(&self) -> HashMap<u32, Sockets> {
        sockets::of_trees(&self.trees)
    }
}

fn running<'a>(instances: impl Iterator<Item = &'a InstanceView>) -> Vec<&'a InstanceView> {
    instances.filter(|instance| instance.pid > 0).collect()
}

/// Their shims, in order.
fn shims_of(instances: &[&InstanceView]) -> Vec<i32> {
    let mut shims: Vec<i32> = instances.iter().map(|instance| instance.shim_pid).collect();
    shims.sort_unstable();
    shims
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
    /// In the order of their pids.
    processes: Vec<Process>,
    /// Parent and child, in order.
    children: Vec<(i32, i32)>,
}

impl Table {
    fn new(mut processes: Vec<Process>) -> Self {
        processes.sort_unstable_by_key(|process| process.pid);
        let mut children: Vec<(i32, i32)> =
            processes.iter().map(|process| (process.parent, process.pid)).collect();
        children.sort_unstable();
        Self { processes, children }
    }

    fn get(&self, pid: i32) -> Option<&Process> {
        let at = self.processes.binary_search_by_key(&pid, |process| process.pid).ok()?;
        self.processes.get(at)
    }

    fn children(&self, pid: i32) -> impl Iterator<Item = i32> {
        let first = self.children.partition_point(|(parent, _)| *parent < pid);
        let from = self.children.iter().skip(first);
        from.take_while(move |(parent, _)| *parent == pid).map(|(_, child)| *child)
    }

    /// Sums up the processes of a tree; none of an empty one.
    fn sum(&self, pids: &[i32]) -> Option<Totals> {
        let mut totals = Totals::default();
        for process in pids.iter().filter_map(|pid| self.get(*pid)) {
            totals.ticks += process.ticks;
            totals.memory += process.memory;
            totals.processes += 1;
        }
        (totals.processes > 0).then_some(totals)
    }

    /// The main process, its descendants, and what its shim has inherited from them; none of a stranger.
    fn pids(&self, instance: &InstanceView) -> Vec<i32> {
        if !self.has_main(instance) {
            return Vec::new();
        }
        let mut todo = vec![instance.pid];
        if instance.shim_pid > 0 {
            todo.extend(self.children(instance.shim_pid).filter(|pid| *pid != instance.pid));
        }
        let mut next = 0;
        while let Some(pid) = todo.get(next).copied() {
            todo.extend(self.children(pid));
            next += 1;
        }
        todo
    }

    /// Whether its main process is there, and no stranger.
    fn has_main(&self, instance: &InstanceView) -> bool {
        self.get(instance.pid).is_some_and(|main| main.start_time == instance.start_time)
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
        let tree = |instance: &InstanceView| table.sum(&table.pids(instance));
        let totals = tree(&instance(11, 10)).expect("runs");
        assert_eq!((totals.processes, totals.memory, totals.ticks), (4, 400, 40));
        // Taken over by a shim that is not its parent.
        let totals = tree(&instance(13, 99)).expect("runs");
        assert_eq!(totals.processes, 2);
        assert!(tree(&InstanceView { start_time: 8, ..instance(11, 10) }).is_none());
        assert!(tree(&instance(1000, 10)).is_none());
    }

    #[test]
    fn this_process_is_found_with_its_memory() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        let all = procfs::all(procfs::named().iter().map(|it| it.pid).collect());
        let found = all.iter().find(|process| process.pid == me).expect("runs");
        assert!(found.memory > 0 && found.start_time > 0);
        let dir = tempfile::tempdir().expect("temp dir");
        let seen = InstanceView { start_time: found.start_time, ..instance(me, 0) };
        let home = Home::new(dir.path());
        let usage = Survey::begin(&home, false).of(std::iter::once(&seen)).usage(&home);
        assert!(usage[&0].processes >= 1 && usage[&0].memory > 0 && usage[&0].cpu >= 0.0);
    }
}
