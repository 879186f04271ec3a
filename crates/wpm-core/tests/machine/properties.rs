//! What holds after any sequence of commands, ends and delays.
//!
//! Steps are drawn at random and played on the simulated host, which checks each action itself (no
//! second live run, one release per run, one reply per ticket). At the end either the host answers
//! until nothing is on its way, or it falls silent for good: both must lead every command to its reply.

use proptest::prelude::*;
use wpm_core::{
    Cause, Command, Condition, Core, Desired, Event, Exit, Input, Instance, InstanceId, Millis, RestoredApp,
    RestoredInstance, RestoredRun, RunId, ScaleTo, Spec, SpecChange, Start, StartApp, State, Ticket,
};

use crate::sim::{Host, Phase, start_known, targets};

/// One thing that happens. Numbers pick among what there is at that moment.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few dozen of them live at a time")]
enum Step {
    Command(Command),
    Deliver(usize),
    DeliverAll,
    End(usize, Exit),
    Clear(usize),
    FailSpawn(usize, bool),
    Lose(usize),
    Wait(u64),
    Tick,
    Forget(u64),
    Nature(bool, bool, bool),
    Sample(usize, u64),
    Cron(u32),
    Ready(usize),
    Say(usize, usize),
    Stale(u64, usize),
    NewDaemon,
    Reboot,
}

fn a_spec() -> impl Strategy<Value = Spec> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let restart = (
        any::<bool>(),
        0_u32..5,
        prop::option::of(1_u64..3000),
        prop::option::of(1_u64..3000),
        prop::option::of(1_u64..100),
    );
    let stop = (prop::sample::select(vec![0_u64, 100, 1600, 20_000]), any::<bool>());
    let start = (1_u32..4, any::<bool>(), prop::sample::select(vec![0_u64, 400, 5000]), any::<bool>());
    let side = (
        prop::option::of(any::<bool>()),
        any::<bool>(),
        prop::sample::select(vec![0_u64, 700, 5000]),
        any::<bool>(),
    );
    let others = prop::collection::btree_map(
        prop::sample::select(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]),
        // The others may never be met, and a command waits for them as long as it takes.
        prop::sample::select(vec![Condition::Started, Condition::Ready]),
        0..2,
    );
    (name, restart, stop, start, side, others).prop_map(|(name, restart, stop, start, side, others)| {
        let mut spec = Spec::new(name, format!("/srv/{name}.js"), "/srv");
        spec.depends_on = others;
        spec.restart.autorestart = restart.0;
        spec.restart.max_restarts = restart.1;
        spec.restart.restart_delay = restart.2.map(Millis);
        spec.restart.backoff = restart.3.map(Millis);
        spec.restart.max_memory = restart.4;
        spec.restart.stop_exit_codes = vec![7];
        spec.stop.kill_timeout = Millis(stop.0);
        spec.stop.tree = stop.1;
        spec.instances = start.0;
        spec.wait_ready = start.1;
        spec.start_check = Millis(start.2);
        spec.listen_timeout = Millis(start.2);
        (spec.overlap, spec.cluster) = (side.0, side.1);
        spec.drain_timeout = Millis(side.2);
        spec.stop.with_message = side.3;
        spec.health = start.3.then_some(wpm_core::Check::Port(None));
        spec
    })
}

fn some_targets() -> impl Strategy<Value = Vec<wpm_core::Selector>> {
    let one = prop::sample::select(vec!["a", "b", "c", "all", "0", "1", "a/1", "/[ab]/", "nobody"]);
    prop::collection::vec(one, 1..3).prop_map(|typed| targets(&typed))
}

