//! Ends of workers: asked for, of their own accord, by force; and the end of the primary itself.

use std::io::{Read, Write};

use serde_json::json;
use wpm_cluster::primary::Address;
use wpm_cluster::{Balance, Input, Output, Run};

use crate::driver::Cluster;
use crate::{connect, get, worker_of};

const BOTH: [Balance; 2] = [Balance::Shared, Balance::RoundRobin];

fn task() -> serde_json::Value {
    json!({"do": "http", "listen": {"port": 0, "host": "127.0.0.1"}})
}

fn gone(cluster: &mut Cluster, run: Run) -> bool {
    cluster.until(|event| match event {
        Output::Disconnected { run: of, expected } if *of == run => Some(*expected),
        _ => None,
    })
}

#[test]
fn a_worker_that_is_told_to_go_finishes_its_request() {
    for balance in BOTH {
        let mut cluster = Cluster::new(balance);
        let run = cluster.spawn(0, &task());
        let port = cluster.port(run);
        let mut client = connect(port);
        client.write_all(b"GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        cluster.message(run, |m| m == "held");
        cluster.handle(Input::Disconnect { run });
        cluster.send(run, json!("answer"));
        assert!(gone(&mut cluster, run), "{balance:?}");
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(cluster.ended(run).success());
        assert_eq!(cluster.primary.listeners().count(), 1, "held for the next one");
    }
}

#[test]
fn a_worker_that_goes_by_itself_is_let_go() {
    for balance in BOTH {
        let mut cluster = Cluster::new(balance);
        let run = cluster.spawn(0, &task());
        cluster.port(run);
        cluster.send(run, json!("leave"));
        cluster.until(|event| matches!(event, Output::Leaving { run: of } if *of == run).then_some(()));
        assert!(gone(&mut cluster, run));
        assert!(cluster.ended(run).success());
    }
}

#[test]
fn connections_wait_for_the_successor_of_a_dead_worker() {
    for balance in BOTH {
        let mut cluster = Cluster::new(balance);
        let first = cluster.spawn(0, &task());
        let port = cluster.port(first);
        cluster.kill(first);
        // Nobody is there, and nobody is refused.
        let waiting = connect(port);
        let second = cluster.spawn(0, &task());
        assert_eq!(cluster.port(second), port, "{balance:?}");
        let body = cluster.during(|| get(waiting, "/"));
        assert_eq!(worker_of(&body), 1, "the instance keeps its number");
    }
}

#[test]
fn what_a_dead_worker_did_not_take_goes_to_another() {
    let mut cluster = Cluster::new(Balance::RoundRobin);
    let first = cluster.spawn(0, &task());
    let port = cluster.port(first);
    let second = cluster.spawn(1, &task());
    cluster.port(second);
    // Both get one; the first is killed before it can be known whether it took its own.
    let mut clients = [connect(port), connect(port)];
    cluster.kill(first);
    let bodies = cluster.during(|| {
        clients
            .iter_mut()
            .map(|c| {
                let mut answer = String::new();
                write!(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                c.read_to_string(&mut answer).map(|_| answer)
            })
            .collect::<Vec<_>>()
    });
    // Connections were not polled before the kill: both went to the one that lives.
    assert!(bodies.iter().all(|b| b.as_ref().is_ok_and(|b| b.starts_with("HTTP/1.1 200"))), "{bodies:?}");
}

#[test]
fn a_reload_loses_nothing() {
    for balance in [Balance::Shared, Balance::RoundRobin, Balance::Sticky] {
        let mut cluster = Cluster::new(balance);
        let mut old = [0, 1].map(|index| cluster.spawn(index, &task()));
        let port = old.map(|run| cluster.port(run))[0];
        let ask = move || (0..20).filter(|_| worker_of(&get(connect(port), "/")) > 0).count();
        for run in &mut old {
            let index = u32::try_from(run.0 - 1).unwrap();
            let new = cluster.spawn(index, &task());
            assert_eq!(cluster.port(new), port);
            cluster.handle(Input::Disconnect { run: *run });
            // The old one drains while the clients go on.
            assert_eq!(cluster.during(ask), 20, "{balance:?}");
            assert!(gone(&mut cluster, *run));
            assert!(cluster.ended(*run).success());
        }
        cluster.handle(Input::ReleaseUnused);
        assert_eq!(cluster.during(ask), 20);
    }
}

#[test]
fn another_primary_goes_on_with_the_workers() {
    for balance in [Balance::Shared, Balance::RoundRobin, Balance::Sticky] {
        let mut cluster = Cluster::new(balance);
        let first = cluster.spawn(0, &task());
        let port = cluster.port(first);
        assert_eq!(cluster.during(|| worker_of(&get(connect(port), "/"))), 1);
        cluster.restart();
        let host = Some("127.0.0.1".to_owned());
        assert_eq!(cluster.primary.addresses(first), [Address::Tcp { host, port }]);
        let second = cluster.spawn(1, &task());
        assert_eq!(cluster.port(second), port, "{balance:?}");
        let answers = cluster.during(|| (0..10).filter(|_| worker_of(&get(connect(port), "/")) > 0).count());
        assert_eq!(answers, 10);
        cluster.handle(Input::Disconnect { run: first });
        assert!(gone(&mut cluster, first));
    }
}
