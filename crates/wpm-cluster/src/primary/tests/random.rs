//! Random workers and clients: no connection is lost or served twice, whatever dies when.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Debug, Clone)]
enum Deed {
    Join { index: u32 },
    Ask { worker: usize },
    Connect { peer: u8 },
    Read { worker: usize, accept: bool, refuse_handle: bool },
    CloseServer { worker: usize },
    Disconnect { worker: usize },
    Retire { worker: usize },
    Die { worker: usize },
    ReleaseUnused,
    ReleaseAll,
}

fn deed() -> impl Strategy<Value = Deed> {
    let worker = || 0usize..6;
    prop_oneof![
        2 => (0u32..3).prop_map(|index| Deed::Join { index }),
        3 => worker().prop_map(|worker| Deed::Ask { worker }),
        8 => any::<u8>().prop_map(|peer| Deed::Connect { peer }),
        10 => (worker(), prop::bool::weighted(0.8), prop::bool::weighted(0.1))
            .prop_map(|(worker, accept, refuse_handle)| Deed::Read { worker, accept, refuse_handle }),
        1 => worker().prop_map(|worker| Deed::CloseServer { worker }),
        1 => worker().prop_map(|worker| Deed::Disconnect { worker }),
        1 => worker().prop_map(|worker| Deed::Retire { worker }),
        1 => worker().prop_map(|worker| Deed::Die { worker }),
        1 => Just(Deed::ReleaseUnused),
        1 => Just(Deed::ReleaseAll),
    ]
}

/// The world around the primary.
struct World {
    primary: Primary<Token>,
    /// What was written to each worker and not read by it.
    inboxes: BTreeMap<Run, VecDeque<(Value, Option<Token>)>>,
    asked: BTreeMap<Run, u64>,
    accepting: BTreeSet<ListenerId>,
    sockets: BTreeMap<ListenerId, Token>,
    connected: BTreeMap<u32, Token>,
    served: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    next: u32,
}

impl World {
    fn new(balance: Balance, pipeline: usize) -> Self {
        let mut primary = Primary::new(balance);
        primary.set_pipeline(pipeline);
        Self {
            primary,
            inboxes: BTreeMap::new(),
            asked: BTreeMap::new(),
            accepting: BTreeSet::new(),
            sockets: BTreeMap::new(),
            connected: BTreeMap::new(),
            served: BTreeSet::new(),
            refused: BTreeSet::new(),
            next: 1,
        }
    }

    fn run(&self, nth: usize) -> Option<Run> {
        self.inboxes.keys().nth(nth).copied()
    }

    fn say(&mut self, run: Run, message: &Value) {
        let bytes = format!("{message}\n");
        self.primary.handle(Input::Received { run, bytes: bytes.as_bytes(), fds: vec![] });
    }

    fn act(&mut self, deed: &Deed) {
        let number = self.next;
        self.next += 1;
        match *deed {
            Deed::Join { index } => {
                let run = Run(number.into());
                self.inboxes.insert(run, VecDeque::new());
                self.primary.handle(Input::Joined { run, index });
            }
            Deed::Ask { worker } => {
                let Some(run) = self.run(worker) else { return };
                let index = self.asked.entry(run).or_insert(0);
                let query = json!({"cmd": "NODE_CLUSTER", "act": "queryServer", "index": *index, "data": null,
                    "address": null, "port": 80, "addressType": 4, "seq": *index});
                *index += 1;
                self.say(run, &query);
            }
            Deed::Connect { peer } => {
                let Some(listener) =
                    self.accepting.iter().nth(usize::from(peer) % self.accepting.len().max(1)).copied()
                else {
                    return;
                };
                let connection = Rc::new(number);
                self.connected.insert(number, Rc::clone(&connection));
                let peer = Some(std::net::IpAddr::from([10, 0, 0, peer]));
                self.primary.handle(Input::Accepted { listener, connection, peer });
            }
            Deed::Read { worker, accept, refuse_handle } => {
                let Some(run) = self.run(worker) else { return };
                self.read(run, accept, refuse_handle);
            }
            Deed::CloseServer { worker } => {
                let Some(run) = self.run(worker) else { return };
                let key = format!(
                    "null:80:4:undefined:{}",
                    self.asked.get(&run).map_or(0, |n| n.saturating_sub(1))
                );
                self.say(run, &json!({"cmd": "NODE_CLUSTER", "act": "close", "key": key}));
            }
            Deed::Disconnect { worker } => {
                let Some(run) = self.run(worker) else { return };
                self.primary.handle(Input::Disconnect { run });
            }
            Deed::Retire { worker } => {
                let Some(run) = self.run(worker) else { return };
                self.primary.handle(Input::Retire { run });
            }
            Deed::Die { worker } => {
                let Some(run) = self.run(worker) else { return };
                self.inboxes.remove(&run);
                self.primary.handle(Input::Closed { run });
            }
            Deed::ReleaseUnused => self.primary.handle(Input::ReleaseUnused),
            Deed::ReleaseAll => self.primary.handle(Input::ReleaseAll),
        }
    }