fn a_command() -> impl Strategy<Value = Command> {
    let apps = || {
        let app = (a_spec(), any::<bool>()).prop_map(|(spec, start_now)| StartApp { spec, start_now });
        prop::collection::vec(app, 1..3)
    };
    let to = prop_oneof![
        (0_u32..5).prop_map(ScaleTo::Exactly),
        (0_u32..3).prop_map(ScaleTo::More),
        (0_u32..3).prop_map(ScaleTo::Fewer)
    ];
    let change = prop::option::of(prop::sample::select(vec!["a", "d"]));
    prop_oneof![
        6 => (apps(), any::<bool>()).prop_map(|(apps, force)| Command::Start(Start { apps, force })),
        2 => some_targets().prop_map(start_known),
        3 => (some_targets(), change).prop_map(|(targets, name)| {
            let name = name.map(str::to_owned);
            Command::Restart { targets, change: SpecChange { name, ..SpecChange::default() } }
        }),
        2 => apps().prop_map(Command::RestartWith),
        4 => (some_targets(), any::<bool>(), 0_u32..4, any::<bool>()).prop_map(|(targets, new, parallel, force)| {
            let args = new.then(|| vec!["new".to_owned()]);
            let change = SpecChange { args, ..SpecChange::default() };
            Command::Reload { targets, change, parallel, force, since: None }
        }),
        2 => (apps(), 0_u32..4).prop_map(|(apps, parallel)| Command::ReloadWith { apps, parallel, since: None }),
        3 => some_targets().prop_map(Command::Stop),
        2 => some_targets().prop_map(Command::Delete),
        2 => (some_targets(), to).prop_map(|(mut targets, to)| Command::Scale { target: targets.remove(0), to }),
        1 => some_targets().prop_map(Command::Reset),
        1 => some_targets().prop_map(|targets| Command::Signal { targets, signal: 10 }),
    ]
}

fn an_exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        Just(Exit::Code(0)),
        Just(Exit::Code(1)),
        Just(Exit::Code(7)),
        Just(Exit::Signal(11)),
        Just(Exit::Unknown)
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let wait = prop::sample::select(vec![0_u64, 1, 50, 99, 400, 1600, 5000, 40_000]);
    prop_oneof![
        12 => a_command().prop_map(Step::Command),
        10 => (0_usize..8).prop_map(Step::Deliver),
        6 => Just(Step::DeliverAll),
        8 => (0_usize..8, an_exit()).prop_map(|(nth, exit)| Step::End(nth, exit)),
        2 => (0_usize..8).prop_map(Step::Clear),
        2 => (0_usize..8, any::<bool>()).prop_map(|(nth, transient)| Step::FailSpawn(nth, transient)),
        1 => (0_usize..8).prop_map(Step::Lose),
        8 => wait.prop_map(Step::Wait),
        8 => Just(Step::Tick),
        1 => (1_u64..12).prop_map(Step::Forget),
        2 => (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c)| Step::Nature(a, b, c)),
        2 => (0_usize..8, 0_u64..200).prop_map(|(nth, bytes)| Step::Sample(nth, bytes)),
        2 => (0_u32..6).prop_map(Step::Cron),
        4 => (0_usize..8).prop_map(Step::Ready),
        4 => (0_usize..8, 0_usize..5).prop_map(|(nth, what)| Step::Say(nth, what)),
        2 => (1_u64..30, 0_usize..6).prop_map(|(run, event)| Step::Stale(run, event)),
        1 => Just(Step::NewDaemon),
        1 => Just(Step::Reboot),
    ]
}

fn nth_run(host: &Host, nth: usize, pick: impl Fn(Phase) -> bool) -> Option<RunId> {
    let runs: Vec<RunId> =
        host.processes.iter().filter(|(_, process)| pick(process.phase)).map(|(run, _)| *run).collect();
    (!runs.is_empty()).then(|| runs[nth % runs.len()])
}

