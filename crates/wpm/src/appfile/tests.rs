//! App files as users write them.

use super::*;
use crate::options::EnvFilter;
use wpm_proto::ExitCode;

/// What a text says.
#[derive(Debug)]
struct Said {
    apps: Vec<AppOptions>,
    notes: Vec<String>,
}

fn from_text(text: &str, notation: Data, shown: &str, choice: &Choice) -> Result<Said, Failure> {
    let mut document = Document::read(parse::data(text, notation, shown)?, text, shown, choice)?;
    let apps = document.take_apps()?.into_iter().map(|(_, app)| app).collect();
    Ok(Said { apps, notes: document.notes })
}

fn read_json(text: &str, choice: &Choice) -> Result<Said, Failure> {
    from_text(text, Data::Json, "apps.json", choice)
}

fn plain(failure: &Failure) -> String {
    anstream::adapter::strip_str(&failure.render(&[])).to_string()
}

#[test]
fn pm2s_json_with_comments() {
    let file = read_json(
        "// a comment\n{ apps: [{ name: 'web', script: './app.js', instances: 'max', execMode: 'cluster',\n\
         env: { A: 1, B: 'x' }, env_production: { B: 'y' }, max_memory_restart: '300M', time: true,\n\
         stop_exit_codes: [0], vizion: false, args: '--port 80', filter_env: ['SECRET'], port: 3000, }] }",
        &Choice { env: Some("production".into()), only: Vec::new() },
    )
    .expect("read");
    let app = &file.apps[0];
    assert_eq!(app.name.as_deref(), Some("web"));
    assert_eq!((app.instances.as_deref(), app.cluster), (Some("max"), Some(true)));
    let env = app.env.as_ref().expect("variables");
    assert_eq!((env["A"].as_str(), env["B"].as_str(), env["PORT"].as_str()), ("1", "y", "3000"));
    assert_eq!(app.max_memory_restart, Some(300 << 20));
    assert_eq!(app.log_date_format.as_deref(), Some(crate::options::TIME_FORMAT));
    assert_eq!(app.stop_exit_codes, Some(vec![0]));
    assert_eq!(app.args, Some(vec!["--port".into(), "80".into()]));
    assert_eq!(app.filter_env, Some(EnvFilter::Containing(vec!["SECRET".into()])));
    assert_eq!(app.extra.as_ref().expect("kept")["vizion"], "false");
    assert!(file.notes.is_empty());
}

#[test]
fn toml_by_list_and_by_name() {
    let read = |text: &str| {
        let file = from_text(text, Data::Toml, "wpm.toml", &Choice::default());
        file.map(|file| file.apps.iter().map(|app| app.name.clone().expect("a name")).collect::<Vec<_>>())
    };
    let list = read(
        "[[apps]]\nname = 'a'\nscript = 'a.js'\n[[apps]]\nname = 'b'\nscript = 'b'\nkill_timeout = '3s'\n",
    );
    assert_eq!(list.expect("read"), ["a", "b"]);
    assert_eq!(
        read("[apps.web]\nscript = 'web.py'\n[apps.job]\nscript = 'job'\n").expect("read"),
        ["web", "job"]
    );
    assert_eq!(read("name = 'one'\nscript = 'one.sh'\n").expect("read"), ["one"]);
}

