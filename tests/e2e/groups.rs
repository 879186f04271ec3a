//! A delegated control group: each run has one of its own below it, and an end for lack of memory is
//! told as what it is.
//!
//! Needs root and a writable hierarchy of version 2; what a machine does not have is said, not shown.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::world::{Puppet, Said, World, not_shown, puppet};

/// A group that is marked as delegated, as a service manager does it, with a group for wpm below.
struct Delegated(PathBuf);

/// The folder of a process's group, by its path in the only mounted hierarchy of version 2.
fn folder_of(pid: &str) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("procfs");
    let point = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let point = words.next()?;
        (words.next() == Some("cgroup2")).then(|| point.to_owned())
    })?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(&point).join(path))
}

impl Delegated {
    fn new(name: &str) -> Option<Self> {
        let base = folder_of("self")?.join(format!("wpm-e2e-{}-{name}", std::process::id()));
        let made = std::fs::create_dir(&base).and_then(|()| std::fs::create_dir(base.join("wpm")));
        if let Err(e) = made {
            not_shown(&format!("no control group can be made at {}: {e}", base.display()));
            return None;
        }
        let group = Self(base);
        let mark = rustix::fs::setxattr(&group.0, "user.delegate", b"1", rustix::fs::XattrFlags::empty());
        if let Err(e) = mark {
            not_shown(&format!("groups take no marks on this kernel: {e}"));
            return None;
        }
        Some(group)
    }

    /// Starts the puppet by a client, and so a keeper, inside the group of wpm.
    fn start(&self, world: &World, options: &str) -> Puppet {
        let line = format!(
            "echo 0 > {}/wpm/cgroup.procs && exec {} start {} --name web {options}",
            self.0.display(),
            crate::world::WPM,
            puppet().display()
        );
        let clean = world.command(["version"]);
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env_clear().current_dir(world.dir.path()).stdin(Stdio::null());
        command.envs(clean.get_envs().filter_map(|(k, v)| Some((k, v?))));
        assert!(command.status().expect("runs").success());
        world.puppet()
    }

    fn runs(&self) -> usize {
        let entries = std::fs::read_dir(&self.0).expect("there").flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("run-")).count()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            drop(std::fs::remove_dir(entry.path()));
        }
        drop(std::fs::remove_dir(&self.0));
    }
}

fn doctor(world: &World) -> Said {
    world.run("doctor")
}

#[test]
fn a_run_has_a_group_of_its_own_where_one_was_delegated() {
    let Some(group) = Delegated::new("runs") else { return };
    let world = World::new();
    let mut p = group.start(&world, "");
    let own = folder_of(&p.pid.to_string()).expect("in a group");
    assert_eq!(own.parent(), Some(&*group.0));
    assert_eq!(p.tell("daemon"), "done");
    assert_eq!(std::fs::read_to_string(own.join("cgroup.procs")).expect("there").lines().count(), 2);
    assert!(doctor(&world).out.contains(&*group.0.to_string_lossy()));
    // All of wpm dies: the run is taken back in its group, and another one gets its own.
    for _ in 0..3 {
        world.processes().into_iter().filter(|pid| is_wpm(*pid)).for_each(crate::world::kill_and_wait);
    }
    assert_eq!(world.jlist()[0]["pid"], p.pid);
    world.run("stop web").ok();
    p.dead();
    world.run("kill").ok();
    assert_eq!(group.runs(), 0, "groups go with their runs");
}

#[test]
fn limits_of_an_app_are_set_before_it_runs() {
    let Some(group) = Delegated::new("limits") else { return };
    let there = std::fs::read_to_string(group.0.join("cgroup.controllers")).unwrap_or_default();
    let has = |wanted: &str| there.split_ascii_whitespace().any(|name| name == wanted);
    let world = World::new();
    let mut p = group.start(&world, "--memory-max 64M --cpu-max 1.5 --no-autorestart");
    let own = folder_of(&p.pid.to_string()).expect("in a group");
    let limit = |file: &str| std::fs::read_to_string(own.join(file)).unwrap_or_default().trim().to_owned();
    if has("cpu") {
        assert_eq!(limit("cpu.max"), "150000 100000");
    }
    if has("memory") {
        assert_eq!(limit("memory.max"), "67108864");
        drop(std::fs::write(own.join("memory.swap.max"), "0"));
        assert!(p.order("eat 200"));
        p.dead();
        crate::world::await_text(&world.home().join("daemon.log"), "OutOfMemory");
    } else {
        not_shown("the memory controller is not in this hierarchy");
    }
}

#[test]
fn limits_that_have_no_effect_are_said() {
    let world = World::new();
    let said = world.run("start sleep --memory-max 64M --cpu-max 50% -- 1000").ok();
    for word in ["memory", "cpu"] {
        assert!(said.err.contains(&format!("sleep: `{word}_max` has no effect")), "{}", said.err);
    }
    world.run("start sleep --name other --cpu-max lots -- 1000").fails(2);
}

fn is_wpm(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    ["__keeper", "__daemon", "__shim"].iter().any(|w| String::from_utf8_lossy(&line).contains(w))
}

#[test]
fn without_a_delegated_group_nothing_is_made_and_doctor_says_so() {
    let world = World::new();
    let p = world.start("web", "", 1).remove(0);
    assert_eq!(folder_of(&p.pid.to_string()), folder_of("self"));
    assert!(doctor(&world).out.contains("no control group was delegated"));
}

#[test]
fn an_end_for_lack_of_memory_is_called_so() {
    let Some(group) = Delegated::new("memory") else { return };
    let there = std::fs::read_to_string(group.0.join("cgroup.controllers")).unwrap_or_default();
    if !there.split_ascii_whitespace().any(|name| name == "memory") {
        not_shown("the memory controller is not in this hierarchy");
        return;
    }
    let world = World::new();
    let mut p = group.start(&world, "--no-autorestart");
    let own = folder_of(&p.pid.to_string()).expect("in a group");
    std::fs::write(own.join("memory.max"), "32M").expect("the controller was turned on");
    drop(std::fs::write(own.join("memory.swap.max"), "0"));
    assert!(p.order("eat 200"));
    p.dead();
    crate::world::await_text(&world.home().join("daemon.log"), "OutOfMemory");
    let said = world.run("describe web").ok();
    assert!(said.out.contains("out of memory"), "{}", said.out);
    assert!(world.run("list").ok().out.contains("out of memory"));
}
