//! Output: to the byte, whatever is killed, full, moved or shared.

use std::os::unix::fs::PermissionsExt;

use crate::support::{World, counted, eventually, harass};
use wpm_sys::contract::{End, ToShim};
use wpm_sys::launch::{Launch, LineFormat};
use wpm_sys::{process, signals, splice};

/// A launch that counts.
fn counting(w: &World, seed: u64, bytes: usize) -> Launch {
    w.launch(&["count", &seed.to_string(), &bytes.to_string(), "7"])
}

fn same(left: &[u8], right: &[u8]) {
    let at = left.iter().zip(right).position(|(a, b)| a != b);
    assert!(left == right, "{} and {} bytes, different from {at:?} on", left.len(), right.len());
}

/// All parts of a rotated log, oldest first, then the log itself.
fn parts(w: &World, name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = w.home().join("logs");
    let head = format!("{}__", name.strip_suffix(".log").unwrap());
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with(&head) && n.ends_with(".log"))
        .collect();
    // NAME__TIME.log before NAME__TIME.1.log before NAME__TIME.10.log
    names.sort_by_key(|n| {
        let middle = n.strip_prefix(&head).unwrap().strip_suffix(".log").unwrap().to_owned();
        let (time, number) =
            middle.split_once('.').map_or((middle.clone(), 0), |(t, n)| (t.to_owned(), n.parse().unwrap()));
        (time, number)
    });
    names.push(name.to_owned());
    names.into_iter().map(|n| (n.clone(), std::fs::read(dir.join(n)).unwrap_or_default())).collect()
}

/// Lines by their writer: each writer's lines must be whole and in order.
fn by_seed(text: &[u8], seed: u64) -> Vec<u8> {
    let head = format!("{seed} ");
    text.split_inclusive(|b| *b == b'\n')
        .filter(|l| l.starts_with(head.as_bytes()))
        .flatten()
        .copied()
        .collect()
}

const MUCH: usize = 24 << 20;

#[test]
fn raw_output_is_exact_though_shims_are_killed() {
    let mut w = World::new();
    let mut runs = [w.start(counting(&w, 1, MUCH))];
    let kills = harass(&mut runs, 4);
    assert_eq!(runs[0].ended(), End::Code(7));
    runs[0].finish();
    assert!(kills > 3, "{kills}");
    same(&w.read("logs/out.log"), &counted(1, MUCH));
}

#[test]
fn stamped_output_is_exact_though_shims_are_killed() {
    let mut w = World::new();
    let mut launch = counting(&w, 2, MUCH);
    launch.log.format = LineFormat::Stamped("%Y".into());
    let mut runs = [w.start(launch)];
    let kills = harass(&mut runs, 4);
    assert_eq!(runs[0].ended(), End::Code(7));
    runs[0].finish();
    assert!(kills > 3, "{kills}");
    let year = jiff::Zoned::now().strftime("%Y: ").to_string();
    let text: Vec<u8> = w
        .read("logs/out.log")
        .split_inclusive(|b| *b == b'\n')
        .flat_map(|l| l.strip_prefix(year.as_bytes()).expect("each line is stamped"))
        .copied()
        .collect();
    same(&text, &counted(2, MUCH));
}

#[test]
fn shared_output_is_exact_though_shims_are_killed() {
    let mut w = World::new();
    let each = MUCH / 4;
    let mut runs: Vec<_> = (1..=3)
        .map(|seed| {
            let mut launch = counting(&w, seed, each);
            launch.log.shared = true;
            launch.log.both = w.home().join("logs/both.log").into_os_string().into_encoded_bytes();
            w.start(launch)
        })
        .collect();
    let kills = harass(&mut runs, 4);
    for run in &mut runs {
        assert_eq!(run.ended(), End::Code(7));
        run.finish();
    }
    assert!(kills > 3, "{kills}");
    for name in ["logs/out.log", "logs/both.log"] {
        let text = w.read(name);
        let mut sum = 0;
        for seed in 1..=3 {
            let wanted = counted(seed, each);
            same(&by_seed(&text, seed), &wanted);
            sum += wanted.len();
        }
        assert_eq!(text.len(), sum);
    }
    let left: Vec<_> =
        std::fs::read_dir(w.home().join("run/locks")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "one lock a file, and no notes: {left:?}");
}

