//! Processes of which a look need know nothing, so that it does not read them again and again: shims, and whoever has
//! nothing to do with wpm.
//!
//! A file of the run folder holds the pid and the inode number of the folder in `/proc` of each. The kernel
//! numbers that folder anew for every process (and when it has forgotten it), so the same two numbers are the same
//! process; whoever is no descendant of wpm never becomes one, and a shim stays one. Invariant: what is in doubt is
//! read. A file that is missing, damaged or cannot be written costs reading and nothing else.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;

use wpm_proto::home::Home;

use super::cache;
use super::procfs::{Named, Process};

/// Bystanders that are read again rather than noted: writing the file costs as much.
const FEW: usize = 8;

/// What a look need not read. Both in the order of pids, each of which is there once.
#[derive(Debug, Default)]
pub(super) struct Bystanders {
    strangers: Vec<Named>,
    shims: Vec<Named>,
}

impl Bystanders {
    /// Those that an earlier look has found; none where there was none.
    pub(super) fn load(home: &Home) -> Self {
        let mut found = Self::default();
        let text = fs::read_to_string(home.bystanders()).unwrap_or_default();
        for (named, is_shim) in text.lines().filter_map(parse) {
            if is_shim { &mut found.shims } else { &mut found.strangers }.push(named);
        }
        for list in [&mut found.strangers, &mut found.shims] {
            list.sort_unstable_by_key(|named| named.pid);
            list.dedup_by_key(|named| named.pid);
        }
        found
    }

    /// Whether this is one. The kernel names a folder that it could not number 1.
    pub(super) fn has(&self, named: Named) -> bool {
        let is_there = |list| find(list, named.pid).is_some_and(|found| found == named);
        named.inode > 1 && (is_there(&self.strangers) || is_there(&self.shims))
    }

    /// Whether a main process was taken for something else, or its shim for a stranger: then wpm had lost sight of it,
    /// and of its children.
    pub(super) fn mistakes(&self, main: i32, shim: i32) -> bool {
        find(&self.strangers, main).is_some()
            || find(&self.shims, main).is_some()
            || find(&self.strangers, shim).is_some()
    }

    /// How many of these shims are not known yet.
    pub(super) fn unknown(&self, there: &[Named], shims: &[i32]) -> usize {
        there.iter().filter(|named| shims.binary_search(&named.pid).is_ok() && !self.has(**named)).count()
    }

    /// Whether so many that were read and need not have been are worth a file.
    pub(super) const fn is_worth_it(number: usize) -> bool {
        number >= FEW
    }

    /// Notes those of `read` that are strangers, and the shims. `there` are all processes by name, `is_own` knows those
    /// of instances, `shims` are theirs, in order.
    pub(super) fn note(
        &self,
        home: &Home,
        there: &[Named],
        read: &[Process],
        shims: &[i32],
        is_own: impl Fn(i32) -> bool,
    ) {
        let is_shim = |pid: i32| shims.binary_search(&pid).is_ok();
        let is_known = |named: &&Named| !is_shim(named.pid) && self.has(**named);
        let known: HashSet<i32> = there.iter().filter(is_known).map(|named| named.pid).collect();
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
        let strangers = |pid: i32| fresh.contains(&pid) || known.contains(&pid);
        if !Self::is_worth_it(fresh.len() + self.unknown(there, shims)) {
            return;
        }
        let mut text = String::with_capacity(there.len() * 20);
        for named in there {
            let what = match is_shim(named.pid) {
                true => " shim",
                false if strangers(named.pid) => "",
                false => continue,
            };
            let _written = writeln!(text, "{} {}{what}", named.pid, named.inode);
        }
        cache::replace(&home.bystanders(), &text);
    }
}

fn find(list: &[Named], pid: i32) -> Option<Named> {
    let at = list.binary_search_by_key(&pid, |named| named.pid).ok()?;
    list.get(at).copied()
}

/// A line of the file, and whether it tells of a shim.
fn parse(line: &str) -> Option<(Named, bool)> {
    let (line, is_shim) = line.strip_suffix(" shim").map_or((line, false), |line| (line, true));
    let (pid, inode) = line.split_once(' ')?;
    Some((Named { pid: pid.parse().ok()?, inode: inode.parse().ok()? }, is_shim))
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
        Bystanders::default().note(&home, &there, &read, &[], |pid| pid == 70);
        let found = Bystanders::load(&home);
        let mut pids: Vec<i32> = found.strangers.iter().map(|named| named.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1].into_iter().chain(99..110).collect::<Vec<_>>());
        assert!(found.has(named(100)) && !found.has(Named { inode: 7, ..named(100) }), "another process");
        // Who is new and descends from one that is known is told by that.
        let more: Vec<Process> = (200..220).map(|pid| process(pid, 105)).collect();
        let there: Vec<Named> = more.iter().map(|p| named(p.pid)).chain([named(105)]).collect();
        found.note(&home, &there, &more, &[], |_| false);
        let found = Bystanders::load(&home);
        assert!(found.has(named(200)) && found.has(named(105)) && !found.has(named(100)), "it has ended");
        // Wpm has taken back what had been nobody's.
        assert!(found.mistakes(105, 50) && found.mistakes(50, 105) && !found.mistakes(50, 51));
    }

    #[test]
    fn a_shim_is_one_whatever_it_is_called() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        let there: Vec<Named> = (300..340).map(named).collect();
        let shims: Vec<i32> = (300..320).collect();
        // Some of them were read, as nobody knew them yet.
        let read: Vec<Process> = (310..340).map(|pid| Process { wpms: true, ..process(pid, 1) }).collect();
        Bystanders::default().note(&home, &there, &read, &shims, |_| false);
        let found = Bystanders::load(&home);
        assert!((300..320).all(|pid| found.has(named(pid))) && !found.has(named(320)));
        assert!(!found.mistakes(1000, 301) && found.mistakes(301, 1000), "it is an app now");
        // A file for one more is not worth it.
        let before = fs::metadata(home.bystanders()).expect("there").len();
        let more: Vec<Named> = (300..341).map(named).collect();
        let shims: Vec<i32> = shims.into_iter().chain([340]).collect();
        assert_eq!(found.unknown(&more, &shims), 1);
        found.note(&home, &more, &[], &shims, |_| false);
        assert_eq!(fs::metadata(home.bystanders()).expect("there").len(), before);
    }

    #[test]
    fn a_few_are_not_worth_a_file_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        let few = Bystanders::default();
        few.note(&home, &[named(1)], &[process(1, 0)], &[], |_| false);
        assert!(!home.bystanders().exists());
        fs::write(home.bystanders(), "nonsense\n5\n7 x\n8 9\n6 1\n7 8 shims\n9 10 shim\n").expect("written");
        let found = Bystanders::load(&home);
        assert!(found.has(Named { pid: 8, inode: 9 }) && found.strangers.len() == 2);
        assert!(found.has(Named { pid: 9, inode: 10 }) && found.shims.len() == 1);
        assert!(!found.has(Named { pid: 6, inode: 1 }), "that is no number");
    }
}
