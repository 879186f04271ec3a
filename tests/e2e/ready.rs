//! Readiness and health: what is looked at, and what follows.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::world::{World, await_text, ports_in_a_row};

/// A web server that counts its runs in a file, says so when it listens, and can be made ill.
const SERVER: &str = r#"
import http.server, os, pathlib, socket, sys
runs = pathlib.Path(__file__).with_suffix(".runs")
run = len(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text("x" * run)
def say(text):
    if "NOTIFY_SOCKET" in os.environ:
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
well = True
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global well
        well = well and self.path != "/ill"
        self.send_response(200 if well else 500)
        self.end_headers()
    def log_message(self, *words):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer)
say("STATUS=here\nREADY=1")
if "WATCHDOG_USEC" in os.environ:
    say("WATCHDOG=1")
print(f"run {run} listens", flush=True)
server.serve_forever()
"#;

/// A world with the server as `web.py`, and a port for it.
fn with_server() -> (World, u16) {
    let world = World::new();
    std::fs::write(world.dir.path().join("web.py"), SERVER).expect("written");
    (world, ports_in_a_row(1))
}

/// Starts `web` with these options; gives exit code and what was said.
fn start(world: &World, port: u16, options: &[&str]) -> (Option<i32>, String) {
    let script = world.dir.path().join("web.py");
    let mut words = vec!["start", script.to_str().expect("utf-8")];
    words.extend(options);
    let output = world.command(words).env("PORT", port.to_string()).output().expect("runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn get(port: u16, path: &str) -> String {
    let mut s = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    s.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout");
    write!(s, "GET {path} HTTP/1.0\r\n\r\n").expect("sent");
    let mut text = String::new();
    s.read_to_string(&mut text).expect("answered");
    text
}

#[test]
fn a_start_returns_when_the_app_is_ready_in_every_form() {
    let (world, port) = with_server();
    let forms = [
        "port".to_owned(),
        format!("port:{port}"),
        format!("tcp:127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/"),
        "exec:python3 -c \"import os, socket; socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))\""
            .to_owned(),
        r"log:^run \d+ listens$".to_owned(),
        "notify".to_owned(),
    ];
    for form in forms {
        let options = ["--ready", &form, "--start-check", "0", "--listen-timeout", "30s"];
        let (code, said) = start(&world, port, &options);
        assert_eq!(code, Some(0), "{form}: {said}");
        // Without a wait nobody would listen yet: an interpreter needs its time to start.
        assert!(get(port, "/").starts_with("HTTP/1.0 200"), "{form}");
        world.run("delete web").ok();
    }
}

#[test]
fn an_app_that_is_ill_is_started_again() {
    let (world, port) = with_server();
    let health = format!("http://127.0.0.1:{port}/");
    let options =
        ["--ready", "port", "--health", &health, "--health-interval", "50", "--health-failures", "2"];
    assert_eq!(start(&world, port, &options).0, Some(0));
    let described = world.run("describe web").ok().out;
    assert!(described.contains("ready      port, within 3s"), "{described}");
    let health = format!("health     {health} every 50ms, within 3s, restarted after 2 failures in a row");
    assert!(described.contains(&health), "{described}");
    assert!(get(port, "/ill").starts_with("HTTP/1.0 500"));
    await_text(&world.home().join("logs/web-out.log"), "run 2 listens");
    assert!(world.log().contains("unhealthy"), "{}", world.log());
}

#[test]
fn an_app_that_misses_its_watchdog_is_started_again_also_by_the_next_daemon() {
    let (world, port) = with_server();
    assert_eq!(start(&world, port, &["--health", "notify", "--health-interval", "2s"]).0, Some(0));
    crate::world::kill_and_wait(crate::survive::pid_of(&world, "__daemon"));
    await_text(&world.home().join("logs/web-out.log"), "run 2 listens");
    assert!(world.log().contains("watchdog missed"), "{}", world.log());
}

#[test]
fn a_reload_to_what_never_becomes_ready_fails_and_shows_its_last_words() {
    let (world, port) = with_server();
    assert_eq!(start(&world, port, &["--ready", r"log:run \d+ listens"]).0, Some(0));
    let broken =
        "import signal, sys; print('cannot find my database', file=sys.stderr, flush=True); signal.pause()";
    std::fs::write(world.dir.path().join("web.py"), broken).expect("written");
    // Longer than any client waits for an answer that needs no waiting.
    let said = world.run("reload web").fails(1);
    assert!(said.err.contains("web was not ready after 3."), "{}", said.err);
    assert!(said.err.contains("cannot find my database"), "{}", said.err);
}

#[test]
fn what_is_no_check_is_refused_with_the_reason() {
    let (world, port) = with_server();
    for (options, reason) in [
        (["--ready", "soon"], "`soon` is no check: use one of message, notify"),
        (["--health", "log:x"], "asked for again and again"),
        (["--ready", "port:0"], "from 1 to 65535"),
    ] {
        let (code, said) = start(&world, port, &options);
        assert!(code == Some(6) && said.contains(reason), "{code:?} {said}");
    }
}

/// Says at `NOTIFY_SOCKET` what it reads, and ends by itself.
const SPEAKER: &str = r#"
import os, socket, sys
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text):
    to.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
