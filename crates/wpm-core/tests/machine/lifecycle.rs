//! Start, stop, restart and delete, one by one, in virtual time.

use crate::sim::{Host, spec, start, targets};
use wpm_core::{
    Cause, Command, CommandError, Desired, Event, Exit, Input, InstanceId, Outcome, Reply, SpecChange, State,
};

#[test]
fn start_returns_after_the_start_check() {
    let mut host = Host::new();
    let begun = host.now;
    let outcomes = host.outcomes(start([spec("web")]));
    assert!(matches!(outcomes[..], [Outcome::Up { .. }]), "{outcomes:?}");
    assert_eq!(host.now - begun, 400);
    assert_eq!(host.status(0), "online");
    assert!(host.core.next_deadline().is_none(), "idle has no deadline");
}

#[test]
fn stop_sends_the_signal_and_waits_for_the_tree() {
    let mut host = Host::new();
    host.nature = (true, false, false);
    host.outcomes(start([spec("web")]));
    let run = host.run_of(0);
    let begun = host.now;
    assert_eq!(host.outcomes(Command::Stop(targets(&["web"]))), [Outcome::Down]);
    assert_eq!(host.now - begun, 1600, "killed after the kill timeout");
    assert_eq!(host.process(run).signals, [2]);
    assert_eq!(host.process(run).kills, 1);
    assert_eq!(host.status(0), "stopped");
}

#[test]
fn restart_gives_a_new_run_and_counts() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    let first = host.run_of(0);
    let restart = || Command::Restart { targets: targets(&["all"]), change: SpecChange::default() };
    host.outcomes(restart());
    assert_ne!(host.run_of(0), first);
    assert_eq!(host.core.instance(InstanceId(0)).unwrap().restarts, 1);
    host.outcomes(Command::Stop(targets(&["0"])));
    host.outcomes(restart());
    assert_eq!(host.status(0), "online");
    assert_eq!(host.core.instance(InstanceId(0)).unwrap().restarts, 1, "a stopped one: not counted");
}

#[test]
fn delete_removes_and_ids_begin_anew() {
    let mut host = Host::new();
    host.outcomes(start([spec("a"), spec("b")]));
    assert_eq!(host.outcomes(Command::Delete(targets(&["a"]))), [Outcome::Deleted]);
    host.outcomes(start([spec("c")]));
    assert_eq!(host.statuses(), [(1, "online"), (2, "online")]);
    assert_eq!(host.outcomes(Command::Delete(targets(&["all"]))), [Outcome::Deleted, Outcome::Deleted]);
    host.outcomes(start([spec("d")]));
    assert_eq!(host.statuses(), [(0, "online")]);
}

#[test]
fn a_death_in_the_start_check_is_the_outcome_and_restarts_go_on() {
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    host.deliver_all();
    host.now += 120;
    let run = host.run_of(0);
    host.end(run, Exit::Code(3));
    let Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
    assert_eq!(outcomes[0].outcome, Outcome::Died { exit: Exit::Code(3), after_ms: 120 });
    host.deliver_all();
    assert_eq!(host.status(0), "online");
    assert_eq!(host.core.instance(InstanceId(0)).unwrap().restarts, 1);
}

#[test]
fn a_crash_at_boot_is_given_up_after_sixteen_launches() {
    let mut host = Host::new();
    host.command(start([spec("web")]));
    for launches in 1..=16 {
        host.deliver_all();
        if host.status(0) == "waiting restart" {
            host.tick();
            host.deliver_all();
        }
        assert_eq!(host.status(0), "online", "launch {launches}");
        host.now += 10;
        let run = host.run_of(0);
        host.end(run, Exit::Code(1));
    }
    host.deliver_all();
    let it = host.core.instance(InstanceId(0)).unwrap();
    assert_eq!((it.status().word(), it.restarts), ("errored", 15));
    assert_eq!(it.cause, Cause::CrashLoop { last: Exit::Code(1), count: 16 });
    assert_eq!(it.desired, Desired::Up);
    assert!(host.core.next_deadline().is_none());
}

#[test]
fn unknown_names_are_refused_with_a_hint() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    let ticket = host.command(Command::Stop(targets(&["web", "wbe"])));
    let similar = vec!["web".to_owned()];
    let refused = Reply::Refused(CommandError::NoSuchApp { target: "wbe".to_owned(), similar });
    assert_eq!(host.replies[&ticket], refused);
    assert_eq!(host.status(0), "online", "nothing was done");
}

#[test]
fn the_next_run_waits_for_the_whole_tree() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    host.nature = (true, false, false);
    let run = host.run_of(0);
    host.process(run).leaves_tree = true;
    host.process(run).deaf = true;
    host.pass(5_000);
    host.end(run, Exit::Code(0));
    host.deliver_all();
    assert_eq!(host.status(0), "stopping");
    assert_eq!(host.process(run).signals, [2], "the rest gets the stop signal");
    host.pass(1_600);
    assert_eq!(host.process(run).kills, 1);
    assert_eq!(host.status(0), "online");
    assert_ne!(host.run_of(0), run);
}

#[test]
fn stale_events_are_dropped() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    let old = host.run_of(0);
    host.outcomes(Command::Restart { targets: targets(&["web"]), change: SpecChange::default() });
    let before = host.core.instance(InstanceId(0)).unwrap().clone();
    for event in [
        Event::Launched,
        Event::TreeGone,
        Event::Exited { exit: Exit::Code(1), tree_gone: true, ran_ms: None },
        Event::Cancelled,
    ] {
        host.input(Input::Event(old, event));
    }
    assert_eq!(host.core.instance(InstanceId(0)).unwrap(), &before);
    assert!(matches!(before.state, State::Online(_)));
}
