//! The cluster chapter of the documentation: its examples, as they stand in `docs/examples/cluster`, on
//! the real frameworks, redis and nginx.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::installed::{installed, npm};
use crate::world::{Said, World, await_text, kill_and_wait, ports_in_a_row};

mod servers;

fn node_modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        let packages = [
            "weroll@1.7.5",
            "express@5",
            "socket.io-client@1.7.4",
            "socket.io@4",
            "socket.io-client-4@npm:socket.io-client@4",
        ];
        installed("cluster-2", |folder| npm(folder, &packages)).join("node_modules")
    })
}

/// A world with a copy of the examples, and what they need beside them.
struct Chapter {
    world: World,
    examples: PathBuf,
    redis: u16,
}

impl Chapter {
    fn new() -> Self {
        let world = World::new();
        let examples = world.dir.path().join("cluster");
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let copied =
            Command::new("cp").arg("-r").arg(project.join("docs/examples/cluster")).arg(&examples).status();
        assert!(copied.expect("cp runs").success());
        std::os::unix::fs::symlink(node_modules(), examples.join("node_modules")).expect("linked");
        for client in ["broadcast.js", "sticky.js"] {
            std::fs::copy(project.join("tests/e2e/chapter").join(client), examples.join(client))
                .expect("copied");
        }
        Self { world, examples, redis: 0 }
    }

    fn with_redis() -> Self {
        let mut chapter = Self::new();
        chapter.redis = ports_in_a_row(1);
        let port = chapter.redis.to_string();
        let save = ["--port", port.as_str(), "--save", ""];
        let start =
            ["start", "redis-server", "--name", "redis", "--ready", "port", "--listen-timeout", "30s", "--"];
        chapter.wpm(start.iter().chain(&save).copied(), &[]).ok();
        chapter
    }

    /// Runs wpm in the folder of the examples.
    fn wpm<'a>(&self, args: impl IntoIterator<Item = &'a str>, env: &[(&str, u16)]) -> Said {
        let mut command = self.world.command(args);
        // nginx and redis stand where the PATH of a user may not look.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").expect("a PATH"));
        command.env("PATH", path).env("REDIS_PORT", self.redis.to_string()).current_dir(&self.examples);
        for (name, value) in env {
            command.env(name, value.to_string());
        }
        let output = command.output().expect("wpm runs");
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn run(&self, line: &str) -> Said {
        self.wpm(line.split_whitespace(), &[])
    }

    fn node(&self, script: &str, args: impl IntoIterator<Item = String>) -> Output {
        Command::new("node").arg(script).args(args).current_dir(&self.examples).output().expect("node runs")
    }

    /// What each of these clients says is heard by all of them; gives who has passed it on.
    #[track_caller]
    fn broadcast(&self, transports: &str, ports: impl IntoIterator<Item = u16>) -> BTreeSet<String> {
        let addresses = ports.into_iter().map(|port| format!("http://127.0.0.1:{port}"));
        let output = self.node("broadcast.js", std::iter::once(transports.to_owned()).chain(addresses));
        assert!(output.status.success(), "{output:?}");
        let by = |line: &str| line.rsplit_once("(by ").map(|(_, by)| by.trim_end_matches(')').to_owned());
        String::from_utf8_lossy(&output.stdout).lines().filter_map(by).collect()
    }
}

