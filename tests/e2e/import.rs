//! `wpm import` beside a real pm2: its dump, its app file, its running list.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::pm2::Pm2;
use crate::world::{World, puppet};

fn import(world: &World, pm2: &Pm2, line: &str) -> crate::world::Said {
    let mut command = world.command(line.split_whitespace());
    crate::world::said(&command.env("PM2_HOME", &pm2.home).output().expect("runs"))
}

/// What counts of an app, from either list.
fn essence(list: &[Value]) -> Vec<String> {
    let mut apps: Vec<String> = list
        .iter()
        .map(|entry| {
            let env = &entry["pm2_env"];
            let args = Value::Array(env["args"].as_array().cloned().unwrap_or_default());
            let own = |key: &str| env["env"][key].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {} {} {} {} {} {} {} {} A={} B={}",
                entry["name"],
                env["namespace"],
                env["pm_exec_path"],
                env["pm_cwd"],
                args,
                env["exec_mode"],
                env["kill_timeout"],
                env["max_memory_restart"],
                env["status"],
                own("A"),
                own("B")
            )
        })
        .collect();
    apps.sort_unstable();
    apps
}

#[test]
fn what_is_imported_is_what_pm2_ran() {
    let world = World::new();
    let pm2 = Pm2::real(&world);
    let file = r"module.exports = { apps: [
        { name: 'web', script: 'app.js', instances: 2, env: { A: '1' }, max_memory_restart: '200M', kill_timeout: 900 },
        { name: 'api', script: 'app.js', args: '--port 80 x', namespace: 'shop', env: { B: 'two words' }, pmx: false,
          kill_timeout: 900, max_memory_restart: '1G' }] }";
    std::fs::write(world.dir.path().join("ecosystem.config.js"), file).expect("written");
    std::fs::write(world.dir.path().join("app.js"), "setInterval(() => {}, 1000)").expect("written");
    pm2.run("start ecosystem.config.js").ok();
    pm2.run("save").ok();
    let there = essence(&pm2.list());
    pm2.run("kill").ok();

    let said = import(&world, &pm2, "import").ok();
    assert!(said.err.contains("wrote 2 apps"), "{}", said.err);
    let written = world.dir.path().join("wpm.toml");
    assert_eq!(std::fs::metadata(&written).expect("there").permissions().mode() & 0o777, 0o600);
    world.run("start wpm.toml").ok();
    assert_eq!(essence(&world.jlist()), there, "{}", std::fs::read_to_string(&written).expect("text"));
    world.run("delete all").ok();

    let again = import(&world, &pm2, "import ecosystem.config.js").fails(1);
    assert!(again.err.contains("--force"), "{}", again.err);
    let said = import(&world, &pm2, "import ecosystem.config.js --force").ok();
    assert!(said.err.contains("`pmx` has no use in wpm"), "{}", said.err);
    world.run("start wpm.toml").ok();
    assert_eq!(essence(&world.jlist()), there);
}

#[test]
fn the_list_of_a_running_pm2_moves_app_by_app() {
    let world = World::new();
    let pm2 = Pm2::real(&world);
    let program = puppet();
    pm2.run(&format!("start {} --name good --interpreter none -- good", program.display())).ok();
    let good = world.puppet();
    // Comes up under pm2 alone.
    let script = "[ -z \"$WPM_RUN\" ] || exit 5; exec \"$0\" bad";
    std::fs::write(world.dir.path().join("bad.sh"), script.replace("$0", &program.display().to_string()))
        .expect("written");
    pm2.run("start bad.sh --name bad").ok();
    let bad = world.puppet();
    pm2.run(&format!("start {} --name rest --interpreter none", program.display())).ok();
    let rest = world.puppet();
    pm2.run("stop rest").ok();
    rest.dead();

    let said = import(&world, &pm2, "import --running").fails(8);
    assert!(said.err.contains("good: moved"), "{}", said.err);
    assert!(
        said.err.contains("exited with code 5") && said.err.contains("given back to pm2"),
        "{}",
        said.err
    );
    assert!(said.err.contains("still in pm2: bad\n") && !said.err.contains("pm2 kill"), "{}", said.err);
    good.dead();
    bad.dead();
    let mut reports = [world.puppet(), world.puppet()];
    let mut homes: Vec<String> =
        reports.iter_mut().map(|it| format!("{} {}", it.tell("args"), it.tell("env WPM_HOME"))).collect();
    homes.sort_unstable();
    assert_eq!(homes[0], r#"args ["bad"] env (unset)"#, "runs on in pm2");
    assert_eq!(homes[1], format!(r#"args ["good"] env {}"#, world.home().display()));
    assert_eq!(world.statuses(), ["online", "stopped"]);
    let left: Vec<Value> = pm2.list().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(left, ["bad"]);
    import(&world, &pm2, "import --running nosuch").fails(4);
    // What was stopped there is an app as any other here: started once, it comes back after a boot.
    world.run("start rest").ok();
    let _rest = world.puppet();
    world.run("save").ok();
    world.run("kill").ok();
    world.run("resurrect").ok();
    assert_eq!(world.statuses(), ["online", "online"]);
    pm2.run("kill").ok();
    import(&world, &pm2, "import --running").fails(1);
}
