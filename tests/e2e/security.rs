//! The security floor: who may come in, what gets out, what names and output can do.
//!
//! The table in `docs/security.md` names each of these tests that a row is about. What needs another user runs as root only.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wpm_proto::frame;

use crate::world::{WPM, World, await_text};

/// A user that is not this one.
const NOBODY: u32 = 65534;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
}

/// A copy of a program where every user can execute it.
pub(crate) fn for_everybody(world: &World, program: &Path) -> PathBuf {
    let copy = world.dir.path().join(program.file_name().expect("a name"));
    let _bytes = std::fs::copy(program, &copy).expect("copied");
    chmod(&copy, 0o755);
    chmod(world.dir.path(), 0o755);
    copy
}

/// Every path below a folder.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// A connection of the contract, past its greeting.
pub(crate) fn connected(world: &World) -> UnixStream {
    let mut stream = UnixStream::connect(world.home().join("wpm.sock")).expect("connects");
    let hello = format!(r#"{{"contract":{},"version":"test"}}"#, wpm_proto::CONTRACT);
    stream.write_all(&frame::encode(hello.as_bytes()).expect("short")).expect("taken");
    assert!(answer(&mut stream).contains("\"pid\""));
    stream
}

pub(crate) fn answer(stream: &mut UnixStream) -> String {
    let mut prefix = [0; frame::PREFIX];
    stream.read_exact(&mut prefix).expect("an answer");
    let mut bytes = vec![0; frame::length(prefix).expect("short")];
    stream.read_exact(&mut bytes).expect("all of it");
    String::from_utf8(bytes).expect("JSON")
}

fn ask(world: &World, request: &str) -> String {
    let mut stream = connected(world);
    stream.write_all(&frame::encode(request.as_bytes()).expect("short")).expect("taken");
    answer(&mut stream)
}

#[test]
fn another_user_is_refused_by_the_daemon_even_where_the_files_are_open() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let _p = world.start("web", "", 1);
    let program = for_everybody(&world, &crate::world::puppet());
    chmod(&world.home(), 0o755);
    let socket = world.home().join(format!("wpm.{}.sock", wpm_proto::CONTRACT));
    chmod(&socket, 0o666);
    // The puppet connects to whatever socket it is shown; the daemon hangs up.
    let status = Command::new(program).env_clear().env("PUPPET", &socket).uid(NOBODY).gid(NOBODY).status();
    let _code = status.expect("runs");
    await_text(&world.home().join("daemon.log"), "a client of another user was refused");
    assert_eq!(world.statuses(), ["online"]);
}

#[test]
fn a_home_that_is_not_private_is_refused() {
    let world = World::new();
    let home = world.home();
    std::fs::create_dir(&home).expect("made");
    for mode in [0o777, 0o770, 0o702] {
        chmod(&home, mode);
        let said = world.run("list").fails(5);
        assert!(said.err.contains("chmod 700"), "{}", said.err);
        assert_eq!(std::fs::read_dir(&home).expect("there").count(), 0, "nothing was put there");
    }
    std::fs::remove_dir(&home).expect("empty");
    std::fs::write(&home, "").expect("a file");
    assert_ne!(world.run("list").code, 0);
    std::fs::remove_file(&home).expect("there");
    std::os::unix::fs::symlink(world.dir.path().join("nowhere"), &home).expect("a link");
    assert_ne!(world.run("list").code, 0, "a link to nothing");
}

#[test]
fn a_home_or_a_link_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let home = world.home();
    let real = world.dir.path().join("real");
    std::fs::create_dir(&real).expect("made");
    chmod(&real, 0o700);
    std::os::unix::fs::symlink(&real, &home).expect("a link");
    world.run("list").ok();
    world.run("kill").ok();
    std::os::unix::fs::lchown(&home, Some(NOBODY), None).expect("root may");
    let said = world.run("list").fails(5);
    assert!(said.err.contains("65534"), "{}", said.err);
    std::fs::remove_file(&home).expect("there");
    std::os::unix::fs::chown(&real, Some(NOBODY), None).expect("root may");
    std::fs::rename(&real, &home).expect("renamed");
    let said = world.run("list").fails(5);
    assert!(said.err.contains("65534"), "{}", said.err);
    std::os::unix::fs::chown(&home, Some(0), None).expect("root may");
}

#[test]
fn nothing_of_a_home_is_open_to_others() {
    let world = World::new();
    let mut p = world.start("web", "-i 2", 2).remove(0);
    assert_eq!(p.tell("print something"), "done");
    world.run("save").ok();
    let everything = all_below(&world.home());
    assert!(everything.len() > 12, "{everything:?}");
    for path in everything {
        let data = std::fs::symlink_metadata(&path).expect("there");
        assert!(
            data.is_symlink() || data.mode() & 0o077 == 0,
            "{} has mode {:o}",
            path.display(),
            data.mode()
        );
    }
}

