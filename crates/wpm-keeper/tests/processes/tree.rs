//! Signals to trees, and killing them to the last process.

use std::collections::BTreeSet;

use crate::support::{PUPPET, TestRun, World, eventually, kill_wpm};
use wpm_sys::contract::{End, Scope, ToShim};
use wpm_sys::procfs;
use wpm_sys::start::{RUN_VARIABLE, run_mark};

/// Living processes among those that wrote their pid into the file.
fn alive(w: &World, file: &str) -> Vec<i32> {
    let own = w.home().to_str().unwrap().to_owned();
    w.text(file)
        .lines()
        .filter_map(|l| l.parse().ok())
        .filter(|pid| procfs::stat(*pid).is_some_and(|s| !s.is_zombie()))
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.contains(&own)))
        .collect()
}

fn evil(w: &World) -> wpm_sys::launch::Launch {
    let pids = w.home().join("pids");
    w.launch(&["evil", pids.to_str().unwrap()])
}

#[test]
fn nobody_of_an_evil_tree_is_left() {
    let mut w = World::new();
    let mut run = w.start(evil(&w));
    eventually(|| w.text("pids").lines().collect::<BTreeSet<_>>().len() >= 9);
    assert!(alive(&w, "pids").len() >= 8, "{:?}", alive(&w, "pids"));
    run.tell(&ToShim::KillTree);
    let last = run.until(|r| r.tree_gone);
    assert_eq!(last.end, Some(End::Signal { signal: 9, core: false }));
    assert_eq!(alive(&w, "pids"), []);
    run.finish();
}

#[test]
fn orphans_outlive_the_main_process_until_they_are_killed() {
    let mut w = World::new();
    let mut run = w.start(evil(&w));
    eventually(|| w.text("pids").lines().collect::<BTreeSet<_>>().len() >= 9);
    run.tell(&ToShim::Signal { signal: 9, scope: Scope::Main });
    run.ended();
    assert!(!run.report().tree_gone);
    assert!(alive(&w, "pids").len() >= 7);
    run.tell(&ToShim::KillTree);
    run.until(|r| r.tree_gone);
    assert_eq!(alive(&w, "pids"), []);
    run.finish();
}

#[test]
fn a_replaced_shim_kills_the_tree_as_well() {
    let mut w = World::new();
    let mut launch = evil(&w);
    // Without the moving target, which nobody but a parent can catch for certain.
    launch.args[1] = b"still".to_vec();
    let mut run = w.start(launch);
    eventually(|| w.text("pids").lines().collect::<BTreeSet<_>>().len() >= 8);
    let shim = run.shim();
    assert!(kill_wpm(shim));
    run.until(|r| r.shim_pid != shim);
    run.tell(&ToShim::KillTree);
    run.until(|r| r.tree_gone);
    assert_eq!(run.ended(), End::Signal { signal: 9, core: false });
    assert_eq!(alive(&w, "pids"), []);
    run.finish();
}

#[test]
fn of_two_runs_that_lost_their_shims_at_once_each_keeps_its_own() {
    let mut w = World::new();
    let [mut one, mut other] = ["one", "other"].map(|file| {
        let pids = w.home().join(file);
        w.start(w.launch(&["still", pids.to_str().unwrap()]))
    });
    eventually(|| ["one", "other"].iter().all(|f| w.text(f).lines().collect::<BTreeSet<_>>().len() >= 9));
    let (all, shims) = (alive(&w, "other"), [one.shim(), other.shim()]);
    for shim in shims {
        wpm_sys::process::kill(shim, 19).unwrap();
    }
    shims.iter().for_each(|shim| drop(wpm_sys::process::kill(*shim, 9)));
    one.until(|r| r.shim_pid != shims[0]);
    other.until(|r| r.shim_pid != shims[1]);
    one.tell(&ToShim::KillTree);
    one.until(|r| r.tree_gone);
    assert_eq!(alive(&w, "one"), []);
    assert_eq!(alive(&w, "other"), all);
    other.tell(&ToShim::KillTree);
    other.until(|r| r.tree_gone);
    assert_eq!(alive(&w, "other"), []);
    one.finish();
    other.finish();
}

