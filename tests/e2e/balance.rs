//! One port for each instance: which one is picked, and nginx in front of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::world::{World, await_text, ports_in_a_row};

/// A server that keeps its connections.
const SERVER: &str = r#"
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        said = ("instance " + os.environ["WPM_INSTANCE"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"#;

/// A connection that was answered and stays open, and the answer.
fn connection(port: u16) -> (TcpStream, String) {
    let mut s = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    s.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout");
    s.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains("instance ") || text.ends_with(' ') {
        s.read_exact(&mut byte).expect("answered");
        text.push(char::from(byte[0]));
    }
    (s, text)
}

/// Starts `chat`, three instances with a port each; gives the first one.
fn chat(world: &World) -> u16 {
    let script = world.dir.path().join("chat.py");
    std::fs::write(&script, SERVER).expect("written");
    let port = ports_in_a_row(3);
    let words = ["start", script.to_str().expect("utf-8"), "-i", "3", "--increment-var", "PORT"];
    let ready = ["--ready", "port", "--listen-timeout", "30s"];
    let started =
        world.command(words.into_iter().chain(ready)).env("PORT", port.to_string()).output().expect("runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    port
}

/// Writes `nginx.conf`, which includes `site.conf`, and `more.conf` where it is there.
fn nginx_conf(world: &World) -> std::path::PathBuf {
    let dir = world.dir.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
        .concat();
    let text = format!(
        "pid {dir}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}include {dir}/site.conf;\ninclude {dir}/more*.conf;\n}}\n"
    );
    let conf = world.dir.path().join("nginx.conf");
    std::fs::write(&conf, text).expect("written");
    conf
}

fn start_nginx(world: &World, port: u16) {
    let conf = nginx_conf(world);
    let path = format!("{}:/usr/sbin", std::env::var("PATH").expect("a path"));
    let ready = format!("port:{port}");
    let words = ["start", "nginx", "--ready", &ready, "--listen-timeout", "30s", "--"];
    let own = ["-c", conf.to_str().expect("utf-8"), "-g", "daemon off;"];
    let started = world.command(words.into_iter().chain(own)).env("PATH", path).output().expect("runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
}

/// Which instances answer so many new connections.
fn through(port: u16, times: u32) -> std::collections::BTreeSet<String> {
    (0..times).map(|_| connection(port).1.rsplit(' ').next().expect("a number").to_owned()).collect()
}

#[test]
fn nginx_is_kept_true_as_instances_come_and_go() {
    let world = World::new();
    let port = chat(&world);
    let front = ports_in_a_row(1);
    let site = world.dir.path().join("site.conf");
    let conf = nginx_conf(&world);
    let listen = format!("127.0.0.1:{front}");
    let path = |path: &std::path::Path| path.to_str().expect("utf-8").to_owned();
    let write: Vec<String> = ["nginx", "chat", "--listen", &listen, "--round-robin", "--write", &path(&site)]
        .map(str::to_owned)
        .into();
    world.wpm(&write).ok();
    start_nginx(&world, front);
    assert_eq!(through(front, 9).len(), 3);
    let said = world.wpm(&write).ok();
    assert!(said.err.contains("is as it should be"), "{}", said.err);

    let mut reload = write;
    reload.extend(["--reload".to_owned(), "--config".to_owned(), path(&conf)]);
    let mut follow =
        world.command(reload.iter().map(String::as_str).chain(["--follow"])).spawn().expect("runs");
    world.run("scale chat 4").ok();
    await_text(
        &site,
        &format!("127.0.0.1:{};  # chat:3", port + 3).replace(';', " max_fails=2 fail_timeout=1s;"),
    );
    world.run("stop chat/1").ok();
    await_text(&site, &format!("127.0.0.1:{} down;  # chat:1", port + 1));
    crate::world::kill_and_wait(world.read("daemon.pid").trim().parse().expect("a pid"));
    world.run("restart chat/1").ok();
    world.run("scale chat 2").ok();
    // Which it hears from the next daemon; the file has but two servers then.
    crate::world::await_file(&site, "had two servers", |text| {
        !text.contains(" down;") && text.matches("  # chat:").count() == 2
    });
    follow.kill().expect("killed");
    follow.wait().expect("ended");

    // What nginx refuses is not put in place, or is taken back where it refuses it beside the rest.
    let before = std::fs::read_to_string(&site).expect("there");
    let wrong = world.wpm(["nginx", "chat", "--listen", "99999999", "--write", &path(&site)]).fails(1);
    assert!(wrong.err.contains("invalid port"), "{}", wrong.err);
    assert_eq!(std::fs::read_to_string(&site).expect("there"), before);
    std::fs::write(world.dir.path().join("more.conf"), "upstream wpm_chat { server 127.0.0.1:1; }")
        .expect("written");
    world.run("scale chat 3").ok();
    let wrong = world.wpm(&reload).fails(1);
    assert!(
        wrong.err.contains("duplicate upstream") && wrong.err.contains("is what it was"),
        "{}",
        wrong.err
    );
    assert_eq!(std::fs::read_to_string(&site).expect("there"), before);
    std::fs::remove_file(world.dir.path().join("more.conf")).expect("removed");
    let said = world.wpm(&reload).ok();
    assert!(said.err.contains("3 of 3 up, nginx has read it"), "{}", said.err);
}

#[test]
fn the_least_loaded_is_picked_and_nginx_serves_them_all() {
    let world = World::new();
    let port = chat(&world);

    let described = world.run("describe chat").ok().out;
    for n in 0..3 {
        assert!(described.contains(&format!("on 127.0.0.1:{}", port + n)), "{described}");
    }
    let listed = world.run("list").ok().out;
    assert!(listed.contains(&format!(" {port}-{} ", port + 2)), "{listed}");
    let _open = [0, 0, 1].map(|n| connection(port + n));
    let picked = world.run("pick chat --json").ok().json();
    assert_eq!((&picked["index"], &picked["connections"]), (&2.into(), &0.into()), "{picked}");
    assert_eq!(world.run("pick chat").ok().out, format!("127.0.0.1:{}\n", port + 2));

    let front = ports_in_a_row(3);
    let site = world.run(&format!("nginx chat --round-robin --listen 127.0.0.1:{front}")).ok().out;
    std::fs::write(world.dir.path().join("site.conf"), site).expect("written");
    start_nginx(&world, front);
    assert_eq!(through(front, 9).len(), 3);

    let said = world.run("pick nginx chat").fails(2);
    assert!(said.err.contains("unexpected argument"), "{}", said.err);
    world.run("stop chat").ok();
    let said = world.run("pick chat").fails(3);
    assert!(said.err.contains("no instance of chat is online"), "{}", said.err);
}

/// What `serve-pick` answers.
fn asked(mut stream: impl Read + Write, path: &str, host: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

#[test]
fn addresses_are_given_over_http_to_those_who_may_ask() {
    let world = World::new();
    let port = chat(&world);
    let _open = connection(port);
    let at = ports_in_a_row(1);
    let wpm = env!("CARGO_BIN_EXE_wpm");
    let ready = format!("port:{at}");
    let own = ["serve-pick", "chat", "--listen", &at.to_string(), "--host", "pick.example.org"];
    let start = ["start", wpm, "--name", "pick", "--ready", &ready, "--listen-timeout", "30s", "--"];
    world.wpm(start.into_iter().chain(own)).ok();
    let ask = |path: &str, host: &str| {
        asked(TcpStream::connect(("127.0.0.1", at)).expect("it listens"), path, host)
    };
    let given = |_| {
        let answer = ask("/pick/chat", "localhost");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("no-store"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        u16::try_from(body["port"].as_u64().expect("a port")).expect("a port")
    };
    // Who was given an address a moment ago counts as connected; one instance has a connection.
    let first: std::collections::BTreeSet<u16> = [0, 1].map(given).into();
    assert_eq!(first, [port + 1, port + 2].into());

    assert!(ask("/pick/chat", "pick.example.org:80").starts_with("HTTP/1.1 200"));
    assert!(ask("/pick/chat", "evil.example").starts_with("HTTP/1.1 403"));
    assert!(ask("/pick/pick", "localhost").starts_with("HTTP/1.1 404"), "not one of those that it serves");
    assert!(ask("/", "localhost").starts_with("HTTP/1.1 404"));

    // The next daemon is found.
    crate::world::kill_and_wait(world.read("daemon.pid").trim().parse().expect("a pid"));
    given(0);
    world.run("stop chat").ok();
    let answer = ask("/pick/chat", "localhost");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no instance of chat"), "{answer}");
}

#[test]
fn addresses_are_given_at_a_socket_of_ones_own() {
    let world = World::new();
    chat(&world);
    let socket = world.home().join("pick.sock");
    let mut server =
        world.command(["serve-pick"]).stderr(std::process::Stdio::piped()).spawn().expect("runs");
    let mut said = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stderr.take().expect("piped")),
        &mut said,
    )
    .expect("it says where");
    assert!(said.contains(&format!("--unix-socket {}", socket.display())), "{said}");
    let connect = || std::os::unix::net::UnixStream::connect(&socket).expect("it listens");
    assert!(asked(connect(), "/pick/chat", "any").contains("\"app\":\"chat\""));
    let unknown = asked(connect(), "/pick/caht", "any");
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("no app matches `caht`"), "{unknown}");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    assert!(server.wait().expect("ends").success());
    assert!(!socket.exists());
}