    /// A worker reads one message.
    fn read(&mut self, run: Run, accept: bool, refuse_handle: bool) {
        let Some((message, fd)) = self.inboxes.get_mut(&run).and_then(VecDeque::pop_front) else { return };
        let Some(fd) = fd else { return };
        if refuse_handle {
            return self.say(run, &json!({"cmd": "NODE_HANDLE_NACK"}));
        }
        self.say(run, &json!({"cmd": "NODE_HANDLE_ACK"}));
        if message["msg"]["act"] == "newconn" {
            let seq = message["msg"]["seq"].clone();
            if accept {
                assert!(self.served.insert(*fd), "connection {fd} is served twice");
            }
            self.say(run, &json!({"cmd": "NODE_CLUSTER", "ack": seq, "accepted": accept}));
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.primary.poll_output() {
            match output {
                Output::Write { run, bytes, fd } => {
                    let inbox = self.inboxes.get_mut(&run);
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    // What is written to the dead is dropped with its descriptor.
                    if let Some(inbox) = inbox {
                        inbox.push_back((message, fd));
                    }
                }
                Output::Bind { listener, .. } => {
                    let fd = Rc::new(u32::MAX);
                    let taken = !self.sockets.is_empty();
                    let result = if taken {
                        Err(98)
                    } else {
                        self.sockets.insert(listener, Rc::clone(&fd));
                        Ok(Bound { fd, local: Some(([0, 0, 0, 0], 80).into()) })
                    };
                    self.primary.handle(Input::Bound { listener, result });
                }
                Output::StartAccepting { listener } => assert!(self.accepting.insert(listener)),
                Output::StopAccepting { listener } => assert!(self.accepting.remove(&listener)),
                Output::Close { listener } => {
                    self.accepting.remove(&listener);
                    let socket = self.sockets.remove(&listener).expect("closed once");
                    drop(socket);
                }
                Output::Refused { connection, .. } => {
                    assert!(self.refused.insert(*connection), "connection {connection} is refused twice");
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_connection_ends_in_one_place(sticky: bool, pipeline in 1usize..5, deeds in prop::collection::vec(deed(), 0..150)) {
        let mut world = World::new(if sticky { Balance::Sticky } else { Balance::RoundRobin }, pipeline);
        for deed in &deeds {
            world.act(deed);
            world.settle();
        }
        // The end: nobody is left to serve, so what is not served is given back.
        for run in world.inboxes.keys().copied().collect::<Vec<_>>() {
            world.primary.handle(Input::Closed { run });
        }
        world.primary.handle(Input::ReleaseAll);
        world.settle();
        world.inboxes.clear();
        prop_assert!(world.served.is_disjoint(&world.refused));
        let ended: BTreeSet<u32> = world.served.union(&world.refused).copied().collect();
        prop_assert_eq!(ended, world.connected.keys().copied().collect::<BTreeSet<_>>());
        for (number, token) in &world.connected {
            prop_assert_eq!(Rc::strong_count(token), 1, "connection {} is still held", number);
        }
        prop_assert!(world.sockets.is_empty(), "every socket is closed");
    }

    /// While a worker that reads and accepts is there, nothing waits for ever.
    #[test]
    fn a_willing_worker_gets_everything(sticky: bool, pipeline in 1usize..5, deeds in prop::collection::vec(deed(), 0..100)) {
        let mut world = World::new(if sticky { Balance::Sticky } else { Balance::RoundRobin }, pipeline);
        for deed in deeds.iter().filter(|d| !matches!(d, Deed::ReleaseAll | Deed::ReleaseUnused | Deed::CloseServer { .. })) {
            world.act(deed);
            world.settle();
        }
        world.act(&Deed::Join { index: 7 });
        world.act(&Deed::Ask { worker: world.inboxes.len() - 1 });
        world.settle();
        while world.inboxes.values().any(|inbox| !inbox.is_empty()) {
            for run in world.inboxes.keys().copied().collect::<Vec<_>>() {
                world.read(run, true, false);
                world.settle();
            }
        }
        let ended: BTreeSet<u32> = world.served.union(&world.refused).copied().collect();
        prop_assert_eq!(ended, world.connected.keys().copied().collect::<BTreeSet<_>>());
    }
}
