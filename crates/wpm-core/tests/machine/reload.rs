//! Reloads: new before old, one after the other, and the way back.

use wpm_core::{
    Command, CommandError, Event, Exit, Input, InstanceId, Millis, Note, Outcome, Reply, RunId, ScaleTo,
    Spec, SpecChange, StartApp, Ticket,
};

use crate::sim::{Host, Phase, spec, start, targets};

const CRASH: Exit = Exit::Code(1);

/// An app whose runs can overlap, without a rule of readiness.
fn plain(instances: u32) -> Spec {
    let mut web = spec("web");
    web.instances = instances;
    web.overlap = Some(true);
    web
}

/// The same, which says that it is ready.
fn telling(instances: u32) -> Spec {
    Spec { wait_ready: true, ..plain(instances) }
}

/// Workers of a cluster.
fn workers(instances: u32) -> Spec {
    Spec { overlap: None, cluster: true, instances_asked: true, ..plain(instances) }
}

fn reload_with(change: SpecChange, parallel: u32, force: bool) -> Command {
    Command::Reload { targets: targets(&["web"]), change, parallel, force, since: None }
}

fn reload() -> Command {
    reload_with(SpecChange::default(), 1, false)
}

/// A reload to another spec.
fn upgrade(parallel: u32) -> Command {
    reload_with(SpecChange { args: Some(vec!["new".to_owned()]), ..SpecChange::default() }, parallel, false)
}

fn up(web: Spec) -> Host {
    let mut host = Host::new();
    let count = web.instances;
    let tells = web.wait_ready;
    let ticket = host.command(start([web]));
    host.deliver_all();
    for id in 0..count {
        if tells {
            ready(&mut host, id);
        }
    }
    host.until_reply(ticket);
    host.notes.clear();
    host
}

fn ready(host: &mut Host, id: u32) {
    let run = host.run_of(id);
    host.input(Input::Event(run, Event::BecameReady));
}

/// The run that comes up beside the one of this instance says that it is ready.
fn second_ready(host: &mut Host, id: u32) -> RunId {
    let run = host.second_of(id).expect("a new run");
    host.input(Input::Event(run, Event::BecameReady));
    run
}

fn outcomes(host: &mut Host, ticket: Ticket) -> Vec<Outcome> {
    match host.until_reply(ticket) {
        Reply::Done(all) => all.into_iter().map(|one| one.outcome).collect(),
        Reply::Refused(error) => panic!("refused: {error:?}"),
    }
}

fn args_of(host: &Host) -> Vec<String> {
    host.core.app_named("web").expect("it is there").spec.args.clone()
}

fn args_of_run(host: &Host, run: RunId) -> Vec<String> {
    host.core.spec_of_run(run).expect("it is known").args.clone()
}

#[test]
fn the_new_run_is_up_before_the_old_one_is_told_to_end() {
    let mut host = up(telling(2));
    let old = [host.run_of(0), host.run_of(1)];
    let ticket = host.command(reload());
    let new = host.second_of(0).expect("beside the old one");
    assert!(host.process(old[0]).shared && host.process(new).shared, "both write the same files");
    host.deliver_all();
    assert_eq!((host.run_of(0), host.second_of(1)), (old[0], None), "the old one serves, the next one waits");
    assert_eq!(host.core.instance_of(new).map(|it| it.id), Some(InstanceId(0)));
    assert_eq!(host.process(new).checks, 1);
    assert!(host.process(old[0]).signals.is_empty());
    second_ready(&mut host, 0);
    assert_eq!((host.run_of(0), host.second_of(0)), (new, Some(old[0])));
    assert_eq!(host.process(old[0]).signals, [2]);
    host.deliver(old[0]);
    assert!(host.process(old[0]).released && !host.process(new).shared);
    host.deliver_all();
    second_ready(&mut host, 1);
    let pids: Vec<Outcome> = outcomes(&mut host, ticket);
    assert!(matches!(pids[..], [Outcome::Up { .. }, Outcome::Up { .. }]), "{pids:?}");
    for id in [0, 1] {
        let it = host.core.instance(InstanceId(id)).expect("it stays");
        assert_eq!((it.index, it.restarts, it.status().word()), (id, 1, "online"));
    }
    let replaced = host.notes.iter().filter(|(_, note)| matches!(note, Note::Replaced { .. })).count();
    assert_eq!(replaced, 2);
}

