//! Hooks and events: what a user's own commands and programs get to know.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::{World, await_text, puppet};

/// Starts an app with hooks from an app file.
fn start(world: &World, app: &Value) -> crate::world::Said {
    std::fs::write(world.dir.path().join("app.json"), app.to_string()).expect("written");
    world.run("start app.json")
}

#[test]
fn hooks_run_at_their_moments() {
    let world = World::new();
    let told = world.dir.path().join("told");
    let tell = |word: &str| {
        format!("echo {word} $WPM_HOOK $WPM_INSTANCE $NAME >> {}; cat >> {}", told.display(), told.display())
    };
    let app = json!({
        "name": "web", "script": puppet(), "env": { "NAME": "mine" }, "max_restarts": 1,
        "hooks": {
            "pre_start": tell("before"), "post_ready": tell("after"), "on_exit": tell("end"),
            "on_errored": tell("gave-up"),
        },
    });
    start(&world, &app).ok();
    let first = world.puppet();
    await_text(&told, "after post_ready 0 mine");
    let so_far = std::fs::read_to_string(&told).expect("told");
    assert!(so_far.starts_with("before pre_start 0 mine\n{"), "{so_far}");
    assert!(so_far.contains("\"event\":\"online\""), "{so_far}");
    first.exit(3);
    await_text(&told, "\"exit\":{\"code\":3}");
    await_text(&told, "gave-up on_errored 0 mine");
}

#[test]
fn a_run_waits_for_the_hook_before_it_and_fails_with_it() {
    let world = World::new();
    let gate = world.dir.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().expect("it runs").success());
    let app = json!({ "name": "slow", "script": puppet(),
        "hooks": { "pre_start": format!("cat {}", gate.display()) } });
    std::fs::write(world.dir.path().join("app.json"), app.to_string()).expect("written");
    world.run("start app.json --no-wait").ok();
    assert_eq!(world.statuses(), ["launching"]);
    std::fs::write(&gate, "go").expect("opened");
    let _runs = world.puppet();

    let app =
        json!({ "name": "bad", "script": puppet(), "hooks": { "pre_start": "echo no tables >&2; exit 4" } });
    let said = start(&world, &app).fails(1);
    assert!(said.err.contains("running its pre_start hook failed"), "{}", said.err);
    let events = world.run("events bad --since 1h --nostream").ok().out;
    assert!(events.contains("hook pre_start failed: exit status: 4: no tables"), "{events}");

    // A stop does not wait for the hook.
    let app = json!({ "name": "stuck", "script": puppet(), "hooks": { "pre_start": "sleep 1000" } });
    std::fs::write(world.dir.path().join("app.json"), app.to_string()).expect("written");
    world.run("start app.json --no-wait").ok();
    world.run("stop stuck").ok();
    assert!(world.run("list").ok().out.contains("stopped"));
}

#[test]
fn a_webhook_gets_the_event() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let app = json!({ "name": "web", "script": puppet(), "hooks": { "post_ready": address } });
    start(&world, &app).ok();
    let (mut caller, _) = listener.accept().expect("called");
    let mut request = BufReader::new(caller.try_clone().expect("a descriptor"));
    let mut length = 0;
    loop {
        let mut line = String::new();
        request.read_line(&mut line).expect("a header");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    request.read_exact(&mut body).expect("a body");
    write!(caller, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").expect("answered");
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&event["app"], &event["event"]), (&json!("web"), &json!("online")));
}

#[test]
fn events_stream_and_are_remembered_and_outlive_the_daemon() {
    let world = World::new();
    let puppet = world.start("web", "", 1).pop().expect("one");
    let mut watcher = world
        .command(["events", "web", "--json", "--since", "1h", "--event", "online,exited,stopped"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("wpm runs");
    let mut lines = BufReader::new(watcher.stdout.take().expect("piped")).lines();
    let mut next =
        || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON") };
    assert_eq!(next()["event"], "online");
    puppet.exit(5);
    let exited = next();
    assert_eq!((&exited["event"], &exited["exit"]["code"]), (&json!("exited"), &json!(5)));
    assert_eq!(next()["event"], "online");
    let second = world.puppet();

    let daemon: i32 = world.read("daemon.pid").trim().parse().expect("a pid");
    crate::world::kill_and_wait(daemon);
    world.run("ping").ok();
    world.run("stop web").ok();
    let mut event = next();
    if event["event"] == "online" {
        // Told by the daemon that was killed before it had noted that, and by the next one again.
        assert_eq!(event["pid"], second.pid);
        event = next();
    }
    assert_eq!(event["event"], "exited");
    assert_eq!(next()["event"], "stopped");
    watcher.kill().expect("killed");
    watcher.wait().expect("ended");
    world.run("events --event restarted").fails(2);
}
