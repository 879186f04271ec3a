//! Starting with the machine: units, what a service manager is told, restarts that touch nothing.
//!
//! The manager is played by the test: it holds the socket that the keeper reports to.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{WPM, World, kill_and_wait};

/// A service manager, as far as a unit can tell.
struct Manager<'a> {
    world: &'a World,
    socket: UnixDatagram,
}

impl<'a> Manager<'a> {
    fn new(world: &'a World) -> Self {
        let socket = UnixDatagram::bind(world.dir.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        Self { world, socket }
    }

    /// Starts the unit's main process.
    fn start(&self) -> Child {
        let home = self.world.home();
        let mut command = self.world.command(["__keeper", home.to_str().expect("utf-8"), "--unit"]);
        command.env("NOTIFY_SOCKET", self.world.dir.path().join("notify")).spawn().expect("spawns")
    }

    /// The next thing that it is told.
    #[track_caller]
    fn told(&self) -> String {
        let mut buf = [0; 512];
        match self.socket.recv(&mut buf) {
            Ok(n) => String::from_utf8_lossy(&buf[..n]).into_owned(),
            Err(e) => panic!("the manager is told nothing: {e}; the daemon's log:\n{}", self.world.log()),
        }
    }

    /// Waits until it is told this, past other things.
    #[track_caller]
    fn await_told(&self, text: &str) {
        let mut before = Vec::new();
        while before.last().map(String::as_str) != Some(text) {
            assert!(before.len() < 20, "not {text:?} but {before:?}");
            before.push(self.told());
        }
    }

    /// Waits until it is told of another main process.
    #[track_caller]
    fn new_main(&self, old: u32) -> u32 {
        loop {
            let told = self.told();
            let pid = told.lines().find_map(|line| line.strip_prefix("MAINPID=")?.parse().ok());
            if let Some(pid) = pid.filter(|pid| *pid != old) {
                return pid;
            }
        }
    }

    /// What the unit runs to stop, with this answer of `systemctl list-jobs`.
    fn stop(&self, main: u32, jobs: &str) {
        let tools = self.world.dir.path().join("tools");
        std::fs::create_dir_all(&tools).expect("made");
        let fake = tools.join("systemctl");
        // Written by another process: one that this process forks at the same time for another test would
        // hold the file open for writing, and nobody could execute it.
        let text = format!("#!/bin/sh\necho '{jobs}'\n");
        let write = ["-c", "printf %s \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"];
        let written = Command::new("sh").args(write).arg(&fake).arg(text).status().expect("runs");
        assert!(written.success());
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("a path"));
        let mut hook = self.world.command(["__unit", "stop", "wpm-web.service", "system"]);
        let status = hook.env("PATH", path).env("MAINPID", main.to_string()).status().expect("runs");
        assert!(status.success(), "the daemon's log:\n{}", self.world.log());
    }
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid")
}

#[test]
fn a_unit_is_ready_when_the_daemon_is_and_restarts_touch_no_app() {
    let world = World::new();
    let manager = Manager::new(&world);
    let mut first = manager.start();
    assert_eq!(manager.told(), format!("MAINPID={}", first.id()));
    assert_eq!(manager.told(), "READY=1");
    let mut p = world.start("rock", "", 1).remove(0);
    for name in ["NOTIFY_SOCKET", "WPM_UNIT_SOCKET", "WPM_KEEPER_FD", "WPM_NOFILE_SOFT"] {
        assert_eq!(p.tell(&format!("env {name}")), "env (unset)", "{name}");
    }

    // The keeper dies: the next one claims to be the main process.
    kill_and_wait(pid(&first));
    assert!(!first.wait().expect("ended").success());
    let second = manager.new_main(first.id());
    manager.await_told("READY=1");

    // The manager starts the unit again: whoever is at work stays, and is the main process.
    let mut again = manager.start();
    assert_eq!(manager.told(), format!("MAINPID={second}\nREADY=1"));
    assert!(again.wait().expect("ended").success());

    // A restart: the hook does nothing, the manager kills the main process and starts another.
    manager.stop(second, "7 wpm-web.service restart running");
    assert_eq!(p.tell("print on"), "done");
    kill_and_wait(i32::try_from(second).expect("a pid"));
    let mut third = manager.start();
    let main = manager.new_main(second);
    manager.await_told("READY=1");
    let list = world.jlist();
    assert_eq!((&list[0]["pid"], &list[0]["pm2_env"]["restart_time"]), (&p.pid.into(), &0.into()));

    // A stop ends the apps and keeps the list; the next start brings them back.
    manager.stop(main, "8 wpm-web.service stop running");
    manager.await_told("STOPPING=1");
    p.dead();
    assert!(third.wait().expect("ended").success());
    let mut last = manager.start();
    let back = world.puppet();
    let list = world.jlist();
    assert_eq!((&list[0]["pid"], &list[0]["pm2_env"]["restart_time"]), (&back.pid.into(), &0.into()));
    world.run("kill").ok();
    assert!(last.wait().expect("ended").success(), "code 0 tells the manager to leave it at that");
}