#[test]
fn readiness_by_what_the_spec_says() {
    let ticks = |web: Spec, says: bool| {
        let mut host = up(web);
        if says {
            ready(&mut host, 0);
        }
        let began = host.now;
        let ticket = host.command(reload());
        let out = outcomes(&mut host, ticket);
        (host.now - began, out.into_iter().next().expect("one"))
    };
    let mut slow = plain(1);
    slow.start_check = Millis(900);
    let (took, out) = ticks(slow, false);
    assert!(took == 900 && matches!(out, Outcome::Up { .. }), "stayed up: {took} {out:?}");
    let (took, out) = ticks(telling(1), false);
    assert_eq!((took, out), (3000, Outcome::NotReady { after_ms: 3000 }), "said nothing");
    let checked = Spec { ready: Some(wpm_core::Check::Port(None)), ..plain(1) };
    let (_, out) = ticks(Spec { wait_ready: true, ..checked }, false);
    assert_eq!(out, Outcome::NotReady { after_ms: 3000 });
    let quick = Spec { drain_timeout: Millis(0), ..workers(1) };
    let (took, out) = ticks(quick.clone(), false);
    assert!(took == 3000 && matches!(out, Outcome::Up { .. }), "a worker that never listens: {took} {out:?}");
    let (_, out) = ticks(quick, true);
    assert_eq!(out, Outcome::NotReady { after_ms: 3000 }, "its predecessor listened");
}

#[test]
fn an_old_worker_drains_then_stops() {
    for by_event in [true, false] {
        let mut host = up(workers(1));
        let old = host.run_of(0);
        host.command(reload());
        host.deliver_all();
        second_ready(&mut host, 0);
        assert!(host.process(old).draining && host.process(old).signals.is_empty());
        let began = host.now;
        if by_event {
            host.drained(old);
            host.deliver(old);
        } else {
            host.tick();
            assert_eq!(host.now - began, 5000);
        }
        assert_eq!(host.process(old).signals, [2]);
    }
}

#[test]
fn an_old_run_that_is_deaf_is_killed() {
    let mut host = up(telling(1));
    let old = host.run_of(0);
    host.process(old).deaf = true;
    let ticket = host.command(reload());
    host.deliver_all();
    second_ready(&mut host, 0);
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::Up { .. }]));
    assert_eq!((host.process(old).kills, host.process(old).phase), (1, Phase::Over));
}

#[test]
fn an_old_run_that_cannot_be_killed_holds_nobody_up() {
    let mut host = up(telling(1));
    let old = host.run_of(0);
    host.process(old).deaf = true;
    host.process(old).stuck = true;
    let ticket = host.command(reload());
    host.deliver_all();
    second_ready(&mut host, 0);
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::Up { .. }]), "{out:?}");
    let ticket = host.command(reload());
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::StillAlive { .. }]), "no third run: {out:?}");
}

/// How a new run fails.
type Failing = fn(&mut Host, RunId);

#[test]
fn a_new_run_that_does_not_come_up_leaves_the_old_ones_serving() {
    let cases: [(&str, Failing); 4] = [
        ("exits", |host, run| host.end(run, CRASH)),
        ("cannot be spawned", |host, run| host.fail_spawn(run, false)),
        ("is lost", |host, run| host.lose(run)),
        ("says nothing", |_, _| {}),
    ];
    for (name, fail) in cases {
        let mut host = up(telling(3));
        let old: Vec<RunId> = (0..3).map(|id| host.run_of(id)).collect();
        let ticket = host.command(upgrade(1));
        let new = host.second_of(0).expect("a new run");
        if name == "exits" {
            host.deliver_all();
        }
        fail(&mut host, new);
        let out = outcomes(&mut host, ticket);
        assert!(
            matches!(out[0], Outcome::Died { .. } | Outcome::SpawnFailed { .. } | Outcome::NotReady { .. }),
            "{name}: {out:?}"
        );
        assert_eq!(out[1..], [Outcome::NotTried, Outcome::NotTried], "{name}");
        host.pass(10_000);
        let now: Vec<RunId> = (0..3).map(|id| host.run_of(id)).collect();
        assert_eq!(
            (now, host.statuses()),
            (old, vec![(0, "online"), (1, "online"), (2, "online")]),
            "{name}"
        );
        assert_eq!(args_of(&host), Vec::<String>::new(), "{name}");
        assert!(host.process(new).released, "{name}");
        assert_eq!(host.it().restarts, 0, "{name}");
        assert!(host.notes.iter().any(|(_, note)| matches!(note, Note::NotReplaced { .. })), "{name}");
    }
}

