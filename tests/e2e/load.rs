//! Clients that ask without a pause while instances crash, are replaced, and wpm is killed: how many of
//! their requests fail.
//!
//! A request that an instance has begun dies with it, whoever manages it; so the instances of these tests
//! crash between two requests. And a connection that is kept may be closed by its server just when its
//! client sends again: that race is part of HTTP, clients ask once more on a new connection, and so do
//! these. It is counted apart.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::world::{Said, World, await_file, kill_and_wait, ports_in_a_row, said};

/// At SIGUSR2 it is killed as soon as no request is under way.
const SERVER: &str = "
const fresh = new Set();
let busy = 0, dying = false;
const check = () => { if (dying && !busy && !fresh.size) process.kill(process.pid, 'SIGKILL'); };
const server = require('http').createServer((request, response) => {
  busy += 1;
  response.on('finish', () => { busy -= 1; fresh.delete(request.socket); check(); });
  response.end(process.env.NODE_APP_INSTANCE);
});
server.on('connection', (socket) => {
  fresh.add(socket);
  socket.on('close', () => { fresh.delete(socket); check(); });
});
process.on('SIGUSR2', () => { dying = true; check(); });
server.listen(+process.env.PORT, '127.0.0.1', () => console.log('listening'));
";

/// What clients have to tell.
#[derive(Debug, Default)]
struct Count {
    asked: u64,
    /// Requests that were sent again since their connection was closed as they were sent.
    raced: u64,
    failed: Vec<String>,
}

/// Clients at work.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Count>>,
}

impl Load {
    /// Three with a new connection for each request, three that keep theirs.
    fn on(port: u16) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..6)
            .map(|n| {
                let over = Arc::clone(&over);
                std::thread::spawn(move || client(port, n % 2 == 0, &over))
            })
            .collect();
        Self { over, clients }
    }

    fn stop(self) -> Count {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Count::default();
        for one in self.clients.into_iter().map(|client| client.join().expect("a client")) {
            all.asked += one.asked;
            all.raced += one.raced;
            all.failed.extend(one.failed);
        }
        all
    }
}

fn client(port: u16, keeps: bool, over: &AtomicBool) -> Count {
    let mut count = Count::default();
    let mut kept: Option<BufReader<TcpStream>> = None;
    while !over.load(Ordering::Relaxed) {
        count.asked += 1;
        if let Some(connection) = kept.take() {
            match ask(connection, true) {
                Ok(connection) => {
                    kept = Some(connection);
                    continue;
                }
                Err(Lost::Unanswered(_)) => count.raced += 1,
                Err(Lost::Within(why)) => {
                    count.failed.push(why);
                    continue;
                }
            }
        }
        let connected = TcpStream::connect(("127.0.0.1", port)).map_err(|e| format!("not connected: {e}"));
        match connected.and_then(|stream| ask(BufReader::new(stream), keeps).map_err(Lost::why)) {
            Ok(connection) => kept = Some(connection).filter(|_| keeps),
            Err(why) => count.failed.push(why),
        }
    }
    count
}

/// How a request failed.
enum Lost {
    /// Before the first byte of an answer.
    Unanswered(String),
    /// Later.
    Within(String),
}

impl Lost {
    fn why(self) -> String {
        match self {
            Self::Unanswered(why) | Self::Within(why) => why,
        }
    }
}

