//! The client against a small daemon of its own that says what a test wants.

use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpm_proto::frame;
use wpm_proto::response::Outcome;

use super::*;

struct Peer(UnixStream);

impl Peer {
    fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut prefix = [0; frame::PREFIX];
        self.0.read_exact(&mut prefix).ok()?;
        let mut payload = vec![0; frame::length(prefix).expect("short")];
        self.0.read_exact(&mut payload).expect("complete");
        Some(serde_json::from_slice(&payload).expect("understood"))
    }

    fn write(&mut self, value: &impl Serialize) {
        let payload = serde_json::to_vec(value).expect("json");
        self.0.write_all(&frame::encode(&payload).expect("short")).expect("sent");
    }

    fn greet(&mut self) -> Request {
        let hello: Hello = self.read().expect("a hello");
        assert_eq!(hello.contract, CONTRACT);
        let request = self.read().expect("a request beside the hello");
        self.write(&Welcome { contract: CONTRACT, version: "0".into(), pid: 1, features: Vec::new() });
        request
    }

    fn answer(&mut self, id: u64, body: Body) {
        self.write(&Response { id, body });
    }
}

struct Daemon<T> {
    _dir: tempfile::TempDir,
    home: Home,
    thread: JoinHandle<T>,
}

fn daemon<T: Send + 'static>(serve: impl FnOnce(UnixListener) -> T + Send + 'static) -> Daemon<T> {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::new(dir.path().join("home"));
    std::fs::DirBuilder::new().mode(0o700).create(home.path()).expect("created");
    let listener = UnixListener::bind(home.socket()).expect("bound");
    Daemon { _dir: dir, home, thread: std::thread::spawn(move || serve(listener)) }
}

fn accept(listener: &UnixListener) -> Peer {
    Peer(listener.accept().expect("a client").0)
}

fn options(timeout: Duration) -> Options {
    Options { start: Start::Never, timeout, program: "/nonexistent/wpm".into(), ..Options::default() }
}

const LONG: Duration = Duration::from_secs(20);

fn stop() -> Op {
    Op::Stop { targets: vec!["web".into()], wait: true }
}

fn outcome(index: u32) -> InstanceOutcome {
    InstanceOutcome { id: index, app: "web".into(), index, outcome: Outcome::Down }
}

#[test]
fn hello_and_request_travel_together_and_progress_comes_first() {
    let daemon = daemon(|listener| {
        let mut peer = accept(&listener);
        let request = peer.greet();
        peer.answer(request.id + 7, Body::Pong);
        peer.answer(request.id, Body::Progress { outcome: outcome(0) });
        peer.answer(request.id, Body::Outcomes { outcomes: vec![outcome(0)], remarks: Vec::new() });
        let second: Request = peer.read().expect("a second request");
        peer.answer(second.id, Body::Pong);
    });
    let mut client = Client::open(daemon.home.clone(), options(LONG)).expect("connected");
    let mut seen = Vec::new();
    let body = client.call(stop(), |outcome| seen.push(outcome.clone())).expect("answered");
    assert!(matches!(body, Body::Outcomes { .. }));
    assert_eq!(seen, [outcome(0)]);
    assert_eq!(client.call(Op::Ping, |_| ()).expect("answered"), Body::Pong);
    daemon.thread.join().expect("served");
}

#[test]
fn a_lost_change_is_sent_again_once_with_the_same_key() {
    let daemon = daemon(|listener| {
        let mut first = accept(&listener);
        let key = first.greet().key.expect("a key");
        drop(first);
        let mut second = accept(&listener);
        let request = second.greet();
        assert_eq!(request.key, Some(key));
        second.answer(request.id, Body::Outcomes { outcomes: Vec::new(), remarks: Vec::new() });
    });
    let mut client = Client::open(daemon.home.clone(), options(LONG)).expect("connected");
    client.call(stop(), |_| ()).expect("answered by the second");
    daemon.thread.join().expect("served");
}

#[test]
fn a_daemon_that_says_nothing_is_given_up() {
    let daemon = daemon(|listener| {
        // The client tries once more, after it has complained to a keeper that is not there.
        let (_first, mut second) = (accept(&listener), accept(&listener));
        let mut rest = Vec::new();
        second.0.read_to_end(&mut rest)
    });
    let mut client =
        Client::open(daemon.home.clone(), options(Duration::from_millis(30))).expect("connected");
    let error = client.call(Op::Ping, |_| ()).expect_err("silent");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    drop(client);
    daemon.thread.join().expect("joined").expect("ended");
}

#[test]
fn another_contract_and_nonsense_are_named() {
    let daemon = daemon(|listener| {
        let mut peer = accept(&listener);
        let _asked: (Option<Hello>, Option<Request>) = (peer.read(), peer.read());
        peer.write(&Welcome { contract: 99, version: "9".into(), pid: 1, features: Vec::new() });
        let mut peer = accept(&listener);
        let _asked: (Option<Hello>, Option<Request>) = (peer.read(), peer.read());
        peer.0.write_all(&[0xff; 8]).expect("sent");
    });
    let mut client = Client::open(daemon.home.clone(), options(LONG)).expect("connected");
    let error = client.call(Op::Ping, |_| ()).expect_err("refused");
    assert!(matches!(error, Error::Contract { daemon: 99, .. }), "{error}");
    let mut client = Client::open(daemon.home.clone(), options(LONG)).expect("connected");
    let error = client.call(Op::Ping, |_| ()).expect_err("nonsense");
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    daemon.thread.join().expect("served");
}

#[test]
fn nobody_there_is_said_and_a_keeper_that_fails_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let home = Home::new(dir.path().join("home"));
    assert!(matches!(Client::open(home.clone(), options(LONG)), Err(Error::NoDaemon { .. })));
    let failing =
        Options { start: Start::IfAbsent, timeout: LONG, program: "/bin/false".into(), ..Options::default() };
    let error = Client::open(home.clone(), failing).expect_err("no keeper");
    assert!(matches!(error, Error::DaemonStart { .. }), "{error}");
    let missing = Options {
        start: Start::IfAbsent,
        timeout: LONG,
        program: "/nonexistent/wpm".into(),
        ..Options::default()
    };
    assert!(matches!(Client::open(home, missing), Err(Error::File { action: "execute", .. })));
}

#[test]
fn events_are_streamed() {
    let daemon = daemon(|listener| {
        let mut peer = accept(&listener);
        let request = peer.greet();
        peer.answer(request.id, Body::Subscribed { seq: 3 });
        let event =
            serde_json::json!({"seq": 4, "at_ms": 1, "app": "web", "id": 0, "index": 0, "event": "ready"});
        peer.write(&serde_json::json!({"id": request.id, "body": {"type": "event", "event": event}}));
    });
    let client = Client::open(daemon.home.clone(), options(LONG)).expect("connected");
    let mut events = crate::subscribe::Subscription::open(client, None).expect("subscribed");
    let event = loop {
        match events.next_ready().expect("understood") {
            Some(event) => break event,
            None => events.fill().expect("open"),
        }
    };
    assert_eq!((event.seq, event.app.as_str()), (4, "web"));
    daemon.thread.join().expect("served");
}