#[test]
fn yaml_with_anchors_and_merged_keys() {
    let text = "defaults: &defaults\n  autorestart: false\n  env: {A: 1}\n";
    let apps = "apps:\n  - <<: &base\n      autorestart: false\n      env: {A: 1}\n    name: web\n    script: web.js\n  \
                - <<: *base\n    name: worker\n    script: worker.py\n    env: {A: 2, B: yes}\n";
    let file = from_text(apps, Data::Yaml, "apps.yml", &Choice::default()).expect("read");
    let names: Vec<_> = file.apps.iter().map(|app| app.name.as_deref().expect("a name")).collect();
    assert_eq!(names, ["web", "worker"]);
    assert!(file.apps.iter().all(|app| app.autorestart == Some(false)));
    assert_eq!(file.apps[1].env.as_ref().expect("variables")["A"], "2");
    let beside = format!("{text}apps:\n  - <<: *defaults\n    script: a\n");
    let wrong = from_text(&beside, Data::Yaml, "apps.yml", &Choice::default());
    assert!(plain(&wrong.expect_err("not a key")).contains("x-"), "says how to name it");
    let beside = beside.replace("defaults: &", "x-defaults: &");
    let file = from_text(&beside, Data::Yaml, "apps.yml", &Choice::default()).expect("read");
    assert_eq!(file.apps[0].autorestart, Some(false));
    let broken = from_text("apps:\n  - name: [a\n", Data::Yaml, "apps.yml", &Choice::default());
    assert!(plain(&broken.expect_err("broken")).contains("apps.yml:"));
}

#[test]
fn one_app_a_list_and_only_some() {
    assert_eq!(read_json("{script: 'a'}", &Choice::default()).expect("one").apps.len(), 1);
    let list = "[{name:'a',script:'a'},{name:'b',script:'b'}]";
    assert_eq!(read_json(list, &Choice::default()).expect("two").apps.len(), 2);
    let only = Choice { only: vec!["b".into()], ..Choice::default() };
    assert_eq!(read_json(list, &only).expect("one").apps[0].name.as_deref(), Some("b"));
    let none = Choice { only: vec!["c".into()], ..Choice::default() };
    assert!(plain(&read_json(list, &none).expect_err("none")).contains("it has: a, b"));
}

#[test]
fn an_unknown_key_is_shown_with_its_line() {
    let failure = read_json("{\n  apps: [{\n    script: 'a',\n    instnaces: 2\n  }]\n}", &Choice::default());
    let failure = failure.expect_err("unknown");
    assert_eq!(failure.exit, ExitCode::Configuration);
    assert_eq!(
        plain(&failure),
        "error[E022]: `instnaces` means nothing in an app file\n --> apps.json:4:5\n  |\n4 |     instnaces: 2\n  |     ^^^^^^^^^\n  |\n  \
         = help: did you mean `instances`?"
    );
}

#[test]
fn a_wrong_value_is_shown_with_its_line() {
    let text = "[[apps]]\nscript = 'a'\nmax_memory_restart = \"300Q\"\n";
    let failure = from_text(text, Data::Toml, "wpm.toml", &Choice::default());
    let shown = plain(&failure.expect_err("wrong"));
    assert!(
        shown.starts_with("error[E021]: invalid value for `max_memory_restart`: `300Q` is not a size"),
        "{shown}"
    );
    assert!(shown.contains("--> wpm.toml:3:22\n") && shown.contains("^^^^^^"), "{shown}");
}

#[test]
fn broken_files_say_where() {
    for text in ["{ apps: [", "{}", "3", "{apps: 3}", "[3]", "{apps: [], colour: 1}"] {
        let failure = read_json(text, &Choice::default()).expect_err(text);
        assert!(plain(&failure).contains("apps.json"), "{}", plain(&failure));
    }
    let failure = from_text("a = = 1", Data::Toml, "w.toml", &Choice::default());
    assert!(plain(&failure.expect_err("broken")).contains("--> w.toml:1:5"));
    let missing =
        read("/nonexistent/apps.json", &Caller::of_this_process().expect("a caller"), &Choice::default())
            .expect_err("missing");
    assert!(plain(&missing).contains("/nonexistent/apps.json"));
}

#[test]
fn an_environment_that_nobody_has_is_mentioned() {
    let choice = Choice { env: Some("test".into()), ..Choice::default() };
    let file = read_json("{script: 'a', env_production: {A: 1}}", &choice).expect("read");
    assert_eq!(file.notes, ["no app of apps.json has an `env_test`"]);
    assert_eq!(file.apps[0].env, None);
}

#[test]
fn app_files_are_told_from_scripts() {
    assert!(is_app_file("apps.json") && is_app_file("/srv/wpm.toml") && is_app_file("ecosystem.config.js"));
    assert!(!is_app_file("app.js") && !is_app_file("node x.json y"));
}

