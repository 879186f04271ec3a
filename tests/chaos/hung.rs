//! Processes of wpm that are stopped, not killed: nobody's app notices, and who asks is told.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::clients::{limited, typed};
use crate::own::{self, Role};
use crate::strace::{Blow, Scope, Strace};
use crate::world::{World, await_text};

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it is there");
}

fn the(world: &World, role: Role) -> i32 {
    *own::all(&world.home()).get(&role).and_then(|pids| pids.first()).expect("one of them")
}

/// All that a command says.
fn said(world: &World, line: &str) -> String {
    let said = world.run(line);
    said.out + &said.err
}

#[test]
fn a_stopped_daemon_is_replaced_and_every_client_is_answered() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    for round in 0..2 {
        let daemon = the(&world, Role::Daemon);
        send(daemon, Signal::STOP);
        let began = Instant::now();
        // Those that come while it hangs all get their answer from its successor.
        let clients: Vec<_> =
            ["jlist", "ping", "restart rock", "list"].iter().map(|line| typed(&world, line)).collect();
        for client in clients {
            let said = client.and_then(|client| client.wait(&world)).expect("it ends");
            assert_eq!(said.0, Some(0), "{}", said.1);
            assert!(said.1.contains("the daemon does not answer"), "{}", said.1);
        }
        println!("a stopped daemon: every client answered after {} ms", began.elapsed().as_millis());
        assert_ne!(the(&world, Role::Daemon), daemon, "it was replaced");
        // Restarted once, however often the request was sent.
        p.dead();
        p = world.puppet();
        let entry = &world.jlist()[0];
        assert_eq!((&entry["pid"], &entry["pm2_env"]["restart_time"]), (&p.pid.into(), &(round + 1).into()));
    }
    assert!(world.log().contains("does not answer"), "{}", world.log());
    assert_eq!(p.tell("print on"), "done");
}

#[test]
fn a_stopped_keeper_hinders_nobody_but_new_apps_until_it_goes_on() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    let keeper = the(&world, Role::Keeper);
    send(keeper, Signal::STOP);
    assert_eq!(p.tell("print while it is stopped"), "done");
    await_text(&world.home().join("logs/rock-out.log"), "while it is stopped");
    assert_eq!(world.jlist()[0]["pid"], p.pid);
    world.run("stop rock").ok();
    p.dead();
    // A command that needs it says why it waits; who asks is told, too.
    let start = typed(&world, "start rock").expect("typed");
    assert_eq!(limited(&world, "jlist").expect("ends").0, Some(0), "others are answered meanwhile");
    let helps = format!("kill -CONT {keeper}");
    for line in ["list", "doctor", "describe rock"] {
        let said = said(&world, line);
        assert!(said.contains("the keeper is stopped") && said.contains(&helps), "{line}: {said}");
    }
    let listed = said(&world, "list --json");
    assert!(listed.contains("\"keeper_stopped\":true"), "{listed}");
    send(keeper, Signal::CONT);
    let (code, why) = start.wait(&world).expect("ends");
    assert!(code == Some(0), "{why}");
    let said = said(&world, "doctor");
    assert!(
        !said.contains("the keeper is stopped") && !said.contains("the keeper does not answer"),
        "{said}"
    );
    let p = world.puppet();
    assert_eq!((world.jlist()[0]["pid"].as_i64(), the(&world, Role::Keeper)), (Some(p.pid.into()), keeper));
}

#[test]
fn a_daemon_that_ends_waits_for_what_does_not_die_yet_and_starts_nothing_again() {
    let world = World::new();
    let p = world.start("rock", "--kill-timeout 50", 1).remove(0);
    let [shim, keeper, daemon] = [Role::Shim, Role::Keeper, Role::Daemon].map(|role| the(&world, role));
    send(shim, Signal::STOP);
    // As the unit of a machine that is to go down.
    let unit = typed(&world, "__unit stop").expect("typed");
    let said = world.run("kill").fails(1);
    assert!(said.err.contains("is still there"), "{}", said.err);
    send(shim, Signal::CONT);
    p.dead();
    assert_eq!(unit.wait(&world).expect("ends").0, Some(0));
    assert!([daemon, keeper].into_iter().all(|pid| own::ended(pid, 30_000)), "{}", world.log());
    assert_eq!(world.log().matches(" instances are running").count(), 1, "{}", world.log());
}

#[test]
fn a_stopped_shim_hinders_its_own_app_only() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    let shim = the(&world, Role::Shim);
    let mut other = world.start("other", "", 1).remove(0);
    send(shim, Signal::STOP);
    // It is held back only once its pipe is full.
    assert_eq!(p.tell("print while it is stopped"), "done");
    assert_eq!(other.tell("print as ever"), "done");
    await_text(&world.home().join("logs/other-out.log"), "as ever");
    let began = Instant::now();
    assert_eq!(world.jlist().len(), 2);
    world.run("restart other").ok();
    other.dead();
    let other = world.puppet();
    assert!(began.elapsed() < Duration::from_secs(20), "others are not delayed");
    // It is named wherever somebody looks, with what helps.
    let helps = format!("kill -CONT {shim}");
    for line in ["list", "doctor", "describe rock"] {
        let said = said(&world, line);
        assert!(said.contains("shim is stopped") || said.contains("shim stopped"), "{line}: {said}");
        assert!(said.contains(&helps), "{line}: {said}");
    }
    let listed = said(&world, "list --json");
    assert_eq!(listed.matches("\"shim_stopped\":true").count(), 1, "{listed}");
    let stop = typed(&world, "stop rock").expect("typed");
    assert_eq!(world.jlist().len(), 2);
    send(shim, Signal::CONT);
    await_text(&world.home().join("logs/rock-out.log"), "while it is stopped");
    assert_eq!(stop.wait(&world).expect("ends").0, Some(0));
    p.dead();
    assert_eq!(world.jlist()[1]["pid"], other.pid);
}

/// What a shim was told and did not do before it was killed is done by the next.
#[test]
fn a_stopped_shim_that_is_killed_is_replaced_by_one_that_ends_the_app() {
    let world = World::new();
    let p = world.start("rock", "--kill-timeout 100ms", 1).remove(0);
    let shim = the(&world, Role::Shim);
    send(shim, Signal::STOP);
    let (code, said) = typed(&world, "stop rock").and_then(|stop| stop.wait(&world)).expect("ends");
    assert!(code == Some(1) && said.contains("wpm doctor"), "{said}");
    send(shim, Signal::KILL);
    p.dead();
    world.run("stop rock").ok();
}

#[test]
fn a_keeper_that_is_behind_hears_the_last_word_of_a_daemon_that_has_ended() {
    let world = World::new();
    let p = world.start("rock", "", 1).remove(0);
    let keeper = Scope::Process(the(&world, Role::Keeper));
    // It is about to look who has ended, and finds the shim and the daemon when it does.
    let Some(strace) = Strace::attach(&world, keeper, "waitid", Some((Blow::Late, 1))) else {
        println!("not run, the kernel lets nobody trace here");
        return;
    };
    let said = said(&world, "kill");
    assert!(said.contains("the daemon has ended"), "{said}{}", world.log());
    let (_, late) = strace.detach();
    assert!(late);
    p.dead();
}
