//! What is killed, and what of it anybody notices.

use std::os::fd::AsFd;
use std::time::Instant;

use crate::support::{PATIENCE, PUPPET, World, eventually, kill_wpm, next_record};
use wpm_sys::contract::{End, FromKeeper, Phase, ToKeeper, ToShim};
use wpm_sys::{poll, process, procfs, record};

#[test]
fn a_new_daemon_finds_the_same_run() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["wait"]));
    let before = *run.report();
    run.hang_up();
    w.replace_daemon();
    assert_eq!(w.starts, 2);
    let after = run.until(|r| r.phase == Phase::Running);
    assert_eq!(
        (after.pid, after.shim_pid, after.running_since_ms),
        (before.pid, before.shim_pid, before.running_since_ms)
    );
    assert!(after.carries_stdin());
    run.tell(&ToShim::KillTree);
    run.ended();
    run.finish();
}

#[test]
fn an_end_is_kept_until_somebody_takes_note() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["say", "x", "WAIT"]));
    let pid = run.report().pid;
    eventually(|| w.text("logs/out.log") == "x");
    run.hang_up();
    process::kill(pid, 10).unwrap();
    eventually(|| procfs::stat(pid).is_none());
    w.replace_daemon();
    assert_eq!(run.ended(), End::Signal { signal: 10, core: false });
    assert!(run.until(|r| r.tree_gone).ended_at_ms > 0);
    run.finish();
}

#[test]
fn a_killed_shim_is_replaced_and_the_status_is_exact() {
    let mut w = World::new();
    for code in [0, 3, 200] {
        let mut launch = w.launch(&[]);
        launch.program = b"/bin/sh".to_vec();
        launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), format!("read x; exit {code}").into()];
        let mut run = w.start(launch);
        let (pid, mut shim) = (run.report().pid, run.shim());
        for _ in 0..3 {
            assert!(kill_wpm(shim));
            let last = shim;
            let report = run.until(|r| r.shim_pid != last);
            assert_eq!((report.pid, report.phase, report.end), (pid, Phase::Running, None));
            shim = report.shim_pid;
        }
        use std::io::Write;
        std::fs::File::from(run.beside.remove(0)).write_all(b"\n").unwrap();
        assert_eq!(run.ended(), End::Code(code));
        let usage = run.finish().usage;
        assert!(usage.max_rss_kib > 0, "the keeper tells what was used: {usage:?}");
    }
}

#[test]
fn an_end_without_a_shim_is_told_by_the_next() {
    let mut w = World::new();
    for _ in 0..20 {
        let mut run = w.start(w.launch(&["wait"]));
        let (pid, shim) = (run.report().pid, run.shim());
        kill_wpm(shim);
        process::kill(pid, 15).unwrap();
        assert_eq!(run.ended(), End::Signal { signal: 15, core: false });
        run.finish();
    }
}

#[test]
fn the_keeper_may_die() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["wait"]));
    let before = *run.report();
    assert!(kill_wpm(w.keeper));
    // The daemon, were it a real one, would do this.
    w.start_keeper();
    w.meet_daemon();
    let mut other = w.start(w.launch(&["exit", "3"]));
    assert_eq!(other.ended(), End::Code(3));
    other.finish();
    process::kill(before.pid, 10).unwrap();
    assert_eq!(run.ended(), End::Signal { signal: 10, core: false });
    assert_eq!(run.report().shim_pid, before.shim_pid);
    run.finish();
}

#[test]
fn a_shim_left_alone_starts_a_keeper() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["wait"]));
    let (keeper, limit) = (w.keeper, std::fs::read_to_string("/proc/self/limits").unwrap());
    run.hang_up();
    let (daemon, _link, _keeper) = w.daemon.take().unwrap();
    assert!(kill_wpm(keeper));
    drop(process::kill(daemon, 9));
    w.meet_daemon();
    assert_ne!(w.keeper, keeper);
    // Nobody's descendant: the tree of the app does not hold its keeper.
    assert!(!procfs::descendants(run.until(|r| r.phase == Phase::Running).shim_pid).contains(&w.keeper));
    run.tell(&ToShim::KillTree);
    run.ended();
    run.finish();
    // The raised limit of the first keeper is not taken for the user's own.
    let shown = w.home().join("shown");
    let mut run = w.start(w.launch(&["show", shown.to_str().unwrap()]));
    run.ended();
    run.finish();
    let line = limit.lines().find(|l| l.starts_with("Max open files")).unwrap();
    assert!(w.text("shown").contains(line));
}