#[test]
fn those_that_were_replaced_go_back() {
    let mut host = up(telling(3));
    let ticket = host.command(upgrade(1));
    for id in [0, 1] {
        host.deliver_all();
        let new = second_ready(&mut host, id);
        assert_eq!(args_of_run(&host, new), ["new"]);
    }
    host.deliver_all();
    assert_eq!(args_of_run(&host, host.run_of(2)), Vec::<String>::new(), "its turn has not ended");
    let broken = host.second_of(2).expect("the third");
    host.end(broken, CRASH);
    host.deliver_all();
    for id in [0, 1] {
        assert!(!host.replies.contains_key(&ticket), "on the way back");
        host.deliver_all();
        let new = second_ready(&mut host, id);
        assert_eq!(args_of_run(&host, new), Vec::<String>::new());
        host.deliver_all();
    }
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::RolledBack, Outcome::RolledBack, Outcome::Died { .. }]), "{out:?}");
    assert_eq!(args_of(&host), Vec::<String>::new());
    for id in 0..3 {
        assert_eq!((host.status(id), host.second_of(id)), ("online", None));
    }
    let first = &host.progress[&ticket][0].outcome;
    assert!(matches!(first, Outcome::Up { .. }), "progress told it as it was: {first:?}");
}

#[test]
fn several_at_once() {
    let mut host = up(telling(3));
    let ticket = host.command(upgrade(2));
    assert!(host.second_of(0).is_some() && host.second_of(1).is_some() && host.second_of(2).is_none());
    host.deliver_all();
    host.end(host.second_of(1).expect("the second"), CRASH);
    host.deliver_all();
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::RolledBack, Outcome::Died { .. }, Outcome::NotTried]), "{out:?}");
    host.pass(10_000);
    assert!((0..3).all(|id| host.second_of(id).is_none() && host.status(id) == "online"));
}

#[test]
fn without_overlap_it_restarts_and_says_so() {
    let mut web = spec("web");
    web.instances = 2;
    let mut host = up(web);
    let old = host.run_of(0);
    let ticket = host.command(reload());
    assert_eq!((host.status(0), host.status(1)), ("stopping", "online"), "one after the other");
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::Restarted { .. }, Outcome::Restarted { .. }]), "{out:?}");
    assert!(host.run_of(0) != old && host.it().restarts == 1);
}

#[test]
fn without_overlap_the_old_spec_starts_again() {
    let mut web = spec("web");
    web.instances = 2;
    let mut host = up(web);
    let ticket = host.command(upgrade(1));
    host.deliver_all();
    assert_eq!(args_of_run(&host, host.run_of(0)), ["new"]);
    host.end(host.run_of(0), CRASH);
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::Died { .. }, Outcome::NotTried]), "{out:?}");
    assert_eq!((host.status(0), args_of_run(&host, host.run_of(0))), ("online", vec![]));
}

#[test]
fn without_overlap_and_not_ready_the_old_spec_starts_again() {
    let mut host = up(Spec { wait_ready: true, ..spec("web") });
    let ticket = host.command(upgrade(1));
    let out = {
        host.pass(3000);
        ready(&mut host, 0);
        outcomes(&mut host, ticket)
    };
    assert_eq!(out, [Outcome::NotReady { after_ms: 3000 }]);
    assert_eq!((host.status(0), args_of_run(&host, host.run_of(0))), ("online", vec![]));
}

#[test]
fn those_that_are_down_are_started() {
    let mut host = up(plain(2));
    host.outcomes(Command::Stop(targets(&["1"])));
    let ticket = host.command(upgrade(1));
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::Up { .. }, Outcome::Up { .. }]), "{out:?}");
    assert_eq!(args_of(&host), ["new"]);
}

#[test]
fn the_old_run_crashes_while_the_new_one_comes_up() {
    let mut host = up(telling(1));
    let (old, ticket) = (host.run_of(0), host.command(upgrade(1)));
    host.deliver_all();
    let new = host.second_of(0).expect("a new run");
    host.end(old, CRASH);
    host.deliver_all();
    assert_eq!((host.run_of(0), host.second_of(0)), (new, None), "no third run");
    assert_eq!(host.it().restarts, 1);
    ready(&mut host, 0);
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::Up { .. }]), "{out:?}");
    assert!(!host.process(new).shared);
}

#[test]
fn both_crash() {
    for old_first in [true, false] {
        let mut host = up(telling(1));
        let (old, ticket) = (host.run_of(0), host.command(upgrade(1)));
        host.deliver_all();
        let new = host.second_of(0).expect("a new run");
        let order = if old_first { [old, new] } else { [new, old] };
        for run in order {
            host.end(run, CRASH);
            host.deliver(run);
        }
        host.pass(1000);
        ready(&mut host, 0);
        let out = outcomes(&mut host, ticket);
        assert!(matches!(out[..], [Outcome::Died { .. }]), "{old_first}: {out:?}");
        assert_eq!((host.status(0), args_of_run(&host, host.run_of(0))), ("online", vec![]), "{old_first}");
    }
}