fn ask(mut connection: BufReader<TcpStream>, keeps: bool) -> Result<BufReader<TcpStream>, Lost> {
    let unanswered = |e: std::io::Error| Lost::Unanswered(format!("no answer: {e}"));
    connection.get_ref().set_read_timeout(Some(Duration::from_secs(60))).map_err(unanswered)?;
    let how = if keeps { "keep-alive" } else { "close" };
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: {how}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes()).map_err(unanswered)?;
    let mut line = String::new();
    let within = |e: std::io::Error| Lost::Within(format!("half an answer: {e}"));
    match connection.read_line(&mut line) {
        Ok(0) => return Err(unanswered(std::io::ErrorKind::UnexpectedEof.into())),
        Err(e) => return Err(unanswered(e)),
        Ok(_) => {}
    }
    if !line.starts_with("HTTP/1.1 200") {
        return Err(Lost::Within(line));
    }
    let mut length = 0;
    while line != "\r\n" {
        line.clear();
        if connection.read_line(&mut line).map_err(within)? == 0 {
            return Err(within(std::io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    connection.read_exact(&mut vec![0; length]).map_err(within)?;
    Ok(connection)
}

fn pids(world: &World) -> Vec<i32> {
    let pid = |it: &serde_json::Value| i32::try_from(it["pid"].as_i64().expect("a pid")).expect("fits");
    world.jlist().iter().map(pid).collect()
}

/// Runs a command that may take its time: the machine is as busy as these clients make it.
fn patiently(world: &World, line: &str) -> Said {
    said(&world.command(line.split(' ')).env("WPM_TIMEOUT", "60").output().expect("runs"))
}

fn daemon(world: &World) -> i32 {
    world.read("daemon.pid").trim().parse().expect("a pid")
}

/// Four instances under load: one crash after the other, two reloads, one to what is broken, the end of the
/// daemon, and another reload.
fn no_request_fails(policy: &str) {
    let world = World::new();
    let port = ports_in_a_row(1);
    let script = world.dir.path().join("web.js");
    std::fs::write(&script, SERVER).expect("written");
    let start = ["start", script.to_str().expect("utf-8"), "-i", "4", "--balance", policy, "--ready", "port"];
    let patience = ["--listen-timeout", "60s"];
    let started = world
        .command(start.into_iter().chain(patience))
        .env("PORT", port.to_string())
        .output()
        .expect("runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));

    let load = Load::on(port);
    for (index, pid) in pids(&world).into_iter().enumerate() {
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::USR2).expect("it lives");
        let log = world.home().join(format!("logs/web-out-{index}.log"));
        await_file(&log, "listened again", |text| text.matches("listening").count() == 2);
    }
    let crashed = load.stop();
    assert!(world.jlist().iter().all(|it| it["pm2_env"]["restart_time"] == 1), "each has crashed once");

    let load = Load::on(port);
    patiently(&world, "reload web").ok();
    patiently(&world, "reload web --parallel 2").ok();
    std::fs::write(&script, "console.error('a broken release'); process.exit(3)").expect("written");
    let said = patiently(&world, "reload web").fails(1);
    assert!(said.err.contains("web/0") && said.err.contains("a broken release"), "{}", said.err);
    std::fs::write(&script, SERVER).expect("written");
    let replaced = load.stop();

    let load = Load::on(port);
    let before = daemon(&world);
    kill_and_wait(before);
    patiently(&world, "reload web").ok();
    assert_ne!(before, daemon(&world));
    let killed = load.stop();

    for (count, when) in [(&crashed, "crashes"), (&replaced, "reloads")] {
        assert!(count.failed.is_empty(), "{policy}, {when}: {count:?}");
        assert!(count.asked > 50, "{policy}, {when}: {count:?}");
    }
    // Of those that wpm hands on, one may just have been taken when it is killed.
    let allowed = usize::from(policy != "shared");
    assert!(killed.asked > 50 && killed.failed.len() <= allowed, "{policy}: {killed:?}");
}

#[test]
fn no_request_fails_where_the_kernel_balances() {
    no_request_fails("shared");
}

#[test]
fn no_request_fails_where_wpm_balances() {
    no_request_fails("round-robin");
}

#[test]
fn no_request_fails_where_clients_have_an_instance() {
    no_request_fails("sticky");
}

/// As Node from 26 on: what closes its server closes the connections on which no request has come.
const CLOSES_SILENT: &str = "
const silent = new Set();
const server = require('http').createServer((request, response) => {
  silent.delete(request.socket);
  response.end(String(process.pid));
});
server.on('connection', (socket) => silent.add(socket));
const close = server.close;
server.close = function (...args) {
  for (const socket of silent) socket.destroy();
  return close.apply(this, args);
};
process.on('message', (message) => { if (message === 'shutdown') server.close(() => process.exit(0)); });
server.listen(+process.env.PORT, '127.0.0.1', () => console.log('listening'));
";

#[test]
fn a_worker_that_leaves_takes_no_connection_with_it_on_which_nothing_was_said() {
    for how in ["--listen-timeout 30s", "--listen-timeout 30s --shutdown-with-message"] {
        let world = World::new();
        let port = ports_in_a_row(1);
        let script = world.dir.path().join("web.js");
        std::fs::write(&script, CLOSES_SILENT).expect("written");
        let start = ["start", script.to_str().expect("utf-8"), "-i", "1", "--ready", "port"];
        let started = world
            .command(start.into_iter().chain(how.split(' ')))
            .env("PORT", port.to_string())
            .output()
            .expect("runs");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let old = pids(&world);
        let mut reload = world.command(["reload", "web", "--silent"]).spawn().expect("runs");
        let log = world.home().join("logs/web-out-0.log");
        await_file(&log, "listened again", |text| text.matches("listening").count() == 2);
        while pids(&world) == old {}
        // The old one is about to leave, and still accepts.
        let silent: Vec<TcpStream> =
            (0..16).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")).collect();
        assert!(reload.wait().expect("ended").success());
        for connection in silent {
            ask(BufReader::new(connection), false).map_err(Lost::why).expect(how);
        }
    }
}