#[test]
fn everything_may_die_and_the_app_is_taken_back() {
    let mut w = World::new();
    let mut launch = w.launch(&[]);
    launch.program = b"/bin/sh".to_vec();
    launch.args =
        vec![b"sh".to_vec(), b"-c".to_vec(), b"echo one; read x; echo $x; read y; exit $y".to_vec()];
    let mut run = w.start(launch);
    eventually(|| w.text("logs/out.log") == "one\n");
    let pid = run.report().pid;
    let (daemon, _link, _keeper) = w.daemon.take().unwrap();
    for pid in [w.keeper, daemon, run.shim()] {
        drop(process::kill(pid, 9));
    }
    eventually(|| wpm_sys::record::connect_to(&run.socket).is_err());
    w.start_keeper();
    w.meet_daemon();
    w.adopt(&mut run);
    let report = run.until(|r| r.phase == Phase::Running);
    assert_eq!(report.pid, pid);
    assert!(report.carries_stdin());
    use std::io::Write;
    let mut stdin = std::fs::File::from(run.beside.remove(0));
    stdin.write_all(b"two\n").unwrap();
    eventually(|| w.text("logs/out.log") == "one\ntwo\n");
    stdin.write_all(b"44\n").unwrap();
    // Whoever reaps it here, the kernel keeps the status for a process descriptor (Linux 6.15).
    assert!(matches!(run.ended(), End::Code(44) | End::Unknown));
    run.finish();
}

#[test]
fn everything_may_die_while_a_child_is_at_its_gate_and_it_says_that_it_did_not_run() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    let before = *run.report();
    run.last = Some(before);
    let (daemon, _link, _keeper) = w.daemon.take().unwrap();
    for pid in [w.keeper, daemon, before.shim_pid] {
        drop(process::kill(pid, 9));
    }
    let mark = wpm_sys::child::unrun_mark(run.socket.as_os_str().as_encoded_bytes());
    eventually(|| mark.exists() && wpm_sys::record::connect_to(&run.socket).is_err());
    w.start_keeper();
    w.meet_daemon();
    w.adopt(&mut run);
    assert_eq!(run.ended(), End::Cancelled);
    run.finish();
    eventually(|| !mark.exists());
    assert_eq!(w.text("logs/out.log"), "");
}

#[test]
fn a_stranger_with_the_same_pid_is_not_adopted() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["wait"]));
    let real = *run.report();
    run.tell(&ToShim::KillTree);
    run.ended();
    run.finish();
    eventually(|| procfs::stat(real.shim_pid).is_none());
    let mut stranger = std::process::Command::new(PUPPET).arg("wait").spawn().unwrap();
    let pid = i32::try_from(stranger.id()).unwrap();
    run.last = Some(wpm_sys::contract::RunReport { pid, start_time: real.start_time - 1, ..real });
    w.adopt(&mut run);
    assert_eq!(run.ended(), End::Unknown);
    run.tell(&ToShim::KillTree);
    run.until(|r| r.tree_gone);
    assert!(procfs::stat(pid).is_some_and(|s| !s.is_zombie()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_run_whose_socket_was_taken_away_is_found_again() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["wait"]));
    let before = *run.report();
    run.hang_up();
    run.last = Some(before);
    std::fs::remove_file(&run.socket).unwrap();
    // So a daemon sees it: nobody listens, and the process is there.
    w.adopt(&mut run);
    let after = run.until(|r| r.phase == Phase::Running);
    assert_eq!((after.pid, after.running_since_ms), (before.pid, before.running_since_ms));
    eventually(|| procfs::stat(before.shim_pid).is_none());
    process::kill(before.pid, 10).unwrap();
    assert_eq!(run.ended(), End::Signal { signal: 10, core: false });
    run.finish();
}

#[test]
fn keeper_and_shims_change_their_program_in_place() {
    let mut w = World::new();
    let exe = w.home().join("new-program");
    // By another process: here a child of some other test might still hold the file open for writing.
    assert!(std::process::Command::new("cp").arg(PUPPET).arg(&exe).status().unwrap().success());
    let mut run = w.start(w.launch(&["wait"]));
    let mut gated = w.spawn(w.launch(&["exit", "9"]));
    let before = (run.report().pid, run.shim(), w.keeper);
    let file = std::fs::File::open(&exe).unwrap();
    w.tell_keeper(&ToKeeper::Upgrade, &[file.as_fd()]);
    for r in [&mut run, &mut gated] {
        r.tell_with(&ToShim::Upgrade, &[file.as_fd()]);
        r.last = None;
        r.until(|_| true);
    }
    let program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    eventually(|| program(before.2) == exe);
    eventually(|| program(before.1) == exe);
    assert_eq!((run.report().pid, run.shim(), run.report().phase), (before.0, before.1, Phase::Running));
    gated.go();
    assert_eq!(gated.ended(), End::Code(9));
    gated.finish();
    // The new keeper still replaces shims, and still is who the daemon talks to.
    let mut fresh = w.start(w.launch(&["exit", "5"]));
    assert_eq!(fresh.ended(), End::Code(5));
    fresh.finish();
    assert!(kill_wpm(before.1));
    run.until(|r| r.shim_pid != before.1);
    process::kill(before.0, 10).unwrap();
    assert_eq!(run.ended(), End::Signal { signal: 10, core: false });
    run.finish();
}