say("EXTEND_TIMEOUT_USEC=60000000\nSTATUS=loading")
print("began", flush=True)
for line in sys.stdin:
    say(line.strip().replace(";", "\n"))
    print("said " + line.strip(), flush=True)
    if line.startswith("STOPPING"):
        sys.exit(0)
"#;

#[test]
fn an_app_says_how_it_is() {
    let world = World::new();
    let script = world.dir.path().join("speaker.py");
    std::fs::write(&script, SPEAKER).expect("written");
    let log = world.home().join("logs/speaker-out.log");
    world.run("list").ok();
    let start = ["start", script.to_str().expect("utf-8"), "--ready", "notify", "--listen-timeout", "60s"];
    let mut started = world.command(start).spawn().expect("runs");
    await_text(&log, "began");
    let say = |words: &str| {
        world.wpm(["send", "speaker", words]).ok();
        await_text(&log, &format!("said {words}"));
        world.run("describe speaker").ok().out
    };
    assert!(say("STATUS=half of it is there").contains("half of it is there"));
    assert!(started.try_wait().expect("asked").is_none(), "it is not ready yet");
    let described = say("READY=1;STATUS=");
    assert!(started.wait().expect("ended").success());
    assert!(!described.contains("half of it"), "{described}");
    assert!(say("RELOADING=1").contains("reloading"));
    assert!(!say("READY=1").contains("reloading"));
    say("STOPPING=1");
    await_text(
        &log,
        "began\nsaid STATUS=half of it is there\nsaid READY=1;STATUS=\nsaid RELOADING=1\nsaid READY=1\nsaid STOPPING=1\nbegan",
    );
}

#[test]
fn one_that_feeds_its_watchdog_is_healthy_and_whoever_waits_for_that_starts() {
    let world = World::new();
    let script = world.dir.path().join("speaker.py");
    std::fs::write(&script, SPEAKER).expect("written");
    let script = script.to_str().expect("utf-8");
    let checks = ["--ready", "notify", "--health", "notify", "--health-interval", "60s", "--no-wait"];
    world.wpm(["start", script].into_iter().chain(checks)).ok();
    await_text(&world.home().join("logs/speaker-out.log"), "began");
    let mut dependent =
        world.command(["start", "sleep 1000", "-n", "web", "--depends-on", "speaker:healthy"]);
    let mut dependent = dependent.spawn().expect("runs");
    for words in ["READY=1", "WATCHDOG=1"] {
        assert!(dependent.try_wait().expect("asked").is_none(), "it is not healthy yet");
        world.wpm(["send", "speaker", words]).ok();
    }
    assert!(dependent.wait().expect("ended").success());
}

/// Is ready at once in its first run, later when it is told. Once it is told `arm`, its end waits for a
/// line, too. With `asks` it asks for the time that this takes.
const SLOW: &str = r#"
import os, pathlib, signal, socket, sys
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text):
    to.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
def take_time(what):
    say("EXTEND_TIMEOUT_USEC=60000000" if sys.argv[2] == "asks" else "STATUS=slow")
    print("takes its time to " + what, flush=True)
    os.read(0, 100)
def end(*_):
    take_time("end")
    os._exit(0)
mark = pathlib.Path(sys.argv[1] + ".ran")
if mark.exists():
    take_time("begin")
mark.touch()
say("READY=1")
os.read(0, 100)
signal.signal(signal.SIGINT, end)
print("armed", flush=True)
signal.pause()
"#;

#[test]
fn an_app_that_asks_for_more_time_gets_it() {
    let world = World::new();
    let script = world.dir.path().join("slow.py");
    std::fs::write(&script, SLOW).expect("written");
    let path = script.to_str().expect("utf-8");
    for (name, how) in [("patient", "asks"), ("other", "waits")] {
        let options = ["--ready", "notify", "--listen-timeout", "5s", "--kill-timeout", "5s"];
        let start = ["start", path, "--name", name].into_iter().chain(options).chain(["--", name, how]);
        world.wpm(start).ok();
    }
    let told = |name: &str, what: &str| await_text(&world.home().join(format!("logs/{name}-out.log")), what);

    // Both have the same time. When the one that does not ask is through with it, so would the other be.
    let mut reload = world.command(["reload", "patient"]).spawn().expect("runs");
    told("patient", "takes its time to begin");
    let said = world.run("reload other").fails(1);
    assert!(said.err.contains("was not ready after 5."), "{}", said.err);
    assert!(reload.try_wait().expect("asked").is_none(), "its time has not come");
    world.run("send patient begin").ok();
    assert!(reload.wait().expect("ended").success());

    world
        .wpm(["start", "trap '' INT; echo deaf; while :; do sleep 1000; done", "--name", "deaf", "-k", "5s"])
        .ok();
    told("deaf", "deaf");
    world.run("send patient arm").ok();
    told("patient", "armed");
    let mut stop = world.command(["stop", "patient"]).spawn().expect("runs");
    told("patient", "takes its time to end");
    world.run("stop deaf").ok();
    assert!(stop.try_wait().expect("asked").is_none(), "it was not killed when the other was");
    world.run("send patient end").ok();
    assert!(stop.wait().expect("ended").success());
    let exits: Vec<_> =
        world.jlist().iter().map(|it| (it["name"].clone(), it["pm2_env"]["exit_code"].clone())).collect();
    assert!(exits.contains(&("patient".into(), 0.into())), "{exits:?}");
}
