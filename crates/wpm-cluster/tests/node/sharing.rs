//! One port, several workers, each policy.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;

use serde_json::json;
use wpm_cluster::{Balance, Output};

use crate::driver::Cluster;
use crate::{connect, connect_from, get, worker_of};

const POLICIES: [Balance; 3] = [Balance::Shared, Balance::RoundRobin, Balance::Sticky];

/// Three workers on one port that the kernel chose.
fn three(balance: Balance) -> (Cluster, u16) {
    let mut cluster = Cluster::new(balance);
    let task = json!({"do": "http", "listen": {"port": 0, "host": "127.0.0.1"}});
    let ports: BTreeSet<u16> = [0, 1, 2]
        .map(|index| {
            let run = cluster.spawn(index, &task);
            cluster.port(run)
        })
        .into();
    assert_eq!(ports.len(), 1, "the workers share one port");
    (cluster, ports.into_iter().next().unwrap())
}

#[test]
fn the_kernel_shares() {
    let (mut cluster, port) = three(Balance::Shared);
    let workers: BTreeSet<u32> =
        cluster.during(|| (0..20).map(|_| worker_of(&get(connect(port), "/"))).collect());
    assert!(workers.is_subset(&BTreeSet::from([1, 2, 3])), "{workers:?}");
}

#[test]
fn round_robin_takes_turns() {
    let (mut cluster, port) = three(Balance::RoundRobin);
    let workers: Vec<u32> = cluster.during(|| (0..9).map(|_| worker_of(&get(connect(port), "/"))).collect());
    assert_eq!(workers, [1, 2, 3, 1, 2, 3, 1, 2, 3]);
}

#[test]
fn sticky_follows_the_address_of_the_client() {
    let (mut cluster, port) = three(Balance::Sticky);
    let ask = |host: u8| worker_of(&get(connect_from(host, port), "/"));
    let (first, second): (Vec<u32>, Vec<u32>) =
        cluster.during(|| ((1..30).map(ask).collect(), (1..30).map(ask).collect()));
    assert_eq!(first, second);
    let workers: BTreeSet<u32> = first.into_iter().collect();
    assert_eq!(workers, BTreeSet::from([1, 2, 3]), "29 clients are spread");
}

#[test]
fn many_at_once_are_all_answered() {
    for balance in POLICIES {
        let (mut cluster, port) = three(balance);
        let answers = cluster.during(|| {
            std::thread::scope(|scope| {
                let client = || (0..25).filter(|_| worker_of(&get(connect(port), "/")) > 0).count();
                let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
                clients.into_iter().map(|c| c.join().unwrap()).sum::<usize>()
            })
        });
        assert_eq!(answers, 200, "{balance:?}");
    }
}

#[test]
fn a_unix_socket_is_shared_and_removed() {
    for balance in POLICIES {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let mut cluster = Cluster::new(balance);
        let listen = json!({"path": path.to_str().unwrap(), "readableAll": true, "writableAll": true});
        let runs = [0, 1].map(|index| {
            let run = cluster.spawn(index, &json!({"do": "http", "listen": listen}));
            cluster.message(run, |m| m.get("at").is_some());
            run
        });
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o666, 0o666);
        let bodies: Vec<String> =
            cluster.during(|| (0..4).map(|_| get(UnixStream::connect(&path).unwrap(), "/")).collect());
        assert!(bodies.iter().all(|b| [1, 2].contains(&worker_of(b))));
        for run in runs {
            cluster.handle(wpm_cluster::Input::Disconnect { run });
            cluster.until(|e| matches!(e, Output::Disconnected { expected: true, .. }).then_some(()));
        }
        assert!(path.exists(), "the socket is held for the next worker");
        cluster.handle(wpm_cluster::Input::ReleaseAll);
        assert!(!path.exists());
    }
}

#[test]
fn tls_workers_have_the_same_ticket_keys() {
    for balance in [Balance::Shared, Balance::RoundRobin] {
        let mut cluster = Cluster::new(balance);
        let task = json!({"do": "https", "listen": {"port": 0, "host": "127.0.0.1"}});
        let mut port = 0;
        let keys: BTreeSet<String> = [0, 1]
            .map(|index| {
                let run = cluster.spawn(index, &task);
                let at = cluster.message(run, |m| m.get("at").is_some());
                port = at["at"]["port"].as_u64().unwrap();
                cluster.message(run, |m| m.get("tickets").is_some()).to_string()
            })
            .into();
        assert_eq!(keys.len(), 1, "{balance:?}");
        let client = cluster.spawn_with(9, &json!({"do": "get", "port": port}), false, &[]);
        assert_eq!(cluster.message(client, |_| true), json!({"status": 200}), "{balance:?}");
    }
}

#[test]
fn udp_is_shared_whatever_the_policy() {
    for balance in [Balance::Shared, Balance::RoundRobin] {
        let mut cluster = Cluster::new(balance);
        let ports: BTreeSet<u16> = [0, 1]
            .map(|index| {
                let run = cluster.spawn(index, &json!({"do": "udp"}));
                cluster.port(run)
            })
            .into();
        assert_eq!(ports.len(), 1);
        let port = *ports.first().unwrap();
        let answer = cluster.during(move || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(b"hello", ("127.0.0.1", port)).unwrap();
            let mut answer = [0; 64];
            let n = socket.recv(&mut answer).unwrap();
            String::from_utf8(answer[..n].to_vec()).unwrap()
        });
        assert!(answer.starts_with("hello 1 ") || answer.starts_with("hello 2 "), "{answer}");
    }
}
