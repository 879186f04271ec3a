//! Control groups of runs, on a real hierarchy of version 2.
//!
//! Only root can make a group here; elsewhere these tests say so and end.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::support::{TestRun, World, eventually, kill_wpm, not_shown};
use wpm_sys::cgroup;
use wpm_sys::contract::{End, Stage, ToShim};
use wpm_sys::launch::{ControlGroup, Launch};
use wpm_sys::procfs;

/// A group below the one of this test, removed with it.
struct Below(PathBuf);

impl Below {
    fn new(name: &str) -> Option<Self> {
        let path = cgroup::own()?.join(format!("wpm-test-{}-{name}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Some(Self(path)),
            Err(e) => {
                not_shown(&format!("no control group can be made at {}: {e}", path.display()));
                None
            }
        }
    }

    /// Has a launch make a group of its own in here.
    fn put(&self, mut launch: Launch) -> Launch {
        let path = self.0.join("run").into_os_string().into_encoded_bytes();
        launch.group = ControlGroup { path, settings: vec![] };
        launch
    }

    fn members(&self) -> BTreeSet<i32> {
        let text = std::fs::read_to_string(self.0.join("run/cgroup.procs")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        drop(std::fs::write(self.0.join("cgroup.kill"), "1"));
        eventually(|| std::fs::read_to_string(self.0.join("cgroup.events")).unwrap().contains("populated 0"));
        drop(std::fs::remove_dir(self.0.join("run")));
        drop(std::fs::remove_dir(&self.0));
    }
}

fn evil(w: &mut World, below: &Below) -> TestRun {
    let pids = w.home().join("pids");
    let launch = below.put(w.launch(&["evil", pids.to_str().unwrap()]));
    let run = w.start(launch);
    eventually(|| w.text("pids").lines().collect::<BTreeSet<_>>().len() >= 9);
    run
}

#[test]
fn everything_of_a_run_is_in_its_group_which_goes_with_it() {
    let mut w = World::new();
    let Some(below) = Below::new("all") else { return };
    let mut run = evil(&mut w, &below);
    let inside = below.members();
    assert!(inside.contains(&run.report().pid) && !inside.contains(&run.shim()));
    // Whoever has left session, group and parent behind is in it all the same.
    let written: BTreeSet<i32> = w.text("pids").lines().map(|l| l.parse().unwrap()).collect();
    let lives = |pid: &&i32| procfs::stat(**pid).is_some_and(|s| !s.is_zombie());
    assert!(written.iter().filter(lives).all(|pid| below.members().contains(pid) || !lives(&pid)));
    run.tell(&ToShim::KillTree);
    let last = run.until(|r| r.tree_gone);
    assert_eq!((last.end, last.is_out_of_memory()), (Some(End::Signal { signal: 9, core: false }), false));
    assert_eq!(below.members(), BTreeSet::new());
    run.finish();
    eventually(|| !below.0.join("run").exists());
}

/// A process that forks faster than it can be found is caught by its parent, or by its group.
#[test]
fn a_replaced_shim_catches_a_moving_target_by_its_group() {
    let mut w = World::new();
    let Some(below) = Below::new("moving") else { return };
    if !below.0.join("cgroup.kill").exists() {
        not_shown("this kernel has no cgroup.kill");
        return;
    }
    let mut run = evil(&mut w, &below);
    let shim = run.shim();
    assert!(kill_wpm(shim));
    run.until(|r| r.shim_pid != shim);
    run.tell(&ToShim::KillTree);
    run.until(|r| r.tree_gone);
    assert_eq!(below.members(), BTreeSet::new());
    run.finish();
    eventually(|| !below.0.join("run").exists());
}

#[test]
fn a_setting_that_is_refused_fails_the_start_and_says_where() {
    let mut w = World::new();
    let Some(below) = Below::new("refused") else { return };
    let mut launch = below.put(w.launch(&["wait"]));
    launch.group.settings = vec![(b"no.such.file".to_vec(), b"1".to_vec())];
    let mut run = w.spawn(launch);
    let stage = Stage::ControlGroup;
    assert!(matches!(run.ended(), End::NotStarted { stage: s, .. } if s == stage));
    run.finish();
    assert!(!below.0.join("run").exists(), "nothing is left of it");
    // A setting of the kernel's that is always there is taken.
    let mut launch = below.put(w.launch(&["exit", "0"]));
    launch.group.settings = vec![(b"cgroup.max.depth".to_vec(), b"1".to_vec())];
    let mut run = w.start(launch);
    assert_eq!(run.ended(), End::Code(0));
    run.finish();
}

#[test]
fn a_group_that_cannot_be_made_is_done_without() {
    let mut w = World::new();
    let mut launch = w.launch(&["exit", "3"]);
    launch.group.path = b"/proc/no/such/group".to_vec();
    let mut run = w.start(launch);
    assert_eq!(run.ended(), End::Code(3));
    run.finish();
}
