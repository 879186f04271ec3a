//! The list of a home: what becomes of it, and of the apps, when its files or its home are spoilt.

use crate::survive::pid_of;
use crate::world::{World, await_text, kill_and_wait};

/// The files that a running home cannot do without are made again, and a command finds the same daemon.
#[test]
fn files_of_the_home_that_are_taken_away_come_back() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    let (daemon, keeper) = (pid_of(&world, "__daemon"), pid_of(&world, "__keeper"));
    let path = |name: &str| world.home().join(name);
    let socket = format!("wpm.{}.sock", wpm_proto::CONTRACT);
    for taken in [
        &[&*socket][..],
        &["daemon.lock", "keeper.lock", "keeper.sock", "wpm.sock", &socket],
        &["run"],
        &[""],
    ] {
        for name in taken {
            let path = if name.is_empty() { world.home() } else { path(name) };
            let done =
                if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            // What was made again may be among what is being removed.
            drop(done);
        }
        assert_eq!(world.jlist()[0]["pid"], p.pid, "{taken:?}");
        assert_eq!((pid_of(&world, "__daemon"), keeper), (daemon, keeper), "{taken:?}");
        // A new run gets its files, and the old one still obeys and logs.
        let more = world.start("more", "", 1).remove(0);
        world.run("delete more").ok();
        more.dead();
        assert_eq!(p.tell("print here"), "done");
        await_text(&path("logs/rock-out.log"), "here");
    }
    // Everything that was made again serves those who come later.
    for word in ["__daemon", "__keeper"] {
        kill_and_wait(pid_of(&world, word));
        assert_eq!(world.jlist()[0]["pid"], p.pid, "after {word}");
    }
    assert_eq!(world.processes().iter().filter(|pid| is_keeper(**pid)).count(), 1);
    world.run("stop rock").ok();
    p.dead();
}

fn is_keeper(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"wpm-keeper\n")
}

#[test]
fn apps_whose_list_was_lost_are_left_alone_until_there_is_a_good_one() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    world.run("save").ok();
    let path = |name: &str| world.home().join(name);
    for name in ["state.json", "state.json.bak"] {
        std::fs::write(path(name), "{\"version\":1,\"apps\":[{").expect("spoilt");
    }
    kill_and_wait(pid_of(&world, "__daemon"));
    await_text(&path("daemon.log"), "they are left alone until there is a good");
    assert_eq!(p.tell("print on"), "done");
    await_text(&path("logs/rock-out.log"), "on");
    let said = world.run("list").fails(1);
    assert!(said.err.contains("they are left alone until there is a good"), "{}", said.err);
    // The keeper tries again and again, so that a good list is all that it takes.
    std::fs::copy(path("dump.json"), path("state.json")).expect("copied");
    let list = world.jlist();
    assert_eq!((&list[0]["pid"], &list[0]["pm2_env"]["restart_time"]), (&p.pid.into(), &0.into()));
    let set_aside = std::fs::read_dir(world.home()).expect("there").flatten();
    assert_eq!(set_aside.filter(|e| e.file_name().to_string_lossy().contains(".corrupt-")).count(), 2);
}

#[test]
fn a_list_of_a_newer_wpm_is_left_alone_and_every_command_says_so() {
    let world = World::new();
    std::fs::create_dir(world.home()).expect("a home");
    let newer = r#"{"version":99,"apps":[]}"#;
    std::fs::write(world.home().join("state.json"), newer).expect("written");
    for command in ["list", "start true", "ping"] {
        let said = world.run(command).fails(1);
        assert!(said.err.contains("it has version 99"), "{}", said.err);
    }
    let said = world.run("kill").ok();
    assert!(said.err.contains("no app was touched"), "{}", said.err);
    assert_eq!(world.processes(), Vec::<i32>::new());
    assert_eq!(world.read("state.json"), newer);
    std::fs::remove_file(world.home().join("state.json")).expect("removed");
    assert!(world.jlist().is_empty());
}