fn request(port: u16, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

fn get(port: u16) -> std::io::Result<String> {
    request(port, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Asks until so many different answers were given.
#[track_caller]
fn different(count: usize, mut ask: impl FnMut() -> String) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..3000 {
        seen.insert(ask());
        if seen.len() == count {
            return seen;
        }
    }
    panic!("only {} of {count} answered: {seen:?}", seen.len());
}

/// Asks as fast as it can while a command runs, which is to succeed; every single request must be answered.
#[track_caller]
fn under_load(ask: impl FnMut() -> std::io::Result<String>, command: Command) {
    let output = asked_while(ask, command);
    assert!(output.status.success(), "{output:?}");
}

/// Asks as fast as it can while a command runs; every single request must be answered.
#[track_caller]
fn asked_while(ask: impl FnMut() -> std::io::Result<String>, command: Command) -> Output {
    let (output, asked, failed) = asked_meanwhile(ask, command);
    assert!(asked > 20 && failed.is_empty(), "{} of {asked} failed: {failed:?}", failed.len());
    output
}

/// Asks as fast as it can while a command runs; how often, and what failed.
fn asked_meanwhile(
    mut ask: impl FnMut() -> std::io::Result<String>,
    mut command: Command,
) -> (Output, usize, Vec<std::io::Error>) {
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("wpm runs");
    let (mut asked, mut failed) = (0, Vec::new());
    while running.try_wait().expect("waits").is_none() {
        asked += 1;
        failed.extend(ask().err());
    }
    (running.wait_with_output().expect("ended"), asked, failed)
}

#[test]
fn websockets_have_a_port_for_each_instance_and_reach_all() {
    let chapter = Chapter::with_redis();
    let base = ports_in_a_row(6);
    let start = [
        "start",
        "realtime/main.js",
        "--name",
        "realtime",
        "-i",
        "4",
        "--ready",
        "port",
        "--listen-timeout",
        "30s",
    ];
    chapter.wpm(start, &[("BASE_PORT", base)]).ok();
    let front = base + 5;
    // It is kept true by an app of its own.
    let (write, main) = nginx_in_front(&chapter, "realtime", front, "");
    let (wpm, main) = (env!("CARGO_BIN_EXE_wpm"), main.display());
    let follow = format!("start {wpm} --name front-kept -- {write} --reload --config {main} --follow");
    chapter.run(&follow).ok();
    let site = chapter.examples.join("site.conf");

    // Of every port, and through nginx, which wpm keeps true meanwhile.
    let everywhere = |transports: &str, count: u16| {
        let by = chapter.broadcast(transports, (base..base + count).chain([front, front]));
        let all: BTreeSet<String> = (0..count).map(|n| n.to_string()).collect();
        assert!(by.is_superset(&all), "{by:?}");
    };
    everywhere("websocket", 4);
    everywhere("polling,websocket", 4);

    // The same instance comes back to the same port, whatever dies.
    let pid = |index: usize| {
        let list = chapter.run("jlist").ok().json();
        let mut apps = list.as_array().expect("a list").iter().filter(|app| app["name"] == "realtime");
        i32::try_from(apps.nth(index).expect("an instance")["pid"].as_i64().expect("a pid")).expect("a pid")
    };
    kill_and_wait(pid(1));
    everywhere("websocket", 4);
    kill_and_wait(chapter.world.read("daemon.pid").trim().parse().expect("a pid"));
    everywhere("websocket", 4);
    chapter.run("reload realtime").ok();
    everywhere("polling,websocket", 4);
    chapter.run("scale realtime 5").ok();
    await_text(&site, &format!("127.0.0.1:{} max_fails", base + 4));
    everywhere("websocket", 5);
    let picked = chapter.run("pick realtime").ok().out;
    let port: u16 = picked.trim().rsplit_once(':').expect("an address").1.parse().expect("a port");
    assert!((base..base + 5).contains(&port), "{picked}");
}

/// nginx before an app, with this file of the app's; `more` goes to `wpm nginx`. Gives the words that wrote
/// the file and the main configuration.
fn nginx_in_front(chapter: &Chapter, app: &str, front: u16, more: &str) -> (String, PathBuf) {
    let folder = chapter.examples.display();
    let conf = format!(
        "daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}}\n\
         http {{ access_log off; client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;\n\
         uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t; include {folder}/site.conf; }}\n"
    );
    let main = chapter.examples.join("nginx.conf");
    std::fs::write(&main, conf).expect("written");
    let write = format!("nginx {app} --listen {front} {more} --write {folder}/site.conf");
    chapter.run(&write).ok();
    let start =
        format!("start nginx --name front --ready port --listen-timeout 30s -- -c {}", main.display());
    chapter.run(&start).ok();
    (write, main)
}

#[test]
fn a_web_application_shares_its_ports() {
    let chapter = Chapter::with_redis();
    let port = ports_in_a_row(2);
    let start =
        ["start", "web/main.js", "--name", "web", "-i", "4", "--ready", "port", "--listen-timeout", "30s"];
    chapter.wpm(start, &[("PORT", port), ("ECO_PORT", port + 1)]).ok();
    let ask = || {
        let body = r#"{"method":"who.tell"}"#;
        request(
            port,
            &format!(
                "POST /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    };
    let instance = || {
        let answer = ask().expect("answered");
        answer
            .split("\"instance\":")
            .nth(1)
            .and_then(|rest| rest.chars().next())
            .expect("an instance")
            .to_string()
    };
    different(4, instance);
    under_load(ask, chapter.world.command(["reload", "web", "--silent"]));
    different(4, instance);
}

#[test]
fn polling_clients_meet_the_same_instance_without_a_proxy() {
    let chapter = Chapter::new();
    let port = ports_in_a_row(1);
    let start = ["start", "sticky/server.js", "--name", "sticky", "-i", "3", "--balance", "sticky"];
    // Whose a client is depends on who is there: all of them, before the first comes.
    let ready = ["--ready", "port", "--listen-timeout", "30s"];
    chapter.wpm(start.into_iter().chain(ready), &[("PORT", port)]).ok();
    let output = chapter.node("sticky.js", [port.to_string()]);
    assert!(output.status.success(), "{output:?}");
    let instances: usize = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    assert!(instances > 1, "eight addresses went to one instance");
}

#[test]
fn a_port_in_the_source_is_counted_up() {
    let chapter = Chapter::new();
    let base = ports_in_a_row(3);
    let source = format!(
        "require('http').createServer((q, r) => r.end(process.env.WPM_INSTANCE)).listen({base}, '127.0.0.1', () => console.log('listening'))"
    );
    std::fs::write(chapter.examples.join("literal.js"), source).expect("written");
    let step = base.to_string();
    chapter.wpm(["start", "literal.js", "-i", "3", "--port-step", &step, "--ready", "port"], &[]).ok();
    for index in 0..3_u16 {
        await_text(&chapter.world.home().join(format!("logs/literal-out-{index}.log")), "listening");
        let answer = get(base + index).expect("answered");
        assert!(answer.ends_with(&index.to_string()), "{answer}");
    }
}

#[test]
fn node_listens_in_every_way() {
    let chapter = Chapter::new();
    let port = ports_in_a_row(6);
    let handed = format!("127.0.0.1:{}", port + 4);
    let start = ["start", "node/main.js", "--name", "every", "-i", "2", "--cwd", ".", "--listen", &handed];
    chapter.wpm(start, &[("PORT", port)]).ok();
    let log = |index: u16| chapter.world.home().join(format!("logs/every-out-{index}.log"));
    let told: Vec<String> = [0, 1]
        .map(|index| {
            // A line for each of the nine.
            crate::world::await_file(&log(index), "told of nine", |text| text.lines().count() == 9);
            std::fs::read_to_string(log(index)).expect("there")
        })
        .into();
    let line = |index: usize, what: &str| {
        told[index].lines().find_map(|line| line.strip_prefix(what)).expect("told").trim().to_owned()
    };
    for what in ["tcp", "any", "unix", "handed", "https", "reuse", "udp"] {
        assert_eq!(line(0, what), line(1, what), "{what} is shared: {told:?}");
        assert!(!line(0, what).starts_with('E'), "{what}: {told:?}");
    }
    assert_eq!(line(0, "foreign"), "EADDRNOTAVAIL");
    let exclusive = BTreeSet::from([line(0, "exclusive"), line(1, "exclusive")]);
    assert!(exclusive.contains("EADDRINUSE") && exclusive.len() == 2, "{exclusive:?}");

    let any: serde_json::Value = serde_json::from_str(&line(0, "any")).expect("an address");
    let any = u16::try_from(any["port"].as_u64().expect("a port")).expect("a port");
    for port in [port, any, port + 4, port + 5] {
        assert!(get(port).expect("answered").ends_with(['1', '2']));
    }
    let path = chapter.examples.join("app.sock");
    let mut unix = std::os::unix::net::UnixStream::connect(&path).expect("there");
    unix.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    unix.read_to_string(&mut answer).expect("answered");
    assert!(answer.ends_with(['1', '2']), "{answer}");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    udp.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout");
    udp.send_to(b"hello", ("127.0.0.1", port + 3)).expect("sent");
    let mut answer = [0; 64];
    let length = udp.recv(&mut answer).expect("answered");
    assert!(answer[..length].starts_with(b"hello "));

    // The next daemon goes on with all of it, and in the end nothing is left.
    kill_and_wait(chapter.world.read("daemon.pid").trim().parse().expect("a pid"));
    chapter.run("reload every").ok();
    get(port).expect("answered");
    chapter.run("stop every").ok();
    assert!([port, port + 4, port + 5].into_iter().all(|port| get(port).is_err()) && !path.exists());
}
