//! An app's environment: made anew from its sources, and nothing sticks.

use serde_json::Value;

use crate::world::World;

/// Variables of the first app, those of these tests alone.
fn variables(world: &World) -> Vec<String> {
    let all = world.jlist()[0]["pm2_env"]["env"].as_object().expect("variables").clone();
    let own = all.iter().filter(|(name, _)| name.starts_with("X_"));
    own.map(|(name, value)| format!("{name}={}", value.as_str().expect("text"))).collect()
}

#[test]
fn leaving_an_environment_leaves_nothing_of_it() {
    let world = World::new();
    let write = |name: &str, text: &str| std::fs::write(world.dir.path().join(name), text).expect("written");
    let file = "[[apps]]\nname = 'web'\nscript = 'sleep'\nargs = '1000'\nenv = { X_MODE = 'dev' }\nenv_file = '.env'\n\
                env_production = { X_MODE = 'production', X_CACHE = 'on' }\n";
    write("wpm.toml", file);
    write(".env", "X_DB=one\nX_OLD=1\n");
    world.run("start wpm.toml --env production").ok();
    assert_eq!(variables(&world), ["X_CACHE=on", "X_DB=one", "X_MODE=production", "X_OLD=1"]);

    // By name the choice stays, and its files are read anew.
    write(".env", "X_DB=two\n");
    world.run("restart web").ok();
    assert_eq!(variables(&world), ["X_CACHE=on", "X_DB=two", "X_MODE=production"]);
    world.run("stop web").ok();
    write(".env", "X_DB=three\n");
    world.run("start web").ok();
    assert_eq!(variables(&world), ["X_CACHE=on", "X_DB=three", "X_MODE=production"]);
    std::fs::remove_file(world.dir.path().join(".env")).expect("removed");
    let said = world.run("restart web").fails(6);
    assert!(said.err.contains("cannot read the env_file"), "{}", said.err);

    write(".env", "X_DB=three\n");
    world.run("restart wpm.toml").ok();
    assert_eq!(variables(&world), ["X_DB=three", "X_MODE=dev"]);
}

#[test]
fn an_update_takes_the_callers_environment_and_nothing_else() {
    let world = World::new();
    let run = |args: &str, variables: &[(&str, &str)]| {
        let command = world.command(args.split_whitespace()).envs(variables.iter().copied()).output();
        assert!(command.expect("wpm runs").status.success(), "{args}");
    };
    run(
        "start sleep --name web --filter-env SECRET --set-env X_OWN=mine -- 1000",
        &[("X_A", "1"), ("X_OWN", "theirs")],
    );
    assert_eq!(variables(&world), ["X_A=1", "X_OWN=mine"]);
    run("restart web", &[("X_B", "2")]);
    assert_eq!(variables(&world), ["X_A=1", "X_OWN=mine"]);
    run("restart web --update-env", &[("X_B", "2"), ("X_SECRET", "s"), ("X_OWN", "theirs")]);
    assert_eq!(variables(&world), ["X_B=2", "X_OWN=mine"]);
}

#[test]
fn the_difference_is_shown_without_its_secrets() {
    let world = World::new();
    let write = |text: &str| std::fs::write(world.dir.path().join("wpm.toml"), text).expect("written");
    let file = "[[apps]]\nname = 'web'\nscript = 'sleep'\nargs = '1000'\n";
    write(&format!("{file}env = {{ X_TOKEN = 's3cret', X_GONE = 'x' }}\n"));
    world.run("start wpm.toml").ok();
    let said = world.run("env web --diff").ok();
    assert!(said.out.is_empty() && said.err.contains("would change nothing"), "{said:?}");
    write(&format!("{file}env = {{ X_TOKEN = 's3cret2', X_NEW = 'y' }}\n"));
    let said = world.run("env web --diff").ok();
    assert_eq!(said.out, "- X_GONE=••••••\n+ X_NEW=••••••\n~ X_TOKEN=•••••• → ••••••\n");
    assert!(said.err.contains("wpm restart ") && said.err.contains("wpm.toml"), "{}", said.err);
    let said = world.run("env web --diff --values --json").ok().json();
    assert_eq!(said["differences"]["X_TOKEN"]["would_get"], "s3cret2");
    assert_eq!(said["differences"]["X_NEW"]["has"], Value::Null);
}