/// As a run of the daemon is marked; `number` is the next one of this home.
fn marked(mut launch: wpm_sys::launch::Launch, number: u64) -> wpm_sys::launch::Launch {
    let mark = run_mark(number, &launch.home);
    launch.env = vec![b"PATH=/usr/bin:/bin".to_vec(), format!("{RUN_VARIABLE}={mark}").into_bytes()];
    launch
}

/// Kills daemon, keeper and all shims, and has the runs taken back by others.
fn kill_all_of_wpm(w: &mut World, runs: &mut [&mut TestRun]) {
    let (daemon, _link, _keeper) = w.daemon.take().unwrap();
    for pid in [w.keeper, daemon].into_iter().chain(runs.iter().map(|run| run.shim())) {
        drop(wpm_sys::process::kill(pid, 9));
    }
    eventually(|| runs.iter().all(|run| wpm_sys::record::connect_to(&run.socket).is_err()));
    w.start_keeper();
    w.meet_daemon();
    for run in runs {
        w.adopt(run);
    }
}

#[test]
fn who_fled_is_found_though_all_of_wpm_was_killed_and_strangers_are_left_alone() {
    let mut w = World::new();
    let fifo = w.home().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let [mut one, mut other] = [("one", 1), ("other", 2)].map(|(file, number)| {
        let (pids, fifo) = (w.home().join(file), fifo.display());
        let pids = pids.display();
        // Nine, among them a daemon in a session of its own, which only its mark shows; and one without a mark that
        // has lost its parent, which only its session shows.
        let bare = format!("echo $$ >> {pids}; read x < {fifo}");
        let script = format!("(env -i /bin/sh -c '{bare}' &); exec {PUPPET} still {pids}");
        let mut launch = marked(w.launch(&[]), number);
        launch.program = b"/bin/sh".to_vec();
        launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script.into_bytes()];
        w.start(launch)
    });
    eventually(|| ["one", "other"].iter().all(|f| w.text(f).lines().collect::<BTreeSet<_>>().len() >= 10));
    let theirs = alive(&w, "other");
    assert!(alive(&w, "one").len() >= 9 && theirs.len() >= 9);
    kill_all_of_wpm(&mut w, &mut [&mut one, &mut other]);
    one.tell(&ToShim::KillTree);
    one.until(|r| r.tree_gone);
    assert_eq!(alive(&w, "one"), []);
    assert_eq!(alive(&w, "other"), theirs);
    // What has fled holds the run after the end of its main process, until it is killed.
    other.tell(&ToShim::Signal { signal: 9, scope: Scope::Main });
    let _end = other.ended();
    assert!(!other.report().tree_gone && !alive(&w, "other").is_empty());
    other.tell(&ToShim::KillTree);
    other.until(|r| r.tree_gone);
    assert_eq!(alive(&w, "other"), []);
    one.finish();
    other.finish();
}

#[test]
fn a_signal_reaches_who_fled_once_though_all_of_wpm_was_killed() {
    let mut w = World::new();
    let mut launch = marked(w.launch(&[]), 1);
    launch.program = b"/bin/sh".to_vec();
    let script = "trap 'echo main; exit' USR2; \
        (trap 'echo group; exit' USR2; echo up; while :; do sleep 0.05; done) & \
        (setsid sh -c 'trap \"echo fled; exit\" USR2; echo up; while :; do sleep 0.05; done' &); \
        while :; do sleep 0.05; done";
    launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script.into()];
    let mut run = w.start(launch);
    eventually(|| w.text("logs/out.log").lines().count() == 2);
    kill_all_of_wpm(&mut w, &mut [&mut run]);
    run.tell(&ToShim::Signal { signal: 12, scope: Scope::Tree });
    run.until(|r| r.end.is_some() && r.tree_gone);
    run.finish();
    let text = w.text("logs/out.log");
    for word in ["main", "group", "fled"] {
        assert_eq!(text.lines().filter(|l| *l == word).count(), 1, "{word} in {text}");
    }
}

