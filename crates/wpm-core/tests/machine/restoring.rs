//! What a new daemon does with what it finds.

use wpm_core::{
    Cause, Core, Desired, Event, Exit, Input, InstanceId, Millis, RestoredApp, RestoredInstance, RestoredRun,
    RunId,
};

use crate::sim::{Host, Phase, Process, spec, start, start_known, targets};

fn old(id: u32, index: u32, desired: Desired) -> RestoredInstance {
    RestoredInstance {
        id: InstanceId(id),
        index,
        desired,
        errored: false,
        finished: false,
        restarts: 5,
        last_exit: Some(Exit::Code(2)),
        created_wall_ms: 1,
        renews: None,
        run: None,
        others: Vec::new(),
        cause: None,
    }
}

fn alive(run: u64, launched: bool) -> Option<RestoredRun> {
    let launched = launched.then_some(Millis(900_000));
    Some(RestoredRun {
        run: RunId(run),
        pid: 77,
        start_time: 3,
        launched,
        launched_wall_ms: 4,
        came_up: false,
    })
}

fn restored(instances: Vec<RestoredInstance>) -> Host {
    let mut host = Host::new();
    for run in instances.iter().filter_map(|it| it.run.map(|run| (it.id, run))) {
        let phase = if run.1.launched.is_some() { Phase::Runs } else { Phase::Gate };
        host.processes.insert(run.1.run, Process::new(run.0, phase));
    }
    let now = host.now();
    host.core.restore(now, vec![RestoredApp { spec: spec("web"), instances, before: None }]);
    host.act();
    host
}

#[test]
fn each_case() {
    use Desired::{Down, Gone, Up};
    let base = |desired| old(3, 0, desired);
    let cases = [
        ("wanted, not there", base(Up), "launching", 5, Cause::Exited(Exit::Code(2))),
        (
            "given up",
            RestoredInstance { errored: true, ..base(Up) },
            "errored",
            5,
            Cause::Exited(Exit::Code(2)),
        ),
        ("not wanted", base(Down), "stopped", 5, Cause::Asked),
        (
            "finished",
            RestoredInstance { finished: true, ..base(Down) },
            "stopped",
            5,
            Cause::Finished(Exit::Code(2)),
        ),
        (
            "wanted and there",
            RestoredInstance { run: alive(50, true), ..base(Up) },
            "online",
            5,
            Cause::Asked,
        ),
        ("at its gate", RestoredInstance { run: alive(50, false), ..base(Up) }, "launching", 5, Cause::Asked),
        (
            "to be stopped",
            RestoredInstance { run: alive(50, true), ..base(Down) },
            "stopping",
            5,
            Cause::Asked,
        ),
        (
            "to be deleted",
            RestoredInstance { run: alive(50, true), ..base(Gone) },
            "stopping",
            5,
            Cause::Asked,
        ),
    ];
    for (name, instance, status, restarts, cause) in cases {
        let host = restored(vec![instance]);
        let it = host.core.instance(InstanceId(3)).unwrap();
        assert_eq!((it.status().word(), it.restarts, &it.cause), (status, restarts, &cause), "{name}");
        assert_eq!((it.index, it.app), (0, host.core.app_named("web").unwrap().id), "{name}");
    }
    assert_eq!(restored(vec![base(Gone)]).core.apps().count(), 0, "deleted meanwhile");
}

#[test]
fn ids_stay_and_new_ones_follow() {
    let mut host = restored(vec![
        RestoredInstance { run: alive(50, true), ..old(4, 0, Desired::Up) },
        old(9, 2, Desired::Up),
    ]);
    let run = host.core.instance(InstanceId(9)).unwrap().run().unwrap().id;
    assert!(run > RunId(50), "runs of the last daemon are not used again");
    host.outcomes(start([spec("db")]));
    assert_eq!(host.statuses(), [(4, "online"), (9, "online"), (10, "online")]);
    let out = host.outcomes(wpm_core::Command::Delete(targets(&["web"])));
    assert_eq!(out.len(), 2);
}

#[test]
fn an_adopted_run_ends_like_any_other() {
    let mut host = restored(vec![RestoredInstance { run: alive(50, true), ..old(0, 0, Desired::Up) }]);
    host.input(Input::Event(RunId(50), Event::Registered { pid: 77, start_time: 3 }));
    host.input(Input::Event(RunId(50), Event::Launched));
    assert_eq!(host.status(0), "online", "what is known already changes nothing");
    host.end(RunId(50), Exit::Signal(9));
    host.deliver_all();
    assert_eq!(
        (host.status(0), host.it().restarts, host.it().last_exit),
        ("online", 6, Some(Exit::Signal(9)))
    );
}

#[test]
fn an_adopted_run_at_its_gate_goes_on() {
    let mut host = restored(vec![RestoredInstance { run: alive(50, false), ..old(0, 0, Desired::Up) }]);
    host.input(Input::Event(RunId(50), Event::Registered { pid: 78, start_time: 5 }));
    host.deliver_all();
    assert_eq!(host.status(0), "online");
    assert_eq!(host.it().run().map(|run| run.pid), Some(78));
}

