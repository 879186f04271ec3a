//! What was asked of a daemon that was killed in the middle of it is gone on with by the next one, and the
//! command says what came of it.

use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use serde_json::json;

use crate::survive::pid_of;
use crate::world::{Puppet, Said, World, await_file, kill_and_wait, puppet, said};

/// Types a command, which goes on while the test does.
fn typed(world: &World, line: &str) -> Child {
    let mut command = world.command(line.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

fn ended(command: Child) -> Said {
    said(&command.wait_with_output().expect("it ends"))
}

/// Instances of an app; those that are picked go when they are told by the test, and not by a signal.
fn start(world: &World, options: &str, count: usize, stubborn: impl Fn(usize) -> bool) -> Vec<Puppet> {
    let mut puppets = world.start("slow", &format!("--kill-timeout 60000 {options}"), count);
    puppets.sort_by_key(|puppet| puppet.index.clone());
    for (_, puppet) in puppets.iter_mut().enumerate().filter(|(at, _)| stubborn(*at)) {
        assert_eq!(puppet.tell("ignore INT"), "done");
    }
    puppets
}

/// Waits until the daemon has written this into the state, and kills it.
fn kill_once_written(world: &World, text: &str) {
    await_file(&world.home().join("state.json"), text, |state| state.contains(text));
    kill_and_wait(pid_of(world, "__daemon"));
}

#[test]
fn a_restart() {
    let world = World::new();
    // Without the restart, an end of the app would be the last.
    let old = start(&world, "-i 2 --no-autorestart", 2, |_| true);
    let command = typed(&world, "restart slow");
    kill_once_written(&world, "\"renews\"");
    old.into_iter().for_each(|puppet| puppet.exit(0));
    let new = [world.puppet(), world.puppet()];
    let said = ended(command).ok();
    assert!(said.err.contains("slow: 2/2 up"), "{}", said.err);
    let list = world.jlist();
    assert!(new.iter().all(|puppet| list.iter().any(|i| i["pid"] == puppet.pid)), "{list:?}");
    assert!(list.iter().all(|i| i["pm2_env"]["restart_time"] == 1), "counted once");
}

#[test]
fn a_restart_that_nobody_waits_for() {
    let world = World::new();
    let old = start(&world, "--no-autorestart", 1, |_| true).remove(0);
    world.run("restart slow --no-wait").ok();
    kill_once_written(&world, "\"renews\"");
    assert_eq!(world.statuses(), ["stopping"]);
    old.exit(0);
    let new = world.puppet();
    assert_eq!(world.jlist()[0]["pid"], new.pid);
}

#[test]
fn a_reload() {
    let world = World::new();
    let mut old = start(&world, "-i 2", 2, |at| at == 0);
    let command = typed(&world, "reload slow");
    kill_once_written(&world, "\"renews\"");
    let (first, second) = (old.remove(0), old.remove(0));
    first.exit(0);
    let new = [world.puppet(), world.puppet()];
    second.dead();
    let said = ended(command).ok();
    assert!(said.err.contains("slow: 2/2 up"), "{}", said.err);
    let list = world.jlist();
    assert!(list[0]["pid"] == new[0].pid && list[1]["pid"] == new[1].pid, "{list:?}");
}

#[test]
fn files_that_are_applied() {
    let world = World::new();
    let file = |args: &str, name: &str| {
        let app = |name: &str, args: &str| json!({ "name": name, "script": puppet(), "args": [args], "instances": 2, "kill_timeout": 60_000 });
        let apps = json!({ "apps": [app("slow", args), app("same", "same")] });
        std::fs::write(world.dir.path().join(name), apps.to_string()).expect("written");
    };
    file("old", "apps.json");
    world.run("apply apps.json").ok();
    let (mut old, same): (Vec<_>, Vec<_>) = (0..4).map(|_| world.puppet()).partition(|it| it.name == "old");
    old.sort_by_key(|puppet| puppet.index.clone());
    assert_eq!(old[0].tell("ignore INT"), "done");
    file("new", "apps.json");
    let command = typed(&world, "apply apps.json");
    kill_once_written(&world, "\"before\"");
    let (first, second) = (old.remove(0), old.remove(0));
    first.exit(0);
    let new = [world.puppet(), world.puppet()];
    assert!(new.iter().all(|puppet| puppet.name == "new"), "{new:?}");
    second.dead();
    let _said = ended(command).ok();
    let pids: Vec<_> = world.jlist().iter().map(|i| i["pid"].clone()).collect();
    let live = new.iter().chain(&same).map(|puppet| puppet.pid);
    assert!(pids.len() == 4 && live.into_iter().all(|pid| pids.contains(&pid.into())), "{pids:?}");
}

#[test]
fn files_that_are_applied_and_do_not_work() {
    let world = World::new();
    let file = |script: &Path| {
        let app = json!({ "name": "slow", "script": script, "args": ["old"], "instances": 2, "kill_timeout": 60_000 });
        std::fs::write(world.dir.path().join("apps.json"), json!({ "apps": [app] }).to_string())
            .expect("written");
    };
    file(&puppet());
    world.run("apply apps.json").ok();
    let mut old = [world.puppet(), world.puppet()];
    old.sort_by_key(|puppet| puppet.index.clone());
    let [mut first, second] = old;
    assert_eq!(first.tell("ignore INT"), "done");
    file(Path::new("/bin/false"));
    let command = typed(&world, "apply apps.json");
    kill_once_written(&world, "\"before\"");
    first.exit(0);
    let back = world.puppet();
    let said = ended(command).fails(1);
    assert!(said.err.contains("1 died, 1 left as they were"), "{}", said.err);
    let pids: Vec<_> = world.jlist().iter().map(|i| i["pid"].clone()).collect();
    assert_eq!(pids, [back.pid, second.pid]);
    let left = world.run("apply apps.json --dry-run").ok();
    assert!(left.out.contains("script"), "it still differs from the file: {}", left.out);
}

#[test]
fn a_smaller_number_of_instances() {
    let world = World::new();
    let mut old = start(&world, "-i 2", 2, |_| true);
    let mut command = typed(&world, "scale slow 1");
    kill_once_written(&world, "\"gone\"");
    assert_eq!(world.statuses(), ["online", "stopping"]);
    assert_eq!(command.try_wait().expect("ours"), None, "it is not done");
    old.remove(1).exit(0);
    let _said = ended(command).ok();
    assert_eq!(world.statuses(), ["online"]);
}

#[test]
fn the_end_of_everything() {
    let world = World::new();
    let slow = world.start("slow", "--kill-timeout 1000", 1).remove(0);
    let quick = world.start("quick", "", 1).remove(0);
    let mut slow = slow;
    assert_eq!(slow.tell("ignore INT"), "done");
    let command = typed(&world, "kill");
    quick.dead();
    kill_and_wait(pid_of(&world, "__daemon"));
    let said = ended(command).ok();
    assert!(said.err.contains("the daemon has ended"), "{}", said.err);
    slow.dead();
    let list = world.jlist();
    assert!(list.is_empty(), "the list is empty afterwards: {list:?}\n{}\n{}", said.err, world.log());
}

/// The next daemon is not there yet, and nobody can tell whether it takes a moment or long.
#[test]
fn the_end_of_everything_between_two_daemons() {
    let world = World::new();
    let rock = world.start("rock", "", 1).remove(0);
    let keeper = Pid::from_raw(pid_of(&world, "__keeper")).expect("a pid");
    kill_process(keeper, Signal::STOP).expect("ours");
    kill_and_wait(pid_of(&world, "__daemon"));
    let mut command = typed(&world, "kill");
    let waits = |pid: u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        links.any(|link| link.to_string_lossy().contains("inotify"))
    };
    while !waits(command.id()) {
        assert_eq!(command.try_wait().expect("ours"), None, "it did not wait for the next daemon");
    }
    kill_process(keeper, Signal::CONT).expect("ours");
    let said = ended(command).ok();
    assert!(said.err.contains("rock: 1/1 stopped"), "{}", said.err);
    rock.dead();
}
