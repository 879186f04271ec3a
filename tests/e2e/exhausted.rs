//! Descriptors and processes used up: old clients are served, apps go on, and it is said what is short.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wpm_proto::frame;

use crate::security::{answer, connected, for_everybody, is_root};
use crate::survive::pid_of;
use crate::world::{Puppet, World, not_shown, puppet};

/// A shell line in the world's environment, for the limits that a shell sets.
fn shell(world: &World, line: &str) -> Command {
    let clean = world.command(["version"]);
    let mut command = Command::new("sh");
    command.args(["-c", line]).env_clear().current_dir(world.dir.path()).stdin(Stdio::null());
    command.envs(clean.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command
}

/// Processor time of a process, in clock ticks (100 a second).
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_ascii_whitespace().collect();
    fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
}

/// Asserts that a process does not end within a second.
fn goes_on_for_a_second(pid: i32) {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let fd = pidfd_open(Pid::from_raw(pid).expect("a pid"), PidfdFlags::empty()).expect("it lives");
    let mut set = [PollFd::new(&fd, PollFlags::IN)];
    assert_eq!(poll(&mut set, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })), Ok(0), "it has ended");
}

#[test]
fn without_descriptors_old_clients_are_served_and_apps_go_on() {
    let world = World::new();
    let line = format!("ulimit -n 64; exec {} start {} --name web", crate::world::WPM, puppet().display());
    assert!(shell(&world, &line).status().expect("runs").success());
    let mut web = world.puppet();
    let daemon = pid_of(&world, "__daemon");
    let mut old = connected(&world);
    let path = world.home().join("wpm.sock");
    // None of these says a word, and most of them are never accepted.
    let silent: Vec<UnixStream> =
        (0..1000).map(|_| UnixStream::connect(&path).expect("the queue is long")).collect();
    crate::world::await_text(&world.home().join("daemon.log"), "cannot accept clients for the moment");
    let before = ticks(daemon);
    goes_on_for_a_second(daemon);
    let used = ticks(daemon) - before;
    assert!(used <= 10, "{used} % of a processor, while nothing can be done");
    old.write_all(&frame::encode(br#"{"id":1,"op":{"type":"list","targets":[]}}"#).expect("short"))
        .expect("taken");
    assert!(answer(&mut old).contains("\"web\""));
    assert_eq!(web.tell("print on"), "done");
    let said = world.run("doctor").fails(1);
    assert!(said.out.contains("of 64 descriptors open"), "{}", said.out);
    drop(silent);
    assert_eq!(world.statuses(), ["online"]);
    // More apps than there are descriptors for: the last one waits, and says for what.
    let mut kept: Vec<Puppet> = Vec::new();
    let refused = (0..40).find_map(|n| {
        let program = puppet();
        let name = format!("more-{n}");
        let said = world.wpm(["start", program.to_str().expect("utf-8"), "--name", &name]);
        if said.code == 0 {
            kept.push(world.puppet());
        }
        (said.code != 0).then_some(said)
    });
    let said = refused.expect("64 descriptors are not enough for 40 apps");
    assert!(said.err.contains("Too many open files"), "{}", said.err);
    assert!(world.run("list").ok().out.contains("waiting restart"));
    assert!(world.run("doctor").out.contains("the keeper has"), "{}", world.run("doctor").out);
    assert_eq!(web.tell("print still on"), "done");
    assert_eq!(pid_of(&world, "__daemon"), daemon);
    // Once there is room it comes up by itself.
    world.run("delete more-0").ok();
    let _waited = world.puppet();
}

/// A user of whom nobody else has processes.
const SOMEBODY: u32 = 54_321;

#[test]
fn without_processes_an_app_waits_and_the_others_go_on() {
    if !is_root() {
        not_shown("a limit on processes needs a user of whom there are no others");
        return;
    }
    let world = World::new();
    let (wpm, program) =
        (for_everybody(&world, crate::world::WPM.as_ref()), for_everybody(&world, &puppet()));
    let home = world.home();
    std::fs::create_dir(&home).expect("made");
    std::os::unix::fs::chown(&home, Some(SOMEBODY), Some(SOMEBODY)).expect("root may");
    let socket = world.dir.path().join("puppets");
    std::os::unix::fs::chown(&socket, Some(SOMEBODY), Some(SOMEBODY)).expect("root may");
    let run = |words: &str| {
        // Shells disagree about the letter.
        let line = format!("{{ ulimit -u 9 2>/dev/null || ulimit -p 9; }} && exec {} {words}", wpm.display());
        let output = shell(&world, &line).uid(SOMEBODY).gid(SOMEBODY).output().expect("runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout),
        )
    };
    let start = |name: &str| run(&format!("start {} --name {name}", program.display()));
    let (code, said) = start("web");
    assert_eq!(code, Some(0), "{said}");
    let mut web = world.puppet();
    let daemon = pid_of(&world, "__daemon");
    let mut up: Vec<Puppet> = Vec::new();
    let refused = (0..9).find_map(|n| {
        let (code, said) = start(&format!("more-{n}"));
        if code == Some(0) {
            up.push(world.puppet());
        }
        (code != Some(0)).then_some(said)
    });
    let said = refused.expect("nine processes are not enough for ten apps");
    assert!(said.contains("Resource temporarily unavailable"), "{said}");
    assert!(run("list").1.contains("waiting restart"), "{}", run("list").1);
    assert_eq!(web.tell("print on"), "done");
    assert_eq!(pid_of(&world, "__daemon"), daemon);
    let (code, said) = run(if up.is_empty() { "stop web" } else { "delete more-0" });
    assert_eq!(code, Some(0), "{said}");
    let _waited = world.puppet();
    let (code, said) = run("kill");
    assert_eq!(code, Some(0), "{said}");
}
