//! `depends_on`: apps of a file start one after the other and stop the other way round.

use serde_json::json;

use crate::world::{World, puppet};

#[test]
fn a_file_is_started_in_order_and_stopped_in_reverse() {
    let world = World::new();
    let app = |name: &str, depends_on: serde_json::Value| json!({ "name": name, "script": puppet(), "args": [name], "depends_on": depends_on, "start_check": 50 });
    let file = json!([app("a", json!(["b"])), app("b", json!({ "c": "started" })), app("c", json!([]))]);
    std::fs::write(world.dir.path().join("apps.json"), file.to_string()).expect("written");
    let starting = world.command(["start", "apps.json"]).spawn().expect("wpm runs");
    let mut order: Vec<_> = (0..3).map(|_| world.puppet()).collect();
    // One that was started may be overtaken on its way to the test.
    order.sort_by_key(|puppet| puppet.pid);
    let names: Vec<String> = order.iter_mut().map(|puppet| puppet.tell("args")).collect();
    assert_eq!(names, [r#"args ["c"]"#, r#"args ["b"]"#, r#"args ["a"]"#]);
    assert!(starting.wait_with_output().expect("it ends").status.success());
    assert!(world.run("describe a").ok().out.contains("after b (ready)"));

    // The first in the alphabet is the last to go.
    order[2].tell("ignore INT");
    let stopping = world.command(["stop", "all", "--no-wait"]).output().expect("wpm runs");
    assert!(stopping.status.success());
    assert_eq!(world.statuses(), ["stopping", "online", "online"]);
    let a = order.pop().expect("three");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(a.pid).expect("a pid"),
        rustix::process::Signal::KILL,
    )
    .expect("killed");
    order.into_iter().rev().for_each(crate::world::Puppet::dead);
    world.run("delete all").ok();
}

#[test]
fn what_cannot_be_waited_for_is_said() {
    let world = World::new();
    let circle = json!([{"name": "a", "script": "sleep", "args": "9", "depends_on": "b"},
        {"name": "b", "script": "sleep", "args": "9", "depends_on": ["a:ready"]}]);
    std::fs::write(world.dir.path().join("apps.json"), circle.to_string()).expect("written");
    let said = world.run("start apps.json").fails(6);
    assert!(said.err.contains("these wait for each other: a → b → a"), "{}", said.err);
    let said = world.run("start sleep --depends-on db -- 1000").fails(6);
    assert!(said.err.contains("there is no app `db`"), "{}", said.err);
    let said = world.run("start sleep --depends-on db:soon -- 1000").fails(6);
    assert!(said.err.contains("a condition is `started`"), "{}", said.err);

    world.run("start false --name db --no-autorestart").fails(1);
    let said = world.run("start sleep --name web --depends-on db -- 1000").fails(1);
    assert!(said.err.contains("web waits for db, which is not there"), "{}", said.err);
    let list = world.run("list").ok().out;
    assert!(list.contains("launching") && list.contains("waits for db"), "{list}");
}