#[test]
fn requests_are_a_closed_set() {
    let world = World::new();
    let _p = world.start("web", "", 1);
    for request in [
        r#"{"id":1,"op":{"type":"shell","command":"id"}}"#,
        r#"{"id":1,"op":{"type":"list","targets":[],"surprise":1}}"#,
        r#"{"id":1,"op":{"type":"ping"},"surprise":1}"#,
        r#"{"id":1,"op":{"type":"kill","keep_list":"yes"}}"#,
        r#"{"id":1,"op":{"type":"scale","target":"web","to":{"exactly":-1},"wait":true}}"#,
        r#"{"id":1,"op":{"type":"start","apps":[{"name":"x","__proto__":{}}],"wait":true}}"#,
        "[]",
        "null",
        "{",
    ] {
        let answer = ask(&world, request);
        assert!(answer.contains("bad_request"), "{request}: {answer}");
    }
    // Deeper than the reader goes, in a frame of allowed size.
    assert!(ask(&world, &"[".repeat(100_000)).contains("bad_request"));
    assert_eq!(world.statuses(), ["online"]);
}

#[test]
fn a_frame_above_the_limit_costs_its_sender_the_connection_and_no_memory() {
    let world = World::new();
    let _p = world.start("web", "", 1);
    let mut stream = connected(&world);
    let length = u32::try_from(frame::MAX_FRAME + 1).expect("fits");
    stream.write_all(&length.to_be_bytes()).expect("taken");
    let refusal = answer(&mut stream);
    assert!(refusal.contains("longer than"), "{refusal}");
    let mut rest = Vec::new();
    assert!(matches!(stream.read_to_end(&mut rest), Ok(0) | Err(_)), "it is hung up");
    // Announced and never sent: nothing is set aside for it.
    let mut silent: Vec<UnixStream> = (0..50).map(|_| connected(&world)).collect();
    for stream in &mut silent {
        stream.write_all(&u32::try_from(frame::MAX_FRAME).expect("fits").to_be_bytes()).expect("taken");
    }
    assert_eq!(world.statuses(), ["online"]);
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", crate::survive::pid_of(&world, "__daemon")));
    let status = status.expect("it lives");
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    let kib: u64 = resident.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    assert!(kib < 100_000, "{kib} KiB for fifty announcements of 8 MiB");
}

#[test]
fn names_make_safe_files_and_harmless_output() {
    let world = World::new();
    let long = "x".repeat(300);
    let names =
        ["../x", "a/b", "-rf", "", "all", "two\nlines", "\u{1b}]0;title\u{7}", &long, "😀", "..", "a b"];
    let program = crate::world::puppet();
    let mut started = 0;
    for name in names {
        let option = format!("--name={name}");
        let said = world.wpm([Path::new("start"), &program, Path::new(&option)]);
        assert!(!said.err.contains('\u{1b}') && !said.out.contains('\u{1b}'), "{name:?}: {said:?}");
        if said.code == 0 {
            let mut p = world.puppet();
            assert_eq!(p.tell("print hello"), "done");
            started += 1;
        } else {
            assert!(said.err.contains("name"), "{name:?} is refused without saying why: {}", said.err);
        }
    }
    let zero = r#"{"id":1,"op":{"type":"start","wait":true,"apps":[{"name":"a\u0000b","script":"/bin/true","cwd":"/"}]}}"#;
    assert!(ask(&world, zero).contains("error"));
    assert!(started > 0);
    for path in all_below(world.dir.path()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(name.len() <= 96 && name.chars().all(fits), "{}", path.display());
        let is_log = name.ends_with(".log") && name != "daemon.log";
        assert!(!is_log || path.parent() == Some(&world.home().join("logs")), "{}", path.display());
    }
    let list = world.run("list").ok();
    let log = world.log();
    for text in [&list.out, &log] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text}");
    }
    assert!(!log.contains("two\nlines"), "{log}");
    world.run("delete all").ok();
}

/// Runs a command line on a terminal of its own and gives what the terminal would get.
fn on_a_terminal(world: &World, line: &str) -> Vec<u8> {
    let mut command = world.command(["version"]);
    let environment: Vec<_> =
        command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = Command::new("script");
    command.args(["-qec", &format!("{WPM} {line}"), "/dev/null"]).env_clear().env("TERM", "xterm");
    for (name, value) in environment {
        command.env(name, value.unwrap_or_default());
    }
    command.stdin(std::process::Stdio::null()).output().expect("script is installed").stdout
}

