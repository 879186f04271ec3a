//! The restart policy as tables: what follows which end, and after how long.

use wpm_core::{
    Cause, Command, Desired, Event, Exit, Input, InstanceId, Millis, Note, Outcome, RestartPolicy,
};

use crate::sim::{Host, spec, start, targets};

fn host_with(change: impl FnOnce(&mut RestartPolicy)) -> Host {
    let mut host = Host::new();
    let mut web = spec("web");
    change(&mut web.restart);
    host.outcomes(start([web]));
    host.notes.clear();
    host
}

/// Lets the instance run for so long, end, and run again; returns the delay between.
fn end_after(host: &mut Host, uptime: u64, exit: Exit) -> Option<u64> {
    let launched = host.it().run().and_then(|run| run.launched).unwrap().0;
    host.now = launched + uptime;
    host.end(host.run_of(0), exit);
    host.deliver_all();
    let ended = host.now;
    if host.status(0) == "waiting restart" {
        host.tick();
        host.deliver_all();
    }
    (host.status(0) == "online").then_some(host.now - ended)
}

const CRASH: Exit = Exit::Code(1);

#[test]
fn by_default_first_at_once_then_growing() {
    let mut host = host_with(|policy| policy.max_restarts = 100);
    let delays: Vec<u64> = (0..10).map(|_| end_after(&mut host, 10, CRASH).unwrap()).collect();
    assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    assert_eq!(end_after(&mut host, 1000, CRASH), Some(0), "a stable run: at once");
    assert_eq!(end_after(&mut host, 10, CRASH), Some(0), "and all is forgiven");
    assert_eq!(end_after(&mut host, 10, CRASH), Some(100));
}

#[test]
fn a_fixed_delay_stays() {
    let mut host = host_with(|policy| policy.restart_delay = Some(Millis(700)));
    for uptime in [10, 10, 5000, 60_000] {
        assert_eq!(end_after(&mut host, uptime, Exit::Code(0)), Some(700));
    }
}

#[test]
fn the_users_backoff_is_forgiven_after_thirty_seconds() {
    let mut host = host_with(|policy| policy.backoff = Some(Millis(100)));
    for expected in [100, 150, 225] {
        assert_eq!(end_after(&mut host, 29_999, CRASH), Some(expected));
    }
    assert_eq!(end_after(&mut host, 30_000, CRASH), Some(100));
    let mut host = host_with(|policy| policy.backoff = Some(Millis(1)));
    let delays: Vec<_> = (0..5).map(|_| end_after(&mut host, 5000, CRASH).unwrap()).collect();
    assert_eq!(delays, [1, 2, 3, 4, 6], "it grows from whatever it begins with");
}

#[test]
fn a_zero_delay_is_none() {
    let none = Some(Millis(0));
    let mut host = host_with(|policy| (policy.restart_delay, policy.backoff) = (none, none));
    assert_eq!(end_after(&mut host, 10, CRASH), Some(0));
    assert_eq!(end_after(&mut host, 10, CRASH), Some(100));
}

#[test]
fn given_up_in_a_sliding_window() {
    struct Case {
        name: &'static str,
        change: fn(&mut RestartPolicy),
        /// Uptimes before the loop, then the uptime of each run in it.
        before: &'static [u64],
        within: u64,
        launches: Option<u32>,
    }
    const DAY: u64 = 24 * 3600 * 1000;
    let plain: fn(&mut RestartPolicy) = |_| {};
    let cases = [
        Case { name: "at boot", change: plain, before: &[], within: 10, launches: Some(16) },
        Case { name: "barely unstable", change: plain, before: &[], within: 999, launches: Some(16) },
        Case { name: "stable", change: plain, before: &[], within: 1000, launches: None },
        Case { name: "after a day", change: plain, before: &[DAY], within: 10, launches: Some(16) },
        Case {
            name: "a while ago",
            change: plain,
            before: &[5, 5, 5, 16_000],
            within: 5,
            launches: Some(16),
        },
        Case { name: "just before", change: plain, before: &[5, 5, 5, 2000], within: 5, launches: Some(13) },
        Case {
            name: "long delays do not hide it",
            change: |policy| policy.restart_delay = Some(Millis(3_600_000)),
            before: &[],
            within: 500,
            launches: Some(16),
        },
        Case {
            name: "limit 5",
            change: |policy| policy.max_restarts = 5,
            before: &[],
            within: 5,
            launches: Some(5),
        },
        Case {
            name: "limit 0",
            change: |policy| policy.max_restarts = 0,
            before: &[],
            within: 5,
            launches: Some(1),
        },
        Case {
            name: "other min_uptime",
            change: |policy| (policy.min_uptime, policy.max_restarts) = (Millis(10_000), 3),
            before: &[],
            within: 9_999,
            launches: Some(3),
        },
        Case {
            name: "no limit to speak of",
            change: |policy| policy.max_restarts = u32::MAX,
            before: &[],
            within: 5,
            launches: None,
        },
    ];
    for Case { name, change, before, within, launches } in cases {
        let mut host = host_with(change);
        for uptime in before {
            assert!(end_after(&mut host, *uptime, CRASH).is_some(), "{name}");
        }
        let seen = (1..=200).find(|_| end_after(&mut host, within, CRASH).is_none());
        assert_eq!(seen, launches, "{name}");
        if let Some(launches) = launches {
            assert_eq!(host.status(0), "errored", "{name}");
            let before = u32::try_from(before.len()).unwrap();
            assert_eq!(host.it().restarts, before + launches - 1, "{name}: the last end is no restart");
            assert!(matches!(host.it().cause, Cause::CrashLoop { last: CRASH, .. }), "{name}");
            assert_eq!(host.core.next_deadline(), None, "{name}");
        }
    }
}

