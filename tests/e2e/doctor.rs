//! `wpm doctor`: what it finds, and that it says what to do.

use crate::world::World;

#[test]
fn a_sound_home_is_told_so() {
    let world = World::new();
    let _p = world.start("web", "", 1);
    let said = world.run("doctor").ok();
    for part in ["mode 700", "mode 600", "daemon ", "open files", "free for"] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert!(!said.out.contains('✗'), "{}", said.out);
}

#[test]
fn what_was_put_aside_and_why_no_daemon_is_there_are_named() {
    let world = World::new();
    let _p = world.start("web", "", 1);
    world.run("kill").ok();
    std::fs::write(world.home().join("state.json.corrupt-1"), "x").expect("written");
    let log = "2026-01-31T10:00:00Z ERROR cannot use state.json: it has version 99\n";
    std::fs::write(world.home().join("daemon.log"), log).expect("written");
    let said = world.run("doctor").fails(1);
    assert!(said.out.contains("state.json.corrupt-1 could not be read"), "{}", said.out);
    assert!(said.out.contains("it has version 99"), "{}", said.out);
    assert!(said.err.contains("things to look at"), "{}", said.err);
    let json = world.run("doctor --json").fails(1).json();
    let bad = |f: &&serde_json::Value| f["verdict"] != "ok" && f["fix"].is_null();
    assert_eq!(json["findings"].as_array().expect("a list").iter().filter(bad).count(), 0);
}