#[test]
fn rotation_is_exact_and_between_lines_though_shims_are_killed() {
    for (shared, stamped) in [(false, false), (true, false), (false, true)] {
        let mut w = World::new();
        let mut launch = counting(&w, 5, MUCH / 2);
        launch.log.max_size = 300_000;
        launch.log.shared = shared;
        if stamped {
            // A format without any directive stamps with nothing that changes.
            launch.log.format = LineFormat::Stamped("x".into());
        }
        let mut runs = [w.start(launch)];
        harass(&mut runs, 4);
        runs[0].finish();
        let parts = parts(&w, "out.log");
        assert!(parts.len() > 20, "{}", parts.len());
        let mut whole = Vec::new();
        for (name, part) in &parts {
            assert!(part.len() < 301_000, "{name}: {}", part.len());
            assert!(part.is_empty() || part.ends_with(b"\n"), "{name} ends in a line");
            whole.extend_from_slice(part);
        }
        if stamped {
            whole = whole
                .split_inclusive(|b| *b == b'\n')
                .flat_map(|l| l.strip_prefix(b"x: ").unwrap())
                .copied()
                .collect();
        }
        same(&whole, &counted(5, MUCH / 2));
    }
}

#[test]
fn old_files_go_and_rotated_ones_are_compressed() {
    let mut w = World::new();
    let mut launch = counting(&w, 6, 4 << 20);
    (launch.log.max_size, launch.log.retain, launch.log.compress) = (300_000, 4, true);
    let mut run = w.start(launch);
    run.finish();
    let rotated = || {
        let mut names: Vec<String> = std::fs::read_dir(w.home().join("logs"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.starts_with("out__"))
            .collect();
        names.sort();
        names
    };
    // The compressors work on behind the app.
    let busy = || w.processes().values().any(|name| name == "wpm-gzip");
    let compressed = |names: &[String]| names.iter().filter(|n| n.ends_with(".gz")).count() >= 3;
    eventually(|| {
        let names = rotated();
        names.len() == 4 && compressed(&names) && !busy()
    });
    let names = rotated();
    let wanted = counted(6, 4 << 20);
    let mut checked = 0;
    for name in names.iter().filter(|n| n.ends_with(".gz")) {
        use std::io::Read;
        let mut text = Vec::new();
        let file = std::fs::File::open(w.home().join("logs").join(name)).unwrap();
        flate2::read::GzDecoder::new(file).read_to_end(&mut text).unwrap();
        assert!(wanted.windows(text.len()).any(|part| part == text), "{name} is a part of the output");
        checked += 1;
    }
    assert!(checked >= 3, "{names:?}");
}

#[test]
fn lines_of_both_streams_go_to_one_file_each_and_together() {
    let mut w = World::new();
    let mut launch = w.launch(&["both", "500"]);
    launch.log.both = w.home().join("logs/both.log").into_os_string().into_encoded_bytes();
    w.start(launch).finish();
    let lines = |kind: &str| (0..500).map(|n| format!("{kind} {n}\n")).collect::<String>();
    assert_eq!((w.text("logs/out.log"), w.text("logs/err.log")), (lines("out"), lines("err")));
    let both = w.text("logs/both.log");
    for kind in ["out", "err"] {
        let of: String = both.split_inclusive('\n').filter(|l| l.starts_with(kind)).collect();
        assert_eq!(of, lines(kind));
    }
    assert_eq!(both.lines().count(), 1000);
    // One file for both streams keeps the order in which they were written.
    let mut launch = w.launch(&["both", "500"]);
    launch.log.out = w.home().join("logs/one.log").into_os_string().into_encoded_bytes();
    launch.log.err = launch.log.out.clone();
    w.start(launch).finish();
    let wanted: String = (0..500).map(|n| format!("out {n}\nerr {n}\n")).collect();
    assert_eq!(w.text("logs/one.log"), wanted);
}

#[test]
fn json_lines_have_the_known_shape() {
    let mut w = World::new();
    let mut launch = w.launch(&["say", "a \"b\"\\n", "2:e", "rest"]);
    launch.log.format = LineFormat::Json { time: "T".into() };
    w.start(launch).finish();
    let line = |message: &str, kind: &str| {
        format!(
            "{{\"message\":\"{message}\",\"timestamp\":\"T\",\"type\":\"{kind}\",\"process_id\":3,\"app_name\":\"test\"}}\n"
        )
    };
    assert_eq!(w.text("logs/out.log"), line("a \\\"b\\\"\\n", "out") + &line("rest", "out"));
    assert_eq!(w.text("logs/err.log"), line("e", "err"));
}

#[test]
fn a_rest_without_newline_is_written_at_the_end() {
    let mut w = World::new();
    for (shared, format) in [(true, LineFormat::Raw), (false, LineFormat::Stamped("x".into()))] {
        let mut launch = w.launch(&["say", "one\\n", "two", "2:said\\n", "WAIT"]);
        launch.log.out = w.home().join("logs/rest.log").into_os_string().into_encoded_bytes();
        launch.log.shared = shared;
        let head = if format == LineFormat::Raw { "" } else { "x: " };
        launch.log.format = format;
        let mut run = w.start(launch);
        eventually(|| w.text("logs/err.log").ends_with("said\n"));
        eventually(|| w.text("logs/rest.log") == format!("{head}one\n"));
        run.tell(&ToShim::KillTree);
        run.finish();
        assert_eq!(w.text("logs/rest.log"), format!("{head}one\n{head}two"));
        std::fs::remove_dir_all(w.home().join("logs")).unwrap();
    }
}

#[test]
fn a_line_without_end_is_exact_in_every_format() {
    let mut w = World::new();
    // 3 MB of any bytes, no newline among them.
    let any: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .map(|b| if b == b'\n' { 0 } else { b })
        .collect();
    std::fs::write(w.home().join("any"), &any).unwrap();
    for (name, shared, format) in [
        ("raw", false, LineFormat::Raw),
        ("shared", true, LineFormat::Raw),
        ("stamped", false, LineFormat::Stamped("x".into())),
    ] {
        let mut launch = w.launch(&[]);
        launch.program = b"/bin/cat".to_vec();
        launch.args = vec![b"cat".to_vec(), w.home().join("any").into_os_string().into_encoded_bytes()];
        launch.log.out = w.home().join("logs").join(name).into_os_string().into_encoded_bytes();
        (launch.log.shared, launch.log.format) = (shared, format);
        w.start(launch).finish();
        let text = w.read(&format!("logs/{name}"));
        same(text.strip_prefix(b"x: ").unwrap_or(&text), &any);
    }
}

#[test]
fn no_log_files_no_output() {
    let mut w = World::new();
    let mut launch = counting(&w, 1, 1 << 20);
    (launch.log.out, launch.log.err) = (vec![], vec![]);
    let mut run = w.start(launch);
    assert_eq!(run.ended(), End::Code(7));
    run.finish();
    assert!(!w.home().join("logs").exists());
}

#[test]
fn files_are_private_and_their_folders_are_made() {
    let mut w = World::new();
    let mut launch = w.launch(&["say", "x"]);
    launch.log.out = w.home().join("a/b/c.log").into_os_string().into_encoded_bytes();
    w.start(launch).finish();
    let mode = |p: &str| w.home().join(p).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a/b/c.log"), mode("a/b"), mode("a")), (0o600, 0o700, 0o700));
}

/// An app that prints what is written to its stdin.
struct Echo {
    run: crate::support::TestRun,
    stdin: std::fs::File,
}

impl Echo {
    fn new(w: &mut World, change: impl FnOnce(&mut Launch)) -> Self {
        let mut launch = w.launch(&[]);
        launch.program = b"/bin/cat".to_vec();
        launch.args = vec![b"cat".to_vec()];
        change(&mut launch);
        let mut run = w.start(launch);
        let stdin = std::fs::File::from(run.beside.remove(0));
        Self { run, stdin }
    }

    fn say(&mut self, text: &str) {
        use std::io::Write;
        self.stdin.write_all(text.as_bytes()).unwrap();
    }

    fn end(mut self) {
        self.run.tell(&ToShim::KillTree);
        self.run.finish();
    }
}

#[test]
fn what_others_do_to_the_file_is_followed() {
    for shared in [false, true] {
        let mut w = World::new();
        let mut e = Echo::new(&mut w, |l| l.log.shared = shared);
        let log = w.home().join("logs/out.log");
        e.say("one\n");
        eventually(|| w.text("logs/out.log") == "one\n");
        // Cut off, as copytruncate does: no hole.
        std::fs::File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
        e.say("two\n");
        eventually(|| w.text("logs/out.log") == "two\n");
        // Removed: made anew.
        std::fs::remove_file(&log).unwrap();
        e.say("three\n");
        eventually(|| w.text("logs/out.log") == "three\n");
        // Moved: followed until told to open again.
        std::fs::rename(&log, w.home().join("logs/moved")).unwrap();
        e.say("four\n");
        eventually(|| w.text("logs/moved") == "three\nfour\n");
        e.run.tell(&ToShim::Reopen);
        e.say("five\n");
        eventually(|| w.text("logs/out.log") == "five\n");
        e.run.tell(&ToShim::Flush);
        eventually(|| log.metadata().unwrap().len() == 0);
        e.say("six\n");
        eventually(|| w.text("logs/out.log") == "six\n");
        e.end();
    }
}

#[test]
fn a_folder_in_the_place_of_the_file_is_waited_out() {
    for shared in [false, true] {
        let mut w = World::new();
        let mut e = Echo::new(&mut w, |l| l.log.shared = shared);
        let log = w.home().join("logs/out.log");
        e.say("one\n");
        eventually(|| w.text("logs/out.log") == "one\n");
        std::fs::remove_file(&log).unwrap();
        std::fs::create_dir(&log).unwrap();
        e.say("two\n");
        // EISDIR
        e.run.until(|r| r.log.errno == 21);
        std::fs::remove_dir(&log).unwrap();
        e.run.until(|r| r.log.errno == 0);
        eventually(|| w.text("logs/out.log") == "two\n");
        e.end();
    }
}

/// A line that never ends goes through in pieces: the memory of the shim does not grow with it.
#[test]
fn a_line_of_any_length_takes_no_memory() {
    let mut w = World::new();
    let mut launch = w.launch(&[]);
    launch.program = b"/bin/sh".to_vec();
    let script = b"head -c 50000000 /dev/zero; read x".to_vec();
    launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script];
    launch.log.format = LineFormat::Stamped("x".into());
    launch.log.max_size = 0;
    let mut run = w.start(launch);
    // The last piece waits for the rest of the line.
    eventually(|| w.home().join("logs/out.log").metadata().is_ok_and(|data| data.len() > 49_900_000));
    let status = std::fs::read_to_string(format!("/proc/{}/status", run.shim())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = most.trim().split(' ').next().unwrap().parse().unwrap();
    assert!(kib < 20_000, "{kib} KiB");
    run.tell(&ToShim::KillTree);
    run.finish();
}

/// An app may have widened its pipe, and so has a kernel with larger pages: neither is undone, however often
/// more is found than fits into a usual one.
#[test]
fn a_pipe_that_is_wide_enough_is_not_made_narrower() {
    const CAPACITY: usize = 1 << 20;
    const PART: u64 = 100_000;
    let mut w = World::new();
    let mut e = Echo::new(&mut w, |launch| {
        launch.program = b"/bin/sh".to_vec();
        let script = format!("while read go; do head -c {PART} /dev/zero; done").into_bytes();
        launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script];
    });
    let pipe = splice::reopen_pipe_of(e.run.report().pid, 1, splice::Access::Write).unwrap();
    splice::set_pipe_size(&pipe, CAPACITY).unwrap();
    let shim = e.run.shim();
    for printed in (1..=8).map(|n| n * PART) {
        process::kill(shim, signals::STOP).unwrap();
        eventually(|| {
            std::fs::read_to_string(format!("/proc/{shim}/stat")).is_ok_and(|stat| stat.contains(") T "))
        });
        e.say("go\n");
        eventually(|| splice::waiting(&pipe).is_ok_and(|waiting| waiting == PART));
        process::kill(shim, signals::CONT).unwrap();
        eventually(|| w.home().join("logs/out.log").metadata().is_ok_and(|data| data.len() == printed));
    }
    assert_eq!(splice::pipe_size(&pipe).unwrap(), CAPACITY as u64);
    e.end();
}