#[test]
fn a_unit_waits_behind_a_wpm_from_outside_and_takes_over_when_that_dies() {
    let world = World::new();
    let mut p = world.start("rock", "", 1).remove(0);
    // Without its socket nobody can tell where the keeper belongs.
    std::fs::remove_file(world.home().join("keeper.sock")).expect("there");
    let manager = Manager::new(&world);
    let mut unit = manager.start();
    assert!(manager.told().starts_with("READY=1\nSTATUS=wpm was started outside"));
    let word = |word: &str| crate::survive::pid_of(&world, word);
    let keeper: i32 = world.read("keeper.pid").trim().parse().expect("a number");
    let daemon = word("__daemon");
    kill_process(Pid::from_raw(keeper).expect("a pid"), Signal::STOP).expect("ours");
    kill_and_wait(daemon);
    kill_and_wait(keeper);
    assert_eq!(manager.new_main(0), unit.id());
    manager.await_told("READY=1");
    assert_eq!(world.jlist()[0]["pid"], p.pid);
    assert_eq!(p.tell("print on"), "done");
    world.run("kill").ok();
    assert!(unit.wait().expect("ended").success());
}

#[test]
fn a_unit_that_waits_is_not_wanted_after_a_kill() {
    let world = World::new();
    let _p = world.start("rock", "", 1);
    std::fs::remove_file(world.home().join("keeper.sock")).expect("there");
    let manager = Manager::new(&world);
    let mut unit = manager.start();
    assert!(manager.told().starts_with("READY=1\n"));
    world.run("kill").ok();
    assert!(unit.wait().expect("ended").success());
    let said = world.run("kill").ok();
    assert!(said.err.contains("no daemon is running"), "{}", said.err);
}

#[test]
fn an_empty_list_is_filled_at_boot_from_what_was_saved() {
    let world = World::new();
    let p = world.start("saved", "", 1).remove(0);
    world.run("save").ok();
    world.run("kill").ok();
    p.dead();
    world.run("__unit started").ok();
    let _back = world.puppet();
    world.run("__unit started").ok();
    assert_eq!(world.statuses(), ["online"], "a list that is there stays as it is");
}

/// Writes a unit below a folder and gives its path.
fn written(world: &World, words: &[&str], path: &str) -> PathBuf {
    let root = world.dir.path().join("image");
    let mut args = vec!["startup"];
    args.extend(words);
    args.extend(["--root", root.to_str().expect("utf-8")]);
    world.wpm(args).ok();
    root.join(path)
}