/// Pieces of which app files are made, and what does not belong there.
fn some_text() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"apps\"",
        "apps",
        "name",
        "script",
        "instances",
        "env",
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        "99999999999999999999",
        "'",
        "\"",
        "\n",
        "  ",
        "- ",
        "&a ",
        "*a",
        "<<: *a",
        "#",
        "=",
        "[[apps]]",
        "web: ",
        "\\u0000",
        "\u{0}",
        "\u{1b}",
        "😀",
        "!!binary ",
        "|\n",
        "...",
        "---\n",
        "300M",
        "max",
        "3s",
        "a.js",
        "//",
        "/*",
    ];
    let piece =
        prop_oneof![8 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,6}"];
    prop::collection::vec(piece, 0..60).prop_map(|parts| parts.concat())
}

proptest::proptest! {
    /// Every notation gives apps or a sentence, and no sentence drives a terminal.
    #[test]
    fn any_text_is_apps_or_a_clear_refusal(text in some_text()) {
        for (notation, shown) in
            [(Data::Json, "a.json"), (Data::Toml, "a.toml"), (Data::Yaml, "a.yaml"), (Data::Yaml, "\u{1b}[2J.yaml")]
        {
            if let Err(failure) = from_text(&text, notation, shown, &Choice::default()) {
                let said = plain(&failure);
                proptest::prop_assert!(!said.trim().is_empty());
                let harmful = |c: char| c.is_control() && c != '\n';
                proptest::prop_assert!(!said.contains(harmful), "{:?}", said);
            }
        }
    }
}

/// The keys of pm2 7, with their other names.
const PM2_KEYS: [&str; 86] = [
    "script",
    "exec",
    "cmd",
    "command",
    "name",
    "namespace",
    "cwd",
    "args",
    "interpreter",
    "exec_interpreter",
    "node_args",
    "interpreter_args",
    "exec_mode",
    "instances",
    "env",
    "filter_env",
    "port",
    "instance_var",
    "increment_var",
    "append_env_to_name",
    "out_file",
    "out",
    "output",
    "out_log",
    "error_file",
    "error",
    "err",
    "err_file",
    "err_log",
    "log_file",
    "log",
    "pid_file",
    "pid",
    "merge_logs",
    "combine_logs",
    "disable_logs",
    "log_type",
    "log_date_format",
    "time",
    "autorestart",
    "autostart",
    "stop_exit_codes",
    "min_uptime",
    "max_restarts",
    "restart_delay",
    "exp_backoff_restart_delay",
    "max_memory_restart",
    "kill_timeout",
    "kill_retry_time",
    "shutdown_with_message",
    "treekill",
    "wait_ready",
    "listen_timeout",
    "cron_restart",
    "cron",
    "watch",
    "ignore_watch",
    "watch_delay",
    "watch_options",
    "uid",
    "user",
    "gid",
    "force",
    "execute_command",
    "write",
    "name_prefix",
    "install_url",
    "username",
    "source_map_support",
    "disable_source_map_support",
    "vizion",
    "pmx",
    "automation",
    "trace",
    "disable_trace",
    "v8",
    "event_loop_inspector",
    "deep_monitoring",
    "post_update",
    "io",
    "windowsHide",
    "env_production",
    "env_staging",
    "execMode",
    "maxMemoryRestart",
    "nodeArgs",
];

#[test]
fn every_key_of_pm2_is_known() {
    for key in PM2_KEYS {
        let file = read_json(&format!("{{ script: 'a', {key}: null }}"), &Choice::default());
        assert!(file.is_ok(), "{key}");
        // A wrong value is one thing, a key that means nothing another.
        let known = keys::canonical(key).is_some() || keys::is_kept(key) || key.starts_with("env_");
        assert!(known, "{key} means nothing");
        let table = format!("{{ script: 'a', {key}: {{ x: {{}} }} }}");
        if let Err(failure) = read_json(&table, &Choice::default()) {
            assert!(!failure.is(crate::failure::Code::UnknownKey), "{key}");
        }
    }
}
