//! Commands in every state that they can meet, and commands that meet each other.

use wpm_core::{
    Cause, Command, CommandError, Exit, InstanceId, Millis, Outcome, Reply, ScaleTo, SpecChange, Start,
    StartApp,
};

use crate::sim::{Host, spec, start, start_known, targets};

fn restart(typed: &str) -> Command {
    Command::Restart { targets: targets(&[typed]), change: SpecChange::default() }
}

fn stop(typed: &str) -> Command {
    Command::Stop(targets(&[typed]))
}

fn scale(typed: &str, to: ScaleTo) -> Command {
    Command::Scale { target: targets(&[typed]).remove(0), to }
}

fn refusal(host: &mut Host, command: Command) -> CommandError {
    let ticket = host.command(command);
    match host.replies.get(&ticket) {
        Some(Reply::Refused(error)) => error.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

fn done(host: &Host, ticket: wpm_core::Ticket) -> Vec<Outcome> {
    match host.replies.get(&ticket) {
        Some(Reply::Done(outcomes)) => outcomes.iter().map(|one| one.outcome.clone()).collect(),
        other => panic!("not done: {other:?}"),
    }
}

/// The web app in each state, with the name of that state.
fn web_in_each_state() -> Vec<(&'static str, Host)> {
    let online = || {
        let mut host = Host::new();
        let mut web = spec("web");
        web.restart.restart_delay = Some(Millis(5000));
        host.outcomes(start([web]));
        host
    };
    let mut all = Vec::new();
    let mut host = Host::new();
    host.command(start([spec("web")]));
    all.push(("asked", host));
    let mut host = Host::new();
    host.command(start([spec("web")]));
    host.deliver(host.run_of(0));
    all.push(("gate open", host));
    all.push(("online", online()));
    let mut host = online();
    host.command(stop("web"));
    all.push(("stopping", host));
    let mut host = online();
    let run = host.run_of(0);
    host.process(run).leaves_tree = true;
    host.process(run).deaf = true;
    host.end(run, Exit::Code(1));
    host.deliver_all();
    all.push(("tree left", host));
    let mut host = online();
    host.end(host.run_of(0), Exit::Code(1));
    host.deliver_all();
    all.push(("waiting", host));
    let mut host = online();
    host.outcomes(stop("web"));
    all.push(("stopped", host));
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    host.fail_spawn(host.run_of(0), false);
    host.until_reply(ticket);
    all.push(("errored", host));
    all
}

#[test]
fn each_command_in_each_state() {
    for (state, mut host) in web_in_each_state() {
        let out = host.outcomes(stop("web"));
        assert_eq!((&out[..], host.status(0)), (&[Outcome::Down][..], "stopped"), "stop when {state}");
        assert_eq!(host.it().cause, Cause::Asked, "stop when {state}");
    }
    for (state, mut host) in web_in_each_state() {
        let out = host.outcomes(restart("web"));
        assert!(matches!(out[..], [Outcome::Up { .. }]), "restart when {state}: {out:?}");
        let counted = u32::from(matches!(state, "asked" | "gate open" | "online" | "tree left" | "waiting"));
        assert_eq!(host.it().restarts, counted, "restart when {state}");
    }
    for (state, mut host) in web_in_each_state() {
        let out = host.outcomes(Command::Delete(targets(&["web"])));
        assert_eq!((&out[..], host.status(0)), (&[Outcome::Deleted][..], "gone"), "delete when {state}");
    }
    for (state, mut host) in web_in_each_state() {
        let run = host.core.instance(InstanceId(0)).and_then(|it| it.run()).map(|run| run.id);
        let out = host.outcomes(start_known(targets(&["web"])));
        assert!(matches!(out[..], [Outcome::Up { .. }]), "start when {state}: {out:?}");
        let kept = matches!(state, "asked" | "gate open" | "online");
        assert_eq!(run == Some(host.run_of(0)), kept, "start when {state}");
    }
}

#[test]
fn start_of_a_known_name() {
    for (state, mut host) in web_in_each_state() {
        let mut web = spec("web");
        web.args = vec!["new".to_owned()];
        let ticket = host.command(start([web.clone()]));
        let down = matches!(state, "stopping" | "stopped" | "errored");
        if down {
            assert!(matches!(host.until_reply(ticket), Reply::Done(_)), "{state}");
            assert_eq!((host.status(0), host.core.apps().count()), ("online", 1), "{state}");
            assert_eq!(host.core.app_named("web").unwrap().spec.args, ["new"], "{state}");
        } else {
            let refused = Reply::Refused(CommandError::AlreadyRunning { name: "web".to_owned() });
            assert_eq!(host.replies[&ticket], refused, "{state}");
            let apps = vec![StartApp { spec: web, start_now: true }];
            host.outcomes(Command::Start(Start { apps: apps.clone(), force: true }));
            host.outcomes(Command::Start(Start { apps, force: true }));
            let names: Vec<_> = host.core.apps().map(|app| app.spec.name.as_str()).collect();
            assert_eq!(names, ["web", "web-1", "web-2"], "{state}");
        }
    }
}

#[test]
fn a_known_name_with_another_number_of_instances() {
    let mut host = Host::new();
    host.outcomes(start([web(3)]));
    host.outcomes(stop("web"));
    let out = host.outcomes(start([web(2)]));
    assert!(matches!(out[..], [Outcome::Up { .. }, Outcome::Up { .. }, Outcome::Deleted]), "{out:?}");
    let out = host.outcomes(Command::RestartWith(vec![StartApp { spec: web(4), start_now: true }]));
    assert_eq!(out.len(), 4);
    assert_eq!(
        host.statuses().iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [0, 1, 3, 4],
        "ids are not used again"
    );
    assert_eq!(indices(&host, "web"), [0, 1, 2, 3]);
}

fn web(instances: u32) -> wpm_core::Spec {
    let mut spec = spec("web");
    spec.instances = instances;
    spec
}

fn indices(host: &Host, name: &str) -> Vec<u32> {
    host.core.app_named(name).unwrap().instances.keys().copied().collect()
}

#[test]
fn only_listed() {
    let mut host = Host::new();
    let apps = vec![StartApp { spec: spec("web"), start_now: false }];
    assert_eq!(host.outcomes(Command::Start(Start { apps, force: false })), [Outcome::Done]);
    assert_eq!(host.status(0), "stopped");
    let out = host.outcomes(start_known(targets(&["web"])));
    assert!(matches!(out[..], [Outcome::Up { .. }]));
}

#[test]
fn refused_commands_change_nothing() {
    let mut host = Host::new();
    host.outcomes(start([spec("web"), spec("db")]));
    let persists = host.persists;
    let bad = |change: fn(&mut wpm_core::Spec)| {
        let mut spec = spec("new");
        change(&mut spec);
        start([spec])
    };
    let change = SpecChange { name: Some("db".to_owned()), ..SpecChange::default() };
    for command in [
        start([spec("new"), spec("web")]),
        start([spec("new"), spec("new")]),
        Command::RestartWith(
            ["new", "new"].map(|name| StartApp { spec: spec(name), start_now: true }).into(),
        ),
        bad(|spec| spec.name = "a\nb".to_owned()),
        bad(|spec| spec.name = "x".repeat(257)),
        bad(|spec| spec.name.clear()),
        bad(|spec| spec.script.clear()),
        bad(|spec| spec.args = vec!["\0".to_owned()]),
        bad(|spec| spec.cwd = "relative".to_owned()),
        bad(|spec| spec.instances = 0),
        bad(|spec| spec.instances = 1001),
        bad(|spec| spec.restart.min_uptime = Millis(99)),
        bad(|spec| spec.increment_var = Some("PORT".to_owned())),
        bad(|spec| spec.stop.signal = 65),
        stop("nobody"),
        Command::Stop(targets(&["web", "nobody"])),
        Command::Delete(targets(&["web", "nobody"])),
        Command::Restart { targets: targets(&["web"]), change: change.clone() },
        Command::Restart { targets: targets(&["all"]), change },
        scale("all", ScaleTo::Exactly(2)),
        scale("web", ScaleTo::Exactly(0)),
        scale("web", ScaleTo::More(1000)),
    ] {
        let name = format!("{command:?}");
        refusal(&mut host, command);
        assert_eq!(host.statuses(), [(0, "online"), (1, "online")], "{name}");
        assert_eq!(host.persists, persists, "{name}");
    }
}

#[test]
fn all_of_an_empty_list() {
    let mut host = Host::new();
    let all = || targets(&["all"]);
    for command in [stop("all"), restart("all"), Command::Delete(all()), start_known(all())] {
        assert_eq!(refusal(&mut host, command), CommandError::NoApps);
    }
    assert_eq!(host.outcomes(Command::Reset(all())), []);
}

#[test]
fn restart_with_changes() {
    let mut host = Host::new();
    let mut web = spec("web");
    web.env = [("A", "old"), ("OWN", "mine")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    web.own_env = vec!["OWN".to_owned()];
    host.outcomes(start([web]));
    let env = [("B", "new"), ("OWN", "callers")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let name = Some("site".to_owned());
    let change = SpecChange { name, env: Some(env), max_restarts: Some(3), ..SpecChange::default() };
    host.outcomes(Command::Restart { targets: targets(&["web"]), change });
    assert!(host.core.app_named("web").is_none());
    let spec = &host.core.app_named("site").unwrap().spec;
    let env: Vec<_> = spec.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("B", "new"), ("OWN", "mine")], "what was inherited is replaced, and removed");
    assert_eq!(spec.restart.max_restarts, 3);
}

#[test]
fn scaling() {
    let mut host = Host::new();
    host.outcomes(start([web(2)]));
    let kept = host.run_of(0);
    assert_eq!(host.outcomes(scale("web", ScaleTo::Exactly(4))).len(), 2, "only the new ones");
    assert_eq!(host.outcomes(scale("web", ScaleTo::Fewer(1))), [Outcome::Deleted]);
    assert_eq!(indices(&host, "web"), [0, 1, 2], "the highest goes first");
    host.outcomes(Command::Delete(targets(&["web/1"])));
    host.outcomes(scale("web", ScaleTo::More(2)));
    assert_eq!(indices(&host, "web"), [0, 1, 2, 3], "the lowest free comes first");
    assert_eq!(host.core.app_named("web").unwrap().spec.instances, 4);
    let same = CommandError::NothingToDo { name: "web".to_owned(), count: 4 };
    assert_eq!(refusal(&mut host, scale("web", ScaleTo::Exactly(4))), same);
    assert_eq!(host.outcomes(scale("web", ScaleTo::Fewer(99))).len(), 3);
    assert_eq!(indices(&host, "web"), [0]);
    assert_eq!(host.run_of(0), kept, "those that stay are not touched");
}

#[test]
fn scaling_up_while_some_are_still_going() {
    let mut host = Host::new();
    host.nature = (true, false, false);
    host.outcomes(start([web(3)]));
    let down = host.command(scale("web", ScaleTo::Exactly(1)));
    let up = host.command(scale("web", ScaleTo::Exactly(3)));
    assert_eq!(done(&host, down), [Outcome::Superseded, Outcome::Superseded]);
    host.until_reply(up);
    assert_eq!(indices(&host, "web"), [0, 1, 2]);
    assert_eq!(host.statuses(), [(0, "online"), (1, "online"), (2, "online")]);
}

#[test]
fn signals_go_to_running_ones() {
    let mut host = Host::new();
    host.outcomes(start([spec("web"), spec("db")]));
    host.outcomes(stop("db"));
    let run = host.run_of(0);
    host.process(run).deaf = true;
    let signal = |typed: &str| Command::Signal { targets: targets(&[typed]), signal: 10 };
    assert_eq!(host.outcomes(signal("all")), [Outcome::Done]);
    assert_eq!(host.process(run).signals, [10]);
    assert_eq!(refusal(&mut host, signal("db")), CommandError::NotRunning { target: "db".to_owned() });
}

#[test]
fn reset_counts_from_zero() {
    let mut host = Host::new();
    host.outcomes(start([spec("web")]));
    host.outcomes(restart("web"));
    assert_eq!(host.it().restarts, 1);
    let persists = host.persists;
    assert_eq!(host.outcomes(Command::Reset(targets(&["web"]))), [Outcome::Done]);
    assert_eq!((host.it().restarts, host.persists), (0, persists + 1));
}

#[test]
fn a_later_command_supersedes() {
    let fresh = || {
        let mut host = Host::new();
        host.nature = (true, false, false);
        let start = host.command(start([spec("web")]));
        host.deliver_all();
        (host, start)
    };
    let (mut host, first) = fresh();
    let stopping = host.command(stop("web"));
    assert_eq!(done(&host, first), [Outcome::Superseded], "stop over start");
    let again = host.command(stop("web"));
    host.until_reply(again);
    assert_eq!(done(&host, stopping), [Outcome::Down], "a second stop joins");

    let (mut host, first) = fresh();
    let second = host.command(restart("web"));
    assert_eq!(done(&host, first), [Outcome::Superseded], "restart over start");
    let third = host.command(restart("web"));
    host.until_reply(third);
    assert_eq!(done(&host, second), done(&host, third), "a second restart joins while the first one stops");

    let (mut host, _) = fresh();
    let stopping = host.command(stop("web"));
    let deleting = host.command(Command::Delete(targets(&["web"])));
    host.until_reply(deleting);
    assert_eq!(done(&host, stopping), [Outcome::Down], "delete brings down too");
    assert_eq!(done(&host, deleting), [Outcome::Deleted]);

    let (mut host, _) = fresh();
    let deleting = host.command(Command::Delete(targets(&["web"])));
    let stopping = host.command(stop("web"));
    host.until_reply(deleting);
    assert_eq!(done(&host, stopping), [Outcome::Down]);
    assert_eq!(host.status(0), "gone", "stop does not undo delete");

    let (mut host, _) = fresh();
    let deleting = host.command(Command::Delete(targets(&["web"])));
    let starting = host.command(start([spec("web")]));
    assert_eq!(done(&host, deleting), [Outcome::Superseded], "start undoes delete");
    host.until_reply(starting);
    assert_eq!(host.status(0), "online");
}

#[test]
fn what_cannot_be_killed_is_told() {
    let mut host = Host::new();
    host.nature = (true, true, false);
    host.outcomes(start([spec("web")]));
    let run = host.run_of(0);
    let out = host.outcomes(stop("web"));
    assert!(matches!(out[..], [Outcome::StillAlive { pid }] if pid != 0), "{out:?}");
    assert_eq!(host.status(0), "stopping", "and nothing else is said");
    let kills = host.process(run).kills;
    assert!(host.tick(), "wpm goes on trying");
    assert_eq!(host.process(run).kills, kills + 1);
    host.heal();
    host.tick();
    host.deliver_all();
    assert_eq!(host.status(0), "stopped");
}

#[test]
fn stop_before_the_gate_opens_runs_nothing() {
    let mut host = Host::new();
    host.command(start([spec("web")]));
    let run = host.run_of(0);
    let ticket = host.command(stop("web"));
    assert_eq!((host.process(run).kills, host.process(run).signals.len()), (1, 0));
    host.until_reply(ticket);
    assert_eq!(host.status(0), "stopped");
    // The kill may come too early for a shim that does not exist yet: it is repeated at the gate.
    let mut host = Host::new();
    host.command(start([spec("web")]));
    let run = host.run_of(0);
    host.nature = (false, false, false);
    host.process(run).stuck = true;
    host.process(run).phase = crate::sim::Phase::Gate;
    let ticket = host.command(stop("web"));
    host.process(run).stuck = false;
    host.deliver(run);
    assert_eq!(host.process(run).kills, 2);
    let begun = host.now;
    host.until_reply(ticket);
    assert_eq!(host.now, begun);
}

#[test]
fn a_run_that_nobody_knows_holds_nobody_up() {
    let mut host = Host::new();
    host.command(start([spec("web")]));
    host.events.clear();
    let run = host.run_of(0);
    let ticket = host.command(stop("web"));
    host.events.clear();
    while host.status(0) == "stopping" {
        assert!(host.tick());
        host.events.clear();
    }
    assert_eq!((done(&host, ticket), host.status(0)), (vec![Outcome::Down], "stopped"));
    assert_eq!(host.core.next_deadline(), None);
    host.input(wpm_core::Input::Event(run, wpm_core::Event::Registered { pid: 5, start_time: 5 }));
    assert_eq!(host.process(run).phase, crate::sim::Phase::Over, "a late shim does not get through its gate");
}

#[test]
fn without_treekill_only_the_main_process_is_told() {
    let mut host = Host::new();
    let mut web = spec("web");
    web.stop.tree = false;
    web.stop.signal = 15;
    host.outcomes(start([web]));
    let ticket = wpm_core::Ticket(99);
    let now = host.now();
    host.core.handle(now, wpm_core::Input::Command(ticket, stop("web")));
    let actions: Vec<_> = std::iter::from_fn(|| host.core.poll_action()).collect();
    let scope = wpm_core::Scope::Main;
    let run = host.run_of(0);
    assert!(actions.contains(&wpm_core::Action::Signal { run, signal: 15, scope }), "{actions:?}");
    assert_eq!(actions[0], wpm_core::Action::Persist, "durable before anything else");
}

#[test]
fn stop_all_then_quit() {
    let mut host = Host::new();
    host.outcomes(start([spec("web"), spec("db")]));
    let ticket = host.command(Command::StopAll);
    assert!(!host.quit);
    host.input(wpm_core::Input::Forget(ticket));
    host.deliver_all();
    assert!(host.quit, "also when the client has gone");
    assert!(!host.replies.contains_key(&ticket));
    assert_eq!(refusal(&mut host, start([spec("new")])), CommandError::ShuttingDown);
}

#[test]
fn forgotten_commands_go_on_without_a_reply() {
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    host.input(wpm_core::Input::Forget(ticket));
    host.pass(1000);
    assert_eq!(host.status(0), "online");
    assert!(host.replies.is_empty() && host.progress.is_empty());
}

#[test]
fn progress_comes_once_per_instance() {
    let mut host = Host::new();
    let ticket = host.command(start([web(3), spec("db")]));
    let Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
    let mut progress = host.progress[&ticket].clone();
    progress.sort_by_key(|one| one.instance);
    assert_eq!(progress, outcomes);
    let named: Vec<_> = outcomes.iter().map(|one| (one.app.as_str(), one.index)).collect();
    assert_eq!(named, [("web", 0), ("web", 1), ("web", 2), ("db", 0)]);
}
