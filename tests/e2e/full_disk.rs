//! A home on a small disk of its own that is full: what is refused, what is done all the same, and that
//! memory and disk agree.
//!
//! Mounting needs root.

use std::path::PathBuf;
use std::process::Command;

use crate::world::{Said, World, await_text, not_shown};

/// A disk in the place of the home, taken away at the end.
pub(crate) struct Disk {
    home: PathBuf,
    fills: std::cell::Cell<u32>,
}

impl Disk {
    /// One of this many KiB.
    fn new(world: &World, kib: u32) -> Option<Self> {
        Self::mounted(world, &format!("size={kib}k,mode=700"))
    }

    /// With these options of a tmpfs.
    pub(crate) fn mounted(world: &World, options: &str) -> Option<Self> {
        let home = world.home();
        std::fs::create_dir(&home).expect("made");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "wpm-test"]).arg(&home).output();
        let output = mount.expect("mount is installed");
        if !output.status.success() {
            not_shown(&format!("no disk can be mounted: {}", String::from_utf8_lossy(&output.stderr)));
            return None;
        }
        Some(Self { home, fills: std::cell::Cell::new(0) })
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let name = self.home.join(format!("ballast-{}", self.fills.replace(self.fills.get() + 1)));
        let mut file = std::fs::File::create(name).expect("an inode");
        while std::io::Write::write(&mut file, &[1; 1024]).is_ok_and(|n| n > 0) {}
    }

    /// Makes room.
    fn empty(&self) {
        for n in 0..self.fills.get() {
            drop(std::fs::remove_file(self.home.join(format!("ballast-{n}"))));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.home).output());
    }
}

/// Names and desires in a state file.
fn saved(world: &World, file: &str) -> Vec<(String, String)> {
    let state: serde_json::Value = serde_json::from_str(&world.read(file)).expect("a whole file");
    let apps = state["apps"].as_array().expect("apps").iter();
    let text = |v: &serde_json::Value| v.as_str().expect("a word").to_owned();
    apps.map(|a| (text(&a["spec"]["name"]), text(&a["instances"][0]["desire"]))).collect()
}

fn listed(world: &World) -> Vec<(String, String)> {
    let text = |v: &serde_json::Value| v.as_str().expect("a word").to_owned();
    world.jlist().iter().map(|a| (text(&a["name"]), text(&a["pm2_env"]["status"]))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn start(world: &World, name: &str) -> Said {
    let program = crate::world::puppet();
    world.wpm(["start", program.to_str().expect("utf-8"), "--name", name])
}

#[test]
fn on_a_full_disk_memory_and_disk_agree() {
    let world = World::new();
    let Some(disk) = Disk::new(&world, 1024) else { return };
    let mut web = world.start("web", "", 1).remove(0);
    let _other = world.start("other", "", 1);
    disk.fill();
    // The reserve is for this.
    world.run("save").ok();
    assert_eq!(saved(&world, "dump.json").len(), 2);
    disk.fill();
    let both = pairs(&[("other", "up"), ("web", "up")]);
    for (line, why) in
        [("delete web", "nothing was changed"), ("scale web 2", "nothing was changed"), ("save", "dump.json")]
    {
        let said = world.run(line).fails(1);
        assert!(
            said.err.contains("No space left on device") && said.err.contains(why),
            "{line}: {}",
            said.err
        );
    }
    let said = start(&world, "third").fails(1);
    assert!(said.err.contains("nothing was changed") && said.err.contains("No space left"), "{}", said.err);
    assert_eq!(saved(&world, "state.json"), both);
    assert_eq!(saved(&world, "dump.json"), both);
    assert_eq!(listed(&world), pairs(&[("web", "online"), ("other", "online")]));
    assert_eq!(web.tell("print on"), "done");
    assert!(world.run("doctor").fails(1).out.contains("No space left"));
    // What relieves the disk is done, and saved as soon as that can be.
    let said = world.run("stop web").fails(1);
    assert!(said.err.contains("in force but not saved"), "{}", said.err);
    web.dead();
    // A daemon comes up on a full disk, and knows of the stop from its journal.
    crate::world::kill_and_wait(crate::survive::pid_of(&world, "__daemon"));
    assert_eq!(listed(&world), pairs(&[("web", "stopped"), ("other", "online")]));
    let said = start(&world, "third").fails(1);
    assert!(said.err.contains("nothing was changed"), "{}", said.err);
    disk.empty();
    // Nobody has to do anything.
    await_text(&world.home().join("state.json"), "\"down\"");
    assert_eq!(saved(&world, "state.json"), pairs(&[("other", "up"), ("web", "down")]));
    start(&world, "third").ok();
    let _third = world.puppet();
    assert_eq!(saved(&world, "state.json").len(), 3);
    world.run("kill").ok();
}

#[test]
fn all_of_wpm_comes_up_on_a_full_disk_and_takes_its_app_back() {
    let world = World::new();
    let Some(disk) = Disk::new(&world, 1024) else { return };
    let mut web = world.start("web", "", 1).remove(0);
    disk.fill();
    for _ in 0..3 {
        let own = world.processes().into_iter().filter(|pid| *pid != web.pid);
        own.for_each(crate::world::kill_and_wait);
    }
    assert_eq!(world.jlist()[0]["pid"], web.pid);
    assert_eq!(web.tell("cwd"), format!("cwd {}", world.dir.path().display()));
    disk.empty();
    world.run("kill").ok();
}