#[test]
fn systemd_takes_the_units() {
    let world = World::new();
    let user = me();
    let unit = format!("etc/systemd/system/wpm-{user}.service");
    let mut units = [written(&world, &["systemd", "-u", &user, "--wait-ip"], &unit)];
    if !rustix::process::geteuid().is_root() {
        // A user's own stands elsewhere, and so does root's for this user.
        units[0] = world.dir.path().join("home-unit.service");
        std::fs::write(&units[0], world.run("startup systemd --print").ok().out).expect("written");
    }
    let own = world.dir.path().join("own.service");
    let text = std::fs::read_to_string(&units[0]).expect("there");
    let text = text.replace("multi-user.target", "default.target").replace(" system\n", " user\n");
    let keep = |line: &&str| {
        !["User=", "After=", "Wants=", "RequiresMountsFor="].iter().any(|w| line.starts_with(w))
    };
    std::fs::write(&own, text.lines().filter(keep).collect::<Vec<_>>().join("\n")).expect("written");
    for (unit, scope) in [(&units[0], "--system"), (&own, "--user")] {
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", scope])
            .arg(unit)
            .env("XDG_RUNTIME_DIR", world.dir.path())
            .output()
            .expect("systemd-analyze is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        // Units of the machine may have their own troubles.
        let about_ours = said.lines().any(|line| line.contains(&*world.dir.path().to_string_lossy()));
        assert!(output.status.success() && !about_ours, "{scope}: {said}");
    }
}

fn me() -> String {
    let output = Command::new("id").arg("-un").output().expect("runs");
    String::from_utf8(output.stdout).expect("utf-8").trim().to_owned()
}

#[test]
fn what_startup_writes_unstartup_removes_and_nothing_else() {
    let world = World::new();
    let path = "etc/init.d/wpm-web";
    let words = ["openrc", "-u", "web", "--hp", "/home/web"];
    let script = written(&world, &words, path);
    let link = world.dir.path().join("image/etc/runlevels/default/wpm-web");
    assert_eq!(std::fs::read_link(&link).expect("a link"), PathBuf::from("/etc/init.d/wpm-web"));
    let root = world.dir.path().join("image");
    let unstartup = || {
        let mut args = vec!["unstartup"];
        args.extend(words);
        world.wpm(args.into_iter().chain(["--root", root.to_str().expect("utf-8")]))
    };
    unstartup().ok();
    assert!(!script.exists() && std::fs::symlink_metadata(&link).is_err());
    unstartup().ok();
    std::fs::write(&script, "#!/sbin/openrc-run\n# mine\n").expect("written");
    unstartup().fails(2);
    assert!(script.exists(), "a file of somebody else stays");
}

#[test]
fn the_openrc_script_starts_stops_and_leaves_apps_alone_in_a_restart() {
    let world = World::new();
    let hp = world.dir.path().to_str().expect("utf-8");
    let script = written(&world, &["openrc", "-u", "web", "--hp", hp], "etc/init.d/wpm-web");
    let p = world.start("rock", "", 1).remove(0);
    let call = |what: &str| {
        let text = format!(
            "ebegin() {{ :; }}; eend() {{ return $1; }}; su() {{ sh -c \"$4\"; }}; . {}; {what}",
            script.display()
        );
        let mut sh = Command::new("sh");
        let status = sh
            .args(["-c", &text])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PUPPET", world.dir.path().join("puppets"))
            .status();
        status.expect("runs").code()
    };
    assert_eq!(call("status"), Some(0));
    assert_eq!(call("RC_CMD=restart; stop && start"), Some(0));
    assert_eq!(world.jlist()[0]["pid"], p.pid);
    assert_eq!(call("stop"), Some(0));
    p.dead();
    assert_ne!(call("status"), Some(0));
    assert_eq!(call("start"), Some(0));
    let _back = world.puppet();
    let shellcheck = Command::new("shellcheck").arg(&script).output().expect("shellcheck is installed");
    assert!(shellcheck.status.success(), "{}", String::from_utf8_lossy(&shellcheck.stdout));
}

#[test]
fn who_is_not_root_is_told_what_root_has_to_run() {
    if rustix::process::geteuid().is_root() {
        let world = World::new();
        let wpm = world.dir.path().join("wpm");
        let _bytes = std::fs::copy(WPM, &wpm).expect("copied");
        std::fs::set_permissions(world.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("mode");
        let mut command = Command::new(&wpm);
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        let output = command
            .args(["startup", "systemd", "--hp", "/home/a b", "-u", "nobody"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(1));
        let line = String::from_utf8(output.stdout).expect("utf-8");
        assert!(line.starts_with("sudo env ") && line.contains("--hp '/home/a b'"), "{line}");
        assert_eq!(line.lines().count(), 1, "only what is to be copied");
    }
}