fn play(host: &mut Host, step: Step) {
    let any_phase = |_: Phase| true;
    match step {
        Step::Command(command) => {
            host.command(command);
        }
        Step::Deliver(nth) => {
            let waiting: Vec<RunId> =
                host.events.iter().filter(|(_, queue)| !queue.is_empty()).map(|(run, _)| *run).collect();
            if !waiting.is_empty() {
                host.deliver(waiting[nth % waiting.len()]);
            }
        }
        Step::DeliverAll => host.deliver_all(),
        Step::End(nth, exit) => {
            if let Some(run) = nth_run(host, nth, |phase| matches!(phase, Phase::Opened | Phase::Runs)) {
                host.end(run, exit);
            }
        }
        Step::Clear(nth) => {
            if let Some(run) = nth_run(host, nth, |phase| phase == Phase::TreeLeft) {
                host.clear(run);
            }
        }
        Step::FailSpawn(nth, transient) => {
            if let Some(run) = nth_run(host, nth, |phase| matches!(phase, Phase::Asked | Phase::Gate)) {
                host.fail_spawn(run, transient);
            }
        }
        Step::Lose(nth) => {
            if let Some(run) = nth_run(host, nth, |phase| phase != Phase::Over) {
                host.lose(run);
            }
        }
        Step::Wait(span) => host.now += span,
        Step::Tick => host.input(Input::Tick),
        Step::Forget(ticket) => {
            host.asked.remove(&Ticket(ticket));
            host.input(Input::Forget(Ticket(ticket)));
        }
        Step::Nature(deaf, stuck, leaves_tree) => host.nature = (deaf, stuck, leaves_tree),
        Step::Sample(nth, bytes) => {
            if let Some(run) = nth_run(host, nth, any_phase) {
                host.input(Input::Event(run, Event::MemorySampled { bytes }));
            }
        }
        Step::Cron(id) => {
            host.input(Input::CronFired(InstanceId(id)));
            host.input(Input::ScheduleFired(InstanceId(id)));
        }
        Step::Ready(nth) => {
            if let Some(run) = nth_run(host, nth, |phase| matches!(phase, Phase::Opened | Phase::Runs)) {
                host.input(Input::Event(run, Event::BecameReady));
            }
        }
        Step::Say(nth, what) => {
            if let Some(run) = nth_run(host, nth, |phase| matches!(phase, Phase::Opened | Phase::Runs)) {
                let said = [
                    Event::Drained,
                    Event::BecameUnhealthy,
                    Event::WatchdogMissed,
                    Event::AskedToStop,
                    Event::ExtendTimeout { ms: 3000 },
                ];
                host.input(Input::Event(run, said[what].clone()));
            }
        }
        Step::Stale(run, event) => stale(host, RunId(run), event),
        Step::NewDaemon => new_daemon(host),
        Step::Reboot => {
            for process in host.processes.values_mut() {
                process.phase = Phase::Over;
            }
            host.events.clear();
            new_daemon(host);
        }
    }
}

/// An event of a run that is no longer anybody's must change nothing.
fn stale(host: &mut Host, run: RunId, event: usize) {
    if host.core.instance_of(run).is_some() {
        return;
    }
    let events = [
        Event::Registered { pid: 1, start_time: 1 },
        Event::Launched,
        Event::Exited { exit: Exit::Code(0), tree_gone: true, ran_ms: None },
        Event::TreeGone,
        Event::Cancelled,
        Event::SpawnFailed { stage: "forking", errno: 11, transient: false },
    ];
    let before: Vec<_> = host.core.instances().cloned().collect();
    let now = host.now();
    host.core.handle(now, Input::Event(run, events[event].clone()));
    assert_eq!(host.core.poll_action(), None);
    assert_eq!(host.core.instances().cloned().collect::<Vec<_>>(), before);
}

