//! What users name, in temporary folders with a PATH of their own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wpm_proto::ExitCode;
use wpm_proto::app::AppSpec;

use super::*;
use crate::failure::Failure;
use crate::options::{AppOptions, EnvFilter};

struct Place {
    dir: tempfile::TempDir,
    caller: Caller,
}

impl Place {
    /// A folder with `bin`, whose programs are empty but executable.
    fn new(programs: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let place = Self {
            caller: Caller {
                cwd: dir.path().to_owned(),
                env: BTreeMap::from([
                    ("PATH".into(), dir.path().join("bin").display().to_string()),
                    ("SECRET_KEY".into(), "x".into()),
                    ("LANG".into(), "C".into()),
                ]),
                username: "ann".into(),
                cpus: 4,
            },
            dir,
        };
        for program in programs {
            place.write(&format!("bin/{program}"), "\u{7f}ELF", 0o755);
        }
        place
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.path(name);
        fs::create_dir_all(Path::new(&path).parent().expect("a folder")).expect("created");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        path
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn start(&self, script: &str) -> Result<AppSpec, Failure> {
        self.start_with(script, AppOptions::default())
    }

    fn start_with(&self, script: &str, options: AppOptions) -> Result<AppSpec, Failure> {
        let options = AppOptions { script: Some(script.into()), ..options };
        resolve(options, self.dir.path(), &self.caller)
    }
}

fn said(failure: &Failure) -> String {
    anstream::adapter::strip_str(&failure.render(&[])).to_string()
}

#[test]
fn files_are_run_by_their_extension() {
    let place = Place::new(&["node", "python3", "bash"]);
    for (name, interpreter) in
        [("a.js", "node"), ("a.mjs", "node"), ("a.ts", "node"), ("a.py", "python3"), ("a.sh", "bash")]
    {
        let path = place.write(name, "", 0o644);
        let spec = place.start(name).expect(name);
        assert_eq!((spec.script, spec.interpreter.as_deref()), (path, Some(interpreter)), "{name}");
        assert_eq!(spec.name, "a");
        assert_eq!(spec.cwd, place.path("").trim_end_matches('/'));
    }
    let python = place.start("a.py").expect("python");
    assert_eq!(python.env["PYTHONUNBUFFERED"], "1");
    assert!(!place.start("a.js").expect("node").env.contains_key("PYTHONUNBUFFERED"));
}

#[test]
fn names_keep_all_but_the_last_extension() {
    let place = Place::new(&["node"]);
    place.write("api.v2.js", "", 0o644);
    assert_eq!(place.start("./api.v2.js").expect("there").name, "api.v2");
}

#[test]
fn binaries_and_commands_need_no_interpreter() {
    let place = Place::new(&["redis-server"]);
    place.write("server", "\u{7f}ELF", 0o755);
    let spec = place.start("server").expect("a binary");
    assert_eq!((spec.interpreter, spec.shell), (None, false));
    let spec = place.start("redis-server").expect("on PATH");
    assert_eq!((spec.script, spec.name.as_str()), (place.path("bin/redis-server"), "redis-server"));
    place.write("data", "\u{7f}ELF", 0o644);
    assert!(said(&place.start("data").expect_err("no permission")).contains("chmod +x"));
}

#[test]
fn a_folder_is_started_within_itself() {
    let place = Place::new(&["node"]);
    place.write("shop/main", "\u{7f}ELF", 0o755);
    let spec = place.start("shop").expect("its main");
    assert_eq!((spec.name.as_str(), spec.cwd), ("shop", place.path("shop")));
    assert_eq!(spec.script, place.path("shop/main"));
    place.write("web/package.json", r#"{"main": "lib/server.js", "version": "1.4.2"}"#, 0o644);
    place.write("web/lib/server.js", "", 0o644);
    let spec = place.start("./web/").expect("its package");
    assert_eq!((spec.name.as_str(), spec.version.as_deref()), ("web", Some("1.4.2")));
    assert_eq!(spec.interpreter.as_deref(), Some("node"));
    fs::create_dir(place.path("empty")).expect("created");
    let text = said(&place.start("empty").expect_err("nothing"));
    assert!(
        text.contains("`main.js`") && text.contains("`package.json`") && text.contains("`index.js`"),
        "{text}"
    );
}

#[test]
fn a_command_line_is_run_by_the_shell() {
    let place = Place::new(&["bash"]);
    let options = AppOptions { args: Some(vec!["a b".into(), "c".into()]), ..AppOptions::default() };
    let spec = place.start_with("echo hello", options).expect("a line");
    assert!(spec.shell);
    assert_eq!((spec.script.as_str(), spec.name.as_str()), ("echo hello 'a b' c", "echo hello"));
    assert_eq!((spec.interpreter.as_deref(), spec.args.len()), (Some("bash"), 0));
    let without_bash = Place::new(&["sh"]);
    assert_eq!(without_bash.start("echo hello").expect("a line").interpreter.as_deref(), Some("sh"));
    let spaces = place.write("my app.sh", "", 0o644);
    assert_eq!(place.start("my app.sh").expect("a file").script, spaces);
}

#[test]
fn what_is_not_there_is_said_with_where_it_was_looked_for() {
    let place = Place::new(&[]);
    let failure = place.start("nosuch").expect_err("nothing");
    assert_eq!(failure.exit, ExitCode::Failed);
    let text = said(&failure);
    assert!(text.contains(&place.path("nosuch")) && text.contains("PATH"), "{text}");
    place.write("a.rb", "", 0o644);
    let text = said(&place.start("a.rb").expect_err("no ruby"));
    assert!(text.starts_with("error[E011]") && text.contains("`ruby`"), "{text}");
}

#[test]
fn a_file_whose_name_was_mistyped_is_offered() {
    let place = Place::new(&[]);
    place.write("server.js", "", 0o644);
    let text = said(&place.start("sevrer.js").expect_err("nothing"));
    assert!(text.contains("did you mean `server.js`?"), "{text}");
    let text = said(&place.start("./sevrer.js").expect_err("nothing"));
    assert!(text.contains("did you mean `./server.js`?"), "{text}");
    let text = said(&place.start("other").expect_err("nothing"));
    assert!(!text.contains("did you mean"), "{text}");
}

#[test]
fn what_is_no_file_is_refused_without_being_opened() {
    let place = Place::new(&[]);
    let fifo = place.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("made");
    let text = said(&place.start("pipe").expect_err("nothing"));
    assert!(text.contains("is a device, pipe or socket"), "{text}");
    for empty in ["", "  "] {
        assert_eq!(place.start(empty).expect_err("nothing").exit, ExitCode::Usage);
    }
}

#[test]
fn the_interpreter_can_be_chosen() {
    let place = Place::new(&["node", "deno"]);
    place.write("a.js", "", 0o644);
    let by = |interpreter: &str| {
        let options = AppOptions { interpreter: Some(interpreter.into()), ..AppOptions::default() };
        place.start_with("a.js", options)
    };
    assert_eq!(by("deno").expect("there").interpreter.as_deref(), Some("deno"));
    assert_eq!(by("none").expect("itself").interpreter, None);
    assert_eq!(by("./bin/deno").expect("a path").interpreter, Some(place.path("bin/deno")));
    assert!(by("./bin/nosuch").is_err() && by("nosuch").is_err());
}

#[test]
fn instances_make_a_cluster_of_javascript_alone() {
    let place = Place::new(&["node", "python3"]);
    place.write("a.js", "", 0o644);
    place.write("a.py", "", 0o644);
    let with = |script: &str, instances: &str| {
        let options = AppOptions { instances: Some(instances.into()), ..AppOptions::default() };
        place.start_with(script, options).map(|spec| (spec.instances, spec.instances_asked, spec.cluster))
    };
    assert_eq!(with("a.js", "max").expect("four"), (4, true, true));
    assert_eq!(with("a.py", "-1").expect("three"), (3, true, false));
    assert_eq!(with("a.js", "1").expect("one"), (1, true, true));
    let plain = place.start("a.js").expect("one");
    assert_eq!((plain.instances, plain.instances_asked, plain.cluster), (1, false, false));
    assert!(with("a.js", "many").is_err());
}

#[test]
fn the_environment_is_the_callers_with_the_apps_over_it() {
    let place = Place::new(&["node"]);
    place.write("a.js", "", 0o644);
    let options = AppOptions {
        env: Some(BTreeMap::from([("LANG".into(), "de".into())])),
        filter_env: Some(EnvFilter::Containing(vec!["SECRET".into()])),
        ..AppOptions::default()
    };
    let spec = place.start_with("a.js", options).expect("there");
    assert_eq!((spec.env["LANG"].as_str(), spec.own_env), ("de", vec!["LANG".to_owned()]));
    assert!(!spec.env.contains_key("SECRET_KEY") && spec.env["PWD"] == spec.cwd);
}

#[test]
fn paths_are_seen_from_the_working_directory() {
    let place = Place::new(&["node"]);
    place.write("srv/a.js", "", 0o644);
    let options = AppOptions {
        cwd: Some("srv".into()),
        out_file: Some("logs/out.log".into()),
        error_file: Some("NULL".into()),
        log_file: Some(String::new()),
        ..AppOptions::default()
    };
    let spec = place.start_with("a.js", options.clone()).expect("seen from srv");
    assert_eq!((spec.script, spec.cwd), (place.path("srv/a.js"), place.path("srv")));
    assert_eq!(spec.out_file, Some(place.path("srv/logs/out.log")));
    assert_eq!((spec.error_file.as_deref(), spec.log_file.as_deref()), (Some("/dev/null"), Some("")));
    assert_eq!(place.start_with("srv/a.js", options).expect("seen from here").script, place.path("srv/a.js"));
    let missing = AppOptions { cwd: Some("nosuch".into()), ..AppOptions::default() };
    assert!(said(&place.start_with("a.js", missing).expect_err("no folder")).contains("working directory"));
}
