//! `wpm apply`: every key takes effect, what does not differ is not touched.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::{Puppet, World, puppet};

fn write(world: &World, apps: &Value) {
    std::fs::write(world.dir.path().join("apps.json"), json!({ "apps": apps }).to_string()).expect("written");
}

/// The next puppets, by name: their first argument.
fn puppets(world: &World, count: usize) -> BTreeMap<String, Puppet> {
    let named = |mut puppet: Puppet| {
        let args = puppet.tell("args");
        let name = args.split('"').nth(1).expect("a name").to_owned();
        (name, puppet)
    };
    (0..count).map(|_| named(world.puppet())).collect()
}

fn env_of(world: &World, name: &str, variable: &str) -> Value {
    let list = world.jlist();
    let app = list.iter().find(|app| app["name"] == name).expect("it is there");
    app["pm2_env"]["env"][variable].clone()
}

#[test]
fn apps_become_what_the_file_says_and_nothing_else_is_touched() {
    let world = World::new();
    let app = |name: &str| json!({ "name": name, "script": puppet(), "args": [name], "start_check": 50 });
    let mut web = app("web");
    web["env"] = json!({ "X_KEPT": "1", "X_GONE": "1" });
    write(&world, &json!([app("same"), web, app("old")]));
    let said = world.run("apply apps.json").ok();
    assert_eq!(said.out, "+ same  new\n+ web   new\n+ old   new\n");
    let mut first = puppets(&world, 3);
    let _by_hand = world.start("by-hand", "", 1);

    let folder = world.dir.path().join("release");
    std::fs::create_dir(&folder).expect("made");
    let mut web = app("web");
    web["env"] = json!({ "X_KEPT": "1", "X_NEW": "s3cret" });
    web["cwd"] = json!(folder);
    web["out_file"] = json!("web.log");
    web["kill_timeout"] = json!(500);
    let file = json!([app("same"), web, app("new")]);
    write(&world, &file);
    let dry = world.run("apply apps.json --prune --dry-run").ok();
    for line in [
        "= same  unchanged",
        "~ web   restart",
        "    cwd           ",
        "    env.X_GONE    •••••• → none",
        "    env.X_NEW     none → ••••••",
        "    kill_timeout  1600ms → 500ms",
        "    out_file      none → ",
        "+ new   new",
        "- old   remove",
    ] {
        assert!(dry.out.contains(line), "{line:?} is not in\n{}", dry.out);
    }
    assert!(dry.err.contains("would be done: 1 new, 1 to restart, 1 to remove, 1 unchanged"), "{}", dry.err);
    assert_eq!(env_of(&world, "web", "X_GONE"), "1", "nothing was done");

    let done = world.run("apply apps.json --prune").ok();
    assert_eq!(done.out, dry.out);
    let mut second = puppets(&world, 2);
    first.remove("web").expect("it ran").dead();
    first.remove("old").expect("it ran").dead();
    assert_eq!(first.get_mut("same").expect("it runs").tell("args"), r#"args ["same"]"#);
    let names: Vec<Value> = world.jlist().iter().map(|app| app["name"].clone()).collect();
    assert_eq!(names, ["same", "web", "by-hand", "new"]);
    assert_eq!(env_of(&world, "web", "X_GONE"), Value::Null);
    assert_eq!(env_of(&world, "web", "X_NEW"), "s3cret");
    let web = second.get_mut("web").expect("it runs");
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", web.pid)).expect("it runs");
    assert_eq!(cwd, folder.canonicalize().expect("there"));
    assert_eq!(web.tell("print out words"), "done");
    crate::world::await_text(&folder.join("web.log"), "words");

    // Again, also from a shell with other variables: nothing.
    let mut again = world.command(["apply", "apps.json", "--prune", "--json"]);
    let again = again.env("X_SHELL", "other").output().expect("wpm runs");
    let again: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    let steps: Vec<&str> = again["apps"]
        .as_array()
        .expect("apps")
        .iter()
        .map(|app| app["step"].as_str().expect("a word"))
        .collect();
    assert_eq!(steps, ["keep", "keep", "keep"]);
    let mut updated = world.command(["apply", "apps.json", "--update-env", "--dry-run"]);
    let updated = updated.env("X_SHELL", "other").output().expect("wpm runs");
    assert!(String::from_utf8_lossy(&updated.stdout).contains("env.X_SHELL  none → ••••••"), "{updated:?}");
}

#[test]
fn instances_scripts_and_files_that_are_wrong() {
    let world = World::new();
    let copy = world.dir.path().join("copy");
    std::fs::copy(puppet(), &copy).expect("copied");
    let app = |script: &std::path::Path, instances: u32| json!([{ "name": "web", "script": script, "args": ["web"], "instances": instances }]);
    write(&world, &app(&puppet(), 1));
    world.run("start apps.json").ok();
    let first = world.puppet();
    write(&world, &app(&puppet(), 3));
    let said = world.run("apply apps.json").ok();
    assert_eq!(said.out, "~ web  scale\n    instances  1 → 3\n");
    let _two = (world.puppet(), world.puppet());
    assert!(said.err.contains("web: 2/2 up"), "{}", said.err);
    write(&world, &app(&copy, 1));
    world.run("apply apps.json").ok();
    first.dead();
    let fourth = world.puppet();
    let program = std::fs::read_link(format!("/proc/{}/exe", fourth.pid)).expect("it runs");
    assert_eq!(program, copy.canonicalize().expect("there"));
    assert_eq!(world.statuses(), ["online"]);

    // What wpm itself decides touches no process.
    write(
        &world,
        &json!([{ "name": "web", "script": copy, "args": ["web"], "instances": 1, "kill_timeout": 900 }]),
    );
    let said = world.run("apply apps.json").ok();
    assert_eq!(said.out, "~ web  in force at once\n    kill_timeout  1600ms → 900ms\n");
    assert_eq!(said.err, "in force\n");

    // One that does not come up: the old one is back, and the code says so.
    write(&world, &json!([{ "name": "web", "script": "false", "instances": 1 }]));
    let said = world.run("apply apps.json").fails(1);
    assert!(said.err.contains("web exited with code 1"), "{}", said.err);
    fourth.dead();
    let back = world.puppet();
    let program = std::fs::read_link(format!("/proc/{}/exe", back.pid)).expect("it runs");
    assert_eq!(program, copy.canonicalize().expect("there"));

    let said = world.run("apply missing.json").fails(6);
    assert!(said.err.contains("missing.json"), "{}", said.err);
    let mut piped = world.command(["apply", "-", "--prune"]);
    let piped = piped.stdin(std::fs::File::open(world.dir.path().join("apps.json")).expect("there"));
    assert_eq!(piped.output().expect("wpm runs").status.code(), Some(2));
    world.run("apply").fails(2);
}
