//! Talking: many clients, bad clients, wrong names, exit codes.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::world::World;

#[test]
fn twenty_clients_on_a_fresh_home_start_one_daemon() {
    let world = World::new();
    let mut clients: Vec<_> = (0..20)
        .map(|_| world.command(["jlist"]).stdout(std::process::Stdio::piped()).spawn().expect("spawns"))
        .collect();
    for client in &mut clients {
        assert!(client.wait().expect("ends").success(), "{}", world.log());
    }
    assert_eq!(world.log().matches("with 0 apps").count(), 1, "{}", world.log());
}

#[test]
fn a_wrong_name_has_its_exit_code_and_a_suggestion() {
    let world = World::new();
    let _p = world.start("web", "", 1);
    for verb in ["stop", "restart", "delete", "describe"] {
        let said = world.run(&format!("{verb} wbe")).fails(4);
        assert!(said.err.contains("web"), "{}", said.err);
    }
    world.run("no-such-command").fails(2);
    world.run("start no-such-file.js").fails(1);
}

#[test]
fn bad_frames_cost_their_sender_the_connection_and_nothing_else() {
    let world = World::new();
    let _p = world.start("web", "", 1);
    let garbage: [&[u8]; 4] =
        [b"\xff\xff\xff\xff", b"\0\0\0\x02{}", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x05ab"];
    for bytes in garbage {
        let mut s = UnixStream::connect(world.home().join("wpm.sock")).expect("connects");
        s.write_all(bytes).expect("is taken");
        s.shutdown(std::net::Shutdown::Write).expect("shuts");
        let mut rest = Vec::new();
        drop(s.read_to_end(&mut rest));
    }
    assert_eq!(world.statuses(), ["online"]);
}

#[test]
fn a_client_that_asks_and_does_not_read_is_dropped_and_nobody_else_notices() {
    use wpm_proto::frame;
    let world = World::new();
    let _p = world.start("web", "", 1);
    let mut deaf = UnixStream::connect(world.home().join("wpm.sock")).expect("connects");
    deaf.set_write_timeout(Some(std::time::Duration::from_secs(30))).expect("a deadline");
    let hello = format!(r#"{{"contract":{},"version":"test"}}"#, wpm_proto::CONTRACT);
    deaf.write_all(&frame::encode(hello.as_bytes()).expect("short")).expect("taken");
    let ends = (0_u32..1_000_000).find_map(|id| {
        let list = format!(r#"{{"id":{id},"op":{{"type":"list","targets":[],"detail":"spec"}}}}"#);
        deaf.write_all(&frame::encode(list.as_bytes()).expect("short")).err()
    });
    let kind = ends.expect("its requests are not taken for ever").kind();
    assert!(
        [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::ConnectionReset].contains(&kind),
        "{kind:?}; {}",
        world.log()
    );
    assert_eq!(world.statuses(), ["online"]);
    assert!(world.log().contains("does not read"), "{}", world.log());
}

#[test]
fn the_home_is_private() {
    let world = World::new();
    let _p = world.start("web", "", 1);
    let mode = |p: &str| {
        std::fs::symlink_metadata(world.home().join(p)).expect("exists").permissions().mode() & 0o777
    };
    assert_eq!(std::fs::metadata(world.home()).expect("exists").permissions().mode() & 0o777, 0o700);
    for file in [
        "state.json",
        "wpm.1.sock",
        "run/journal",
        "daemon.log",
        "logs/web-out.log",
        "pids/web-0.pid",
        "keeper.pid",
    ] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    for folder in ["run", "logs", "pids"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
}

#[test]
fn a_line_reaches_the_standard_input() {
    let world = World::new();
    let mut p = world.start("ears", "", 1).remove(0);
    world.wpm(["send", "0", "hear me"]).ok();
    assert_eq!(p.tell("read"), "read hear me");
}

#[test]
fn a_shell_completes_commands_options_and_names_of_apps() {
    let world = World::new();
    let _web = world.start("web-one", "", 1);
    let _worker = world.start("worker", "--namespace jobs", 1);
    let script = r#"
        source <(COMPLETE=bash "$WPM")
        function=$(complete -p wpm | sed 's/.*-F \([^ ]*\).*/\1/')
        words() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9
            COMP_POINT=${#COMP_LINE} COMPREPLY=()
            "$function" wpm "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        }
        words wpm resta
        words wpm stop w
        words wpm stop jo
        words wpm start --max-mem"#;
    let bin = world.dir.path().join("bin");
    std::fs::create_dir(&bin).expect("made");
    std::os::unix::fs::symlink(crate::world::WPM, bin.join("wpm")).expect("linked");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let template = world.command([""]);
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", script]);
    for (name, value) in template.get_envs() {
        bash.env(name, value.unwrap_or_default());
    }
    let said = bash.env("PATH", path).env("WPM", "wpm").output().expect("bash runs");
    let lines = crate::world::said(&said).ok().out;
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        ["restart", "web-one worker", "jobs", "--max-memory-restart"]
    );
}
