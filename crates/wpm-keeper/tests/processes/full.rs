//! A full disk: the app is held back, then output is dropped and counted; afterwards things go on.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{PUPPET, World, counted, eventually, harass};
use wpm_sys::contract::{End, Phase, ToShim};
use wpm_sys::launch::{Launch, LineFormat};

/// A home whose log folder is a small disk of its own, in a mount namespace that only the keeper sees.
/// Also works without privileges where user namespaces do.
fn small_disk() -> World {
    let root = wpm_sys::users::resolve(None, None).unwrap().uid == 0;
    World::with_keeper(|w| {
        std::fs::create_dir(w.home().join("logs")).unwrap();
        let mut keeper = Command::new("unshare");
        if !root {
            keeper.arg("-r");
        }
        let script = "mount -t tmpfs -o size=2m wpm-test \"$1/logs\" && \
            dd if=/dev/zero of=\"$1/logs/ballast\" bs=64k count=24 2>/dev/null && exec \"$0\" __keeper \"$1\" </dev/null";
        keeper.args(["-m", "setsid", "--fork", "sh", "-c", script, PUPPET]).arg(w.home());
        assert!(keeper.status().unwrap().success(), "a mount namespace is needed for this test");
    })
}

/// The folder as the keeper sees it.
fn logs(w: &World) -> PathBuf {
    let home = w.home().strip_prefix("/").unwrap().to_owned();
    PathBuf::from(format!("/proc/{}/root", w.keeper)).join(home).join("logs")
}

fn counting(w: &World, bytes: usize) -> Launch {
    w.launch(&["count", "1", &bytes.to_string(), "7"])
}

const BYTES: usize = 1 << 20;

#[test]
fn within_the_patience_nothing_is_lost_though_shims_are_killed() {
    for (shared, format) in
        [(false, LineFormat::Raw), (true, LineFormat::Raw), (false, LineFormat::Stamped("x".into()))]
    {
        let mut w = small_disk();
        let mut launch = counting(&w, BYTES);
        launch.log.shared = shared;
        let stamped = format != LineFormat::Raw;
        launch.log.format = format;
        let mut run = w.start(launch);
        let report = run.until(|r| r.log.errno != 0);
        assert_eq!((report.log.errno, report.phase, report.log.dropped), (28, Phase::Running, 0));
        // A shim that takes over in the middle of it has the same patience.
        let shim = run.shim();
        assert!(crate::support::kill_wpm(shim));
        run.until(|r| r.shim_pid != shim && r.log.errno == 28);
        std::fs::remove_file(logs(&w).join("ballast")).unwrap();
        run.until(|r| r.log.errno == 0 || r.end.is_some());
        let mut runs = [run];
        harass(&mut runs, 4);
        let [mut run] = runs;
        assert_eq!(run.ended(), End::Code(7));
        assert_eq!(run.finish().log.dropped, 0);
        let mut text = std::fs::read(logs(&w).join("out.log")).unwrap();
        if stamped {
            text = text
                .split_inclusive(|b| *b == b'\n')
                .flat_map(|l| l.strip_prefix(b"x: ").unwrap())
                .copied()
                .collect();
        }
        assert!(text == counted(1, BYTES), "{} bytes", text.len());
    }
}

#[test]
fn beyond_it_output_is_dropped_counted_and_said() {
    for shared in [false, true] {
        let mut w = small_disk();
        let mut launch = w.launch(&[]);
        launch.program = b"/bin/sh".to_vec();
        let script = format!("{PUPPET} count 1 {BYTES} 0; read x; echo later; read y");
        launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), script.into()];
        launch.log.full_disk_block_ms = 300;
        launch.log.shared = shared;
        let mut run = w.start(launch);
        // The app gets through although nothing can be written.
        let wanted = counted(1, BYTES);
        let kept = || std::fs::read(logs(&w).join("out.log")).unwrap();
        let dropped =
            run.until(|r| usize::try_from(r.log.dropped).unwrap() + kept().len() == wanted.len()).log.dropped;
        std::fs::remove_file(logs(&w).join("ballast")).unwrap();
        run.until(|r| r.log.errno == 0);
        let notice = format!("[wpm] {dropped} bytes dropped: the disk was full\n");
        use std::io::Write;
        let mut stdin = std::fs::File::from(run.beside.remove(0));
        stdin.write_all(b"\n").unwrap();
        eventually(|| String::from_utf8_lossy(&kept()).ends_with(&format!("{notice}later\n")));
        let text = kept();
        let before = text.len() - notice.len() - "later\n".len();
        // The notice is a line of its own, even where the disk was full in the middle of one.
        let before = if wanted.starts_with(&text[..before]) { before } else { before - 1 };
        assert!(wanted.starts_with(&text[..before]));
        assert_eq!(before + usize::try_from(dropped).unwrap(), wanted.len());
        run.tell(&ToShim::KillTree);
        run.finish();
    }
}

#[test]
fn an_app_that_ends_meanwhile_is_let_go_after_the_patience() {
    let mut w = small_disk();
    let mut launch = counting(&w, 600_000);
    launch.log.full_disk_block_ms = 300;
    let mut run = w.start(launch);
    run.until(|r| r.log.dropped > 0 && r.tree_gone);
    let last = run.finish();
    assert_eq!((last.end, last.log.errno), (Some(End::Code(7)), 28));
}
