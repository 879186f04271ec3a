//! `wpm run`: in the foreground, as process 1 and not, under the name pm2-runtime, with the exit code of the apps.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::survive::pid_of;
use crate::world::{Puppet, WPM, World, puppet, said};

/// Runs puppets in the foreground; gives the process and the puppets as they report.
fn run(world: &World, mut command: Command, puppets: usize) -> (Child, Vec<Puppet>) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let puppets = (0..puppets).map(|_| world.puppet()).collect();
    (child, puppets)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("signalled");
}

fn end(child: Child) -> crate::world::Said {
    said(&child.wait_with_output().expect("ends"))
}

#[test]
fn it_ends_with_its_app_and_hands_on_output_and_exit_code() {
    let world = World::new();
    let script = world.dir.path().join("job.sh");
    std::fs::write(&script, "echo out; echo err >&2; printf rest; exit 7").expect("written");
    let job = ["run", "job.sh", "--no-autorestart"];
    let said = world.wpm(job).fails(7);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\nrest\n", "err\n"));
    let lines = world.wpm([job.as_slice(), &["--json"]].concat()).fails(7).out;
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("json");
    assert_eq!((&first["app_name"], &first["message"]), (&"job".into(), &"out".into()));
    let formatted = world.wpm([job.as_slice(), &["--formatted"]].concat()).fails(7).out;
    assert!(formatted.contains("job   out\n"), "{formatted}");
    assert!(world.processes().is_empty(), "nothing is left");
}

#[test]
fn a_signal_stops_everything_and_others_are_handed_on() {
    let world = World::new();
    let program = puppet();
    let mut command = world.command(["run", "-i", "2", "-n", "web"]);
    command.arg(&program);
    let (child, mut puppets) = run(&world, command, 2);
    assert_eq!(puppets[0].tell("daemon"), "done");
    // Its daemon answers other commands meanwhile; that both were executed it may not have heard yet.
    let pids: Vec<i64> = world.jlist().iter().filter_map(|entry| entry["pid"].as_i64()).collect();
    assert!(pids.len() == 2 && puppets.iter().all(|puppet| pids.contains(&puppet.pid.into())), "{pids:?}");
    // The default of SIGUSR1 ends a program: one that is handed on brings new runs.
    signal(&child, Signal::USR1);
    puppets.into_iter().for_each(Puppet::dead);
    let again = [world.puppet(), world.puppet()];
    signal(&child, Signal::TERM);
    again.into_iter().for_each(Puppet::dead);
    end(child).ok();
    assert!(world.processes().is_empty(), "nothing is left");
}

#[test]
fn it_goes_on_with_the_next_daemon_and_with_one_that_it_starts_itself() {
    let world = World::new();
    let mut command = world.command(["run", "--no-autorestart", "-n", "web"]);
    command.arg(puppet());
    let (child, mut puppets) = run(&world, command, 1);
    // Its daemon may not have heard yet that it was executed.
    crate::world::await_text(&world.home().join("daemon.log"), "Online");
    // One after the other, and the next while it has hardly come up.
    for _ in 0..4 {
        crate::world::kill_and_wait(pid_of(&world, "__daemon"));
        assert_eq!(world.statuses(), ["online"]);
    }
    assert_eq!(puppets[0].tell("print between"), "done");
    let (mine, app) = (i32::try_from(child.id()).expect("a pid"), puppets[0].pid);
    let own: Vec<i32> = world.processes().into_iter().filter(|pid| ![mine, app].contains(pid)).collect();
    own.into_iter().for_each(crate::world::kill_and_wait);
    assert_eq!(puppets[0].tell("print after"), "done");
    assert_eq!(world.statuses(), ["online"]);
    // What an app prints while nobody of wpm is there is kept for as long as it lives: its output is moved again.
    crate::world::await_text(&world.home().join("logs/web-out.log"), "after");
    puppets.remove(0).exit(5);
    assert_eq!(end(child).fails(5).out, "between\nafter\n");
    assert!(world.processes().is_empty(), "nothing is left");
}

#[test]
fn one_that_is_killed_takes_its_apps_with_it() {
    let world = World::new();
    let mut command = world.command(["run", "-n", "web", "-i", "2"]);
    command.arg(puppet());
    let (mut child, puppets) = run(&world, command, 2);
    let guard = Pid::from_raw(pid_of(&world, "__guard")).expect("a pid");
    let guard =
        rustix::process::pidfd_open(guard, rustix::process::PidfdFlags::empty()).expect("it is there");
    child.kill().expect("killed");
    drop(child.wait());
    puppets.into_iter().for_each(Puppet::dead);
    world.await_readable(&guard, "the end of the guard");
    // It waits for the answer that everything has been stopped, not for the end of those who gave it.
    world.processes().into_iter().for_each(await_end);
    assert!(world.processes().is_empty(), "nothing is left");
}

/// Waits until a process has ended.
fn await_end(pid: i32) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let Some(pid) = Pid::from_raw(pid) else { return };
    let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    assert!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).expect("poll") > 0, "{pid:?} ends");
}