#[test]
fn rotation_on_request_waits_for_the_line() {
    for shared in [false, true] {
        let mut w = World::new();
        let mut e = Echo::new(&mut w, |l| l.log.shared = shared);
        e.say("one\ntwo\n");
        eventually(|| w.text("logs/out.log") == "one\ntwo\n");
        e.run.tell(&ToShim::Rotate);
        eventually(|| parts(&w, "out.log").len() == 2);
        e.say("three\n");
        eventually(|| w.text("logs/out.log") == "three\n");
        assert_eq!(parts(&w, "out.log")[0].1, b"one\ntwo\n");
        // An empty file is not rotated.
        assert!(
            !w.home().join("logs").read_dir().unwrap().any(|e| e
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .starts_with("err__"))
        );
        e.end();
    }
}

#[test]
fn sharing_begins_and_ends_while_it_runs() {
    let mut w = World::new();
    let mut a = Echo::new(&mut w, |_| ());
    a.say("a1\n");
    eventually(|| w.text("logs/out.log") == "a1\n");
    a.run.tell(&ToShim::Share { on: true });
    let mut b = Echo::new(&mut w, |l| l.log.shared = true);
    b.say("b1\n");
    eventually(|| w.text("logs/out.log") == "a1\nb1\n");
    // Half a line waits for its end while others write.
    a.say("a2");
    b.say("b2\n");
    eventually(|| w.text("logs/out.log") == "a1\nb1\nb2\n");
    a.say(" end\n");
    eventually(|| w.text("logs/out.log") == "a1\nb1\nb2\na2 end\n");
    b.end();
    a.run.tell(&ToShim::Share { on: false });
    a.say("a3");
    eventually(|| w.text("logs/out.log").ends_with("a2 end\na3"));
    a.end();
}