#[test]
fn many_that_were_taken_back_are_brought_down_at_once() {
    let mut w = World::new();
    let mut runs: Vec<_> = (1..=40).map(|n| w.start(marked(w.launch(&["wait"]), n))).collect();
    kill_all_of_wpm(&mut w, &mut runs.iter_mut().collect::<Vec<_>>());
    for run in &runs {
        run.tell(&ToShim::Signal { signal: 15, scope: Scope::Tree });
    }
    for run in &mut runs {
        run.until(|r| r.tree_gone);
        run.finish();
    }
    // What one has seen was there for the others.
    assert!(w.home().join("run/census").exists() && !w.home().join("run/census.next").exists());
}

#[test]
fn a_run_of_the_same_number_in_another_home_is_left_alone() {
    let start = |w: &mut World| {
        let launch = marked(w.launch(&["wait"]), 1);
        w.start(launch)
    };
    let (mut here, mut there) = (World::new(), World::new());
    let (mut mine, mut theirs) = (start(&mut here), start(&mut there));
    let shim = mine.shim();
    assert!(kill_wpm(shim));
    mine.until(|r| r.shim_pid != shim);
    mine.tell(&ToShim::KillTree);
    mine.until(|r| r.tree_gone);
    let stat = procfs::stat(theirs.report().pid).expect("it lives");
    assert!(!stat.is_zombie() && stat.start_time == theirs.report().start_time);
    mine.finish();
    theirs.tell(&ToShim::KillTree);
    theirs.finish();
}

#[test]
fn a_signal_reaches_each_process_once() {
    let mut w = World::new();
    let mut launch = w.launch(&[]);
    launch.program = b"/bin/sh".to_vec();
    // A child in the group, and one in a session of its own; each prints its signals.
    let script = "trap 'echo main' USR2; \
        (trap 'echo group; exit' USR2; echo up; while :; do sleep 0.05; done) & \
        setsid sh -c 'trap \"echo session; exit\" USR2; echo up; while :; do sleep 0.05; done' & \
        wait; wait; wait; echo done";
    launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script.into()];
    launch.env = vec![b"PATH=/usr/bin:/bin".to_vec()];
    let mut run = w.start(launch);
    eventually(|| w.text("logs/out.log").lines().count() == 2);
    run.tell(&ToShim::Signal { signal: 12, scope: Scope::Tree });
    run.until(|r| r.end.is_some() && r.tree_gone);
    run.finish();
    let text = w.text("logs/out.log");
    for word in ["main", "group", "session"] {
        assert_eq!(text.lines().filter(|l| *l == word).count(), 1, "{word} in {text}");
    }
}

#[test]
fn without_tree_the_descendants_are_left_alone() {
    let mut w = World::new();
    let mut launch = w.launch(&[]);
    launch.tree = false;
    launch.program = b"/bin/sh".to_vec();
    let script = "(read x; echo late) & echo $!; exit 4";
    // A child that waits on a pipe of its own and then still writes to the log.
    let fifo = w.home().join("fifo");
    let script = script.replace("read x", &format!("read x < {}", fifo.display()));
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script.into()];
    let mut run = w.start(launch);
    assert_eq!(run.ended(), End::Code(4));
    let shim = run.until(|r| r.tree_gone).shim_pid;
    run.tell(&ToShim::KillTree);
    run.tell(&ToShim::Release);
    std::fs::write(&fifo, "go\n").unwrap();
    eventually(|| w.text("logs/out.log").lines().nth(1) == Some("late"));
    eventually(|| procfs::stat(shim).is_none());
}