#[test]
fn the_end_of_the_essential_app_is_the_end() {
    let world = World::new();
    let file = format!(
        "[[apps]]\nname = \"web\"\nscript = {0:?}\nargs = [\"web\"]\nautorestart = false\n\
         [[apps]]\nname = \"beside\"\nscript = {0:?}\nargs = [\"beside\"]\n",
        puppet()
    );
    std::fs::write(world.dir.path().join("wpm.toml"), file).expect("written");
    let (child, mut puppets) = run(&world, world.command(["run", "--essential", "web"]), 2);
    let at = puppets.iter_mut().position(|it| it.tell("args") == "args [\"web\"]").expect("web");
    puppets.remove(at).exit(3);
    puppets.remove(0).dead();
    end(child).fails(3);
    let said = world.run("run --essential nosuch").fails(2);
    assert!(said.err.contains("nosuch"), "{}", said.err);
}

#[test]
fn a_home_of_a_daemon_in_the_background_is_refused_and_one_of_a_killed_run_is_not() {
    let world = World::new();
    let _web = world.start("web", "", 1);
    let said = world.run("run true").fails(1);
    assert!(said.err.contains("WPM_HOME"), "{}", said.err);
    world.run("kill").ok();
    let mut command = world.command(["run", "-n", "first"]);
    command.arg(puppet());
    let (mut child, puppets) = run(&world, command, 1);
    child.kill().expect("killed");
    drop(child.wait());
    // As a container ends: all at once.
    loop {
        let left = world.processes();
        if left.is_empty() {
            break;
        }
        left.into_iter().for_each(crate::world::kill_and_wait);
    }
    puppets.into_iter().for_each(Puppet::dead);
    let mut command = world.command(["run", "-n", "second"]);
    command.arg(puppet()).args(["--", "second"]);
    let (child, mut second) = run(&world, command, 1);
    // One that the last daemon of the run before started again may have said hello before it was killed.
    while second[0].name != "second" {
        second[0] = world.puppet();
    }
    assert_eq!(world.jlist().len(), 1, "the list of the run that was killed is forgotten");
    signal(&child, Signal::INT);
    second.into_iter().for_each(Puppet::dead);
    end(child).ok();
}

#[test]
fn as_the_first_process_it_reaps_strangers() {
    let world = World::new();
    let mut command = world.command(["-w"]);
    let mut unshare = Command::new("unshare");
    let user: &[&str] = if rustix::process::geteuid().is_root() { &[] } else { &["--map-root-user"] };
    unshare.args(user).args(["--pid", "--fork", "--mount-proc", WPM, "run", "-n", "web"]).arg(puppet());
    unshare.env_clear().current_dir(world.dir.path());
    for (name, value) in command.arg("").get_envs() {
        unshare.env(name, value.unwrap_or_default());
    }
    let (child, puppets) = run(&world, unshare, 1);
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let first = std::fs::read_to_string(children).expect("the kernel tells children").trim().to_owned();
    // An orphan of a process that was sent into the container; the loop ends when somebody has reaped it.
    let script = "orphan=$( (exec >/dev/null; true) & echo $!); while [ -e /proc/$orphan ]; do :; done; ps -o comm= -p 1";
    let mut enter = Command::new("nsenter");
    if !user.is_empty() {
        enter.args(["--user", "--preserve-credentials"]);
    }
    let entered = enter.args(["--pid", "--mount", "--target", &first, "sh", "-c", script]).output();
    assert_eq!(said(&entered.expect("nsenter runs")).ok().out, "wpm\n");
    let pid = Pid::from_raw(first.parse().expect("a number")).expect("a pid");
    kill_process(pid, Signal::TERM).expect("signalled");
    puppets.into_iter().for_each(Puppet::dead);
    end(child).ok();
}

#[test]
fn pm2_runtime_and_no_daemon_are_the_same() {
    let world = World::new();
    let link = world.dir.path().join("pm2-runtime");
    symlink(WPM, &link).expect("linked");
    let template = world.command([""]);
    let mut command = Command::new(&link);
    command.args(["start", "--raw", "--no-daemon"]).arg(puppet()).current_dir(world.dir.path());
    for (name, value) in template.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let (child, mut puppets) = run(&world, command, 1);
    assert_eq!(puppets[0].tell("print hello"), "done");
    signal(&child, Signal::INT);
    puppets.remove(0).dead();
    assert_eq!(end(child).ok().out, "hello\n");

    let mut command = world.command(["start", "--no-daemon", "-n", "web"]);
    command.arg(puppet());
    let (mut child, mut puppets) = run(&world, command, 1);
    assert_eq!(puppets[0].tell("print hello"), "done");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let _ = out.read_line(&mut line).expect("a line");
    assert_eq!(line, "web   hello\n");
    signal(&child, Signal::INT);
    puppets.remove(0).dead();
    let _ = out.read_to_string(&mut line).expect("the rest");
    end(child).ok();
}
