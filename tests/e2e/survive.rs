//! Nothing that happens to wpm touches an app.

use crate::world::{World, kill_and_wait};

pub(crate) fn pid_of(world: &World, word: &str) -> i32 {
    world
        .processes()
        .into_iter()
        .find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|b| *b == 0).any(|w| w == word.as_bytes())
        })
        .unwrap_or_else(|| panic!("no {word}; the daemon's log:\n{}", world.log()))
}

#[test]
fn the_daemon_killed_again_and_again_touches_nothing() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    for round in 0..5 {
        kill_and_wait(pid_of(&world, "__daemon"));
        assert_eq!(p.tell(&format!("print round {round}")), "done");
        let list = world.jlist();
        assert_eq!(list[0]["pid"], p.pid);
        assert_eq!(list[0]["pm2_env"]["status"], "online");
        assert_eq!(list[0]["pm2_env"]["restart_time"], 0);
    }
    crate::world::await_text(&world.home().join("logs/rock-out.log"), "round 4");
}

#[test]
fn the_keeper_killed_is_replaced_and_the_app_goes_on() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    kill_and_wait(pid_of(&world, "__keeper"));
    assert_eq!(p.tell("print still here"), "done");
    crate::world::await_text(&world.home().join("logs/rock-out.log"), "still here");
    assert_eq!(world.jlist()[0]["pid"], p.pid);
    p.exit(4);
    let again = world.puppet();
    assert_eq!(world.jlist()[0]["pid"], again.pid);
}

#[test]
fn every_process_of_wpm_killed_at_once_and_the_app_is_taken_back() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| *pid != p.pid).collect();
    own.into_iter().for_each(kill_and_wait);
    let list = world.jlist();
    assert_eq!(list[0]["pid"], p.pid);
    assert_eq!(list[0]["pm2_env"]["status"], "online");
    assert_eq!(p.tell("print after all that"), "done");
    crate::world::await_text(&world.home().join("logs/rock-out.log"), "after all that");
    world.run("stop rock").ok();
    p.dead();
}

/// Its journal was written anew meanwhile, with what is needed of it.
#[test]
fn a_daemon_that_is_killed_after_many_restarts_is_followed_by_one_that_knows_them_all() {
    let world = World::new();
    let command = ["start", "/bin/sleep", "--name", "many", "-i", "40", "--start-check", "0", "--", "1000"];
    world.wpm(command).ok();
    // Half a mebibyte of lines.
    for _ in 0..30 {
        world.run("restart many").ok();
    }
    let length = world.read("run/journal").len();
    assert!(length < 300_000, "{length}");
    let facts = |world: &World| -> Vec<(i64, u64)> {
        let list = world.jlist();
        let fact = |entry: &serde_json::Value| {
            (entry["pid"].as_i64().unwrap_or(0), entry["pm2_env"]["restart_time"].as_u64().unwrap_or(0))
        };
        list.iter().map(fact).collect()
    };
    let before = facts(&world);
    assert!(before.len() == 40 && before.iter().all(|(pid, restarts)| *pid > 0 && *restarts == 30));
    kill_and_wait(pid_of(&world, "__daemon"));
    assert_eq!(facts(&world), before);
}

#[test]
fn what_lives_on_without_wpm_is_ended_by_kill() {
    let world = World::new();
    let p = world.start("rock", "", 1).remove(0);
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| *pid != p.pid).collect();
    own.into_iter().for_each(kill_and_wait);
    let said = world.run("kill").ok();
    assert!(said.err.contains("rock: 1/1 stopped"), "{}", said.err);
    p.dead();
    assert!(world.run("kill").ok().err.contains("no daemon is running"));
}

/// Its pid and start time are enough: nothing of wpm's is open in it any more.
#[test]
fn an_app_that_has_closed_what_wpm_gave_it_is_taken_back() {
    let world = World::new();
    let line = format!("exec <&- >&- 2>&-; exec {} bare", crate::world::puppet().display());
    world.wpm(["start", &line, "--name", "bare", "--no-wait"]).ok();
    let puppet = world.puppet();
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| *pid != puppet.pid).collect();
    own.into_iter().for_each(kill_and_wait);
    let list = world.jlist();
    assert_eq!((&list[0]["pid"], &list[0]["pm2_env"]["status"]), (&puppet.pid.into(), &"online".into()));
    puppet.exit(0);
    let again = world.puppet();
    world.run("stop bare").ok();
    again.dead();
}