#[test]
fn two_that_do_not_know_of_each_other_overwrite_nothing() {
    let mut w = World::new();
    let bytes = 6 << 20;
    let mut runs = [w.start(counting(&w, 1, bytes)), w.start(counting(&w, 2, bytes))];
    harass(&mut runs, 4);
    for run in &mut runs {
        run.finish();
    }
    let size = w.read("logs/out.log").len();
    assert_eq!(size, counted(1, bytes).len() + counted(2, bytes).len());
}

#[test]
fn a_device_that_takes_nothing_stops_no_app() {
    let mut w = World::new();
    let mut launch = w.launch(&["say", "lost\\n", "2:kept\\n", "WAIT"]);
    launch.log.out = b"/dev/full".to_vec();
    launch.log.full_disk_block_ms = 0;
    let mut run = w.start(launch);
    let report = run.until(|r| r.log.dropped > 0);
    assert_eq!((report.log.errno, report.log.dropped), (28, 5));
    eventually(|| w.text("logs/err.log") == "kept\n");
    run.tell(&ToShim::KillTree);
    run.finish();
}

#[test]
fn a_file_that_is_far_too_large_is_rotated_between_lines_all_the_same() {
    for stamped in [false, true] {
        let mut w = World::new();
        let mut launch = counting(&w, 5, 200_000);
        launch.log.max_size = 50_000;
        if stamped {
            launch.log.format = LineFormat::Stamped("x".into());
        }
        // As it is left where rotating was impossible for a while.
        let mut old = vec![b'x'; 3_000_000];
        old.extend_from_slice(b"\nthe beginning of a line ");
        std::fs::create_dir_all(w.home().join("logs")).unwrap();
        std::fs::write(w.home().join("logs/out.log"), &old).unwrap();
        w.start(launch).finish();
        let parts = parts(&w, "out.log");
        assert!(parts.len() > 2, "{}", parts.len());
        for (name, part) in &parts {
            assert!(part.is_empty() || part.ends_with(b"\n"), "{name} ends in a line");
        }
        assert!(parts[0].1.starts_with(&old));
    }
}
