//! Output: captured whole, rotated between lines, followed.

use crate::world::{World, await_entry, await_text};

#[test]
fn both_streams_are_captured_byte_for_byte() {
    let world = World::new();
    let mut p = world.start("talk", "", 1).remove(0);
    for order in ["print hello", "error oops", "bytes 300000"] {
        assert_eq!(p.tell(order), "done");
    }
    p.exit(0);
    let _again = world.puppet();
    let out = std::fs::read(world.home().join("logs/talk-out.log")).expect("a log");
    assert!(out.starts_with(b"hello\n"));
    assert_eq!(out.len(), 6 + 300_000);
    assert!(out[6..].iter().enumerate().all(|(i, b)| usize::from(*b) == i % 251));
    assert_eq!(world.read("logs/talk-error.log"), "oops\n");
}

#[test]
fn binary_output_at_full_speed_is_whole_over_rotations() {
    const BYTES: usize = 40 << 20;
    let world = World::new();
    let mut p = world.start("blob", "", 1).remove(0);
    assert_eq!(p.tell(&format!("bytes {BYTES}")), "done");
    p.exit(0);
    let _again = world.puppet();
    let mut files: Vec<_> = std::fs::read_dir(world.home().join("logs"))
        .expect("logs")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("blob-out"))
        .collect();
    // By the time in the name; the one that is written now comes last.
    files.sort_by_key(|path| (path.ends_with("blob-out.log"), path.clone()));
    assert!(files.len() > 3, "{files:?}");
    let total: u64 = files.iter().map(|file| std::fs::metadata(file).expect("there").len()).sum();
    assert_eq!(total, BYTES as u64);
}

#[test]
fn rotation_loses_no_line_and_cuts_none() {
    let world = World::new();
    let mut p = world.start("fast", "--log-max-size 100K", 1).remove(0);
    assert_eq!(p.tell("count 0 100000"), "done");
    p.exit(0);
    let _again = world.puppet();
    let mut files: Vec<_> = std::fs::read_dir(world.home().join("logs"))
        .expect("logs")
        .flatten()
        .map(|e| e.path())
        .filter(|path| path.to_string_lossy().contains("fast-out"))
        .collect();
    assert!(files.len() > 5, "{files:?}");
    let mut lines: Vec<String> = Vec::new();
    files.sort();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("text");
        assert!(text.is_empty() || text.ends_with('\n'), "{} ends within a line", file.display());
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    assert_eq!(lines.len(), 100_000);
    assert!(lines.iter().enumerate().all(|(n, line)| *line == format!("line {n:09}")));
}

#[test]
fn a_cron_rule_rotates_between_lines() {
    let world = World::new();
    let mut args = vec!["start", "--name", "clock", "--log-rotate-interval", "* * * * * *"];
    let program = crate::world::puppet();
    args.push(program.to_str().expect("utf-8"));
    world.wpm(args).ok();
    let mut p = world.puppet();
    assert_eq!(p.tell("print before"), "done");
    let logs = world.home().join("logs");
    let rotated = await_entry(&logs, |name| name.starts_with("clock-out__"));
    assert_eq!(std::fs::read_to_string(logs.join(rotated)).expect("a log"), "before\n");
    assert_eq!(p.tell("print after"), "done");
    await_text(&logs.join("clock-out.log"), "after");
    let said = world.run("logs clock --out --raw --nostream").ok();
    assert_eq!(said.out, "before\nafter\n", "what was rotated still belongs to the last lines");
    let said = world.run("logs clock --out --raw --nostream --lines 1").ok();
    assert_eq!(said.out, "after\n");
    world.wpm(["start", "/bin/true", "--name", "bad", "--log-rotate-interval", "soon"]).fails(6);
}

