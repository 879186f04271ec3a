//! Jobs: what a firing of their schedule means, in each state that it can meet.

use wpm_core::{
    Cause, Command, Desired, Exit, Input, InstanceId, Note, Outcome, RestoredApp, RestoredInstance,
    ScheduleOverlap, Spec, SpecChange,
};

use crate::sim::{Host, spec, start, start_known, targets};

fn job(overlap: ScheduleOverlap) -> Spec {
    let mut spec = spec("report");
    spec.schedule = Some("0 2 * * *".to_owned());
    spec.schedule_overlap = overlap;
    spec.restart.autorestart = false;
    spec
}

fn host(overlap: ScheduleOverlap) -> Host {
    let mut host = Host::new();
    assert_eq!(host.outcomes(start([job(overlap)])), [Outcome::Scheduled]);
    host
}

fn fire(host: &mut Host) {
    host.input(Input::ScheduleFired(InstanceId(0)));
    host.deliver_all();
}

fn end(host: &mut Host, code: i32) {
    host.now += 3000;
    host.end(host.run_of(0), Exit::Code(code));
    host.deliver_all();
}

fn restart() -> Command {
    Command::Restart { targets: targets(&["report"]), change: SpecChange::default() }
}

#[test]
fn it_runs_when_its_time_comes_and_rests_in_between() {
    let mut host = host(ScheduleOverlap::Skip);
    assert!(host.processes.is_empty() && host.core.next_deadline().is_none());
    assert_eq!(host.it().cause, Cause::Scheduled);
    for code in [0, 3] {
        fire(&mut host);
        assert_eq!(host.status(0), "online");
        end(&mut host, code);
        let it = host.it();
        assert_eq!((host.status(0), it.last_exit, it.restarts), ("stopped", Some(Exit::Code(code)), 0));
        assert_eq!(it.last_uptime.map(|up| up.0), Some(3000));
        assert!(it.is_finished());
    }
}

#[test]
fn a_firing_while_it_still_runs() {
    let mut skip = host(ScheduleOverlap::Skip);
    fire(&mut skip);
    let run = skip.run_of(0);
    fire(&mut skip);
    assert_eq!((skip.run_of(0), skip.notes.last().map(|(_, note)| note)), (run, Some(&Note::Skipped)));
    end(&mut skip, 0);
    assert_eq!(skip.status(0), "stopped");

    let mut queue = host(ScheduleOverlap::Queue);
    fire(&mut queue);
    let run = queue.run_of(0);
    fire(&mut queue);
    fire(&mut queue);
    assert_eq!(queue.run_of(0), run);
    end(&mut queue, 0);
    assert_ne!(queue.run_of(0), run);
    end(&mut queue, 0);
    assert_eq!(queue.status(0), "stopped", "once, however often it fired");

    let mut kill = host(ScheduleOverlap::Kill);
    fire(&mut kill);
    let run = kill.run_of(0);
    fire(&mut kill);
    assert_eq!(kill.processes[&run].signals, [2]);
    assert_ne!(kill.run_of(0), run);
    end(&mut kill, 0);
    assert_eq!(kill.status(0), "stopped");
}

#[test]
fn a_deaf_one_is_queued_for_once() {
    let mut host = host(ScheduleOverlap::Kill);
    host.nature.0 = true;
    fire(&mut host);
    let run = host.run_of(0);
    host.heal();
    host.processes.get_mut(&run).expect("it runs").deaf = true;
    fire(&mut host);
    fire(&mut host);
    assert_eq!(host.status(0), "stopping");
    host.pass(2000);
    assert_ne!(host.run_of(0), run);
    end(&mut host, 0);
    assert_eq!(host.status(0), "stopped");
}

#[test]
fn the_user_takes_it_off_the_clock_and_puts_it_back() {
    let mut host = host(ScheduleOverlap::Queue);
    fire(&mut host);
    fire(&mut host);
    host.outcomes(Command::Stop(targets(&["report"])));
    fire(&mut host);
    assert_eq!((host.status(0), host.it().is_finished()), ("stopped", false));
    assert_eq!(host.outcomes(start_known(targets(&["report"]))), [Outcome::Scheduled]);
    fire(&mut host);
    assert_eq!(host.status(0), "online");
}

#[test]
fn a_restart_by_name_runs_it_at_once_and_one_of_all_does_not() {
    let mut host = host(ScheduleOverlap::Skip);
    let all = Command::Restart { targets: targets(&["all"]), change: SpecChange::default() };
    assert_eq!(host.outcomes(all), [Outcome::Scheduled]);
    let reload = Command::Reload {
        targets: targets(&["report"]),
        change: SpecChange::default(),
        parallel: 0,
        force: false,
        since: None,
    };
    assert_eq!(host.outcomes(reload), [Outcome::Scheduled]);
    assert_eq!(host.status(0), "stopped");
    assert!(matches!(host.outcomes(restart())[..], [Outcome::Up { .. }]));
    end(&mut host, 0);
    fire(&mut host);
    assert_eq!(host.status(0), "online", "it is still on the clock");
}

#[test]
fn a_server_that_becomes_a_job_is_ended() {
    let mut host = Host::new();
    host.outcomes(start([spec("report")]));
    let apps = vec![wpm_core::StartApp { spec: job(ScheduleOverlap::Skip), start_now: true }];
    host.outcomes(Command::RestartWith(apps));
    host.deliver_all();
    assert_eq!((host.status(0), &host.it().cause), ("stopped", &Cause::Scheduled));
    fire(&mut host);
    assert_eq!(host.status(0), "online");
}

#[test]
fn a_new_daemon_keeps_it_on_the_clock() {
    let mut host = Host::new();
    let instance = RestoredInstance {
        id: InstanceId(0),
        index: 0,
        desired: Desired::Down,
        errored: false,
        finished: true,
        restarts: 0,
        last_exit: None,
        created_wall_ms: 1,
        renews: None,
        run: None,
        others: Vec::new(),
        cause: None,
    };
    let now = host.now();
    let app = RestoredApp { spec: job(ScheduleOverlap::Skip), instances: vec![instance], before: None };
    host.core.restore(now, vec![app]);
    host.act();
    assert_eq!((host.status(0), &host.it().cause), ("stopped", &Cause::Scheduled));
    fire(&mut host);
    assert_eq!(host.status(0), "online");
}
