//! Real programs: a folder with `main`, Node, Python, redis.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::world::{World, ports_in_a_row};

fn write(path: PathBuf, text: &str, mode: u32) -> PathBuf {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
    path
}

/// The answer of an http server, once it listens: the app tells its log when it does.
fn get(port: u16) -> String {
    use std::io::{Read, Write};
    let mut s = std::net::TcpStream::connect(("127.0.0.1", port)).expect("listens");
    s.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout");
    s.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    let mut text = String::new();
    let _ = s.read_to_string(&mut text).expect("answered");
    text
}

fn await_log(path: &Path, text: &str) {
    crate::world::await_text(path, text);
}

#[test]
fn a_folder_with_a_native_main_runs_on_all_cpus() {
    let world = World::new();
    let folder = world.dir.path().join("app");
    std::fs::create_dir_all(&folder).expect("made");
    let _ = std::fs::copy(crate::world::puppet(), folder.join("main")).expect("copied");
    world.run("start app -i MAX").ok();
    let cpus = std::thread::available_parallelism().expect("a number").get();
    let puppets: Vec<_> = (0..cpus).map(|_| world.puppet()).collect();
    assert_eq!(puppets.len(), world.jlist().len());
    assert_eq!(world.jlist()[0]["name"], "app");
}

#[test]
fn a_node_server_answers() {
    let world = World::new();
    let port = ports_in_a_row(1);
    let script = write(
        world.dir.path().join("web.js"),
        &format!(
            "require('http').createServer((q, r) => r.end('from node ' + process.env.WPM_INSTANCE)).listen({port}, () => console.log('listening'))"
        ),
        0o644,
    );
    world.wpm([Path::new("start"), &script]).ok();
    await_log(&world.home().join("logs/web-out.log"), "listening");
    assert!(get(port).ends_with("from node 0"));
    world.run("restart web").ok();
    world.run("stop web").ok();
}

#[test]
fn a_python_server_runs_three_times_on_ports_of_its_own() {
    let world = World::new();
    let base = ports_in_a_row(1);
    let script = write(
        world.dir.path().join("srv.py"),
        "import http.server, os\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(self):\n    self.send_response(200); self.end_headers(); self.wfile.write(('python ' + os.environ['WPM_INSTANCE']).encode())\ns = http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H)\nprint('listening')\ns.serve_forever()\n",
        0o644,
    );
    let mut command =
        world.command(["start", script.to_str().expect("utf-8"), "-i", "3", "--increment-var", "PORT"]);
    assert!(command.env("PORT", base.to_string()).status().expect("runs").success());
    for i in 0..3_u16 {
        await_log(&world.home().join(format!("logs/srv-out-{i}.log")), "listening");
        assert!(get(base + i).ends_with(&format!("python {i}")));
    }
}

#[test]
fn redis_runs_and_stops_cleanly() {
    use std::io::{Read, Write};
    let world = World::new();
    let port = ports_in_a_row(1);
    let args = ["start", "redis-server", "--name", "cache", "--", "--port", &port.to_string(), "--save", ""];
    world.wpm(args).ok();
    await_log(&world.home().join("logs/cache-out.log"), "Ready to accept connections");
    let mut s = std::net::TcpStream::connect(("127.0.0.1", port)).expect("listens");
    s.write_all(b"PING\r\n").expect("sent");
    let mut pong = [0; 7];
    s.read_exact(&mut pong).expect("answered");
    assert_eq!(&pong, b"+PONG\r\n");
    world.run("stop cache").ok();
    await_log(&world.home().join("logs/cache-out.log"), "bye bye");
}

#[test]
fn a_quoted_command_line_is_run_by_a_shell() {
    let world = World::new();
    world.wpm(["start", "echo one; echo two; sleep 1000", "--name", "line"]).ok();
    await_log(&world.home().join("logs/line-out.log"), "one\ntwo");
    world.run("delete line").ok();
}

#[test]
fn a_shell_script_that_ignores_every_polite_signal_is_stopped_with_all_that_it_began() {
    let world = World::new();
    let script = write(
        world.dir.path().join("stubborn.sh"),
        "trap '' INT TERM HUP\necho \"here with $1 in $PWD\"\nfor i in 1 2 3; do (setsid sh -c 'sleep 1000' &); done\n\
         env -i setsid sleep 1000 &\necho all begun\nwhile :; do sleep 1000; done\n",
        0o644,
    );
    world.wpm(["start", script.to_str().expect("utf-8"), "--kill-timeout", "200", "--", "an argument"]).ok();
    let log = world.home().join("logs/stubborn-out.log");
    await_log(&log, "all begun");
    assert!(world.read("logs/stubborn-out.log").contains("here with an argument in "));
    let running = world.run("list --json").ok().json();
    assert!(running["apps"][0]["instances"][0]["processes"].as_u64().is_some_and(|n| n > 3), "{running}");
    world.run("stop stubborn").ok();
    assert_eq!(world.statuses(), ["stopped"]);
    let listed = world.run("list").ok().out;
    assert!(listed.contains("SIGKILL"), "{listed}");
    let left: Vec<i32> = world.processes().into_iter().filter(|pid| is_a(*pid, "sleep")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether a process has this name.
fn is_a(pid: i32, name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
}

#[test]
fn prettylist_is_what_node_makes_of_jlist() {
    let world = World::new();
    let mut args = vec!["start".to_owned(), "/bin/sleep".to_owned(), "--name".into(), "it's".into()];
    args.extend(
        ["--no-autostart", "-i", "2", "--stop-exit-codes", "1", "2", "3", "4", "5", "6", "7", "8"]
            .map(str::to_owned),
    );
    args.extend(["--", "1000", "a", "b", "c", "d", "e", "f", "two\nlines"].map(str::to_owned));
    world.wpm(args).ok();
    let list = world.run("jlist").ok().out;
    let script = "process.stdout.write(require('util').inspect(JSON.parse(require('fs').readFileSync(0, 'utf8')), \
                  { depth: null }) + '\\n')";
    let mut node = std::process::Command::new("node")
        .args(["-e", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("node is there");
    std::io::Write::write_all(&mut node.stdin.take().expect("a pipe"), list.as_bytes()).expect("taken");
    let shown = node.wait_with_output().expect("ends").stdout;
    assert_eq!(world.run("prettylist").ok().out, String::from_utf8_lossy(&shown));
}