/// More than are looked at one by one: those who are none of wpm's are read once.
#[test]
fn what_each_of_many_uses_is_shown_also_after_they_were_taken_back() {
    let world = World::new();
    let puppets = world.start("many", "-i 12", 12);
    let look = || {
        let list = world.run("list --json").ok().json();
        let instances = list["apps"][0]["instances"].as_array().expect("some").clone();
        assert_eq!(instances.len(), 12);
        for instance in instances {
            assert_eq!(instance["processes"], 1, "{instance}");
            assert!(instance["memory"].as_u64().is_some_and(|bytes| bytes > 0), "{instance}");
        }
    };
    look();
    look();
    let apps: Vec<i32> = puppets.iter().map(|puppet| puppet.pid).collect();
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| !apps.contains(pid)).collect();
    own.into_iter().for_each(kill_and_wait);
    look();
    look();
}

#[test]
fn a_deleted_app_that_is_dying_is_brought_down_though_all_of_wpm_was_killed() {
    let world = World::new();
    let mut p = world.start("stubborn", "--kill-timeout 5000", 1).remove(0);
    assert_eq!(p.tell("ignore TERM"), "done");
    assert_eq!(p.tell("ignore INT"), "done");
    world.run("delete stubborn --no-wait").ok();
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| *pid != p.pid).collect();
    own.into_iter().for_each(kill_and_wait);
    // Its time is given to it once more.
    assert_eq!(world.statuses(), ["stopping"]);
    assert_eq!(p.tell("print still here"), "done");
    // What is typed next waits for it, as if nothing had been.
    let again = world.start("stubborn", "", 1).remove(0);
    p.dead();
    let list = world.jlist();
    assert_eq!((list.len(), list[0]["pid"].as_i64()), (1, Some(again.pid.into())));
    world.run("delete stubborn").ok();
    again.dead();
    assert!(world.jlist().is_empty());
    assert!(!world.read("state.json").contains("stubborn"), "the list holds what is gone");
}

#[test]
fn an_app_that_the_list_does_not_know_is_no_stray() {
    let world = World::new();
    let known = world.start("known", "", 1).remove(0);
    let older = world.read("state.json");
    let unknown = world.start("unknown", "", 1).remove(0);
    let own: Vec<i32> =
        world.processes().into_iter().filter(|pid| ![known.pid, unknown.pid].contains(pid)).collect();
    own.into_iter().for_each(kill_and_wait);
    // As after a disk that has lost the newest list.
    std::fs::write(world.home().join("state.json"), older).expect("written");
    let list = world.jlist();
    assert_eq!((list.len(), list[0]["pid"].as_i64()), (1, Some(known.pid.into())));
    unknown.dead();
}

#[test]
fn a_world_that_is_left_takes_its_commands_along() {
    let world = World::new();
    drop(world.start("rock", "", 1));
    let mut follows =
        world.command(["logs", "rock"]).stdout(std::process::Stdio::null()).spawn().expect("runs");
    let home = world.home();
    drop(world);
    let ended = follows.try_wait().expect("a child");
    assert!(ended.is_some_and(|status| status.code().is_none()), "killed: {ended:?}");
    assert!(!home.exists());
}

#[test]
fn a_saved_list_comes_back_after_kill() {
    let world = World::new();
    let p = world.start("saved", "-i 2", 2);
    world.run("save").ok();
    world.run("kill").ok();
    p.into_iter().for_each(crate::world::Puppet::dead);
    assert!(world.jlist().is_empty());
    world.run("resurrect").ok();
    let (_a, _b) = (world.puppet(), world.puppet());
    assert_eq!(world.statuses(), ["online", "online"]);
}

#[test]
fn a_hung_daemon_is_replaced_and_the_command_answered() {
    use rustix::process::{Pid, Signal, kill_process};
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    let daemon = pid_of(&world, "__daemon");
    kill_process(Pid::from_raw(daemon).expect("a pid"), Signal::STOP).expect("ours");
    assert_eq!(world.jlist()[0]["pid"], p.pid);
    assert_ne!(pid_of(&world, "__daemon"), daemon);
    assert_eq!(p.tell("print on"), "done");
}

/// The inode of the program that a process executes.
fn program_of(pid: i32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/exe")).expect("it lives").ino()
}

