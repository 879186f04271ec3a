//! Apps that depend on others: the order of starts and stops, and what is refused.

use wpm_core::{
    Cause, Check, Command, CommandError, Condition, Event, Exit, Input, InstanceId, Millis, Outcome, Reply,
    Spec,
};

use crate::sim::{Host, spec, start, start_known, targets};

fn needing(name: &str, others: &[(&str, Condition)]) -> Spec {
    let mut spec = spec(name);
    spec.depends_on = others.iter().map(|(name, condition)| ((*name).to_owned(), *condition)).collect();
    spec
}

fn shop() -> [Spec; 3] {
    // Named against the order of their start, to rule out that the alphabet does it.
    [
        needing("a-web", &[("b-api", Condition::Ready)]),
        needing("b-api", &[("c-db", Condition::Ready)]),
        spec("c-db"),
    ]
}

#[test]
fn starts_come_one_after_the_other_and_stops_the_other_way_round() {
    let mut host = Host::new();
    let ticket = host.command(start(shop()));
    host.deliver_all();
    assert_eq!(host.statuses(), [(0, "launching"), (1, "launching"), (2, "online")]);
    assert_eq!(host.it().cause, Cause::Waits { app: "b-api".to_owned() });
    host.pass(400);
    assert_eq!(host.statuses(), [(0, "launching"), (1, "online"), (2, "online")]);
    host.pass(400);
    assert_eq!(host.statuses(), [(0, "online"), (1, "online"), (2, "online")]);
    let reply = host.until_reply(ticket);
    assert!(
        matches!(reply, Reply::Done(ref all) if all.iter().all(|o| matches!(o.outcome, Outcome::Up { .. })))
    );
    assert_eq!(host.it().cause, Cause::Asked);

    host.nature = (true, false, false);
    host.command(Command::Stop(targets(&["all"])));
    assert_eq!(host.statuses(), [(0, "stopping"), (1, "online"), (2, "online")]);
    host.deliver_all();
    assert_eq!(host.statuses(), [(0, "stopped"), (1, "stopped"), (2, "stopped")]);
}

#[test]
fn a_stop_goes_on_when_what_it_waits_for_is_gone() {
    let mut host = Host::new();
    let ticket = host.command(start(shop()));
    host.until_reply(ticket);
    for id in 0..3 {
        let run = host.run_of(id);
        host.process(run).deaf = true;
    }
    host.command(Command::Delete(targets(&["all"])));
    assert_eq!(host.statuses(), [(0, "stopping"), (1, "online"), (2, "online")]);
    host.pass(1600);
    assert_eq!(host.statuses(), [(1, "stopping"), (2, "online")]);
    host.pass(1600);
    assert_eq!(host.statuses(), [(2, "stopping")]);
    host.pass(1600);
    assert_eq!(host.statuses(), []);
}

#[test]
fn one_alone_is_stopped_at_once_and_brings_what_it_needs() {
    let mut host = Host::new();
    let ticket = host.command(start(shop()));
    host.until_reply(ticket);
    host.outcomes(Command::Stop(targets(&["c-db"])));
    assert_eq!(host.status(2), "stopped");
    assert_eq!(host.status(0), "online", "those that depend on it are not touched");
    // What ends by itself waits for nobody.
    host.end(host.run_of(1), Exit::Code(1));
    host.pass(200);
    assert_eq!(host.status(1), "online");
    host.outcomes(Command::Stop(targets(&["all"])));
    let outcomes = host.outcomes(start_known(targets(&["a-web"])));
    assert_eq!(outcomes.len(), 3, "api and db were started, too");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Up { .. })));
}

#[test]
fn conditions() {
    let mut host = Host::new();
    let mut db = spec("db");
    db.health = Some(Check::Port(None));
    let mut job = spec("job");
    job.restart.autorestart = false;
    job.start_check = Millis(0);
    let apps = [
        needing("on-start", &[("db", Condition::Started)]),
        needing("on-health", &[("db", Condition::Healthy)]),
        needing("on-end", &[("job", Condition::Completed)]),
        db,
        job,
    ];
    host.command(start(apps));
    host.deliver_all();
    assert_eq!((host.status(0), host.status(1), host.status(2)), ("online", "launching", "launching"));
    host.pass(5000);
    assert_eq!((host.status(1), host.status(2)), ("launching", "launching"));
    host.input(Input::Event(host.run_of(3), Event::BecameHealthy));
    host.deliver_all();
    assert_eq!(host.status(1), "online");
    host.end(host.run_of(4), Exit::Code(0));
    host.deliver_all();
    assert_eq!((host.status(4), host.status(2)), ("stopped", "online"));
}

#[test]
fn a_command_does_not_wait_for_what_will_not_come() {
    let mut host = Host::new();
    let mut db = spec("db");
    db.restart.max_restarts = 1;
    let ticket = host.command(start([needing("web", &[("db", Condition::Ready)]), db]));
    host.deliver_all();
    host.end(host.run_of(1), Exit::Code(1));
    let Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
    assert_eq!(host.status(1), "errored");
    assert_eq!(outcomes[0].outcome, Outcome::Waits { app: "db".to_owned() });
    // But it is still wanted.
    host.outcomes(start_known(targets(&["db"])));
    host.deliver_all();
    assert_eq!((host.status(0), host.status(1)), ("online", "online"));
    assert_eq!(host.core.instance(InstanceId(0)).unwrap().restarts, 0);
}

#[test]
fn circles_and_strangers_are_refused_by_name() {
    let mut host = Host::new();
    let refused = |host: &mut Host, command| {
        let ticket = host.command(command);
        match host.replies.remove(&ticket) {
            Some(Reply::Refused(CommandError::InvalidSpec { name, field: "depends_on", reason })) => {
                (name, reason)
            }
            other => panic!("not refused: {other:?}"),
        }
    };
    let (name, reason) = refused(&mut host, start([needing("web", &[("db", Condition::Ready)])]));
    assert_eq!((name.as_str(), reason.as_str()), ("web", "there is no app `db`"));
    let (_, reason) = refused(
        &mut host,
        start([
            needing("a", &[("b", Condition::Ready)]),
            needing("b", &[("c", Condition::Ready)]),
            needing("c", &[("a", Condition::Ready)]),
        ]),
    );
    assert_eq!(reason, "these wait for each other: a → b → c → a");
    let (_, reason) = refused(&mut host, start([needing("a", &[("a", Condition::Ready)])]));
    assert_eq!(reason, "these wait for each other: a → a");
}
