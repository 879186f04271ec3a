//! One port for many instances.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::world::{World, await_text, kill_and_wait, ports_in_a_row};

const WEB: &str = "require('http').createServer((q, r) => { r.setHeader('Connection', 'close'); \
    r.end(process.pid + ' ' + require('cluster').worker.id + ' ' + process.env.NODE_APP_INSTANCE) })\
    .listen(+process.env.PORT, '127.0.0.1', () => console.log('listening'))";

/// The body of an answer.
fn ask(port: u16) -> String {
    let mut s = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    s.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout");
    s.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    let mut text = String::new();
    s.read_to_string(&mut text).expect("answered");
    text.rsplit("\r\n\r\n").next().expect("a body").to_owned()
}

/// Starts three Node instances on one port.
fn three(world: &World) -> u16 {
    let port = ports_in_a_row(1);
    let script = world.dir.path().join("web.js");
    std::fs::write(&script, WEB).expect("written");
    let started = world
        .command(["start", "-i", "3", script.to_str().expect("utf-8")])
        .env("PORT", port.to_string())
        .output()
        .expect("runs");
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    for i in 0..3 {
        await_text(&world.home().join(format!("logs/web-out-{i}.log")), "listening");
    }
    port
}

/// Asks until `count` different instances have answered; gives their first words (pids).
fn answers(port: u16, count: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..2000 {
        let said = ask(port);
        let words: Vec<&str> = said.split(' ').collect();
        let (worker, index): (u32, u32) = (words[1].parse().expect("id"), words[2].parse().expect("index"));
        assert_eq!(worker, index + 1, "cluster.worker.id counts from 1 and stays with the instance");
        seen.insert(words[0].to_owned());
        if seen.len() == count {
            return seen;
        }
    }
    panic!("only {seen:?} answered");
}

#[test]
fn node_instances_share_a_port_and_survive_the_daemon() {
    let world = World::new();
    let port = three(&world);
    let before = answers(port, 2);
    let daemon = std::fs::read_to_string(world.home().join("daemon.pid")).expect("a pid");
    kill_and_wait(daemon.trim().parse().expect("a number"));
    for _ in 0..20 {
        ask(port);
    }
    assert!(world.jlist().iter().all(|i| i["pm2_env"]["restart_time"] == 0));
    // The next daemon is the primary of the next workers, on the socket that the keeper held.
    world.run("restart web").ok();
    assert!(answers(port, 2).is_disjoint(&before));
}

#[test]
fn the_port_is_held_while_every_instance_is_gone() {
    let world = World::new();
    let port = three(&world);
    let pids: Vec<i32> = world
        .jlist()
        .iter()
        .map(|i| i32::try_from(i["pid"].as_i64().expect("a pid")).expect("fits"))
        .collect();
    pids.into_iter().for_each(kill_and_wait);
    // Nobody is refused: the connection waits for the next instances.
    ask(port);
    world.run("stop web").ok();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "a stopped app holds no port");
}

#[test]
fn the_port_outlives_the_keeper() {
    let world = World::new();
    let port = three(&world);
    let keeper = std::fs::read_to_string(world.home().join("keeper.pid")).expect("a pid");
    kill_and_wait(keeper.trim().parse().expect("a number"));
    ask(port);
    world.run("restart web").ok();
    answers(port, 2);
}

#[test]
fn the_port_of_workers_outlives_keeper_and_daemon_together() {
    let world = World::new();
    let port = three(&world);
    let before = answers(port, 2);
    let pids = ["__keeper", "__daemon"].map(|word| crate::survive::pid_of(&world, word));
    pids.into_iter().for_each(kill_and_wait);
    // A new worker gets the socket that the others have.
    world.run("reload web").ok();
    assert!(answers(port, 2).is_disjoint(&before));
    // And wpm holds it again.
    kill_and_wait(crate::survive::pid_of(&world, "__daemon"));
    world.run("restart web").ok();
    answers(port, 2);
}

