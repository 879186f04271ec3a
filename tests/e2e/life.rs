//! The life of apps: start, scale, crash, restart, stop, delete.

use crate::world::World;

#[test]
fn a_started_app_runs_with_its_arguments_and_environment() {
    let world = World::new();
    let mut p = world.start("one", "", 1).remove(0);
    assert_eq!(p.tell("args"), r#"args ["one"]"#);
    assert_eq!(p.tell("env WPM_INSTANCE"), "env 0");
    assert_eq!(p.tell("env NODE_APP_INSTANCE"), "env (unset)");
    assert_eq!(p.tell("env WPM_HOME"), format!("env {}", world.home().display()));
    assert_eq!(
        p.tell("cwd"),
        format!("cwd {}", world.dir.path().canonicalize().expect("a folder").display())
    );
    assert_eq!(world.statuses(), ["online"]);
}

#[test]
fn instances_have_stable_numbers_over_scaling_and_restarts() {
    let world = World::new();
    let mut puppets = world.start("many", "-i 3", 3);
    puppets.sort_by(|a, b| a.index.cmp(&b.index));
    assert_eq!(puppets.iter().map(|p| p.index.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(puppets[1].tell("env NODE_APP_INSTANCE"), "env 1");
    world.run("scale many 2").ok();
    puppets.pop().expect("three").dead();
    world.run("scale many 4").ok();
    let new = [world.puppet(), world.puppet()];
    let mut numbers = new.each_ref().map(|p| p.index.as_str());
    numbers.sort_unstable();
    assert_eq!(numbers, ["2", "3"]);
    puppets.remove(1).exit(7);
    assert_eq!(world.puppet().index, "1", "a crashed instance comes back under its number");
}

#[test]
fn a_variable_grows_by_the_index() {
    let world = World::new();
    let program = crate::world::puppet();
    let mut start = world.command(["start", "-i", "3", "--increment-var", "PUPPET_PORT", "-n", "port"]);
    let started = start.arg(program).env("PUPPET_PORT", "7000").output().expect("runs");
    assert!(started.status.success());
    let mut puppets: Vec<_> = (0..3).map(|_| world.puppet()).collect();
    puppets.sort_by(|a, b| a.index.cmp(&b.index));
    let ports: Vec<String> = puppets.iter_mut().map(|p| p.tell("env PUPPET_PORT")).collect();
    assert_eq!(ports, ["env 7000", "env 7001", "env 7002"]);
}

#[test]
fn a_crash_is_followed_by_a_new_run_and_counted() {
    let world = World::new();
    let p = world.start("crash", "", 1).remove(0);
    let first = p.pid;
    p.exit(3);
    let again = world.puppet();
    assert_ne!(again.pid, first);
    let list = world.jlist();
    assert_eq!(list[0]["pm2_env"]["restart_time"], 1);
    assert_eq!(list[0]["pid"], again.pid);
}

#[test]
fn stop_takes_the_whole_tree_and_delete_the_entry() {
    let world = World::new();
    let mut p = world.start("tree", "--kill-timeout 300", 1).remove(0);
    for order in ["fork", "daemon", "ignore INT"] {
        assert_eq!(p.tell(order), "done");
    }
    world.run("stop tree").ok();
    // The life line is held by every process of the tree.
    p.dead();
    assert_eq!(world.statuses(), ["stopped"]);
    world.run("delete tree").ok();
    assert!(world.jlist().is_empty());
}

#[test]
fn restart_of_a_stopped_app_starts_it_without_counting() {
    let world = World::new();
    let p = world.start("again", "", 1).remove(0);
    world.run("stop again").ok();
    p.dead();
    world.run("restart again").ok();
    let _running = world.puppet();
    assert_eq!(world.jlist()[0]["pm2_env"]["restart_time"], 0);
    world.run("restart again").ok();
    let _running = world.puppet();
    assert_eq!(world.jlist()[0]["pm2_env"]["restart_time"], 1);
}

#[test]
fn an_app_that_dies_at_once_fails_the_command_with_code_and_last_words() {
    let world = World::new();
    let script = world.dir.path().join("dies.sh");
    std::fs::write(&script, "echo about to fail >&2\nexit 9\n").expect("a file");
    let said = world.wpm(["start", script.to_str().expect("utf-8"), "--no-autorestart"]).fails(1);
    assert!(said.err.contains("about to fail"), "{}", said.err);
    assert!(said.err.contains('9'), "{}", said.err);
}

#[test]
fn a_crash_loop_ends_errored_and_is_told() {
    let world = World::new();
    let script = world.dir.path().join("loop.sh");
    std::fs::write(&script, "exit 1\n").expect("a file");
    world.wpm(["start", script.to_str().expect("utf-8"), "--max-restarts", "3"]).fails(1);
    crate::world::await_text(&world.home().join("daemon.log"), "errored");
    assert_eq!(world.statuses(), ["errored"]);
    let list = world.run("list").ok();
    assert!(list.out.contains("errored"), "{}", list.out);
}

#[test]
fn what_cannot_be_executed_says_which_step_failed() {
    let world = World::new();
    let script = world.dir.path().join("noshell");
    std::fs::write(&script, "#!/no/such/interpreter\n").expect("a file");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let said = world.wpm(["start", script.to_str().expect("utf-8"), "--interpreter", "none"]).fails(1);
    assert!(said.err.contains("executing the program"), "{}", said.err);
    assert_eq!(world.statuses(), ["errored"]);
    // Above what the kernel allows to anybody.
    let said = world.run("start true --name greedy --limit core=0 --max-open-files 4000000000").fails(1);
    assert!(said.err.contains("setting the limit nofile failed: Operation not permitted"), "{}", said.err);
}

/// A new release was put in the place of the one that the shell stands in.
#[test]
fn known_apps_obey_from_a_folder_that_was_removed() {
    let world = World::new();
    let old = world.start("rock", "", 1).remove(0);
    let folder = world.dir.path().join("release");
    std::fs::create_dir(&folder).expect("created");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "rmdir \"$0\"; exec \"$1\" restart rock"]).arg(&folder).arg(crate::world::WPM);
    command.env("WPM_HOME", world.home()).env("HOME", world.dir.path()).current_dir(&folder);
    crate::world::said(&command.output().expect("it runs")).ok();
    old.dead();
    assert_eq!(world.puppet().name, "rock");
}

#[test]
fn what_is_only_listed_is_not_said_to_start() {
    let world = World::new();
    let start = |name: &str, option: &str| world.wpm(["start", "sleep 1000", "-n", name, option]).ok();
    assert_eq!(start("later", "--no-autostart").err, "later: in the list, not started\n");
    assert_eq!(start("soon", "--no-wait").err, "start asked for\n");
    for line in ["stop soon", "save", "delete all"] {
        world.run(line).ok();
    }
    let said = world.run("resurrect").ok();
    assert_eq!(said.err, "later: in the list, not started\nsoon: in the list, not started\n");
    assert_eq!(world.statuses(), ["stopped", "stopped"]);
}

#[test]
fn restart_by_name_takes_the_options_of_start() {
    let world = World::new();
    let folder = world.dir.path().join("elsewhere");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(world.dir.path().join("more.env"), "LEVEL=file\nDB=x\n").expect("written");
    let mut first = world.start("web", "--set-env LEVEL=own --no-autostart", 0);
    assert!(first.pop().is_none());
    // A stopped one, that does not start by itself, is started with them.
    world.run("start web --cwd elsewhere --env-file more.env --nice 3").ok();
    let mut p = world.puppet();
    let of = |p: &mut crate::world::Puppet, name: &str| p.tell(&format!("env {name}"));
    assert_eq!(of(&mut p, "PWD"), format!("env {}", folder.display()));
    assert_eq!((of(&mut p, "LEVEL").as_str(), of(&mut p, "DB").as_str()), ("env own", "env x"));
    let said = world.run("start web --cwd /").fails(1);
    assert!(said.err.contains("wpm restart web"), "{}", said.err);
    world
        .run("restart web -i 2 --namespace shop --output both.log --set-env LEVEL=typed --kill-timeout 900")
        .ok();
    p.dead();
    let mut two = [world.puppet(), world.puppet()];
    assert_eq!(of(&mut two[0], "LEVEL"), "env typed");
    assert_eq!(of(&mut two[1], "DB"), "env x");
    let list = world.jlist();
    assert_eq!(list.len(), 2);
    let env = &list[1]["pm2_env"];
    assert_eq!((&env["namespace"], &env["kill_timeout"]), (&"shop".into(), &900.into()));
    assert_eq!(env["pm_out_log_path"], folder.join("both-1.log").display().to_string());
    // By the number of one instance the whole app is not meant.
    let said = world.run("restart 1 --cwd /").fails(2);
    assert!(said.err.contains("name the app"), "{}", said.err);
    world.run("restart web --cwd /no/such").fails(1);
    world.run("reload web --cwd / --nice 0").ok();
    two.into_iter().for_each(crate::world::Puppet::dead);
    let mut two = [world.puppet(), world.puppet()];
    assert_eq!(of(&mut two[0], "PWD"), "env /");
    assert_eq!(world.jlist()[0]["pm2_env"]["nice"], serde_json::Value::Null);
}

#[test]
fn a_hundred_instances_live_and_die_together() {
    let world = World::new();
    let puppets = world.start("hundred", "-i 100", 100);
    assert_eq!(world.statuses(), vec!["online"; 100]);
    let listed = world.run("list").ok().out;
    assert!(listed.lines().count() == 2 && listed.contains("0-99") && listed.contains("100/100"), "{listed}");
    assert_eq!(world.run("list --instances").ok().out.lines().count(), 101);
    world.run("restart hundred").ok();
    puppets.into_iter().for_each(crate::world::Puppet::dead);
    let puppets: Vec<_> = (0..100).map(|_| world.puppet()).collect();
    world.run("stop hundred").ok();
    puppets.into_iter().for_each(crate::world::Puppet::dead);
    world.run("delete hundred").ok();
    assert!(world.jlist().is_empty());
}

#[test]
fn memory_above_the_limit_restarts_the_app() {
    let world = World::new();
    let mut p = world.start("fat", "--max-memory-restart 60M", 1).remove(0);
    // On a slow machine it is ended before it has eaten all.
    assert!(p.order("eat 100"));
    p.dead();
    let _again = world.puppet();
    let said = world.run("describe fat").ok();
    assert!(said.out.contains("memory") || world.log().contains("memory"), "{}", said.out);
}
