//! What a run says of itself, or is found out about it: health, watchdog, notify, message.

use wpm_core::{Cause, Check, Command, Event, Exit, Input, InstanceId, Note, Outcome, Spec};

use crate::sim::{Host, spec, start, targets};

fn up() -> Host {
    let mut host = Host::new();
    host.outcomes(start([Spec { health: Some(Check::Port(None)), ..spec("web") }]));
    host.now += 60_000;
    host.notes.clear();
    host
}

fn say(host: &mut Host, event: Event) {
    let run = host.run_of(0);
    host.input(Input::Event(run, event));
}

#[test]
fn what_hangs_or_is_unwell_is_replaced() {
    for (event, cause, signal) in
        [(Event::BecameUnhealthy, Cause::Unhealthy, 2), (Event::WatchdogMissed, Cause::Watchdog, 6)]
    {
        let mut host = up();
        let old = host.run_of(0);
        say(&mut host, event);
        assert_eq!(host.process(old).signals, [signal]);
        assert!(host.notes.contains(&(InstanceId(0), Note::Stopping { cause })));
        host.deliver_all();
        assert_eq!((host.status(0), host.it().restarts), ("online", 1));
        let new = host.run_of(0);
        assert_eq!(host.process(new).watches, 1, "each run is checked anew");
    }
}

#[test]
fn a_check_that_never_succeeds_is_a_crash_loop() {
    let mut host = up();
    for _ in 0..40 {
        if host.status(0) != "online" {
            break;
        }
        host.now = host.it().run().and_then(|run| run.launched).map_or(0, |at| at.0) + 10;
        say(&mut host, Event::BecameUnhealthy);
        host.deliver_all();
        if host.status(0) == "waiting restart" {
            host.tick();
            host.deliver_all();
        }
    }
    assert_eq!(host.status(0), "errored");
    assert!(matches!(host.it().cause, Cause::CrashLoop { .. }));
}

#[test]
fn only_what_has_a_check_is_checked() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    let run = host.run_of(0);
    assert_eq!((host.process(run).checks, host.process(run).watches), (0, 0));
}

/// One that takes its time to warm up is not ill.
#[test]
fn health_is_watched_from_the_moment_on_in_which_it_is_ready() {
    for says in [true, false] {
        let mut host = Host::new();
        let web = Spec { ready: Some(Check::Notify), health: Some(Check::Notify), ..spec("web") };
        let patience = web.listen_timeout.0;
        let ticket = host.command(start([web]));
        host.deliver_all();
        let run = host.run_of(0);
        assert_eq!((host.process(run).checks, host.process(run).watches), (1, 0));
        if says {
            say(&mut host, Event::BecameReady);
        } else {
            // Nobody waits for it any more.
            host.pass(patience + 1);
        }
        host.until_reply(ticket);
        assert_eq!((host.status(0), host.process(run).watches), ("online", 1));
    }
}

#[test]
fn one_that_says_that_it_ends_is_judged_by_its_end() {
    for (exit, restarts) in [(Exit::Code(0), 1), (Exit::Signal(11), 1)] {
        let mut host = up();
        let run = host.run_of(0);
        say(&mut host, Event::AskedToStop);
        assert_eq!((host.status(0), host.process(run).signals.len()), ("stopping", 0), "it ends by itself");
        host.end(run, exit);
        host.deliver_all();
        assert_eq!(
            (host.status(0), host.it().restarts, host.it().last_exit),
            ("online", restarts, Some(exit))
        );
    }
    let mut host = up();
    let run = host.run_of(0);
    say(&mut host, Event::AskedToStop);
    host.pass(1600);
    assert_eq!(host.process(run).kills, 1, "or not");
}

#[test]
fn more_time_to_end_is_given_before_the_kill() {
    let mut host = up();
    let run = host.run_of(0);
    host.process(run).deaf = true;
    let ticket = host.command(Command::Stop(targets(&["web"])));
    host.pass(1500);
    say(&mut host, Event::ExtendTimeout { ms: 10_000 });
    host.pass(9_900);
    assert_eq!(host.process(run).kills, 0);
    say(&mut host, Event::ExtendTimeout { ms: 1 });
    host.until_reply(ticket);
    assert_eq!(host.process(run).kills, 1);
}

#[test]
fn the_shim_knows_better_how_long_it_ran() {
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    host.deliver_all();
    let run = host.run_of(0);
    host.now += 60_000;
    host.process(run).phase = crate::sim::Phase::Over;
    let exit = Exit::Code(1);
    host.input(Input::Event(run, Event::Exited { exit, tree_gone: true, ran_ms: Some(20) }));
    assert_eq!(host.it().unstable, 1, "a short run, of which the daemon heard late");
    let wpm_core::Reply::Done(out) = &host.replies[&ticket] else { panic!("refused") };
    assert_eq!(out[0].outcome, Outcome::Died { exit, after_ms: 20 });
}