#[test]
fn another_program_takes_over_in_place() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    let (keeper, daemon) = (pid_of(&world, "__keeper"), pid_of(&world, "__daemon"));
    let new = world.dir.path().join("wpm-new");
    std::fs::copy(crate::world::WPM, &new).expect("copied");
    let ino = std::fs::metadata(&new).expect("there").ino();
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| *pid != p.pid && *pid != daemon).collect();
    world.wpm(["update", new.to_str().expect("utf-8")]).ok();
    let daemon = (daemon, pid_of(&world, "__daemon"));
    assert_ne!(daemon.0, daemon.1);
    assert_eq!(pid_of(&world, "__keeper"), keeper, "the keeper keeps its process id");
    // By this one that is not of its form would have ended before it touched anything.
    let environment = std::fs::read(format!("/proc/{}/environ", daemon.1)).expect("it lives");
    assert!(environment.split(|b| *b == 0).any(|entry| entry.starts_with(b"WPM_HANDOVER=")));
    assert_eq!(p.tell("print over"), "done");
    crate::world::await_text(&world.home().join("logs/rock-out.log"), "over");
    for pid in own {
        assert_eq!(program_of(pid), ino, "keeper and shim execute the new program");
    }
    assert_eq!(world.jlist()[0]["pid"], p.pid);
    world.run("stop rock").ok();
    p.dead();
}

#[test]
fn a_program_that_cannot_take_over_changes_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let p = world.start("rock", "", 1).remove(0);
    let daemon = pid_of(&world, "__daemon");
    let bad = world.dir.path().join("bad");
    for text in ["", "#!/bin/sh\nexit 3\n", "#!/bin/sh\necho hello\n"] {
        std::fs::write(&bad, text).expect("written");
        std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(0o755)).expect("mode");
        world.wpm(["update", bad.to_str().expect("utf-8")]).fails(1);
        assert_eq!(pid_of(&world, "__daemon"), daemon);
    }
    // Runs, and is of another form, another contract, or too old for the state: said before anything is done.
    for (key, number, words) in [
        ("handover", 999, "cannot take over in place"),
        ("handover", 1, "cannot take over in place"),
        ("contract", 999, "cannot take over from"),
        ("state", 0, "cannot take over from"),
    ] {
        let wpm = crate::world::WPM;
        let other = format!("#!/bin/sh\n{wpm} \"$@\" | sed 's/\"{key}\":[0-9]*/\"{key}\":{number}/'\n");
        std::fs::write(&bad, other).expect("written");
        let said = world.wpm(["update", bad.to_str().expect("utf-8")]).fails(1);
        assert!(said.err.contains(words) && said.err.contains("wpm resurrect"), "{key}: {}", said.err);
        assert_eq!(pid_of(&world, "__daemon"), daemon);
    }
    // Cut short, as after a copy that broke off; and whole, but not executable.
    let whole = std::fs::read(crate::world::WPM).expect("read");
    for (bytes, mode) in [(&whole[..whole.len() / 16], 0o755), (&whole[..1000], 0o755), (&whole[..], 0o644)] {
        std::fs::write(&bad, bytes).expect("written");
        std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(mode)).expect("mode");
        let said = world.wpm(["update", bad.to_str().expect("utf-8")]).fails(1);
        assert!(
            said.err.contains("cannot take over") && said.err.contains("nothing was changed"),
            "{}",
            said.err
        );
        assert_eq!(pid_of(&world, "__daemon"), daemon);
    }
    // Passes its self-test, then dies as a daemon.
    let liar =
        format!("#!/bin/sh\n[ \"$1\" = __self-test ] && exec {} __self-test\nexit 9\n", crate::world::WPM);
    std::fs::write(&bad, liar).expect("written");
    std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let said = world.wpm(["update", bad.to_str().expect("utf-8")]).fails(1);
    assert!(said.err.contains("died before it was up"), "{}", said.err);
    let list = world.jlist();
    assert_eq!((&list[0]["pid"], &list[0]["pm2_env"]["status"]), (&p.pid.into(), &"online".into()));
}

/// Whether the kernel tells how a process ended that somebody else has reaped (Linux 6.15).
fn kernel_tells_ends() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

#[test]
fn an_end_while_keeper_and_shim_are_dead_is_exact() {
    use rustix::process::{Pid, Signal, kill_process};
    let world = World::new();
    let p = world.start("rock", "", 1).remove(0);
    let (keeper, daemon) = (pid_of(&world, "__keeper"), pid_of(&world, "__daemon"));
    let shim = world.processes().into_iter().find(|pid| ![keeper, daemon, p.pid].contains(pid));
    let send = |pid, signal| kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("ours");
    // The daemon looks on only when everything has happened.
    send(daemon, Signal::STOP);
    kill_and_wait(keeper);
    kill_and_wait(shim.expect("a shim"));
    p.exit(7);
    send(daemon, Signal::CONT);
    let again = world.puppet();
    let list = world.jlist();
    assert_eq!((&list[0]["pid"], &list[0]["pm2_env"]["restart_time"]), (&again.pid.into(), &1.into()));
    let exit = if kernel_tells_ends() { serde_json::json!(7) } else { serde_json::Value::Null };
    assert_eq!(list[0]["pm2_env"]["exit_code"], exit);
}
