//! `schedule`: jobs that the clock starts.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::world::{World, puppet};

#[test]
fn a_job_runs_by_the_clock_and_the_list_says_how_it_went() {
    let world = World::new();
    let program = puppet().display().to_string();
    let said =
        world.wpm(["start", &program, "--name", "report", "--schedule", "* * * * * *", "--", "x"]).ok();
    assert!(said.err.contains("report: runs next in"), "{}", said.err);
    let first = world.puppet();
    // While it runs, its time comes again and again, and nothing follows from that.
    let mut watcher = world
        .command(["events", "report", "--event", "skipped", "--since", "1h"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("wpm runs");
    let mut line = String::new();
    let mut events = BufReader::new(watcher.stdout.take().expect("piped"));
    events.read_line(&mut line).expect("an event");
    assert!(line.contains("report/0 not run: its last run still runs"), "{line}");
    watcher.kill().expect("killed");
    watcher.wait().expect("ended");
    assert_eq!(world.jlist().len(), 1);
    first.exit(3);
    let second = world.puppet();
    second.exit(0);
    let _third = world.puppet();
    let list = world.run("list").ok().out;
    assert!(list.contains("next in 0s, last ok 0s") || list.contains("next in 1s, last ok 0s"), "{list}");
    world.run("stop report").ok();
    assert_eq!(world.statuses(), ["stopped"]);
    let list = world.run("list").ok().out;
    assert!(list.contains("stopped") && !list.contains("next in"), "{list}");
}

#[test]
fn a_job_that_waits_is_shown_with_its_time_also_by_a_new_daemon() {
    let world = World::new();
    world.wpm(["start", "true", "--name", "yearly", "--schedule", "30 2 1 1 *", "--no-autorestart"]).ok();
    let shown = |world: &World| {
        let list = world.run("list").ok().out;
        assert!(list.contains("cron ") && list.contains("02:30") && list.contains("next in"), "{list}");
    };
    shown(&world);
    let daemon: i32 = world.read("daemon.pid").trim().parse().expect("a pid");
    crate::world::kill_and_wait(daemon);
    shown(&world);
    let described = world.run("describe yearly").ok().out;
    assert!(described.contains("30 2 1 1 *, skip while it still runs"), "{described}");
    // Once by hand.
    world.run("restart yearly").ok();
    shown(&world);
    let said = world.wpm(["start", "true", "--name", "other", "--schedule", "61 * * * *"]).fails(6);
    assert!(said.err.contains("invalid cron rule `61 * * * *`"), "{}", said.err);
    let said = world.wpm([
        "start",
        "true",
        "--name",
        "other",
        "--schedule",
        "1 * * * *",
        "--cron-restart",
        "1 * * * *",
    ]);
    assert!(said.fails(6).err.contains("excludes `cron_restart`"));
}