#[test]
fn the_new_run_crashes_while_the_old_one_drains() {
    let mut host = up(workers(1));
    let ticket = host.command(upgrade(1));
    host.deliver_all();
    let new = second_ready(&mut host, 0);
    host.end(new, CRASH);
    host.deliver_all();
    assert!(host.run_of(0) != new && host.second_of(0).is_some(), "its policy starts it again");
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[..], [Outcome::Up { .. }]), "{out:?}");
}

#[test]
fn a_crash_of_one_that_waits_brings_back_what_it_was() {
    let mut host = up(telling(2));
    host.command(upgrade(1));
    host.deliver_all();
    host.end(host.run_of(1), CRASH);
    host.deliver_all();
    assert_eq!(args_of_run(&host, host.run_of(1)), Vec::<String>::new());
}

#[test]
fn other_commands_win() {
    type Other = (&'static str, fn() -> Command, [&'static str; 2]);
    let cases: [Other; 5] = [
        ("stop", || Command::Stop(targets(&["web"])), ["stopped", "stopped"]),
        ("delete", || Command::Delete(targets(&["web"])), ["gone", "gone"]),
        ("delete one", || Command::Delete(targets(&["web/0"])), ["gone", "online"]),
        (
            "restart",
            || Command::Restart { targets: targets(&["web"]), change: SpecChange::default() },
            ["online", "online"],
        ),
        (
            "scale",
            || Command::Scale { target: targets(&["web"]).remove(0), to: ScaleTo::Exactly(1) },
            ["online", "gone"],
        ),
    ];
    for (name, other, end) in cases {
        for replaced in [false, true] {
            let mut host = up(workers(2));
            let ticket = host.command(reload());
            host.deliver_all();
            if replaced {
                second_ready(&mut host, 0);
            }
            let theirs = host.command(other());
            host.until_reply(theirs);
            host.until_reply(ticket);
            host.pass(20_000);
            assert_eq!([host.status(0), host.status(1)], end, "{name} {replaced}");
            assert!(host.second_of(0).is_none() && host.second_of(1).is_none(), "{name} {replaced}");
            if name == "stop" {
                let Reply::Done(theirs) = &host.replies[&theirs] else { panic!("refused") };
                assert!(theirs.iter().all(|one| one.outcome == Outcome::Down), "{theirs:?}");
                let live = host.processes.values().filter(|process| process.phase != Phase::Over).count();
                assert_eq!(live, 0, "down means that nothing is left");
            }
        }
    }
}

#[test]
fn stopped_means_that_both_runs_are_gone() {
    let mut host = up(telling(1));
    let old = host.run_of(0);
    host.process(old).deaf = true;
    host.command(reload());
    host.deliver_all();
    second_ready(&mut host, 0);
    let stop = host.command(Command::Stop(targets(&["web"])));
    host.deliver_all();
    assert!(!host.replies.contains_key(&stop) && host.status(0) == "stopping", "the old one still lives");
    assert_eq!(host.run_of(0), old);
    host.until_reply(stop);
    assert_eq!((host.process(old).phase, host.status(0)), (Phase::Over, "stopped"));
}

#[test]
fn a_second_reload_is_refused_or_takes_over() {
    let mut host = up(telling(2));
    let first = host.command(upgrade(1));
    host.deliver_all();
    let refused = host.command(reload());
    let why = Reply::Refused(CommandError::ReloadInProgress { name: "web".to_owned() });
    assert_eq!(host.replies[&refused], why);
    let given_up = host.second_of(0).expect("a new run");
    let change = SpecChange { args: Some(vec!["newer".to_owned()]), ..SpecChange::default() };
    let second = host.command(reload_with(change, 1, true));
    assert_eq!(outcomes(&mut host, first), [Outcome::Superseded, Outcome::Superseded]);
    host.deliver_all();
    assert!(host.process(given_up).released);
    // The one with a run that was given up waited for its end.
    for id in [1, 0] {
        host.deliver_all();
        second_ready(&mut host, id);
    }
    let out = outcomes(&mut host, second);
    assert!(matches!(out[..], [Outcome::Up { .. }, Outcome::Up { .. }]), "{out:?}");
    assert_eq!(args_of(&host), ["newer"]);
}

