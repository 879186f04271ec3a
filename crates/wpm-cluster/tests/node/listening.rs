//! What `listen` says in the corners: errors, repetitions, descriptors, ports moved by the preload.

use std::net::TcpListener;
use std::rc::Rc;

use serde_json::json;
use wpm_cluster::port_step;
use wpm_cluster::primary::Address;
use wpm_cluster::{Balance, Output};

use crate::driver::{Cluster, without_forks};
use crate::{connect, free_ports, get, worker_of};

const BOTH: [Balance; 2] = [Balance::Shared, Balance::RoundRobin];

#[test]
fn a_port_that_another_program_has_is_in_use() {
    for balance in BOTH {
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = foreign.local_addr().unwrap().port();
        let mut cluster = Cluster::new(balance);
        let run = cluster.spawn(0, &json!({"do": "http", "listen": {"port": port, "host": "127.0.0.1"}}));
        let said = cluster.message(run, |_| true);
        assert_eq!(said["error"], "EADDRINUSE", "{said}");
        assert!(said["message"].as_str().unwrap().ends_with(&format!("127.0.0.1:{port}")), "{said}");
    }
}

#[test]
fn errors_have_the_name_that_node_gives_them() {
    let table = [
        (json!({"port": 0, "host": "203.0.113.1"}), "EADDRNOTAVAIL"),
        (json!({"path": "/no/such/folder/socket"}), "EACCES"),
        (json!({"fd": 99}), "EINVAL"),
    ];
    for balance in BOTH {
        for (listen, code) in &table {
            let mut cluster = Cluster::new(balance);
            let run = cluster.spawn(0, &json!({"do": "http", "listen": listen}));
            assert_eq!(cluster.message(run, |_| true)["error"], *code, "{balance:?} {listen}");
        }
    }
}

#[test]
fn an_exclusive_port_is_one_workers_own() {
    for balance in BOTH {
        let listen = json!({"port": free_ports(1), "host": "127.0.0.1", "exclusive": true});
        let mut cluster = Cluster::new(balance);
        let task = json!({"do": "http", "listen": listen});
        let first = cluster.spawn(0, &task);
        assert_eq!(cluster.message(first, |_| true)["at"]["port"], listen["port"]);
        assert_eq!(cluster.primary.listeners().count(), 0, "nothing was asked for");
        let second = cluster.spawn(1, &task);
        assert_eq!(cluster.message(second, |_| true)["error"], "EADDRINUSE");
    }
}

#[test]
fn listening_twice_is_an_error_and_listening_again_is_not() {
    for balance in BOTH {
        let mut cluster = Cluster::new(balance);
        let run = cluster.spawn(0, &json!({"do": "twice", "listen": {"port": 0, "host": "127.0.0.1"}}));
        cluster.message(run, |m| m.get("at").is_some());
        let said = cluster.message(run, |m| m.get("error").is_some());
        assert_eq!(said["error"], "EADDRINUSE", "{balance:?}");

        let port = free_ports(1);
        let run = cluster.spawn(1, &json!({"do": "again", "listen": {"port": port, "host": "127.0.0.1"}}));
        // Each time the port is bound anew.
        let _alone = without_forks();
        for _ in 0..3 {
            let said = cluster.message(run, |_| true);
            assert_eq!(said["at"]["port"], port, "{balance:?}: {said}");
        }
    }
}

#[test]
fn a_descriptor_that_was_handed_down_is_found() {
    for balance in BOTH {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut cluster = Cluster::new(balance);
        cluster.handed.insert(3, Rc::new(socket.into()));
        for index in 0..2 {
            let run = cluster.spawn(index, &json!({"do": "http", "listen": {"fd": 3}}));
            cluster.message(run, |m| m["at"]["port"] == port);
        }
        let body = cluster.during(|| get(connect(port), "/"));
        assert!([1, 2].contains(&worker_of(&body)));
    }
}

#[test]
fn every_address_is_both_families() {
    let mut cluster = Cluster::new(Balance::RoundRobin);
    let run = cluster.spawn(0, &json!({"do": "http", "listen": 0}));
    let port = cluster.port(run);
    assert_eq!(cluster.primary.addresses(run), [Address::Tcp { host: None, port }]);
    cluster.during(|| get(connect(port), "/"));
}

#[test]
fn the_preload_moves_the_base_port_alone() {
    let base = free_ports(2);
    let dir = tempfile::tempdir().unwrap();
    let preload = dir.path().join("a \"quoted\" name.cjs");
    std::fs::write(&preload, port_step::PRELOAD).unwrap();
    let mut cluster = Cluster::new(Balance::Shared);
    let mut at = |index: u32, listen: serde_json::Value, bases: &[u16]| {
        let env = port_step::environment(preload.to_str().unwrap(), bases, index, None);
        let run = cluster.spawn_with(index, &json!({"do": "http", "listen": listen}), true, &env);
        let port = cluster.port(run);
        cluster.kill(run);
        cluster.handle(wpm_cluster::Input::ReleaseAll);
        port
    };
    let options = json!({"port": base, "host": "127.0.0.1"});
    assert_eq!(at(0, options.clone(), &[base]), base);
    assert_eq!(at(1, options.clone(), &[1, base]), base + 1);
    assert_eq!(at(1, json!(base), &[base]), base + 1);
    assert_eq!(at(1, json!(base.to_string()), &[base]), base + 1);
    assert_eq!(at(1, options, &[base + 1]), base, "a port that is no base stays");
}

#[test]
fn messages_go_both_ways() {
    let mut cluster = Cluster::new(Balance::Shared);
    let run = cluster.spawn_with(0, &json!({"do": "messages"}), false, &[]);
    assert_eq!(cluster.message(run, |_| true), json!("ready"), "without being a cluster worker");
    let long = "ü".repeat(512 * 1024);
    cluster.send(run, json!({"echo": long}));
    assert_eq!(cluster.message(run, |_| true)["echoed"], long);
    cluster.kill(run);
    assert!(!cluster.events.iter().any(|e| matches!(e, Output::Online { .. })));
}
