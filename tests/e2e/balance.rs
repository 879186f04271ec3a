//! One port for each instance: which one is picked, and nginx in front of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::world::{World, ports_in_a_row};

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

#[test]
fn the_least_loaded_is_picked_and_nginx_serves_them_all() {
    let world = World::new();
    let script = world.dir.path().join("chat.py");
    std::fs::write(&script, SERVER).expect("written");
    let port = ports_in_a_row(3);
    let words = ["start", script.to_str().expect("utf-8"), "-i", "3", "--increment-var", "PORT"];
    let ready = ["--ready", "port", "--listen-timeout", "30s"];
    let started =
        world.command(words.into_iter().chain(ready)).env("PORT", port.to_string()).output().expect("runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));

    let described = world.run("describe chat").ok().out;
    for n in 0..3 {
        assert!(described.contains(&format!("on 127.0.0.1:{}", port + n)), "{described}");
    }
    let _open = [0, 0, 1].map(|n| connection(port + n));
    let picked = world.run("pick chat --json").ok().json();
    assert_eq!((&picked["index"], &picked["connections"]), (&2.into(), &0.into()), "{picked}");
    assert_eq!(world.run("pick chat").ok().out, format!("127.0.0.1:{}\n", port + 2));

    let front = ports_in_a_row(3);
    let server = world.run(&format!("nginx chat --round-robin --listen 127.0.0.1:{front}")).ok().out;
    let dir = world.dir.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
        .concat();
    let text = format!(
        "pid {dir}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n"
    );
    let conf = world.dir.path().join("nginx.conf");
    std::fs::write(&conf, text).expect("written");
    let path = format!("{}:/usr/sbin", std::env::var("PATH").expect("a path"));
    let ready = format!("port:{front}");
    let words = ["start", "nginx", "--ready", &ready, "--listen-timeout", "30s", "--"];
    let own = ["-c", conf.to_str().expect("utf-8"), "-g", "daemon off;"];
    let started = world.command(words.into_iter().chain(own)).env("PATH", path).output().expect("runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let answers: std::collections::BTreeSet<String> =
        (0..9).map(|_| connection(front).1.rsplit(' ').next().expect("a number").to_owned()).collect();
    assert_eq!(answers.len(), 3, "{answers:?}");

    let said = world.run("pick nginx chat").fails(2);
    assert!(said.err.contains("unexpected argument"), "{}", said.err);
    world.run("stop chat").ok();
    let said = world.run("pick chat").fails(3);
    assert!(said.err.contains("no instance of chat is online"), "{}", said.err);
}