#[test]
fn a_program_that_cannot_be_executed_changes_nothing() {
    let mut w = World::new();
    let bad = w.home().join("bad");
    std::fs::write(&bad, "\x7fELFnonsense").unwrap();
    let mut run = w.start(w.launch(&["wait"]));
    let file = std::fs::File::open(&bad).unwrap();
    run.tell_with(&ToShim::Upgrade, &[file.as_fd()]);
    w.tell_keeper(&ToKeeper::Upgrade, &[file.as_fd()]);
    let mut other = w.start(w.launch(&["exit", "6"]));
    assert_eq!(other.ended(), End::Code(6));
    other.finish();
    run.tell(&ToShim::KillTree);
    assert_eq!(run.ended(), End::Signal { signal: 9, core: false });
    run.finish();
}

#[test]
fn a_daemon_that_dies_at_once_is_started_more_slowly() {
    let mut w = World::new();
    // From the third young death on each start waits 100 ms. On a busy machine some of them do not die young,
    // and the count begins again: how it counts is shown where there is no clock.
    let waited = (2..100).any(|n| {
        let start = wpm_sys::clock::monotonic_ms();
        w.replace_daemon();
        assert_eq!(w.starts, n);
        wpm_sys::clock::monotonic_ms() - start >= 100
    });
    assert!(waited);
}

#[test]
fn a_daemon_that_answers_nobody_is_replaced() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["wait"]));
    let before = *run.report();
    // The test does not answer either.
    drop(wpm_sys::record::connect_to(&w.home().join("keeper.sock")).unwrap());
    w.meet_daemon();
    assert_eq!(w.starts, 2);
    run.hang_up();
    assert_eq!(run.until(|_| true).shim_pid, before.shim_pid);
    run.tell(&ToShim::KillTree);
    run.finish();
}

#[test]
fn all_of_wpm_may_die_again_and_again_while_an_app_writes() {
    let mut w = World::new();
    let bytes = 24 << 20;
    let wanted = crate::support::counted(3, bytes);
    let mut launch = w.launch(&[]);
    launch.program = b"/bin/sh".to_vec();
    let script = format!("{PUPPET} count 3 {bytes} 0; read x; exit 9");
    launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script.into()];
    let mut run = w.start(launch);
    let pid = run.report().pid;
    for round in 0..200 {
        if w.read("logs/out.log").len() == wanted.len() {
            assert!(round > 0);
            break;
        }
        let (daemon, _link, _keeper) = w.daemon.take().unwrap();
        for pid in [w.keeper, daemon, run.shim()] {
            drop(process::kill(pid, 9));
        }
        eventually(|| wpm_sys::record::connect_to(&run.socket).is_err());
        w.start_keeper();
        w.meet_daemon();
        w.adopt(&mut run);
        assert_eq!(run.until(|r| r.phase == Phase::Running).pid, pid);
    }
    use std::io::Write;
    std::fs::File::from(run.beside.remove(0)).write_all(b"\n").unwrap();
    assert!(matches!(run.ended(), End::Code(9) | End::Unknown));
    run.finish();
    assert!(w.read("logs/out.log") == wanted);
}

#[test]
fn a_daemon_gets_everything_that_is_held_however_much() {
    let mut w = World::new();
    // Far more than fits into the connection before anybody reads.
    let many = 2000_u64;
    let (fd, _other) = record::pair().unwrap();
    let deadline = Instant::now() + PATIENCE;
    for key in 0..many {
        loop {
            match record::send(w.keeper_socket(), &ToKeeper::Hold { key }.encode(), &[fd.as_fd()]) {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    let room = poll::Watch { fd: Some(w.keeper_socket()), write: true };
                    let _ = poll::wait([room], Some(1000)).unwrap();
                }
                sent => break sent.unwrap(),
            }
        }
    }
    w.replace_daemon();
    for key in 0..many {
        let (record, fds) = next_record(w.keeper_socket(), deadline).unwrap();
        assert_eq!(FromKeeper::decode(&record), Ok(FromKeeper::Held { key }));
        assert_eq!(fds.len(), 1);
    }
}
