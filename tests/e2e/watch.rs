//! `--watch`: what restarts an app, and what does not.

use std::path::Path;

use crate::world::{World, await_text};

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    std::fs::write(path, text).expect("written");
}

#[test]
fn a_change_restarts_and_is_shown() {
    let world = World::new();
    let source = world.dir.path().join("source");
    write(&source.join("node_modules/a/index.js"), "1");
    write(&source.join("server.js"), "1");
    write(&source.join(".gitignore"), "*.tmp\n");
    let options = format!(
        "--watch={} --ignore-watch dist --watch-delay 50ms --output {}/own.log",
        source.display(),
        source.display()
    );
    let mut first = world.start("web", &options, 1).pop().expect("one");
    await_text(&world.home().join("daemon.log"), "\"web\": 1 folders are watched");

    // None of these counts: the change after them is the one that is named.
    write(&source.join("node_modules/a/index.js"), "2");
    write(&source.join("dist/bundle.js"), "2");
    write(&source.join("draft.tmp"), "2");
    write(&source.join(".hidden"), "2");
    assert_eq!(first.tell("print out words"), "done");
    await_text(&source.join("own.log"), "words");
    write(&source.join("server.js"), "2");
    first.dead();
    let second = world.puppet();
    let shown = world.run("describe web").ok().out;
    assert!(shown.contains("source/server.js changed"), "{shown}");

    // A folder that comes later is watched, too.
    write(&source.join("routes/deep/shop.js"), "1");
    second.dead();
    let third = world.puppet();
    write(&source.join("routes/deep/shop.js"), "2");
    third.dead();
    let _fourth = world.puppet();
}

/// As a build does it with the folder that it writes to, and a checkout with what another branch does not have.
#[test]
fn what_is_taken_away_and_comes_back_is_watched_again() {
    let world = World::new();
    let (built, file) = (world.dir.path().join("out/built"), world.dir.path().join("etc/web.json"));
    write(&built.join("a.js"), "1");
    write(&file, "1");
    let options = format!("--watch={} --watch-delay 20ms", built.display());
    let by_folder = world.start("folder", &options, 1).remove(0);
    await_text(&world.home().join("daemon.log"), "\"folder\": 1 folders are watched");
    std::fs::remove_dir_all(&built).expect("removed");
    by_folder.dead();
    let second = world.puppet();
    write(&built.join("sub/a.js"), "2");
    second.dead();
    let third = world.puppet();
    std::fs::rename(&built, built.with_file_name("old")).expect("renamed");
    third.dead();
    let fourth = world.puppet();
    write(&built.join("sub/a.js"), "3");
    fourth.dead();
    let fifth = world.puppet();
    write(&built.join("sub/a.js"), "4");
    fifth.dead();
    let _sixth = world.puppet();

    let options = format!("--watch={} --watch-delay 20ms", file.display());
    let by_file = world.start("file", &options, 1).remove(0);
    await_text(&world.home().join("daemon.log"), "\"file\": 1 folders are watched");
    std::fs::remove_dir_all(file.parent().expect("a folder")).expect("removed");
    by_file.dead();
    let second = world.puppet();
    write(&file, "2");
    second.dead();
    let _third = world.puppet();
}

#[test]
fn an_app_that_is_not_watched_any_more_stays_so_whatever_becomes_of_others() {
    let world = World::new();
    let source = world.dir.path().join("source");
    write(&source.join("count.sh"), "date +%N > stamp\nexec sleep 1000\n");
    let start = |name: &str, more: &[&str]| {
        let mut command = world.command(["start", "count.sh", "-n", name, "--interpreter", "sh"]);
        let said = command.args(more).current_dir(&source).output().expect("wpm runs");
        assert!(said.status.success(), "{said:?}");
    };
    start("count", &["--watch", "--watch-delay", "20ms"]);
    write(&source.join("stamp"), "0");
    await_text(&world.home().join("daemon.log"), "it is not watched any more");
    start("other", &["--watch=nothing"]);
    let shown = world.run("describe count").ok().out;
    assert!(shown.contains("not watched any more as"), "{shown}");
}

#[test]
fn an_app_that_writes_what_it_is_watched_for_is_not_restarted_for_ever() {
    let world = World::new();
    let source = world.dir.path().join("source");
    write(&source.join("count.sh"), "date +%N > stamp\nexec sleep 1000\n");
    let said = world
        .command(["start", "count.sh", "--watch", "--watch-delay", "20ms", "--interpreter", "sh"])
        .current_dir(&source)
        .output()
        .expect("wpm runs");
    assert!(said.status.success(), "{said:?}");
    // The first run may have written before it was watched.
    write(&source.join("stamp"), "0");
    await_text(&world.home().join("daemon.log"), "it is not watched any more");
    assert_eq!(world.statuses(), ["online"]);
    let shown = world.run("describe count").ok().out;
    assert!(
        shown.contains("not watched any more as") && shown.contains("stamp changes too often"),
        "{shown}"
    );
    // Left out, it is watched again.
    world.run("restart count --ignore-watch stamp").ok();
    let shown = world.run("describe count").ok().out;
    assert!(!shown.contains("not watched any more"), "{shown}");
}

#[test]
fn a_restart_turns_a_watch_on_and_off() {
    let world = World::new();
    let source = world.dir.path().join("source");
    write(&source.join("server.js"), "1");
    let first = world.start("web", &format!("--cwd {} --watch-delay 20ms", source.display()), 1).remove(0);
    world.run("restart web --watch").ok();
    first.dead();
    let second = world.puppet();
    await_text(&world.home().join("daemon.log"), "\"web\": 1 folders are watched");
    write(&source.join("server.js"), "2");
    second.dead();
    let _third = world.puppet();
    world.run("restart web --watch").ok();
    let spec = world.run("describe web --json").ok().json()["apps"][0]["spec"].clone();
    assert!(spec["watch"].as_array().is_none_or(Vec::is_empty), "{spec}");
}