#[test]
fn the_way_back_from_a_reload_that_took_over_leads_to_the_beginning() {
    let mut host = up(telling(2));
    host.command(upgrade(1));
    host.deliver_all();
    second_ready(&mut host, 0);
    host.deliver_all();
    let change = SpecChange { args: Some(vec!["newer".to_owned()]), ..SpecChange::default() };
    let second = host.command(reload_with(change, 1, true));
    host.deliver_all();
    host.end(host.second_of(0).expect("a new run"), CRASH);
    host.deliver_all();
    assert_eq!(args_of(&host), Vec::<String>::new());
    second_ready(&mut host, 0);
    host.until_reply(second);
    for id in [0, 1] {
        assert_eq!(args_of_run(&host, host.run_of(id)), Vec::<String>::new());
    }
}

#[test]
fn a_file_reloads_what_is_there_and_adds_the_rest() {
    let mut host = up(telling(2));
    let apps = |count| {
        let new = Spec { args: vec!["new".to_owned()], ..telling(count) };
        [new, spec("db")].map(|spec| StartApp { spec, start_now: true }).to_vec()
    };
    let ticket = host.command(Command::ReloadWith { apps: apps(3), parallel: 2, since: None });
    host.deliver_all();
    assert_eq!(host.core.instances().count(), 3, "the third comes when the others are well");
    for id in [0, 1] {
        second_ready(&mut host, id);
    }
    host.deliver_all();
    ready(&mut host, 3);
    let out = outcomes(&mut host, ticket);
    assert!(out.len() == 4 && out.iter().all(|one| matches!(one, Outcome::Up { .. })), "{out:?}");
    let ticket = host.command(Command::ReloadWith { apps: apps(1), parallel: 1, since: None });
    host.deliver_all();
    host.end(host.second_of(0).expect("a new run"), CRASH);
    let out = outcomes(&mut host, ticket);
    assert!(matches!(out[0], Outcome::Died { .. }), "{out:?}");
    assert_eq!(host.core.app_named("web").expect("it stays").instances.len(), 3, "nothing is taken away");
    let ticket = host.command(Command::ReloadWith { apps: apps(1), parallel: 1, since: None });
    host.deliver_all();
    second_ready(&mut host, 0);
    let out = outcomes(&mut host, ticket);
    assert_eq!(out.iter().filter(|one| **one == Outcome::Deleted).count(), 2, "{out:?}");
}

#[test]
fn a_message_takes_the_place_of_the_signal() {
    let mut web = workers(1);
    web.stop.with_message = true;
    let mut host = up(web);
    let old = host.run_of(0);
    host.command(reload());
    host.deliver_all();
    second_ready(&mut host, 0);
    assert!(host.process(old).messages.is_empty(), "first nothing new comes to it");
    host.drained(old);
    host.deliver_all();
    let process = host.process(old);
    assert_eq!((process.messages.clone(), process.signals.len()), (vec!["shutdown".to_owned()], 0));
    let run = host.run_of(0);
    host.deliver_all();
    host.process(run).deaf = true;
    host.outcomes(Command::Stop(targets(&["web"])));
    let process = host.process(run);
    assert_eq!((process.messages.len(), process.signals.len(), process.kills), (1, 0, 1));
}

#[test]
fn more_time_is_given_to_a_new_run_that_asks() {
    let mut host = up(telling(1));
    let ticket = host.command(reload());
    host.deliver_all();
    let new = host.second_of(0).expect("a new run");
    host.pass(2900);
    host.input(Input::Event(new, Event::ExtendTimeout { ms: 4000 }));
    host.pass(3900);
    assert!(!host.replies.contains_key(&ticket));
    second_ready(&mut host, 0);
    assert!(matches!(outcomes(&mut host, ticket)[..], [Outcome::Up { .. }]));
}

#[test]
fn a_file_that_changes_while_a_new_run_comes_up_is_not_missed() {
    for comes_up in [true, false] {
        let mut host = up(telling(1));
        let (ticket, old) = (host.command(reload()), host.run_of(0));
        host.deliver_all();
        let new = host.second_of(0).expect("it rises");
        let app = host.it().app;
        host.input(Input::FileChanged { app, path: "/srv/a.js".to_owned() });
        assert!(host.process(old).signals.is_empty(), "the old one serves until then");
        if comes_up {
            host.input(Input::Event(new, Event::BecameReady));
        } else {
            host.end(new, CRASH);
        }
        host.deliver_all();
        let next = host.run_of(0);
        assert!(next > new, "it runs what is there now");
        host.input(Input::Event(next, Event::BecameReady));
        host.deliver_all();
        let Reply::Done(_) = host.until_reply(ticket) else { panic!("refused") };
        assert_eq!((host.run_of(0), host.second_of(0), host.status(0)), (next, None, "online"));
    }
}
