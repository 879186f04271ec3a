//! `wpm config`, `wpm init`: app files before they are used.

use crate::world::World;

#[test]
fn everything_that_is_wrong_is_shown_in_its_place() {
    let world = World::new();
    let write = |text: &str| std::fs::write(world.dir.path().join("wpm.toml"), text).expect("written");
    write(
        "[[apps]]\nname = 'web'\nscript = 'sleep'\ninstnaces = 2\nmax_memory_restart = '300Q'\n\n\
         [[apps]]\nname = 'job'\nscript = 'sleep'\nschedule = '61 * * * *'\n\n\
         [[apps]]\nname = 'worker'\nscript = 'nowhere.py'\nwacth = true\n",
    );
    let said = world.run("config check").fails(6);
    for text in [
        "error[E022]: `instnaces` means nothing in an app file",
        "wpm.toml:4:1",
        "help: did you mean `instances`?",
        "5 | max_memory_restart = '300Q'\n  |                      ^^^^^^",
        "invalid cron rule `61 * * * *` of `job`",
        "wpm.toml:10:12",
        "cannot start `nowhere.py`",
        "wpm.toml:14:10",
        "5 errors",
    ] {
        assert!(said.err.contains(text), "{text:?} is not in\n{}", said.err);
    }
    let listed = world.run("config check wpm.toml --json").fails(6).json();
    assert_eq!(listed["errors"].as_array().expect("a list").len(), 5);
    assert_eq!((&listed["errors"][0]["line"], &listed["errors"][0]["column"]), (&4.into(), &1.into()));
    write("[[apps]]\nname = 'web'\nscript = 'sleep'\nargs = '9'\n");
    assert!(world.run("config check").ok().err.contains("one app, nothing is wrong"));
    assert!(!world.home().exists(), "no daemon was needed");
    assert_eq!(world.run("config schema").ok().json()["title"], "App file of wpm");
}

#[test]
fn what_only_the_daemon_finds_is_shown_in_its_place() {
    let world = World::new();
    let write = |text: &str| std::fs::write(world.dir.path().join("apps.yaml"), text).expect("written");
    write(
        "apps:\n  - {name: web, script: sleep, args: '99'}\n  - {name: job, script: sleep, cron_restart: '61 * * * *'}\n",
    );
    for verb in ["start", "restart", "reload", "apply"] {
        let said = world.run(&format!("{verb} apps.yaml")).fails(6);
        assert!(
            said.err.contains("error[E006]: invalid cron rule `61 * * * *` of `job`"),
            "{verb}: {}",
            said.err
        );
        assert!(said.err.contains("apps.yaml:3:46") && said.err.contains("^^^^^^"), "{verb}: {}", said.err);
    }
    write(
        "apps:\n  - {name: a, script: sleep, depends_on: [b]}\n  - {name: b, script: sleep, depends_on: [a]}\n",
    );
    let said = world.run("start apps.yaml").fails(6);
    assert!(said.err.contains("these wait for each other: a → b → a"), "{}", said.err);
    assert!(said.err.contains("apps.yaml:2:"), "{}", said.err);
    write(
        "apps:\n  - {name: a, script: sleep, depends_on: [b]}\n  - {name: b, script: sleep, depends_on: {a: healty}}\n",
    );
    let said = world.run("start apps.yaml").fails(6);
    assert!(
        said.err.contains("invalid `depends_on` of `b`") && said.err.contains("apps.yaml:3:"),
        "{}",
        said.err
    );
    write("apps:\n  - {name: web, script: nowhere.py}\n  - {name: b, script: sleep, cwd: nowhere}\n");
    let said = world.run("start apps.yaml").fails(1);
    assert!(said.err.contains("apps.yaml:2:25"), "{}", said.err);
    let said = world.run("start apps.yaml --only b").fails(1);
    assert!(said.err.contains("apps.yaml:3:35"), "{}", said.err);
    assert!(world.jlist().is_empty(), "nothing was started");
}

#[test]
fn a_first_file_is_written_and_never_over_another() {
    let world = World::new();
    std::fs::write(world.dir.path().join("main.py"), "import signal\nsignal.pause()\n").expect("written");
    world.run("init").ok();
    let text = std::fs::read_to_string(world.dir.path().join("wpm.toml")).expect("written");
    assert!(text.contains("script = \"main.py\"\n"), "{text}");
    world.run("config check").ok();
    world.run("start").ok();
    assert_eq!(world.statuses(), ["online"]);
    let said = world.run("init").fails(1);
    assert!(said.err.contains("File exists"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(world.dir.path().join("wpm.toml")).expect("there"), text);
    world.run("ecosystem").ok();
    world.run("config check ecosystem.config.js").ok();
    world.run("ecosystem").fails(1);
}