/// An instance with two runs, in either order.
fn with_two(spec: &wpm_core::Spec, first: RestoredRun, second: RestoredRun, swapped: bool) -> Host {
    let (run, other) = if swapped { (second, first) } else { (first, second) };
    let mut host = Host::new();
    for run in [run, other] {
        let phase = if run.launched.is_some() { Phase::Runs } else { Phase::Gate };
        let process = Process { shared: true, ..Process::new(InstanceId(0), phase) };
        host.processes.insert(run.run, process);
    }
    let instance = RestoredInstance { run: Some(run), others: vec![other], ..old(0, 0, Desired::Up) };
    let now = host.now();
    host.core.restore(now, vec![RestoredApp { spec: spec.clone(), instances: vec![instance], before: None }]);
    host.act();
    host
}

fn two(came_up: bool, launched: bool) -> (RestoredRun, RestoredRun) {
    let up = RestoredRun { came_up: true, ..alive(50, true).unwrap() };
    (up, RestoredRun { came_up, ..alive(60, launched).unwrap() })
}

#[test]
fn of_two_runs_the_one_that_came_up_serves_and_the_other_ends_in_good_order() {
    let spec = wpm_core::Spec { cluster: true, ..spec("web") };
    for swapped in [false, true] {
        let (first, second) = two(true, true);
        let mut host = with_two(&spec, first, second, swapped);
        assert_eq!((host.run_of(0), host.second_of(0)), (RunId(60), Some(RunId(50))));
        let old = host.process(RunId(50));
        assert!(old.draining && old.signals.is_empty(), "it finishes its work first");
        host.input(Input::Event(RunId(50), Event::Drained));
        host.deliver_all();
        assert!(host.process(RunId(50)).released && !host.process(RunId(60)).shared);
    }
}

#[test]
fn a_new_run_that_has_not_come_up_rises_on_beside_the_old_one() {
    let spec = wpm_core::Spec { cluster: true, ..spec("web") };
    for (swapped, launched) in [(false, true), (true, true), (false, false)] {
        let (first, second) = two(false, launched);
        let mut host = with_two(&spec, first, second, swapped);
        assert_eq!((host.run_of(0), host.second_of(0)), (RunId(50), Some(RunId(60))));
        let ticket = host.command(wpm_core::Command::Reload {
            targets: targets(&["web"]),
            change: wpm_core::SpecChange::default(),
            parallel: 1,
            force: false,
            since: Some(RunId(55)),
        });
        if !launched {
            host.input(Input::Event(RunId(60), Event::Registered { pid: 60, start_time: 1 }));
        }
        host.deliver_all();
        host.input(Input::Event(RunId(60), Event::BecameReady));
        host.input(Input::Event(RunId(50), Event::Drained));
        let wpm_core::Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
        assert!(matches!(outcomes[0].outcome, wpm_core::Outcome::Up { .. }), "{outcomes:?}");
        assert_eq!(host.run_of(0), RunId(60), "it was not replaced a second time");
    }
}

#[test]
fn a_new_run_that_does_not_come_up_under_the_next_daemon_leaves_the_old_one() {
    let spec = wpm_core::Spec { cluster: true, ..spec("web") };
    let (first, second) = two(false, true);
    let mut host = with_two(&spec, first, second, false);
    // It never listens, as the old one did.
    host.deliver_all();
    host.pass(spec.listen_timeout.0 + 1);
    host.deliver_all();
    assert_eq!((host.run_of(0), host.second_of(0)), (RunId(50), None));
    assert!(host.process(RunId(60)).released && host.process(RunId(50)).signals.is_empty());
}

#[test]
fn readiness_is_neither_forgotten_nor_told_twice() {
    let spec = wpm_core::Spec { wait_ready: true, ..spec("web") };
    for came_up in [false, true] {
        let run = RestoredRun { came_up, ..alive(50, true).unwrap() };
        let mut host = Host::new();
        host.processes.insert(RunId(50), Process::new(InstanceId(0), Phase::Runs));
        let instance = RestoredInstance { run: Some(run), ..old(0, 0, Desired::Up) };
        host.now = 900_001;
        let now = host.now();
        host.core
            .restore(now, vec![RestoredApp { spec: spec.clone(), instances: vec![instance], before: None }]);
        host.act();
        assert_eq!(host.status(0), if came_up { "online" } else { "launching" });
        host.input(Input::Event(RunId(50), Event::BecameReady));
        assert_eq!(host.status(0), "online");
        let told = host.notes.iter().filter(|(_, note)| *note == wpm_core::Note::Ready).count();
        assert_eq!(told, usize::from(!came_up));
    }
}

#[test]
fn why_it_was_given_up_is_remembered() {
    let cause = "crash loop: 16 short runs, last exit 1".to_owned();
    let host = restored(vec![RestoredInstance {
        errored: true,
        cause: Some(cause.clone()),
        ..old(0, 0, Desired::Up)
    }]);
    assert_eq!(host.it().cause, Cause::Told(cause));
}