/// The daemon is killed; another one puts back what is on disk and what it finds alive.
fn new_daemon(host: &mut Host) {
    let others = |host: &Host, it: &wpm_core::Instance| -> Vec<RestoredRun> {
        let second = host.second_of(it.id.0).filter(|run| {
            host.processes[run].phase != Phase::Over
                || host.events.get(run).is_some_and(|queue| !queue.is_empty())
        });
        let told = |run: RunId| {
            let runs = matches!(host.processes[&run].phase, Phase::Runs | Phase::TreeLeft);
            RestoredRun {
                run,
                pid: i32::try_from(run.0).unwrap(),
                start_time: 1,
                launched: runs.then_some(Millis(host.now)),
                launched_wall_ms: 1,
                came_up: host.processes[&run].came_up,
            }
        };
        second.map(told).into_iter().collect()
    };
    let renews = |it: &wpm_core::Instance| host.core.renewing(it.id);
    let restored = |it: &wpm_core::Instance, alive: bool, others: Vec<RestoredRun>| RestoredInstance {
        others,
        cause: None,
        id: it.id,
        index: it.index,
        desired: it.desired,
        errored: it.is_errored(),
        finished: it.is_finished(),
        restarts: it.restarts,
        last_exit: it.last_exit,
        created_wall_ms: it.created_wall_ms,
        renews: renews(it),
        run: it.run().filter(|_| alive).map(|run| RestoredRun {
            run: run.id,
            pid: run.pid,
            start_time: run.start_time,
            launched: run.launched,
            launched_wall_ms: run.launched_wall_ms,
            came_up: host.processes.get(&run.id).is_some_and(|process| process.came_up),
        }),
    };
    let known = |host: &Host, it: &wpm_core::Instance| {
        let run = it.run().map(|run| run.id);
        let on_its_way = run.is_some_and(|run| host.events.get(&run).is_some_and(|queue| !queue.is_empty()));
        let lives = run.is_some_and(|run| host.processes.get(&run).is_some_and(|p| p.phase != Phase::Over));
        on_its_way || lives
    };
    let apps = host.core.apps().map(|app| RestoredApp {
        spec: (*app.spec).clone(),
        instances: app
            .instances
            .values()
            .filter_map(|id| host.core.instance(*id))
            .map(|it| restored(it, known(host, it), others(host, it)))
            .collect(),
        before: app.before.as_deref().cloned(),
    });
    let apps = apps.collect();
    // Whatever the last daemon did not let go is over for good or adopted.
    for (run, process) in &mut host.processes {
        let on_its_way = host.events.get(run).is_some_and(|queue| !queue.is_empty());
        (process.checks, process.watches) = (0, 0);
        process.released |= process.phase == Phase::Over && !on_its_way;
    }
    let next = host.processes.keys().map(|run| run.0).max().unwrap_or(0) + 1;
    host.asked.clear();
    host.core = wpm_core::Core::new(RunId(next));
    let now = host.now();
    host.core.restore(now, apps);
    host.act();
}

/// Whether all that an app depends on runs, and has for long enough.
fn is_served(core: &Core, it: &Instance) -> bool {
    let spec = &core.app(it.app).unwrap().spec;
    spec.depends_on.keys().filter_map(|name| core.app_named(name)).all(|app| {
        app.instances.values().filter_map(|id| core.instance(*id)).all(|it| {
            matches!(it.state, State::Online(run)
                if core.next_deadline().is_none_or(|next| next > run.launched.unwrap().plus(app.spec.start_check)))
        })
    })
}

/// Whether an app that depends on this one is being stopped, too.
fn is_needed(core: &Core, it: &Instance) -> bool {
    let name = &core.app(it.app).unwrap().spec.name;
    core.apps().filter(|app| app.spec.depends_on.contains_key(name)).any(|app| {
        let leaving = |it: &Instance| it.desired != Desired::Up;
        app.instances.values().filter_map(|id| core.instance(*id)).any(leaving)
    })
}

/// What holds at every moment.
fn check(host: &Host) {
    let core = &host.core;
    for it in core.instances() {
        assert_eq!(core.app(it.app).and_then(|app| app.instances.get(&it.index)), Some(&it.id));
        if let Some(run) = it.run() {
            assert_eq!(core.instance_of(run.id).map(|it| it.id), Some(it.id));
        }
        let settled = match (&it.state, it.desired) {
            (State::Stopped, Desired::Up) => matches!(it.cause, Cause::Waits { .. }) && !is_served(core, it),
            (State::Stopped, desired) => desired == Desired::Down,
            (State::Online(_) | State::Launching(_), Desired::Down | Desired::Gone) => is_needed(core, it),
            (State::Online(_) | State::Launching(_) | State::Backoff { .. } | State::Errored, desired) => {
                desired == Desired::Up
            }
            (State::Stopping { .. }, _) => true,
        };
        assert!(settled, "{:?} while {:?} is wanted", it.state, it.desired);
        if let State::Errored = it.state {
            let given_up =
                matches!(it.cause, Cause::CrashLoop { .. } | Cause::SpawnFailed { .. } | Cause::Exited(_));
            assert!(given_up, "{:?}", it.cause);
        }
    }
    let mut names: Vec<&str> = core.apps().map(|app| app.spec.name.as_str()).collect();
    names.dedup();
    assert_eq!(names.len(), core.apps().count(), "names are unique and in order");
    let of_apps: usize = core.apps().map(|app| app.instances.len()).sum();
    assert_eq!(of_apps, core.instances().count());
    assert!(core.apps().all(|app| !app.instances.is_empty()));
}

