//! Homes as they may be: full of stale files, under a long path, read-only; and clients that come all at
//! once or are killed in the middle.

use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::survive::pid_of;
use crate::world::{World, await_text, not_shown, puppet};

fn start_of(world: &World, name: &str) -> Command {
    let program = puppet();
    let mut command = world.command(["start", program.to_str().expect("utf-8"), "--name", name]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn of_many_starts_of_one_name_one_is_done_and_the_others_say_so() {
    let world = World::new();
    world.run("list").ok();
    let clients: Vec<Child> = (0..50).map(|_| start_of(&world, "web").spawn().expect("runs")).collect();
    let said: Vec<_> = clients.into_iter().map(|c| c.wait_with_output().expect("ends")).collect();
    assert_eq!(said.iter().filter(|s| s.status.success()).count(), 1);
    for refused in said.iter().filter(|s| !s.status.success()) {
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(text.contains("`web` is up already"), "{text}");
    }
    let _one = world.puppet();
    assert_eq!(world.statuses(), ["online"]);
}

#[test]
fn stale_sockets_and_the_pid_of_a_stranger_are_no_daemon() {
    let world = World::new();
    let home = world.home();
    std::fs::create_dir(&home).expect("made");
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("mode");
    for name in [format!("wpm.{}.sock", wpm_proto::CONTRACT), "keeper.sock".into(), "wpm.sock".into()] {
        // Bound by somebody who is gone.
        drop(UnixListener::bind(home.join(name)).expect("bound"));
    }
    // A stranger that lives: whoever signalled it would end it.
    let mut stranger = Command::new("cat").stdin(Stdio::piped()).spawn().expect("runs");
    for name in ["daemon.pid", "keeper.pid"] {
        std::fs::write(home.join(name), stranger.id().to_string()).expect("written");
    }
    let list = || {
        let mut command = world.command(["list"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs")
    };
    let clients: Vec<Child> = (0..20).map(|_| list()).collect();
    assert!(clients.into_iter().all(|mut c| c.wait().expect("ends").success()));
    let log = world.log();
    assert_eq!(log.matches(" with 0 apps, ").count(), 1, "one daemon: {log}");
    assert!(matches!(stranger.try_wait(), Ok(None)), "the stranger lives");
    drop(stranger.stdin.take());
    let _code = stranger.wait();
}

#[test]
fn a_home_whose_path_no_socket_address_holds_works() {
    let world = World::new();
    let deep = world.dir.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).expect("made");
    let wpm = |words: &[&str]| {
        let output = world.command(words).env("WPM_HOME", deep.join("home")).output().expect("runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("utf-8")
    };
    let program = puppet();
    let _said = wpm(&["start", program.to_str().expect("utf-8"), "--name", "web"]);
    let mut p = world.puppet();
    assert!(wpm(&["list"]).contains("online"));
    // Also for a daemon that has to find its shims.
    let pid = std::fs::read_to_string(deep.join("home/daemon.pid")).expect("there");
    crate::world::kill_and_wait(pid.trim().parse().expect("a pid"));
    assert!(wpm(&["jlist"]).contains(&format!("\"pid\":{}", p.pid)));
    assert_eq!(p.tell("print on"), "done");
    await_text(&deep.join("home/logs/web-out.log"), "on");
    let _said = wpm(&["kill"]);
    p.dead();
}

#[test]
fn a_home_that_cannot_be_written_is_one_clear_message() {
    let world = World::new();
    let home = world.home();
    std::fs::create_dir(&home).expect("made");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "ro,mode=700", "wpm-test"]).arg(&home).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        not_shown("no disk can be mounted");
        return;
    }
    let said = world.run("list");
    let _done = Command::new("umount").arg("-l").arg(&home).output();
    assert_ne!(said.code, 0);
    assert!(said.err.contains("Read-only file system") && said.err.lines().count() <= 4, "{}", said.err);
    std::fs::remove_dir(&home).expect("empty");
}

#[test]
fn a_client_that_is_killed_leaves_the_whole_or_nothing() {
    let world = World::new();
    world.run("list").ok();
    // First in the middle, then at some moment before or after it.
    let rounds = [(true, Signal::KILL), (true, Signal::INT), (false, Signal::HUP), (false, Signal::KILL)];
    let mut running = Vec::new();
    for (n, (begun, signal)) in rounds.into_iter().enumerate() {
        let name = format!("app-{n}");
        let mut client = start_of(&world, &name).spawn().expect("runs");
        if begun {
            // In the middle: the app runs, the start check is not over.
            running.push(world.puppet());
        }
        let _gone = kill_process(Pid::from_child(&client), signal);
        let _code = client.wait().expect("ends");
        // Whoever comes next is served, and finds it whole or not at all.
        let list = world.jlist();
        let found = list.iter().find(|a| a["name"] == name.as_str());
        assert!(!begun || found.is_some(), "it had begun");
        assert!(found.is_none_or(|a| a["pid"].as_i64() > Some(0)), "{list:?}");
        let _again = world.wpm(["save"]).ok();
    }
    let daemon = pid_of(&world, "__daemon");
    // A terminal that closes under a reader.
    let mut reader =
        world.command(["logs"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("runs");
    let _sent = kill_process(Pid::from_child(&reader), Signal::HUP);
    let _code = reader.wait().expect("ends");
    assert_eq!(pid_of(&world, "__daemon"), daemon);
    world.run("delete all").ok();
}

#[test]
fn a_home_from_which_nothing_may_be_executed_works() {
    let world = World::new();
    let Some(_disk) = crate::full_disk::Disk::mounted(&world, "size=8m,mode=700,noexec") else { return };
    let puppet = world.start("rock", "", 1).remove(0);
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| *pid != puppet.pid).collect();
    own.into_iter().for_each(crate::world::kill_and_wait);
    assert_eq!(world.jlist()[0]["pid"], puppet.pid);
    world.run("restart rock").ok();
    puppet.dead();
    assert_eq!(world.jlist()[0]["pid"], world.puppet().pid);
    world.run("kill").ok();
}
