//! App files in the shapes that pm2's users have, read by pm2 and by wpm: the same apps come of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::installed::{installed, npm};
use crate::world::World;

/// Files that both read.
const FILES: [&str; 10] = [
    "literal.config.js",
    "environment.config.js",
    "dotenv.config.cjs",
    "spread.config.js",
    "logs.config.js",
    "anchors.config.yml",
    "comments.json",
    "bare.json",
    "process.json",
    "programs.config.cjs",
];

/// The folder of the files, in a copy of this test's own.
fn files(world: &World) -> PathBuf {
    let folder = world.dir.path().join("files");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/appfiles");
    let copied = Command::new("cp").arg("-r").arg(source).arg(&folder).status().expect("cp runs");
    assert!(copied.success());
    std::os::unix::fs::symlink(modules(), folder.join("node_modules")).expect("linked");
    folder
}

/// npm's pm2 and dotenv, installed once for all test runs.
pub(crate) fn modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        installed("pm2", |folder| npm(folder, &["pm2@7.0.4", "dotenv@17"])).join("node_modules")
    })
}

/// The real pm2 on a home of its own, which ends with this.
struct Pm2<'a> {
    world: &'a World,
    folder: &'a Path,
}

impl Pm2<'_> {
    fn run(&self, args: &[&str]) -> String {
        let output = Command::new("node")
            .arg(modules().join("pm2/bin/pm2"))
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.world.dir.path())
            .env("PM2_HOME", self.world.dir.path().join("pm2"))
            .env("PM2_DISABLE_VERSION_CHECK", "true")
            .env("TOKEN", "t-1")
            .current_dir(self.folder)
            .output()
            .expect("pm2 runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Pm2<'_> {
    fn drop(&mut self) {
        self.run(&["kill"]);
    }
}

/// What of an app has to be the same, for each of its instances.
fn apps(list: &str, home: &Path) -> BTreeMap<String, Vec<Value>> {
    let list: Vec<Value> = serde_json::from_str(&list[list.find('[').expect("a list")..]).expect("JSON");
    let mut apps: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for app in list {
        let own = &app["pm2_env"];
        let env = own["env"].as_object().expect("variables").iter();
        let env: BTreeMap<&str, String> = env
            .filter(|(name, _)| name.starts_with("X_"))
            .map(|(name, value)| (name.as_str(), plain(value)))
            .collect();
        let absent = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
        let words = |key: &str| if absent(&own[key]) { json!([]) } else { own[key].clone() };
        let log = |key: &str| {
            unnumbered(own[key].as_str().unwrap_or("").replace(home.to_str().expect("utf-8"), "HOME"))
        };
        apps.entry(app["name"].as_str().expect("a name").to_owned()).or_default().push(json!({
            "script": own["pm_exec_path"], "cwd": own["pm_cwd"], "args": words("args"), "env": env,
            "node_args": words("node_args"), "out": log("pm_out_log_path"), "error": log("pm_err_log_path"),
            "mode": own["exec_mode"], "autorestart": own["autorestart"],
        }));
    }
    apps
}

/// pm2 keeps numbers and lists until it hands them on.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A log file without the number of its instance, which pm2 counts over all apps and wpm for each.
fn unnumbered(file: String) -> String {
    let stem = file.strip_suffix(".log").and_then(|stem| stem.rsplit_once('-'));
    match stem {
        Some((stem, number)) if number.chars().all(|c| c.is_ascii_digit()) => format!("{stem}-N.log"),
        _ => file,
    }
}

#[test]
fn the_same_apps_come_of_a_file_in_pm2_and_here() {
    let world = World::new();
    let folder = files(&world);
    let theirs = {
        let pm2 = Pm2 { world: &world, folder: &folder };
        pm2.run(&["start", FILES[0], "--env", "production"]);
        for file in &FILES[1..] {
            pm2.run(&["start", file]);
        }
        apps(&pm2.run(&["jlist"]), &world.dir.path().join("pm2"))
    };
    let ours = |args: &[&str]| {
        let output = world.command(args).env("TOKEN", "t-1").current_dir(&folder).output().expect("wpm runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    ours(&["start", FILES[0], "--env", "production"]);
    let others: Vec<&str> = std::iter::once("start").chain(FILES[1..].iter().copied()).collect();
    ours(&others);
    let ours = apps(&ours(&["jlist"]), &world.home());
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, instances) in &ours {
        assert_eq!(instances, &theirs[name], "{name}: wpm has the left one, pm2 the right one");
    }
}

#[test]
fn a_modern_file_is_read_too() {
    let world = World::new();
    let folder = files(&world);
    world.command(["start", "modern.config.mjs"]).current_dir(&folder).output().expect("wpm runs");
    let list = world.run("jlist").ok().json();
    assert_eq!(list[0]["pm2_env"]["env"]["X_VERSION"], "1.2.3");
}

#[test]
fn a_file_that_cannot_be_run_says_why() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.dir.path().join(name), text).expect("written");
    write("throws.config.js", "throw new Error('no database today')");
    let said = world.run("start throws.config.js").fails(6);
    assert!(said.err.contains("throws.config.js") && said.err.contains("no database today"), "{}", said.err);
    write("nothing.config.js", "process.exit(0)");
    let said = world.run("start nothing.config.js").fails(6);
    assert!(said.err.contains("it ended before it had exported anything"), "{}", said.err);
    let alone =
        world.command(["start", "throws.config.js"]).env("PATH", "/nonexistent").output().expect("runs");
    assert!(String::from_utf8_lossy(&alone.stderr).contains("neither node nor bun is on PATH"));
}

#[test]
fn variables_come_from_files_and_procfiles() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.dir.path().join(name), text).expect("written");
    write(".env", "X_A=1\nX_B='two words'\n# X_C=3\n");
    write("own.env", "export X_B=own\nX_D=\"4\"\n");
    write("Procfile", "one: sleep 1000\ntwo: exec sleep 1000\n");
    world.run("start").ok();
    let list = world.run("jlist").ok().json();
    assert_eq!(list[0]["name"], "one");
    assert_eq!(list[1]["pm2_env"]["env"]["X_B"], "two words");
    world.run("start sleep --name three --env-file .env --env-file own.env --set-env X_D=5 -- 1000").ok();
    let env = &world.run("jlist").ok().json()[2]["pm2_env"]["env"];
    assert_eq!((&env["X_A"], &env["X_B"], &env["X_D"]), (&json!("1"), &json!("own"), &json!("5")));
    let said = world.run("start sleep --name four --env-file missing.env -- 1000").fails(6);
    assert!(said.err.contains("missing.env"), "{}", said.err);
}
