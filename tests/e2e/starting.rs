//! What `start` makes of a target: a known app with other options, a wrong name, what is no program.

use std::os::unix::fs::PermissionsExt;

use crate::world::{World, puppet};

#[test]
fn a_known_app_takes_new_options_when_it_is_not_up() {
    let world = World::new();
    let p = world.start("web", "", 1).remove(0);
    let said = world.run("start web").ok();
    assert!(said.err.contains("web is up already"), "{}", said.err);
    let said = world.run("start web --max-restarts 3").fails(1);
    assert!(said.err.contains("wpm restart web"), "{}", said.err);
    world.run("stop web").ok();
    p.dead();
    world.run("start web --max-restarts 3").ok();
    let _again = world.puppet();
    let spec = world.run("describe web --json").ok().json()["apps"][0]["spec"].clone();
    assert_eq!(spec["max_restarts"], 3);
    let said = world.run("start web --nice 5 --cwd /").fails(1);
    assert!(said.err.contains("wpm restart web"), "{}", said.err);
    let said = world.run("restart web --nice 5 --cwd / --name other").fails(2);
    assert!(said.err.contains("cwd, nice"), "{}", said.err);
}

#[test]
fn one_instance_is_started_by_its_index() {
    let world = World::new();
    let puppets = world.start("pair", "-i 2", 2);
    world.run("stop pair").ok();
    for puppet in puppets {
        puppet.dead();
    }
    world.run("start pair/1").ok();
    let one = world.puppet();
    assert_eq!(one.index, "1");
    let mut statuses = world.statuses();
    statuses.sort();
    assert_eq!(statuses, ["online", "stopped"]);
    let said = world.run("start pair/7").fails(1);
    assert!(said.err.contains("pair/7"), "{}", said.err);
}

#[test]
fn a_name_that_nearly_is_one_is_suggested() {
    let world = World::new();
    let _web = world.start("web", "", 1);
    let said = world.run("start wbe").fails(1);
    assert!(said.err.contains("wpm start web"), "{}", said.err);
    let said = world.run("logs wbe --nostream").fails(4);
    assert!(said.err.contains("did you mean `web`?"), "{}", said.err);
    assert_eq!(said.out, "");
}

#[test]
fn names_that_mean_other_apps_too_are_refused() {
    let world = World::new();
    let program = puppet();
    for name in ["all", "/web/"] {
        let said = world.wpm(["start", program.to_str().expect("utf-8"), "--name", name]).fails(6);
        assert!(said.err.contains("mean other apps too"), "{}", said.err);
    }
    assert!(world.jlist().is_empty());
}

#[test]
fn a_failed_step_is_named_with_what_it_was_done_to_and_what_helps() {
    let world = World::new();
    let script = world.dir.path().join("script");
    std::fs::write(&script, "#!/no/such/shell\n").expect("a file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let said = world.run("start script").fails(1);
    let executing = format!("executing the program {}", script.display());
    assert!(said.err.contains(&executing), "{}", said.err);
    assert!(said.err.contains("asks for /no/such/shell, which is not there"), "{}", said.err);

    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).expect("mode");
    let said = world.run("start script --interpreter none --name plain").fails(1);
    assert!(said.err.contains("chmod +x"), "{}", said.err);

    let folder = world.dir.path().join("gone");
    std::fs::create_dir(&folder).expect("a folder");
    let p = world.start("web", &format!("--cwd {}", folder.display()), 1).remove(0);
    world.run("stop web").ok();
    p.dead();
    std::fs::remove_dir(&folder).expect("removed");
    let said = world.run("start web").fails(1);
    let entering = format!("entering the working directory {} failed", folder.display());
    assert!(said.err.contains(&entering), "{}", said.err);

    let big = world.dir.path().join("big.json");
    let apps = serde_json::json!([{"name": "big", "script": puppet(), "env": {"BIG": "x".repeat(200_000)}}]);
    std::fs::write(&big, apps.to_string()).expect("a file");
    let said = world.run("start big.json").fails(1);
    assert!(said.err.contains("128 KiB"), "{}", said.err);
}
