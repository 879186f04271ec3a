//! Under the name `pm2`: the exit codes of a real pm2 beside it, its files, and its defects, which are absent.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::appfiles::modules;
use crate::world::{Said, WPM, World, await_text, said};

/// A pm2 with a home of its own below a world: the real one, or wpm under that name.
pub(crate) struct Pm2 {
    program: Vec<PathBuf>,
    /// Its home.
    pub(crate) home: PathBuf,
    folder: PathBuf,
}

impl Pm2 {
    /// npm's pm2, installed once for all test runs.
    pub(crate) fn real(world: &World) -> Self {
        let program = vec!["node".into(), modules().join("pm2/bin/pm2")];
        Self { program, home: world.dir.path().join("real"), folder: world.dir.path().into() }
    }

    /// A link to wpm.
    fn link(world: &World) -> Self {
        let link = world.dir.path().join("pm2");
        if !link.exists() {
            symlink(WPM, &link).expect("linked");
        }
        Self { program: vec![link], home: world.home(), folder: world.dir.path().into() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program[0]);
        command
            .args(&self.program[1..])
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("PM2_HOME", &self.home)
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .env("PUPPET", self.folder.join("puppets"))
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command given as one line of words.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> Said {
        let words: Vec<&str> = line.split_whitespace().collect();
        said(&self.command(&words).output().expect("it runs"))
    }

    /// `jlist`, found as scripts find it.
    #[track_caller]
    pub(crate) fn list(&self) -> Vec<Value> {
        let out = self.run("jlist").ok().out;
        let start = out.find('[').expect("a list");
        serde_json::from_str(&out[start..]).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.list().iter().map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        if self.program.len() > 1 && self.home.exists() {
            drop(self.command(&["kill"]).output());
        }
    }
}

fn write(world: &World, name: &str, text: &str) {
    std::fs::write(world.dir.path().join(name), text).expect("written");
}

/// Programs that the tests start.
fn programs(world: &World) {
    write(world, "app.js", "setInterval(() => {}, 1000)");
    write(world, "bad.js", "process.exit(3)");
    write(world, "broken.json", "{ \"apps\": [");
}

/// Lines and the exit code of both; `~` stands where the list is empty and no app was started yet.
const CODES: [(&str, i32); 54] = [
    ("", 1),
    ("nosuchcommand", 1),
    ("list --nosuchoption", 1),
    ("list", 0),
    ("jlist", 0),
    ("prettylist", 0),
    ("ping", 0),
    ("stop all", 1),
    ("restart all", 1),
    ("reload all", 1),
    ("delete all", 1),
    ("save", 0),
    ("resurrect", 0),
    ("save extra", 1),
    ("kill extra", 1),
    ("resurrect extra", 1),
    ("cleardump extra", 1),
    ("prettylist extra", 1),
    ("cleardump", 0),
    ("start app.js --name web", 0),
    ("start app.js --name web", 1),
    ("stop nosuch", 1),
    ("restart nosuch", 1),
    ("reload nosuch", 1),
    ("delete nosuch", 1),
    ("stop 99", 1),
    ("describe nosuch", 1),
    ("env 99", 1),
    ("scale nosuch 2", 1),
    ("scale web 1", 1),
    ("sendSignal SIGUSR2 nosuch", 1),
    ("send 99 hello", 1),
    ("trigger nosuch act", 1),
    ("reset nosuch", 1),
    ("reset 99", 0),
    ("pid nosuch", 0),
    ("id nosuch", 0),
    ("flush nosuch", 0),
    ("logs nosuch --nostream", 0),
    ("restart web --env production", 1),
    ("start nosuch.js", 1),
    ("start nosuch.json", 1),
    ("start broken.json", 1),
    ("start app.js --name c --cron-restart nonsense", 1),
    ("start app.js --name m --max-memory-restart 300Q", 1),
    ("start app.js --name i --interpreter nosuchprogram", 1),
    ("start bad.js --name bad --no-autorestart", 0),
    ("get nosuch", 1),
    ("set some:thing 5", 0),
    ("get some:thing", 0),
    ("unset some:thing", 0),
    ("link delete", 0),
    ("save --force", 0),
    ("kill", 0),
];

#[test]
fn the_exit_codes_are_those_of_pm2() {
    let world = World::new();
    programs(&world);
    let (real, link) = (Pm2::real(&world), Pm2::link(&world));
    let mut wrong = Vec::new();
    for (line, code) in CODES {
        let (there, here) = (real.run(line), link.run(line));
        if (there.code, here.code) != (code, code) {
            wrong.push(format!("`pm2 {line}`: {code} expected, pm2 {}, wpm {}", there.code, here.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scripts_that_drive_pm2_run_as_they_are() {
    let world = World::new();
    programs(&world);
    let link = Pm2::link(&world);
    let started = link.run("start app.js --name web -i max --no-pmx --no-color").ok();
    assert!(started.out.starts_with("[PM2] Starting "), "{}", started.out);
    assert!(started.out.contains("[PM2] Done."), "{}", started.out);
    let cpus = std::thread::available_parallelism().expect("a number").get();
    let list = link.list();
    assert_eq!(list.len(), cpus);
    assert_eq!(list[0]["pm2_env"]["status"], "online");
    assert_eq!(list[0]["pm2_env"]["exec_mode"], "cluster_mode");
    let pids = link.run("pid web").ok().out;
    assert_eq!(pids.lines().next().map(str::to_owned), Some(list[0]["pid"].to_string()));
    let described = link.run("describe web").ok().out;
    let row = described.lines().find(|line| line.contains("out log path")).expect("a row");
    let cells: Vec<&str> = row.split('│').map(str::trim).collect();
    assert_eq!(cells[2], world.home().join("logs/web-out-0.log").display().to_string());
    let table = link.run("list").ok().out;
    assert!(table.lines().any(|line| line.contains("│ web ") && line.contains("│ online ")), "{table}");
    assert!(link.run("stop web -s --watch").ok().out.is_empty(), "-s is silent");
    link.run("restart web").ok();
    link.run("logs web --nostream --lines 5").ok();
    link.run("flush").ok();
    link.run("save").ok();
    let printed = link.run("startup systemd --print").ok();
    assert!(printed.out.contains(&format!("WPM_HOME={}", world.home().display())), "{}", printed.out);
    for line in ["link delete", "uninstall all", "install pm2-logrotate", "module:update x", "unmonitor"] {
        let answer = link.run(line).ok();
        assert!(answer.out.is_empty() && answer.err.starts_with("[PM2][WARN] "), "{line}: {}", answer.err);
    }
    assert_eq!(link.run("-v").ok().out.trim(), "7.0.4");
}

#[test]
fn an_app_sees_the_variables_of_pm2() {
    let world = World::new();
    let link = Pm2::link(&world);
    let program = crate::world::puppet();
    link.run(&format!("start {} --name seen -i 1", program.display())).ok();
    let mut app = world.puppet();
    let home = world.home().display().to_string();
    for (name, value) in [
        ("PM2_HOME", home.as_str()),
        ("PM2_USAGE", "CLI"),
        ("name", "seen"),
        ("namespace", "default"),
        ("pm_id", "0"),
        ("NODE_APP_INSTANCE", "0"),
        ("exec_mode", "fork_mode"),
        ("status", "launching"),
        ("pm_cwd", &world.dir.path().canonicalize().expect("there").display().to_string()),
        ("pm_out_log_path", &format!("{home}/logs/seen-out-0.log")),
    ] {
        assert_eq!(app.tell(&format!("env {name}")), format!("env {value}"), "{name}");
    }
    assert_eq!(std::fs::read_link(world.home().join("pm2.pid")).expect("a link"), Path::new("daemon.pid"));
    assert_eq!(std::fs::read_link(world.home().join("pm2.log")).expect("a link"), Path::new("daemon.log"));
}

#[test]
fn a_dump_is_read_by_pm2_and_one_of_pm2_by_wpm() {
    let world = World::new();
    programs(&world);
    let (real, link) = (Pm2::real(&world), Pm2::link(&world));
    link.run("start app.js --name web -i 2").ok();
    link.run("start app.js --name api --namespace shop --max-memory-restart 200M -- --port 81").ok();
    link.run("stop api").ok();
    link.run("save").ok();
    let dump = world.home().join("dump.pm2");
    assert_eq!(std::fs::metadata(&dump).expect("there").permissions().mode() & 0o777, 0o600);
    std::fs::create_dir_all(&real.home).expect("made");
    let _ = std::fs::copy(&dump, real.home.join("dump.pm2")).expect("copied");
    real.run("resurrect").ok();
    assert_eq!(real.names(), ["api", "web", "web"]);
    let api = real.list().into_iter().find(|entry| entry["name"] == "api").expect("api");
    assert_eq!(api["pm2_env"]["status"], "stopped");
    assert_eq!(api["pm2_env"]["args"], serde_json::json!(["--port", "81"]));
    // And back.
    real.run("start app.js --name third").ok();
    real.run("save").ok();
    link.run("delete all").ok();
    let _ = std::fs::copy(real.home.join("dump.pm2"), &dump).expect("copied");
    real.run("kill").ok();
    link.run("resurrect").ok();
    assert_eq!(link.names(), ["api", "third", "web", "web"]);
    let list = link.list();
    let status = |name: &str| &list.iter().find(|entry| entry["name"] == name).expect("listed")["pm2_env"];
    assert_eq!(status("api")["status"], "stopped");
    assert_eq!(status("web")["status"], "online");
    assert_eq!(status("api")["namespace"], "shop");
    assert_eq!(status("api")["max_memory_restart"], 209_715_200);
    // What was stopped then is an app as any other: once started, it comes back as the others do.
    link.run("start api").ok();
    link.run("save").ok();
    link.run("kill").ok();
    link.run("resurrect").ok();
    let statuses: Vec<Value> = link.list().iter().map(|entry| entry["pm2_env"]["status"].clone()).collect();
    assert_eq!(statuses, ["online", "online", "online", "online"]);
}

#[test]
fn settings_are_checked_kept_and_in_force_at_once() {
    let world = World::new();
    let first = world.start("first", "", 1);
    world.run("set pm2-logrotate:max_size 64K").ok();
    world.run("set kill-timeout 1234").ok();
    assert_eq!(world.run("get log_max_size").ok().out, "64K\n");
    world.run("set log_max_size 64Q").fails(6);
    let said = world.run("set kill_timeuot 5").fails(2);
    assert!(said.err.contains("kill_timeout"), "{}", said.err);
    let mut second = world.start("second", "", 1).remove(0);
    assert_eq!(world.jlist()[1]["pm2_env"]["kill_timeout"], 1234);
    assert_eq!(second.tell("count 0 8000"), "done");
    let rotated = || {
        let files = std::fs::read_dir(world.home().join("logs")).expect("logs").flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with("second-out")).count()
    };
    assert_eq!(second.tell("exit 0"), "");
    let _again = world.puppet();
    assert!(rotated() > 1, "112 KB in files of 64 KiB");
    world.run("unset kill_timeout").ok();
    world.run("get kill_timeout").fails(1);
    assert!(world.run("set").ok().out.contains("64K"));
    drop(first);
}

#[test]
fn attach_serve_and_the_figures() {
    use std::io::{Read, Write};
    let world = World::new();
    let mut ears = world.start("ears", "", 1).remove(0);
    let mut attach = world.command(["attach", "ears"]);
    let attach = attach.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut attached = attach.spawn().expect("runs");
    writeln!(attached.stdin.as_mut().expect("a pipe"), "hear me").expect("written");
    assert_eq!(ears.tell("read"), "read hear me");
    assert_eq!(ears.tell("print heard"), "done");
    let mut out = attached.stdout.take().expect("a pipe");
    let mut heard = Vec::new();
    while !heard.ends_with(b"heard\n") {
        let mut byte = [0];
        out.read_exact(&mut byte).expect("the output");
        heard.push(byte[0]);
    }
    attached.kill().expect("killed");
    drop(attached.wait());

    write(&world, "index.html", "the page");
    write(&world, ".env", "SECRET=1");
    write(&world, "outside.txt", "no");
    std::fs::create_dir(world.dir.path().join("site")).expect("made");
    std::fs::rename(world.dir.path().join("index.html"), world.dir.path().join("site/index.html"))
        .expect("moved");
    std::fs::rename(world.dir.path().join(".env"), world.dir.path().join("site/.env")).expect("moved");
    let port = crate::world::ports_in_a_row(1);
    let mut serve = world.command(["serve", "site", &port.to_string(), "--basic-auth-username", "ann"]);
    said(&serve.env("WPM_SERVE_PASSWORD", "s3cret").output().expect("runs")).ok();
    let get = |path: &str, header: &str| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("listens");
        write!(stream, "GET {path} HTTP/1.0\r\n{header}\r\n").expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).expect("answered");
        let status = answer.split(' ').nth(1).expect("a status").to_owned();
        (status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
    };
    assert_eq!(get("/", "").0, "401");
    let allowed = "Authorization: Basic YW5uOnMzY3JldA==\r\n";
    assert_eq!(get("/", allowed), ("200".to_owned(), "the page".to_owned()));
    for path in ["/.env", "/%2eenv", "/../outside.txt", "/%2e%2e/outside.txt", "/nothing"] {
        assert_eq!(get(path, allowed).0, "404", "{path}");
    }
    let listed = world.jlist();
    let server =
        listed.iter().find(|app| app["name"] == format!("static-page-server-{port}")).expect("an app");
    assert!(!server["pm2_env"]["args"].to_string().contains("s3cret"), "not where others see it");
    assert!(std::net::TcpStream::connect(("127.0.0.2", port)).is_err(), "one address of this machine alone");

    assert!(world.run("sysinfos").ok().json()["memory"]["total"].is_u64());
    let report = world.run("report").ok().out;
    assert!(report.contains("app: ears/0 online") && !report.contains("s3cret"), "{report}");
}

// ---- defects of pm2 that wpm has not -------------------------------------------------------------

#[test]
fn an_app_that_is_not_restarted_is_not_waiting() {
    let world = World::new();
    programs(&world);
    let link = Pm2::link(&world);
    link.run("start bad.js --no-autorestart --restart-delay 100").ok();
    let list = link.list();
    assert_eq!(list[0]["pm2_env"]["status"], "stopped", "pm2: waiting restart, for ever");
}

#[test]
fn a_stop_code_of_zero_counts_and_autostart_false_can_be_started() {
    let world = World::new();
    programs(&world);
    write(&world, "zero.json", r#"{"apps": [{"name": "zero", "script": "zero.js", "stop_exit_codes": 0}]}"#);
    write(&world, "zero.js", "");
    write(&world, "later.json", r#"{"apps": [{"name": "later", "script": "app.js", "autostart": false}]}"#);
    let link = Pm2::link(&world);
    link.run("start zero.json").ok();
    assert_eq!(link.list()[0]["pm2_env"]["status"], "stopped");
    assert_eq!(link.list()[0]["pm2_env"]["restart_time"], 0);
    link.run("start later.json").ok();
    link.run("start later").ok();
    let later = link.list().into_iter().find(|entry| entry["name"] == "later").expect("listed");
    assert_eq!(later["pm2_env"]["status"], "online");
}

#[test]
fn a_file_takes_effect_whole_and_nothing_sticks() {
    let world = World::new();
    let program = crate::world::puppet();
    let file = |args: &str, env: &str| {
        let app = format!(
            r#"{{"apps": [{{"name": "test", "script": "{}", "interpreter": "none", "args": "{args}",
                "env": {{"test": "mine"}}, "env_production": {{"MODE": "production"}} {env} }}]}}"#,
            program.display()
        );
        write(&world, "app.json", &app);
    };
    let link = Pm2::link(&world);
    file("one", "");
    link.run("start app.json --env production").ok();
    let mut app = world.puppet();
    assert_eq!(app.tell("env test"), "env mine", "pm2 puts an object under the app's own name");
    assert_eq!(app.tell("env MODE"), "env production");
    file("two", r#", "cwd": "/", "instances": 2"#);
    link.run("restart app.json").ok();
    let mut apps = [world.puppet(), world.puppet()];
    for app in &mut apps {
        assert_eq!(app.tell("args"), r#"args ["two"]"#);
        assert_eq!(app.tell("cwd"), "cwd /");
        assert_eq!(app.tell("env MODE"), "env (unset)");
    }
    link.run("scale test -1").ok();
    assert_eq!(link.list().len(), 1);
}

#[test]
fn a_reload_that_fails_is_told_and_leaves_the_old_one() {
    let world = World::new();
    // It listens: so has the next one to, however long it takes until it ends.
    write(&world, "web.js", "require('http').createServer().listen(0)");
    let link = Pm2::link(&world);
    link.run("start web.js -i 2").ok();
    let before = link.run("pid web").ok().out;
    write(&world, "web.js", "process.exit(1)");
    link.run("reload web").fails(1);
    assert_eq!(link.run("pid web").ok().out, before, "pm2: both gone, exit code 0");
}

#[test]
fn a_reader_that_leaves_ends_the_logs_quietly_and_pipes_get_no_colours() {
    let world = World::new();
    let link = Pm2::link(&world);
    write(&world, "talk.sh", "while echo hello; do :; done");
    link.run("start talk.sh --name talk --log-max-size 1M").ok();
    await_text(&world.home().join("logs/talk-out.log"), "hello");
    let mut logs = link.command(&["logs", "talk"]);
    let mut logs = logs.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut first = [0; 64];
    let mut out = logs.stdout.take().expect("a pipe");
    std::io::Read::read_exact(&mut out, &mut first).expect("lines");
    drop(out);
    let ended = logs.wait_with_output().expect("ends");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert!(!link.run("list").ok().out.contains('\u{1b}'));
}