#[test]
fn output_of_apps_cannot_drive_the_terminal_and_is_raw_in_the_file() {
    let world = World::new();
    let mut p = world.start("evil", "", 1).remove(0);
    let clipboard = "\u{1b}]52;c;ZXZpbA==\u{7}";
    let line = format!("a{clipboard}b\u{1b}[2Jc\u{9b}Kd\u{1b}[31mred\rE\u{8}F");
    assert_eq!(p.tell(&format!("print {line}")), "done");
    let file = world.home().join("logs/evil-out.log");
    await_text(&file, "red");
    assert_eq!(std::fs::read(&file).expect("there"), format!("{line}\n").as_bytes());
    let shown = on_a_terminal(&world, "logs evil --nostream --lines 5");
    let shown = String::from_utf8_lossy(&shown);
    let text = shown.lines().find(|line| line.contains("red")).expect("the line");
    for harm in ["\u{1b}]", "\u{1b}[2J", "\u{9b}", "\u{8}"] {
        assert!(!text.contains(harm), "{harm:?} in {text:?}");
    }
    assert!(!text.trim_end_matches('\r').contains('\r'), "{text:?}");
    assert!(text.contains("\u{1b}[31mred"), "colours stay: {text:?}");
}

#[test]
fn values_of_the_environment_are_shown_on_request_only() {
    let world = World::new();
    let secret = "hunter2-is-my-secret";
    let program = crate::world::puppet();
    let mut command = world.command([Path::new("start"), &program, Path::new("--name=web")]);
    assert!(command.env("API_TOKEN", secret).status().expect("runs").success());
    let p = world.puppet();
    world.run("save").ok();
    for quiet in ["list", "describe web", "doctor", "prettylist"] {
        let said = world.run(quiet);
        let shown = said.out.contains(secret) || said.err.contains(secret);
        assert!(!shown || quiet == "prettylist", "{quiet} shows it");
    }
    p.exit(1);
    let _again = world.puppet();
    for pid in world.processes() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(secret), "in a command line");
    }
    let holders: BTreeSet<_> = all_below(&world.home())
        .into_iter()
        .filter(|path| std::fs::read(path).is_ok_and(|b| String::from_utf8_lossy(&b).contains(secret)))
        .map(|path| path.strip_prefix(world.home()).expect("below").to_string_lossy().into_owned())
        .collect();
    let allowed = ["dump.json", "state.json", "state.json.bak", "dump.json.bak"];
    assert!(holders.iter().all(|name| allowed.contains(&name.as_str())), "{holders:?}");
    assert!(world.run("describe web --env").ok().out.contains(secret));
}

#[test]
fn an_app_has_no_descriptor_but_its_own() {
    let world = World::new();
    let program = crate::world::puppet();
    // The first client leaks one to whatever it starts: the keeper comes from it.
    let line = format!("exec 9</etc/passwd; exec {WPM} start {} --name one", program.display());
    let mut command = world.command(["version"]);
    let environment: Vec<_> =
        command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = Command::new("sh");
    command.args(["-c", &line]).env_clear().current_dir(world.dir.path());
    for (name, value) in environment {
        command.env(name, value.unwrap_or_default());
    }
    assert!(command.stdin(std::process::Stdio::null()).status().expect("runs").success());
    let first = world.puppet();
    let second = world.start("two", "-i 2", 2);
    // The puppet itself has its connection to the test, twice.
    for p in second.iter().chain([&first]) {
        let mut numbers: Vec<u32> = std::fs::read_dir(format!("/proc/{}/fd", p.pid))
            .expect("it lives")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3, 4], "of process {}", p.pid);
    }
}

#[test]
fn the_callers_service_manager_is_not_the_apps() {
    let world = World::new();
    let program = crate::world::puppet();
    let mut command = world.command([Path::new("start"), &program]);
    command.env("NOTIFY_SOCKET", "/run/of/somebody/else").env("LISTEN_FDS", "3").env("LISTEN_PID", "7");
    assert!(command.status().expect("runs").success());
    let mut p = world.puppet();
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WPM_UNIT_SOCKET", "WPM_KEEPER_FD"] {
        assert_eq!(p.tell(&format!("env {name}")), "env (unset)", "{name}");
    }
}

#[test]
fn an_app_that_runs_as_another_user_keeps_nothing_of_root() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world
        .wpm(["start", "id; grep ^Cap /proc/self/status; sleep 1000", "--name", "low", "--uid", "nobody"])
        .ok();
    let file = world.home().join("logs/low-out.log");
    await_text(&file, "CapAmb");
    let text = std::fs::read_to_string(&file).expect("there");
    let id = text.lines().next().expect("a line");
    assert!(id.starts_with("uid=65534(") && !id.contains("(root)"), "{id}");
    let effective = text.lines().find(|line| line.starts_with("CapEff")).expect("a line");
    assert!(effective.ends_with("\t0000000000000000"), "{effective}");
}
