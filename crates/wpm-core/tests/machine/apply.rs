//! Making apps what a file says: only what differs is touched.

use wpm_core::{AppChange, Apply, Command, CommandError, Exit, Outcome, Reply, Spec, StartApp, Step, Ticket};

use crate::sim::{Host, spec, start, targets};

const FILE: &str = "/srv/wpm.toml";

fn of_file(name: &str) -> Spec {
    Spec { source: Some(FILE.to_owned()), ..spec(name) }
}

fn apply(specs: impl IntoIterator<Item = Spec>, prune: bool) -> Apply {
    let apps = specs.into_iter().map(|spec| StartApp { start_now: spec.autostart, spec }).collect();
    Apply { apps, prune: prune.then(|| FILE.to_owned()), update_env: false, parallel: 0, since: None }
}

fn steps(host: &Host, apply: &Apply) -> Vec<(String, Step)> {
    let changes: Vec<AppChange> = host.core.compare(apply).expect("can be done");
    changes.into_iter().map(|change| (change.name, change.step)).collect()
}

fn named(steps: &[(&str, Step)]) -> Vec<(String, Step)> {
    steps.iter().map(|(name, step)| ((*name).to_owned(), *step)).collect()
}

#[test]
fn only_what_differs_is_touched() {
    let mut host = Host::new();
    host.outcomes(start([of_file("keeps"), of_file("changes"), of_file("goes"), spec("by-hand")]));
    let runs: Vec<_> = (0..4).map(|id| host.run_of(id)).collect();
    let changed = Spec { args: vec!["x".to_owned()], ..of_file("changes") };
    let wanted = || apply([of_file("keeps"), changed.clone(), of_file("comes")], true);
    let expected =
        [("keeps", Step::Keep), ("changes", Step::Restart), ("comes", Step::Add), ("goes", Step::Delete)];
    assert_eq!(steps(&host, &wanted()), named(&expected));
    host.outcomes(Command::Apply(wanted()));
    assert_eq!(host.run_of(0), runs[0]);
    assert_ne!(host.run_of(1), runs[1]);
    assert_eq!((host.status(2), host.run_of(3)), ("gone", runs[3]));
    assert_eq!(host.core.app_named("changes").expect("there").spec.args, ["x"]);

    // Once more: nothing differs.
    assert!(steps(&host, &wanted()).iter().all(|(_, step)| *step == Step::Keep));
    assert_eq!(host.outcomes(Command::Apply(wanted())), []);
}

#[test]
fn without_prune_nothing_is_removed_and_of_other_files_never() {
    let mut host = Host::new();
    let other = Spec { source: Some("/srv/other.toml".to_owned()), ..spec("theirs") };
    host.outcomes(start([of_file("web"), of_file("old"), other]));
    assert_eq!(steps(&host, &apply([of_file("web")], false)), named(&[("web", Step::Keep)]));
    let steps = steps(&host, &apply([of_file("web")], true));
    assert_eq!(steps, named(&[("web", Step::Keep), ("old", Step::Delete)]));
}

#[test]
fn the_number_of_instances_and_what_is_down() {
    let mut host = Host::new();
    let web = |instances| Spec { instances, instances_asked: true, ..of_file("web") };
    host.outcomes(start([web(2)]));
    let runs = [host.run_of(0), host.run_of(1)];
    host.outcomes(Command::Apply(apply([web(3)], false)));
    assert_eq!([host.run_of(0), host.run_of(1)], runs);
    assert_eq!(host.status(2), "online");
    host.outcomes(Command::Apply(apply([web(1)], false)));
    assert_eq!((host.run_of(0), host.status(1), host.status(2)), (runs[0], "gone", "gone"));

    // Scaled by hand: the file wins.
    let to = wpm_core::ScaleTo::Exactly(2);
    host.outcomes(Command::Scale { target: targets(&["web"]).remove(0), to });
    assert_eq!(steps(&host, &apply([web(1)], false)), named(&[("web", Step::Scale)]));

    host.outcomes(Command::Stop(targets(&["web"])));
    assert_eq!(steps(&host, &apply([web(2)], false)), named(&[("web", Step::Start)]));
    host.outcomes(Command::Apply(apply([web(2)], false)));
    assert_eq!((host.status(0), host.status(3)), ("online", "online"));
    let asleep = Spec { autostart: false, ..web(2) };
    host.outcomes(Command::Stop(targets(&["web"])));
    host.outcomes(Command::Apply(apply([asleep], false)));
    assert_eq!(host.status(0), "stopped");
}

#[test]
fn what_has_finished_is_not_run_again_unless_it_differs() {
    let mut host = Host::new();
    let mut migrate = of_file("migrate");
    migrate.restart.autorestart = false;
    let ticket = host.command(start([migrate.clone()]));
    host.deliver_all();
    host.end(host.run_of(0), Exit::Code(0));
    host.until_reply(ticket);
    assert_eq!(steps(&host, &apply([migrate.clone()], false)), named(&[("migrate", Step::Keep)]));
    migrate.args = vec!["2".to_owned()];
    assert_eq!(steps(&host, &apply([migrate.clone()], false)), named(&[("migrate", Step::Restart)]));
    let ticket = host.command(Command::Apply(apply([migrate], false)));
    host.deliver_all();
    assert_eq!(host.status(0), "online");
    host.end(host.run_of(0), Exit::Code(0));
    host.until_reply(ticket);
}

#[test]
fn a_new_configuration_that_does_not_come_up_is_taken_back() {
    let mut host = Host::new();
    let web = |arg: &str| Spec { overlap: Some(true), args: vec![arg.to_owned()], ..of_file("web") };
    host.outcomes(start([web("old")]));
    let run = host.run_of(0);
    let ticket: Ticket = host.command(Command::Apply(apply([web("new")], false)));
    host.deliver_all();
    let new = host.second_of(0).expect("it rises beside");
    host.end(new, Exit::Code(1));
    let Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
    assert!(matches!(outcomes[0].outcome, Outcome::Died { .. }));
    assert_eq!(
        (host.run_of(0), host.core.app_named("web").expect("there").spec.args[0].as_str()),
        (run, "old")
    );
}

#[test]
fn what_cannot_be_done_is_refused_as_a_whole() {
    let mut host = Host::new();
    let needs = |name: &str, on: &str| {
        let mut spec = of_file(name);
        spec.depends_on.insert(on.to_owned(), wpm_core::Condition::Started);
        spec
    };
    host.outcomes(start([of_file("db"), spec("other")]));
    for wrong in [
        apply([of_file("web"), of_file("web")], false),
        apply([needs("web", "nobody")], false),
        apply([needs("web", "db")], true),
        apply([Spec { script: String::new(), ..of_file("web") }], false),
    ] {
        let ticket = host.command(Command::Apply(wrong.clone()));
        let Reply::Refused(error) = host.until_reply(ticket) else { panic!("{wrong:?} was taken") };
        assert!(matches!(error, CommandError::InvalidSpec { .. }), "{error:?}");
        assert_eq!(host.core.apps().count(), 2);
    }
}