#[test]
fn a_home_may_have_a_rule_of_rotation_that_an_app_can_refuse() {
    let world = World::new();
    let program = crate::world::puppet();
    let start = |name: &str, options: &[&str]| {
        let mut command = world.command(["start", "--name", name]);
        command.args(options).arg(&program).env("WPM_LOG_ROTATE_INTERVAL", "* * * * * *");
        assert!(command.output().expect("runs").status.success());
        world.puppet()
    };
    let mut refusing = start("refusing", &["--log-rotate-interval", "0"]);
    assert_eq!(refusing.tell("print kept"), "done");
    let mut plain = start("plain", &[]);
    assert_eq!(plain.tell("print moved"), "done");
    let logs = world.home().join("logs");
    let _rotated = await_entry(&logs, |name| name.starts_with("plain-out__"));
    assert_eq!(world.read("logs/refusing-out.log"), "kept\n");
}

#[test]
fn times_are_put_before_lines() {
    let world = World::new();
    let mut p = world.start("timed", "--time", 1).remove(0);
    assert_eq!(p.tell("print stamped"), "done");
    let path = world.home().join("logs/timed-out.log");
    await_text(&path, "stamped");
    let text = std::fs::read_to_string(path).expect("a log");
    let (stamp, rest) = text.split_at(19);
    assert_eq!(rest, ": stamped\n");
    assert_eq!(stamp.as_bytes()[10], b'T', "{stamp}");
}

#[test]
fn logs_shows_the_last_lines_even_without_a_daemon() {
    let world = World::new();
    let mut p = world.start("tail", "", 1).remove(0);
    assert_eq!(p.tell("count 0 50"), "done");
    await_text(&world.home().join("logs/tail-out.log"), "line 000000049");
    let said = world.run("logs tail --lines 3 --nostream --raw").ok();
    assert_eq!(said.out, "line 000000047\nline 000000048\nline 000000049\n");
    world.run("save").ok();
    world.run("stop tail").ok();
    let said = world.run("logs tail --lines 1 --nostream --raw").ok();
    assert_eq!(said.out, "line 000000049\n");
}

#[test]
fn logs_of_what_is_not_there_say_so_and_fail() {
    let world = World::new();
    let _app = world.start("web", "--disable-logs", 1);
    for targets in ["wbe", "web wbe", "web/7"] {
        let said = world.run(&format!("logs {targets} --nostream")).fails(4);
        assert!(said.err.contains("error[E004]: no app or log matches `w"), "{}", said.err);
        assert!(!said.err.contains("`web`,"), "only what does not match is named: {}", said.err);
    }
    for targets in ["web", "web/0", "0", "all", "/w/", "default"] {
        world.run(&format!("logs {targets} --nostream")).ok();
    }
}

#[test]
fn nothing_but_ids_is_printed_where_that_was_asked_for() {
    let world = World::new();
    let _app = world.start("web", "-q", 1);
    let said = world.run("restart web --quiet").ok();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("0\n", ""));
}

#[test]
fn since_says_where_lines_carry_no_time() {
    let world = World::new();
    let mut bare = world.start("bare", "", 1).remove(0);
    let mut timed = world.start("timed", "--time", 1).remove(0);
    for (puppet, file) in [(&mut bare, "bare-out.log"), (&mut timed, "timed-out.log")] {
        assert_eq!(puppet.tell("print hello"), "done");
        await_text(&world.home().join("logs").join(file), "hello");
    }
    let said = world.run("logs --since 1h --nostream").ok();
    assert!(said.err.contains("the lines of bare carry no time"), "{}", said.err);
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
    assert_eq!(world.run("logs timed --since 1h --nostream").ok().err, "");
}

#[test]
fn flush_empties_the_files() {
    let world = World::new();
    let mut p = world.start("wet", "", 1).remove(0);
    assert_eq!(p.tell("print something"), "done");
    let path = world.home().join("logs/wet-out.log");
    await_text(&path, "something");
    world.run("flush wet").ok();
    assert_eq!(p.tell("print after"), "done");
    await_text(&path, "after");
    assert_eq!(std::fs::read_to_string(path).expect("a log"), "after\n");
}
