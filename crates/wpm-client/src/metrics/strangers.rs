//! Processes that have nothing to do with wpm, so that a look does not read them again and again.
//!
//! A file of the run folder holds the pid and the inode number of the folder in `/proc` of each. The kernel
//! numbers that folder anew for every process (and when it has forgotten it), so the same two numbers are the same
//! process; and whoever is no descendant of wpm never becomes one. Invariant: what is in doubt is read. A file that is
//! missing, damaged or cannot be written costs reading and nothing else.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;

use wpm_proto::home::Home;

use super::cache;
use super::procfs::{Named, Process};

/// Strangers that are read again rather than noted: writing the file costs as much.
const FEW: usize = 8;

/// What a look need not read.
#[derive(Debug, Default)]
pub(super) struct Strangers(HashSet<Named>);

impl Strangers {
    /// Those that an earlier look has found. None where one of these processes, which are wpm's, is among them: then
    /// wpm had lost sight of it, and of its children.
    pub(super) fn load(home: &Home, own: impl Iterator<Item = i32>) -> Self {
        let text = fs::read_to_string(home.strangers()).unwrap_or_default();
        let all: HashSet<Named> = text.lines().filter_map(parse).collect();
        let pids: HashSet<i32> = all.iter().map(|named| named.pid).collect();
        Self(if own.into_iter().any(|pid| pids.contains(&pid)) { HashSet::new() } else { all })
    }

    /// Whether this is one. The kernel names a folder that it could not number 1.
    pub(super) fn has(&self, named: Named) -> bool {
        named.inode > 1 && self.0.contains(&named)
    }

    /// Notes those of `read` that are strangers, where there are enough of them. `there` are all processes by name, `is_own`
    /// knows those of instances.
    pub(super) fn note(&self, home: &Home, there: &[Named], read: &[Process], is_own: impl Fn(i32) -> bool) {
        let known: HashSet<i32> =
            there.iter().filter(|named| self.has(**named)).map(|named| named.pid).collect();
        let parents: std::collections::HashMap<i32, &Process> =
            read.iter().map(|process| (process.pid, process)).collect();
        let is_stranger = |process: &Process| {
            let mut at = process;
            // No chain is longer than that; two that were each other's parents at different moments are.
            for _ in 0..=read.len() {
                if at.wpms || is_own(at.pid) {
                    return false;
                }
                if at.parent == 0 || known.contains(&at.parent) {
                    return true;
                }
                match parents.get(&at.parent) {
                    Some(parent) => at = parent,
                    // It has ended, or is not shown, or was not asked for.
                    None => return false,
                }
            }
            false
        };
        let fresh: HashSet<i32> =
            read.iter().filter(|process| is_stranger(process)).map(|process| process.pid).collect();
        if fresh.len() < FEW {
            return;
        }
        let mut text = String::with_capacity(there.len() * 20);
        for named in there.iter().filter(|named| self.has(**named) || fresh.contains(&named.pid)) {
            let _written = writeln!(text, "{} {}", named.pid, named.inode);
        }
        cache::replace(&home.strangers(), &text);
    }
}

fn parse(line: &str) -> Option<Named> {
    let (pid, inode) = line.split_once(' ')?;
    Some(Named { pid: pid.parse().ok()?, inode: inode.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, start_time: 7, ticks: 0, memory: 0, wpms: false }
    }

    fn named(pid: i32) -> Named {
        Named { pid, inode: u64::from(pid.unsigned_abs()) + 1000 }
    }

    #[test]
    fn only_who_descends_from_nobody_of_wpm_is_a_stranger() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        let mut read = vec![process(1, 0), Process { wpms: true, ..process(50, 1) }];
        // An app of another home, its child, one whose parent has gone, an app that was taken back, its child.
        read.extend([process(51, 50), process(52, 51), process(60, 59), process(70, 1), process(71, 70)]);
        read.extend((100..110).map(|pid| process(pid, pid - 1)));
        read.push(process(99, 1));
        let there: Vec<Named> = read.iter().map(|process| named(process.pid)).collect();
        Strangers::default().note(&home, &there, &read, |pid| pid == 70);
        let found = Strangers::load(&home, std::iter::empty());
        let mut pids: Vec<i32> = found.0.iter().map(|named| named.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1].into_iter().chain(99..110).collect::<Vec<_>>());
        assert!(found.has(named(100)) && !found.has(Named { inode: 7, ..named(100) }), "another process");
        // Who is new and descends from one that is known is told by that.
        let more: Vec<Process> = (200..220).map(|pid| process(pid, 105)).collect();
        let there: Vec<Named> = more.iter().map(|p| named(p.pid)).chain([named(105)]).collect();
        found.note(&home, &there, &more, |_| false);
        let found = Strangers::load(&home, std::iter::empty());
        assert!(found.has(named(200)) && found.has(named(105)) && !found.has(named(100)), "it has ended");
        // Wpm has taken back what had been nobody's.
        assert!(!Strangers::load(&home, std::iter::once(105)).has(named(200)));
    }

    #[test]
    fn a_few_are_not_worth_a_file_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        Strangers::default().note(&home, &[named(1)], &[process(1, 0)], |_| false);
        assert!(!home.strangers().exists());
        fs::write(home.strangers(), "nonsense\n5\n7 x\n8 9\n6 1\n").expect("written");
        let found = Strangers::load(&home, std::iter::empty());
        assert!(found.has(Named { pid: 8, inode: 9 }) && found.0.len() == 2);
        assert!(!found.has(Named { pid: 6, inode: 1 }), "that is no number");
    }
}