fn unanswered(host: &Host) -> Vec<Ticket> {
    host.asked.iter().filter(|ticket| !host.replies.contains_key(ticket)).copied().collect()
}

fn played(steps: Vec<Step>) -> Host {
    let mut host = Host::new();
    for step in steps {
        play(&mut host, step);
        check(&host);
        let waits =
            host.core.next_deadline().is_some() || host.events.values().any(|queue| !queue.is_empty());
        assert!(waits || unanswered(&host).is_empty(), "a command waits for nothing");
    }
    host
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ends_where_the_desire_explains(steps in prop::collection::vec(a_step(), 1..80)) {
        let mut host = played(steps);
        host.heal();
        for _ in 0..2000 {
            host.deliver_all();
            check(&host);
            if !host.tick() {
                break;
            }
        }
        prop_assert_eq!(host.core.next_deadline(), None, "idle is idle");
        prop_assert_eq!(unanswered(&host), vec![]);
        for it in host.core.instances() {
            let explained = matches!(
                (&it.state, it.desired),
                (State::Online(_) | State::Errored, Desired::Up) | (State::Stopped, Desired::Down)
            );
            let waits = (&it.state, it.desired) == (&State::Stopped, Desired::Up) && !is_served(&host.core, it);
            prop_assert!(explained || waits, "{it:?}");
        }
        for (run, process) in &host.processes {
            let current = host.core.instance_of(*run).is_some();
            prop_assert_eq!(process.phase != Phase::Over, current, "{:?} {:?}", run, process);
            prop_assert_eq!(process.released, !current, "{:?} {:?}", run, process);
        }
    }

    #[test]
    fn a_silent_host_keeps_no_command_waiting(steps in prop::collection::vec(a_step(), 1..40)) {
        let mut host = played(steps);
        host.events.clear();
        for _ in 0..200 {
            if unanswered(&host).is_empty() || !host.tick() {
                break;
            }
        }
        prop_assert_eq!(unanswered(&host), vec![]);
    }

    #[test]
    fn a_stop_is_final(steps in prop::collection::vec(a_step(), 1..60)) {
        let mut host = played(steps);
        host.heal();
        host.command(Command::Stop(targets(&["all"])));
        for _ in 0..2000 {
            host.deliver_all();
            check(&host);
            if !host.tick() {
                break;
            }
        }
        for it in host.core.instances() {
            prop_assert_eq!(it.desired, Desired::Down, "{:?}", it);
        }
        prop_assert!(host.processes.values().all(|process| process.phase == Phase::Over));
    }

    #[test]
    fn stopping_everything_ends_the_daemon(steps in prop::collection::vec(a_step(), 1..40)) {
        let mut host = played(steps);
        let persists = host.persists;
        let ticket = host.command(Command::StopAll);
        let refused = host.command(Command::Stop(targets(&["all"])));
        host.until_reply(ticket);
        prop_assert!(host.quit);
        prop_assert!(matches!(host.replies[&refused], wpm_core::Reply::Refused(_)));
        prop_assert_eq!(host.persists, persists, "what is on disk stays");
    }

    #[test]
    fn the_same_inputs_give_the_same_actions(steps in prop::collection::vec(a_step(), 1..40)) {
        let (one, other) = (played(steps.clone()), played(steps));
        prop_assert_eq!(one.notes, other.notes);
        prop_assert_eq!(one.replies, other.replies);
    }
}