#[test]
fn ends_that_rest() {
    for (codes, autorestart, exit, rests) in [
        (vec![], true, Exit::Code(0), false),
        (vec![0], true, Exit::Code(0), true),
        (vec![0], true, Exit::Code(1), false),
        (vec![3, 4], true, Exit::Code(4), true),
        (vec![9], true, Exit::Signal(9), false),
        (vec![], false, Exit::Code(0), true),
        (vec![], false, Exit::Code(1), true),
        (vec![], false, Exit::Signal(11), true),
        (vec![], false, Exit::Unknown, true),
    ] {
        let mut host =
            host_with(|policy| (policy.stop_exit_codes, policy.autorestart) = (codes.clone(), autorestart));
        let again = end_after(&mut host, 5000, exit);
        assert_eq!(again.is_none(), rests, "{codes:?} {autorestart} {exit:?}");
        if rests {
            let it = host.it();
            assert_eq!((it.status().word(), it.desired, it.restarts), ("stopped", Desired::Down, 0));
            assert_eq!(it.cause, Cause::Finished(exit));
            assert!(it.is_finished());
        }
    }
}

#[test]
fn a_job_that_ends_in_its_start_check_has_finished_or_failed() {
    for (codes, exit, finished) in [
        (vec![], Exit::Code(0), true),
        (vec![], Exit::Code(3), false),
        (vec![3], Exit::Code(3), true),
        (vec![], Exit::Signal(9), false),
    ] {
        let mut host = Host::new();
        let mut job = spec("job");
        (job.restart.autorestart, job.restart.stop_exit_codes) = (false, codes);
        let ticket = host.command(start([job]));
        host.deliver_all();
        host.end(host.run_of(0), exit);
        let wpm_core::Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
        let wanted = match finished {
            true => Outcome::Finished { exit, after_ms: 0 },
            false => Outcome::Died { exit, after_ms: 0 },
        };
        assert_eq!(outcomes[0].outcome, wanted);
        assert_eq!(host.status(0), "stopped");
    }
}

#[test]
fn memory_above_the_limit() {
    let mut host = host_with(|policy| policy.max_memory = Some(1000));
    let run = host.run_of(0);
    assert_eq!(host.core.sampled(), [(run, 1000)].into());
    host.now += 60_000;
    host.input(Input::Event(run, Event::MemorySampled { bytes: 1000 }));
    assert_eq!(host.status(0), "online");
    host.input(Input::Event(run, Event::MemorySampled { bytes: 1001 }));
    assert_eq!(host.status(0), "stopping");
    assert!(host.core.sampled().is_empty());
    host.deliver_all();
    assert_eq!((host.status(0), host.it().restarts), ("online", 1));
    assert_eq!(host.it().cause, Cause::Memory { bytes: 1001 });
    let stopping = Note::Stopping { cause: Cause::Memory { bytes: 1001 } };
    assert!(host.notes.iter().any(|(_, note)| *note == stopping));
}

#[test]
fn a_limit_below_what_it_needs_is_a_crash_loop() {
    let mut host = host_with(|policy| policy.max_memory = Some(1));
    for _ in 0..16 {
        host.deliver_all();
        if host.status(0) == "waiting restart" {
            host.tick();
            host.deliver_all();
        }
        host.input(Input::Event(host.run_of(0), Event::MemorySampled { bytes: 2 }));
    }
    host.deliver_all();
    assert_eq!(host.status(0), "errored");
}

#[test]
fn a_changed_file_restarts_every_instance_and_is_named() {
    let mut host = Host::new();
    let mut web = spec("web");
    web.instances = 2;
    host.outcomes(start([web]));
    let app = host.it().app;
    let change = |host: &mut Host| {
        host.input(Input::FileChanged { app, path: "/srv/a.js".to_owned() });
        host.deliver_all();
    };
    change(&mut host);
    for id in [0, 1] {
        let it = host.core.instance(InstanceId(id)).unwrap();
        assert_eq!((it.restarts, &it.cause), (1, &Cause::Changed { path: "/srv/a.js".to_owned() }));
        assert_eq!(host.status(id), "online");
    }
    host.outcomes(Command::Stop(targets(&["web"])));
    change(&mut host);
    assert_eq!(host.status(0), "stopped");
}

