//! What must be forgotten from one run to the next, and events at odd moments.

use wpm_core::{Command, Event, Exit, Input, InstanceId, Millis, Note, Outcome, SpecChange, Ticket};

use crate::sim::{Host, spec, start, start_known, targets};

const CRASH: Exit = Exit::Code(1);

fn restart() -> Command {
    Command::Restart { targets: targets(&["web"]), change: SpecChange::default() }
}

fn start_web() -> Command {
    start_known(targets(&["web"]))
}

fn outcome(host: &Host, ticket: Ticket) -> Outcome {
    match &host.replies[&ticket] {
        wpm_core::Reply::Done(outcomes) => outcomes[0].outcome.clone(),
        wpm_core::Reply::Refused(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_start_while_the_rest_of_a_crash_ends_does_not_wait_longer() {
    let mut host = Host::new();
    let mut web = spec("web");
    web.restart.restart_delay = Some(Millis(60_000));
    host.outcomes(start([web]));
    let run = host.run_of(0);
    host.process(run).leaves_tree = true;
    host.process(run).deaf = true;
    host.end(run, CRASH);
    host.deliver_all();
    host.command(start_web());
    host.clear(run);
    host.deliver_all();
    assert_eq!(host.status(0), "online");
}

#[test]
fn a_spawn_that_succeeds_forgets_those_that_failed() {
    let mut host = Host::new();
    host.command(start([spec("web")]));
    for _ in 0..2 {
        for expected in [100, 150] {
            host.fail_spawn(host.run_of(0), true);
            host.deliver_all();
            let began = host.now;
            host.tick();
            assert_eq!(host.now - began, expected);
        }
        host.deliver_all();
        assert_eq!(host.status(0), "online");
        host.now += 60_000;
        host.end(host.run_of(0), CRASH);
        host.deliver_first();
        assert_eq!(host.status(0), "launching");
    }
}

#[test]
fn lost_runs_are_counted_in_a_row() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    for _ in 0..3 {
        let ticket = host.command(restart());
        let old = host.run_of(0);
        host.deliver(old);
        for _ in 0..2 {
            host.lose(host.run_of(0));
            host.deliver_first();
            if host.status(0) == "waiting restart" {
                host.tick();
            }
        }
        host.until_reply(ticket);
        assert!(matches!(outcome(&host, ticket), Outcome::Up { .. }));
    }
}

#[test]
fn each_run_says_for_itself_that_it_is_ready() {
    let mut host = Host::new();
    let mut web = spec("web");
    web.wait_ready = true;
    let ticket = host.command(start([web]));
    host.deliver_all();
    host.input(Input::Event(host.run_of(0), Event::BecameReady));
    assert!(host.replies.contains_key(&ticket));
    let ticket = host.command(restart());
    host.deliver_all();
    assert_eq!((host.status(0), host.replies.contains_key(&ticket)), ("launching", false));
    host.input(Input::Event(host.run_of(0), Event::BecameReady));
    assert_eq!((host.status(0), host.replies.contains_key(&ticket)), ("online", true));
}

#[test]
fn each_run_is_killed_as_patiently_as_the_last() {
    let mut host = Host::new();
    host.nature = (true, true, false);
    host.outcomes(start([spec("web")]));
    assert!(matches!(host.outcomes(restart())[..], [Outcome::StillAlive { .. }]));
    host.heal();
    host.tick();
    host.deliver_all();
    assert_eq!(host.status(0), "online");
    let run = host.run_of(0);
    let process = host.process(run);
    (process.deaf, process.stuck, process.leaves_tree) = (true, true, true);
    host.end(run, CRASH);
    host.deliver_all();
    let ticket = host.command(restart());
    for _ in 0..3 {
        host.tick();
        assert!(!host.replies.contains_key(&ticket));
    }
}

#[test]
fn kills_are_repeated_at_the_pace_of_the_kill_timeout() {
    let mut host = Host::new();
    let mut web = spec("web");
    web.stop.kill_timeout = Millis(20_000);
    host.nature = (true, true, false);
    host.outcomes(start([web]));
    let began = host.now;
    host.outcomes(Command::Stop(targets(&["web"])));
    assert_eq!(host.now - began, 4 * 20_000);
}

#[test]
fn wpm_restarts_it_in_its_start_check() {
    for by_cron in [true, false] {
        let mut host = Host::new();
        let mut web = spec("web");
        web.restart.max_memory = Some(1);
        let ticket = host.command(start([web]));
        assert!(host.core.sampled().is_empty(), "nothing to sample before exec");
        host.deliver_all();
        let run = host.run_of(0);
        assert_eq!(host.core.sampled().len(), 1);
        host.input(if by_cron {
            Input::CronFired(InstanceId(0))
        } else {
            Input::Event(run, Event::MemorySampled { bytes: 2 })
        });
        assert!(
            matches!(outcome(&host, ticket), Outcome::Up { .. }),
            "as far as the command goes it came up"
        );
    }
}

#[test]
fn a_command_forgives_past_crashes() {
    for again in [restart(), Command::Stop(targets(&["web"]))] {
        let mut host = Host::new();
        let mut web = spec("web");
        web.restart.max_restarts = 3;
        host.outcomes(start([web]));
        for _ in 0..4 {
            for expected in [0, 100] {
                let run = host.run_of(0);
                host.now = host.it().run().and_then(|run| run.launched).unwrap().0 + 10;
                host.end(run, CRASH);
                host.deliver_all();
                let began = host.now;
                if host.status(0) == "waiting restart" {
                    host.tick();
                    host.deliver_all();
                }
                assert_eq!((host.status(0), host.now - began), ("online", expected));
            }
            host.outcomes(again.clone());
            host.outcomes(start_web());
            assert_eq!(host.it().unstable, 0);
        }
    }
}

#[test]
fn exec_is_reported_while_it_is_being_stopped() {
    let mut host = Host::new();
    host.nature = (true, false, false);
    host.command(start([spec("web")]));
    let run = host.run_of(0);
    host.deliver(run);
    host.command(Command::Stop(targets(&["web"])));
    host.deliver(run);
    host.pass(1600);
    let uptime_ms = 1600;
    let exited = Note::Exited { exit: Exit::Signal(9), uptime_ms };
    assert!(host.notes.contains(&(InstanceId(0), exited)), "{:?}", host.notes);
}

#[test]
fn a_running_app_that_vanishes_has_ended() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    let run = host.run_of(0);
    host.process(run).phase = crate::sim::Phase::Over;
    host.input(Input::Event(run, Event::Cancelled));
    assert_eq!((host.it().last_exit, host.it().restarts), (Some(Exit::Unknown), 1));
    assert_ne!(host.run_of(0), run);
}

#[test]
fn trouble_with_logs_is_noted_when_it_changes() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    host.notes.clear();
    for (errno, dropped) in [(28, 0), (28, 512), (0, 512), (0, 512)] {
        host.input(Input::Event(host.run_of(0), Event::LogTrouble { errno, dropped }));
        assert_eq!((host.it().log_errno, host.it().log_dropped), (errno, dropped));
    }
    let notes: Vec<_> = host.notes.iter().map(|(_, note)| note.clone()).collect();
    assert_eq!(notes, [Note::LogTrouble { errno: 28 }, Note::LogTrouble { errno: 0 }]);
}

#[test]
fn the_end_may_be_the_first_that_is_heard_of_a_run() {
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    let run = host.run_of(0);
    host.events.clear();
    host.process(run).phase = crate::sim::Phase::Over;
    host.input(Input::Event(run, Event::Exited { exit: CRASH, tree_gone: true, ran_ms: None }));
    assert_eq!(outcome(&host, ticket), Outcome::Died { exit: CRASH, after_ms: 0 });
}
