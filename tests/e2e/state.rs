//! The list of a home: what becomes of it, and of the apps, when its files or its home are spoilt.

use crate::survive::pid_of;
use crate::world::{World, await_text, kill_and_wait};

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
    // The keeper tries again and again, so that a good list is all that it takes.
    std::fs::copy(path("dump.json"), path("state.json")).expect("copied");
    let list = world.jlist();
    assert_eq!((&list[0]["pid"], &list[0]["pm2_env"]["restart_time"]), (&p.pid.into(), &0.into()));
    let set_aside = std::fs::read_dir(world.home()).expect("there").flatten();
    assert_eq!(set_aside.filter(|e| e.file_name().to_string_lossy().contains(".corrupt-")).count(), 2);
}