#[test]
fn any_program_takes_a_socket_by_the_systemd_protocol() {
    let world = World::new();
    let port = ports_in_a_row(1);
    let script = world.dir.path().join("srv.py");
    let text = "import os, socket\n\
        assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDNAMES'] == 'web'\n\
        s = socket.socket(fileno=3)\nprint('ready', flush=True)\n\
        while True:\n  c, _ = s.accept()\n  c.recv(1000)\n  c.sendall(('HTTP/1.0 200 OK\\r\\n\\r\\n' + os.environ['WPM_INSTANCE']).encode())\n  c.close()\n";
    std::fs::write(&script, text).expect("written");
    let listen = format!("web=127.0.0.1:{port}");
    world.wpm(["start", script.to_str().expect("utf-8"), "-i", "2", "--listen", &listen]).ok();
    await_text(&world.home().join("logs/srv-out-0.log"), "ready");
    let seen: BTreeSet<String> = (0..200).map(|_| ask(port)).collect();
    assert!(seen.iter().all(|s| s == "0" || s == "1"), "{seen:?}");
    world.run("restart srv").ok();
    ask(port);
    world.run("delete srv").ok();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

/// Serves every socket that it was given; says which ones, and answers with the number of its instance.
const ACTIVATED: &str = "import os, selectors, socket\n\
    print(os.environ['LISTEN_FDNAMES'], flush=True)\n\
    ready = selectors.DefaultSelector()\n\
    for fd in range(3, 3 + int(os.environ['LISTEN_FDS'])):\n  \
      s = socket.socket(fileno=fd)\n  s.setblocking(False)\n  ready.register(s, selectors.EVENT_READ)\n\
    while True:\n  \
      for key, _ in ready.select():\n    \
        try:\n      c, _ = key.fileobj.accept()\n    \
        except BlockingIOError:\n      continue\n    \
        c.setblocking(True)\n    c.recv(1000)\n    \
        c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n' + os.environ['WPM_INSTANCE'].encode())\n    c.close()\n";

#[test]
fn several_sockets_are_handed_down_and_closed_with_the_app() {
    let world = World::new();
    let port = ports_in_a_row(3);
    let path = world.dir.path().join("srv.sock");
    // What a dead program has left there is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    let file = world.dir.path().join("wpm.toml");
    let write = |second: u16| {
        let text = format!(
            "[[apps]]\nname = \"srv\"\nscript = \"srv.py\"\ninstances = 2\n\
             listen = [\"web=127.0.0.1:{port}\", \"127.0.0.1:{second}\", \"unix:srv.sock\"]\n"
        );
        std::fs::write(&file, text).expect("written");
    };
    std::fs::write(world.dir.path().join("srv.py"), ACTIVATED).expect("written");
    write(port + 1);
    let file = file.to_str().expect("utf-8").to_owned();
    world.wpm(["start", &file]).ok();
    let log = world.home().join("logs/srv-out-1.log");
    await_text(&log, &format!("web:{}:srv.sock", port + 1));
    let by_path = || {
        let mut s = std::os::unix::net::UnixStream::connect(&path)?;
        s.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        s.read_to_string(&mut text)
    };
    assert!(by_path().is_ok());
    ask(port + 1);
    let described = world.run("describe srv").ok().out;
    let shown = format!("on 127.0.0.1:{port}, 127.0.0.1:{}, unix:{}", port + 1, path.display());
    assert!(described.contains(&shown), "{described}");

    // Another address in the place of one of them: it is open when the command returns, the old one is not.
    write(port + 2);
    world.wpm(["reload", &file]).ok();
    ask(port);
    ask(port + 2);
    assert!(TcpStream::connect(("127.0.0.1", port + 1)).is_err());

    // The next daemon closes them as the one before would have done.
    kill_and_wait(world.read("daemon.pid").trim().parse().expect("a number"));
    ask(port);
    world.run("stop srv").ok();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err() && by_path().is_err() && !path.exists());
    world.run("start srv").ok();
    ask(port);
    assert!(by_path().is_ok());
}

#[test]
fn a_reload_replaces_every_instance_and_refuses_nobody() {
    let world = World::new();
    let port = three(&world);
    let before = answers(port, 2);
    let mut reload = world.command(["reload", "web"]).spawn().expect("runs");
    let mut asked = 0;
    while reload.try_wait().expect("waits").is_none() {
        // Every request is answered while instances come and go.
        assert!(!ask(port).is_empty());
        asked += 1;
    }
    assert!(reload.wait().expect("ends").success());
    assert!(asked > 0);
    assert!(answers(port, 2).is_disjoint(&before));
    assert_eq!(world.jlist().len(), 3);
}

#[test]
fn a_release_that_does_not_come_up_is_taken_back() {
    let world = World::new();
    let port = three(&world);
    let before = answers(port, 2);
    std::fs::write(world.dir.path().join("web.js"), "console.error('broken release'); process.exit(3)")
        .expect("written");
    let said = world.run("reload web").fails(1);
    assert!(said.err.contains("broken release"), "{}", said.err);
    assert!(answers(port, 2).is_subset(&before) || !answers(port, 2).is_disjoint(&before));
    assert_eq!(world.statuses(), ["online", "online", "online"]);
}