#[test]
fn cron_restarts_what_the_user_has_not_stopped() {
    let fire = |host: &mut Host| {
        host.input(Input::CronFired(InstanceId(0)));
        host.deliver_all();
        (host.status(0), host.it().restarts, host.it().cause.clone())
    };
    let mut host = host_with(|_| {});
    assert_eq!(fire(&mut host), ("online", 1, Cause::Cron), "online");
    host.outcomes(Command::Stop(targets(&["web"])));
    assert_eq!(fire(&mut host).0, "stopped", "stopped by the user");
    let mut host = host_with(|policy| policy.autorestart = false);
    end_after(&mut host, 5000, Exit::Code(0));
    assert_eq!(fire(&mut host), ("online", 0, Cause::Cron), "finished");
    end_after(&mut host, 5000, Exit::Code(0));
    host.outcomes(Command::Stop(targets(&["web"])));
    assert_eq!(fire(&mut host).0, "stopped", "finished, then stopped by the user");
    let mut host = host_with(|policy| policy.max_restarts = 1);
    end_after(&mut host, 1, CRASH);
    assert_eq!(host.status(0), "errored");
    assert_eq!(fire(&mut host).0, "online", "given up: a fresh try");
    let mut host = host_with(|policy| policy.restart_delay = Some(Millis(60_000)));
    host.end(host.run_of(0), CRASH);
    host.deliver_all();
    assert_eq!(host.status(0), "waiting restart");
    assert_eq!(fire(&mut host).0, "online", "waiting: not any longer");
}

#[test]
fn spawns_that_fail() {
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    host.fail_spawn(host.run_of(0), false);
    host.until_reply(ticket);
    assert_eq!(host.status(0), "errored");
    assert_eq!(host.it().cause, Cause::SpawnFailed { stage: "executing it", errno: 2 });
    assert_eq!(host.core.next_deadline(), None);

    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    let mut delays = Vec::new();
    for _ in 0..4 {
        host.fail_spawn(host.run_of(0), true);
        host.deliver_all();
        assert_eq!(host.status(0), "waiting restart");
        let began = host.now;
        host.tick();
        delays.push(host.now - began);
    }
    assert_eq!(delays, [100, 150, 225, 337]);
    assert!(host.replies.contains_key(&ticket), "the command told it and waits no longer");
    host.deliver_all();
    assert_eq!((host.status(0), host.it().restarts), ("online", 0));
}

#[test]
fn runs_that_are_lost_at_their_gate_are_tried_again() {
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    for _ in 0..2 {
        host.lose(host.run_of(0));
        host.deliver_first();
        if host.status(0) == "waiting restart" {
            host.tick();
        }
        assert!(!host.replies.contains_key(&ticket));
    }
    host.lose(host.run_of(0));
    host.deliver_first();
    let wpm_core::Reply::Done(outcomes) = &host.replies[&ticket] else { panic!("refused") };
    assert!(matches!(outcomes[0].outcome, Outcome::SpawnFailed { .. }), "three times in a row is told");
    host.tick();
    host.deliver_all();
    assert_eq!(host.status(0), "online");
}

#[test]
fn a_spawn_that_nobody_answers_is_given_up() {
    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    host.events.clear();
    let run = host.run_of(0);
    host.tick();
    let wpm_core::Reply::Done(outcomes) = &host.replies[&ticket] else { panic!("refused") };
    assert!(matches!(outcomes[0].outcome, Outcome::SpawnFailed { errno: 110, .. }));
    assert_eq!(host.process(run).kills, 1);
    host.pass(1_000);
    assert_eq!(host.status(0), "online");
}

#[test]
fn readiness() {
    let waiting = || {
        let mut host = Host::new();
        let mut web = spec("web");
        web.wait_ready = true;
        let ticket = host.command(start([web]));
        host.deliver_all();
        host.now += 500;
        assert_eq!(host.status(0), "launching");
        (host, ticket)
    };
    let (mut host, ticket) = waiting();
    host.input(Input::Event(host.run_of(0), Event::BecameReady));
    assert_eq!(host.status(0), "online");
    assert!(host.replies.contains_key(&ticket), "ready: no start check any more");
    assert_eq!(host.core.next_deadline(), None);

    let (mut host, ticket) = waiting();
    host.tick();
    assert_eq!((host.status(0), host.replies.contains_key(&ticket)), ("online", true), "listen_timeout");

    let (mut host, ticket) = waiting();
    host.end(host.run_of(0), CRASH);
    let wpm_core::Reply::Done(outcomes) = host.until_reply(ticket) else { panic!("refused") };
    assert_eq!(outcomes[0].outcome, Outcome::Died { exit: CRASH, after_ms: 500 });

    let mut host = Host::new();
    let ticket = host.command(start([spec("web")]));
    host.deliver_all();
    host.input(Input::Event(host.run_of(0), Event::BecameReady));
    assert!(host.replies.contains_key(&ticket), "it says so although nobody asked");
}