#[test]
fn a_file_that_contradicts_itself_loses_nobody() {
    let mut core = Core::new(RunId(1));
    let twice = vec![old(1, 0, Desired::Down), old(1, 0, Desired::Down), old(0, 0, Desired::Down)];
    let app = RestoredApp { spec: spec("web"), instances: twice, before: None };
    let empty = RestoredApp { spec: spec("empty"), instances: Vec::new(), before: None };
    core.restore(wpm_core::Now::default(), vec![app.clone(), app, empty]);
    assert_eq!(core.instances().count(), 6);
    let names: Vec<_> = core.apps().map(|app| app.spec.name.as_str()).collect();
    assert_eq!(names, ["web", "web-1"]);
    for app in core.apps() {
        assert_eq!(app.instances.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    }
}

#[test]
fn a_restart_that_an_earlier_daemon_began_goes_on_and_is_counted_once() {
    let began = |desired, run| {
        let renews = Some(RunId(50));
        restored(vec![RestoredInstance { renews, run: alive(run, true), ..old(0, 0, desired) }])
    };
    let mut host = began(Desired::Up, 50);
    assert_eq!((host.status(0), host.core.renewing(InstanceId(0))), ("stopping", Some(RunId(50))));
    let ticket = host.command(start_known(targets(&["web"])));
    assert!(!host.replies.contains_key(&ticket), "the run that is to go is not the one that is waited for");
    host.end(RunId(50), Exit::Code(0));
    host.until_reply(ticket);
    assert_eq!((host.status(0), host.it().restarts), ("online", 5));
    assert_eq!(host.core.renewing(InstanceId(0)), None);
    assert_eq!(began(Desired::Up, 51).status(0), "online", "it had its new run already");
    let mut host = began(Desired::Down, 50);
    host.end(RunId(50), Exit::Code(0));
    host.deliver_all();
    assert_eq!(host.status(0), "stopped", "another command came after it");
}

/// What else differs from the file by now was not this command's doing.
#[test]
fn of_files_that_an_earlier_daemon_began_to_apply_only_reloads_are_left() {
    let app = |name: &str, ids: [u32; 2], before| {
        let run =
            |id: u32, number| RestoredInstance { run: alive(number, true), ..old(id, id % 2, Desired::Up) };
        let [first, second] = ids;
        let instances = vec![run(first, 80 + u64::from(first)), run(second, 50 + u64::from(second))];
        RestoredApp { spec: wpm_core::Spec { instances: 3, ..spec(name) }, instances, before }
    };
    let mut host = Host::new();
    for (id, run) in [(0, 80), (1, 51), (2, 82), (3, 53)] {
        host.processes.insert(RunId(run), Process::new(InstanceId(id), Phase::Runs));
    }
    let (web, db) = (app("web", [0, 1], Some(spec("web"))), app("db", [2, 3], None));
    let wanted = [&web, &db].map(|app| wpm_core::StartApp { spec: app.spec.clone(), start_now: true });
    let now = host.now();
    host.core.restore(now, vec![web, db]);
    host.act();
    let since = Some(RunId(70));
    let ticket = host.command(wpm_core::Command::Apply(wpm_core::Apply {
        apps: wanted.to_vec(),
        prune: None,
        update_env: false,
        parallel: 0,
        since,
    }));
    let wpm_core::Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
    assert_eq!(outcomes.iter().map(|o| o.app.as_str()).collect::<Vec<_>>(), ["web"; 3]);
    assert_eq!(host.run_of(0), RunId(80), "it had its turn");
    assert!(host.run_of(1) > RunId(82) && host.run_of(4) > RunId(82), "the third is new");
    assert_eq!([host.run_of(2), host.run_of(3)], [RunId(82), RunId(53)]);
    assert!(host.core.apps().all(|app| app.before.is_none()));
}

#[test]
fn of_a_reload_that_an_earlier_daemon_began_only_the_rest_is_done() {
    let run = |id: u32, number| RestoredInstance { run: alive(number, true), ..old(id, id, Desired::Up) };
    let mut host = restored(vec![run(0, 80), run(1, 60), run(2, 50), old(3, 3, Desired::Down)]);
    let ticket = host.command(wpm_core::Command::Reload {
        targets: targets(&["web"]),
        change: wpm_core::SpecChange::default(),
        parallel: 1,
        force: false,
        since: Some(RunId(70)),
    });
    let wpm_core::Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
    let up = |o: &wpm_core::InstanceOutcome| {
        matches!(o.outcome, wpm_core::Outcome::Up { .. } | wpm_core::Outcome::Restarted { .. })
    };
    assert!(outcomes.len() == 4 && outcomes.iter().all(up), "{outcomes:?}");
    assert_eq!(host.run_of(0), RunId(80), "it had its turn");
    assert!((1..4).all(|id| host.run_of(id) > RunId(80)));
}