fn kill_daemon(world: &World) {
    let daemon = std::fs::read_to_string(world.home().join("daemon.pid")).expect("a pid");
    kill_and_wait(daemon.trim().parse().expect("a number"));
}

#[test]
fn a_release_that_never_listens_is_taken_back_though_the_daemon_is_killed() {
    let world = World::new();
    let port = three(&world);
    let before = answers(port, 2);
    std::fs::write(world.dir.path().join("web.js"), "console.log('hangs'); setInterval(() => {}, 9999)")
        .expect("written");
    // That the old ones listen is what this daemon has from the one before.
    kill_daemon(&world);
    let mut command = world.command(["reload", "web"]);
    let reload = command.stderr(std::process::Stdio::piped()).spawn().expect("runs");
    await_text(&world.home().join("logs/web-out-0.log"), "hangs");
    kill_daemon(&world);
    let said = crate::world::said(&reload.wait_with_output().expect("ends")).fails(1);
    assert!(said.err.contains("web/0 was not ready"), "{}", said.err);
    assert_eq!(world.statuses(), ["online", "online", "online"]);
    assert!(!answers(port, 2).is_disjoint(&before));
    assert!(world.jlist().iter().all(|i| i["pm2_env"]["restart_time"] == 0), "nobody was replaced");
}

#[test]
fn a_request_that_was_begun_is_answered_though_the_daemon_of_the_reload_is_killed() {
    let world = World::new();
    let (port, script, go) =
        (ports_in_a_row(1), world.dir.path().join("slow.js"), world.dir.path().join("go"));
    let source = format!(
        "require('http').createServer((q, r) => {{ console.log('asked'); setInterval(() => \
         require('fs').existsSync({go:?}) && r.end('done'), 5) }}).listen({port}, '127.0.0.1')"
    );
    std::fs::write(&script, source).expect("written");
    let script = script.to_str().expect("utf-8");
    world.wpm(["start", script, "-i", "1", "--drain-timeout", "60000"]).ok();
    let answer = std::thread::spawn(move || ask(port));
    await_text(&world.home().join("logs/slow-out-0.log"), "asked");
    let reload = world.command(["reload", "slow"]).stderr(Stdio::piped()).spawn().expect("runs");
    await_text(&world.home().join("daemon.log"), "Replaced");
    kill_daemon(&world);
    assert_eq!(world.statuses(), ["online"]);
    std::fs::write(&go, "").expect("written");
    assert_eq!(answer.join().expect("it was answered"), "done");
    let said = reload.wait_with_output().expect("ends");
    assert!(said.status.success(), "{}\n{}", String::from_utf8_lossy(&said.stderr), world.log());
    assert_eq!(world.jlist()[0]["pm2_env"]["restart_time"], 1);
}

#[test]
fn a_port_that_wpm_holds_counts_as_the_workers_own() {
    let world = World::new();
    let port = ports_in_a_row(1);
    let script = world.dir.path().join("web.js");
    std::fs::write(&script, WEB).expect("written");
    for policy in ["round-robin", "sticky"] {
        let named = format!("port:{port}");
        let words = ["start", script.to_str().expect("utf-8"), "-i", "2", "--balance", policy];
        let checks =
            ["--ready", &named, "--health", "port", "--health-interval", "30", "--health-failures", "1"];
        let started = world
            .command(words.into_iter().chain(checks).chain(["--listen-timeout", "30s"]))
            .env("PORT", port.to_string())
            .output()
            .expect("runs");
        assert!(started.status.success(), "{policy}: {}", String::from_utf8_lossy(&started.stderr));
        kill_and_wait(world.read("daemon.pid").trim().parse().expect("a number"));
        for _ in 0..10 {
            ask(port);
        }
        // The next daemon knows it, too: nobody was found ill.
        world.run("reload web").ok();
        assert!(!world.log().contains("unhealthy"), "{policy}: {}", world.log());
        assert!(world.jlist().iter().all(|i| i["pm2_env"]["restart_time"] == 1), "{policy}");
        world.run("delete web").ok();
    }
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let world = World::new();
    let start =
        |listen: &str| world.wpm(["start", "/bin/sleep", "--name", "t", "--listen", listen, "--", "1000"]);
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = held.local_addr().expect("an address").to_string();
    // A name that cannot be looked up once and for all is refused: it must not mean every address.
    let said = start("www.example.com:80").fails(6);
    assert!(said.err.contains("IP address or localhost"), "{}", said.err);
    let said = start(&taken).fails(1);
    assert!(said.err.contains(&taken) && said.err.contains("another program listens there"), "{}", said.err);
}
