//! Spawning: stages, gate, surroundings of the app, exit statuses.

use std::os::fd::AsFd;

use crate::support::{PUPPET, World, eventually, kill_wpm, page_size};
use wpm_sys::contract::{End, Phase, Scope, Stage, ToKeeper, ToShim};
use wpm_sys::launch::{Credentials, Launch, Limit};
use wpm_sys::process;

#[test]
fn a_run_goes_from_its_gate_to_its_end() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "hello\\n", "2:oops\\n"]));
    let gate = *run.report();
    assert_eq!((gate.phase, gate.tree_gone), (Phase::AtGate, false));
    assert!(gate.pid > 0 && gate.start_time > 0 && gate.carries_stdin() && !gate.carries_ipc());
    run.go();
    assert_eq!(run.ended(), End::Code(0));
    let last = run.finish();
    assert_eq!((last.pid, last.start_time), (gate.pid, gate.start_time));
    assert!(last.running_since_ms > 0 && last.ended_at_ms >= last.running_since_ms && last.tree_gone);
    assert_eq!((w.text("logs/out.log"), w.text("logs/err.log")), ("hello\n".into(), "oops\n".into()));
}

#[test]
fn exit_codes_signals_and_usage_are_exact() {
    let mut w = World::new();
    for code in [0, 1, 7, 255] {
        let mut run = w.start(w.launch(&["exit", &code.to_string()]));
        assert_eq!(run.ended(), End::Code(code));
        run.finish();
    }
    for signal in [9, 15, 10] {
        let mut run = w.start(w.launch(&["die", &signal.to_string()]));
        assert_eq!(run.ended(), End::Signal { signal, core: false });
        run.finish();
    }
    let mut run = w.start(w.launch(&["burn", "5"]));
    run.ended();
    let usage = run.finish().usage;
    assert!(usage.user_us + usage.system_us > 20_000 && usage.max_rss_kib > 100, "{usage:?}");
}

#[test]
fn each_failing_stage_is_named() {
    let mut w = World::new();
    let script = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = w.home().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_encoded_bytes()
    };
    let orphan = script("orphan", "#!/no/such/interpreter\n", 0o755);
    let plain = script("plain", "echo\n", 0o644);
    let bare = script("bare", "echo\n", 0o755);
    let base = w.launch(&["exit", "0"]);
    let program = |p: &[u8]| Launch { program: p.to_vec(), ..base.clone() };
    let mut nolog = base.clone();
    nolog.log.out = b"/proc/no/such.log".to_vec();
    let fine = Limit { resource: wpm_sys::limits::NOFILE, soft: 64, hard: 64 };
    let stack = wpm_sys::limits::number("stack").expect("known");
    let limits = vec![fine, Limit { resource: stack, soft: 100, hard: 1 }];
    let cases = [
        (program(b"/no/such/file"), Stage::Exec, 2),
        (program(&orphan), Stage::Exec, 2),
        (program(&plain), Stage::Exec, 13),
        (program(&bare), Stage::Exec, 8),
        (program(b"/tmp"), Stage::Exec, 13),
        (program(b"/bin/a\0b"), Stage::Exec, 22),
        (Launch { cwd: b"/no/such".to_vec(), ..base.clone() }, Stage::WorkingDirectory, 2),
        (Launch { limits, ..base.clone() }, Stage::LimitStack, 22),
        (Launch { fds: vec![3], ..base.clone() }, Stage::Descriptors, 22),
        (nolog, Stage::LogFile, 2),
    ];
    for (launch, stage, errno) in cases {
        let mut run = w.spawn(launch);
        run.tell(&ToShim::Go);
        assert_eq!(run.ended(), End::NotStarted { stage, errno });
        assert!(run.finish().tree_gone);
    }
}

/// Whoever stops an app in the moment of its start must not have to wait for the kill timeout.
#[test]
fn a_signal_right_behind_the_word_to_go_is_not_lost() {
    let mut w = World::new();
    for scope in [Scope::Tree, Scope::Main].repeat(5) {
        let mut run = w.spawn(w.launch(&["wait"]));
        run.until(|r| r.phase == Phase::AtGate);
        run.tell(&ToShim::Go);
        run.tell(&ToShim::Signal { signal: 15, scope });
        assert_eq!(run.ended(), End::Signal { signal: 15, core: false });
        run.finish();
    }
}

#[test]
fn a_cancelled_run_never_runs() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    run.tell(&ToShim::KillTree);
    assert_eq!(run.ended(), End::Cancelled);
    assert_eq!(run.finish().running_since_ms, 0);
    assert_eq!(w.text("logs/out.log"), "");
}

#[test]
fn a_lost_connection_does_not_cancel_and_a_new_one_opens_the_gate() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    let pid = run.report().pid;
    run.hang_up();
    run.until(|r| r.phase == Phase::AtGate);
    assert_eq!(run.report().pid, pid);
    run.go();
    assert_eq!(run.ended(), End::Code(0));
    run.finish();
    assert_eq!(w.text("logs/out.log"), "ran");
}

#[test]
fn a_shim_killed_at_the_gate_takes_the_child_along() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    assert!(kill_wpm(run.shim()));
    assert_eq!(run.ended(), End::Cancelled);
    run.finish();
    assert_eq!(w.text("logs/out.log"), "");
}

/// So the kernel does where a process of wpm is stopped and the leader of its session dies.
#[test]
fn a_hang_up_on_the_session_of_wpm_reaches_no_app_that_is_being_started() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    let pid = run.report().pid;
    eventually(|| wpm_sys::procfs::stat(pid).is_some_and(|s| s.session == pid));
    assert_eq!(wpm_sys::procfs::stat(w.keeper).unwrap().group, w.keeper);
    process::kill_group(w.keeper, 1).unwrap();
    run.go();
    assert_eq!(run.ended(), End::Code(0));
    run.finish();
    assert_eq!(w.text("logs/out.log"), "ran");
}

#[test]
fn a_child_killed_at_its_gate_is_cancelled_and_its_shim_goes_on() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    let shim = run.shim();
    process::kill(run.report().pid, 9).unwrap();
    assert_eq!(run.ended(), End::Cancelled);
    assert_eq!(run.finish().shim_pid, shim);
    assert_eq!(w.text("logs/out.log"), "");
}

/// How many descriptors of a process are for writing alone.
fn written_to(pid: i32) -> usize {
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let is_written = |text: String| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| i64::from_str_radix(flags.trim(), 8).unwrap() & 3 == 1)
    };
    infos.flatten().filter(|e| std::fs::read_to_string(e.path()).is_ok_and(is_written)).count()
}

#[test]
fn a_child_stopped_at_its_gate_holds_up_nobody_and_goes_on() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    let (pid, shim) = (run.report().pid, run.shim());
    process::kill(pid, wpm_sys::signals::STOP).unwrap();
    let before = written_to(shim);
    run.tell(&ToShim::Go);
    // Having opened the gate, the shim closes its end.
    eventually(|| written_to(shim) < before);
    // Its shim, in whose memory it is, works on meanwhile.
    for _ in 0..20 {
        run.hang_up();
        let seen = run.until(|_| true);
        assert_eq!((seen.pid, seen.shim_pid, seen.phase), (pid, shim, Phase::AtGate));
    }
    process::kill(pid, wpm_sys::signals::CONT).unwrap();
    assert_eq!(run.ended(), End::Code(0));
    run.finish();
    assert_eq!(w.text("logs/out.log"), "ran");
}

#[test]
fn a_shim_killed_while_its_child_is_on_its_way_leaves_it_alone() {
    let mut w = World::new();
    let mut run = w.spawn(w.launch(&["say", "ran"]));
    let (pid, shim) = (run.report().pid, run.shim());
    process::kill(pid, wpm_sys::signals::STOP).unwrap();
    let before = written_to(shim);
    run.tell(&ToShim::Go);
    eventually(|| written_to(shim) < before);
    assert!(kill_wpm(shim));
    process::kill(pid, wpm_sys::signals::CONT).unwrap();
    assert_eq!(run.ended(), End::Code(0));
    assert_eq!(run.report().pid, pid);
    run.finish();
    assert_eq!(w.text("logs/out.log"), "ran");
}

#[test]
fn arguments_and_environment_arrive_up_to_the_limits_of_the_system() {
    let mut w = World::new();
    let mut launch = w.launch(&[]);
    launch.program = b"/bin/cat".to_vec();
    // One string may have 32 pages, with its end; all together 2 MiB under the usual limit of the stack.
    let most = 32 * page_size();
    let long = vec![b'x'; most - 1];
    let words: [&[u8]; 5] = [b"cat", b"/proc/self/environ", b"/proc/self/cmdline", b"--", &long];
    launch.args = words.map(<[u8]>::to_vec).to_vec();
    launch.env = (0..6000).map(|i| format!("N{i}={}", "v".repeat(i % 400)).into_bytes()).collect();
    let mut run = w.start(launch.clone());
    // There is no file of the last name.
    assert_eq!(run.ended(), End::Code(1));
    run.finish();
    let mut expected = Vec::new();
    for text in launch.env.iter().chain(&launch.args) {
        expected.extend_from_slice(text);
        expected.push(0);
    }
    assert!(w.read("logs/out.log") == expected, "environment and arguments are not those of the launch");
    let too_long = Launch { args: vec![vec![b'x'; most]], ..launch.clone() };
    let too_many = Launch { env: (0..(25 << 20) / most).map(|_| long.clone()).collect(), ..launch };
    for launch in [too_long, too_many] {
        let mut run = w.spawn(launch);
        run.tell(&ToShim::Go);
        assert_eq!(run.ended(), End::NotStarted { stage: Stage::Exec, errno: 7 });
        run.finish();
    }
}

#[test]
fn the_app_starts_clean() {
    let mut w = World::new();
    let shown = w.home().join("shown");
    let (a, b) = (std::fs::File::open("/dev/null").unwrap(), std::fs::File::open("/").unwrap());
    let mut launch = w.launch(&["show", shown.to_str().unwrap()]);
    launch.env = vec![b"A=1".to_vec(), b"PATH=/bin".to_vec()];
    launch.listen_pid = true;
    launch.fds = vec![5, 3];
    launch.ipc_fd = Some(4);
    launch.nice = 3;
    launch.umask = 0o027;
    let mut run = w.spawn_with(launch, &[a.as_fd(), b.as_fd()]);
    assert!(run.report().carries_ipc());
    assert_eq!(run.beside.len(), 2);
    run.go();
    assert_eq!(run.ended(), End::Code(0));
    let pid = run.finish().pid;
    let text = w.text("shown");
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    // proc(5): the 17th field behind the name.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit_once(") ").unwrap().1;
    let nice: i32 = behind_name.split(' ').nth(16).unwrap().parse().unwrap();
    for line in [
        "fds [0, 1, 2, 3, 4, 5]\n",
        &format!("pid {pid}\n"),
        "cwd /\n",
        "env A=1\nenv PATH=/bin\n",
        &format!("env LISTEN_PID={pid}\n"),
        "SigQ",
        "SigBlk:\t0000000000000000\n",
        // Rust programs ignore SIGPIPE themselves.
        "SigIgn:\t0000000000001000\n",
        "Umask:\t0027\n",
        &format!("nice {}\n", nice + 3),
        files,
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn the_app_runs_as_somebody_else() {
    if wpm_sys::users::resolve(None, None).unwrap().uid != 0 {
        // Only root may: the stage must say so.
        let mut w = World::new();
        let mut launch = w.launch(&["exit", "0"]);
        launch.credentials = Some(Credentials { uid: 1, gid: 1, groups: vec![] });
        let mut run = w.spawn(launch);
        run.tell(&ToShim::Go);
        assert_eq!(run.ended(), End::NotStarted { stage: Stage::Credentials, errno: 1 });
        run.finish();
        return;
    }
    let mut w = World::new();
    let shown = std::path::PathBuf::from(format!("/dev/shm/wpm-shown-{}", std::process::id()));
    let mut launch = w.launch(&["show", shown.to_str().unwrap()]);
    launch.credentials = Some(Credentials { uid: 12345, gid: 54321, groups: vec![54321, 7] });
    // The puppet lies in a folder of root's own: execute something that everybody may.
    launch.program = b"/bin/sh".to_vec();
    launch.args =
        vec![b"sh".to_vec(), b"-c".to_vec(), b"grep -E '^(Uid|Gid|Groups)' /proc/self/status".to_vec()];
    launch.env = vec![b"PATH=/usr/bin:/bin".to_vec()];
    let mut run = w.start(launch);
    assert_eq!(run.ended(), End::Code(0));
    run.finish();
    let text = w.text("logs/out.log");
    assert!(text.contains("Uid:\t12345\t12345\t12345\t12345"), "{text}");
    assert!(text.contains("Gid:\t54321") && text.contains("Groups:\t7 54321"), "{text}");
}

#[test]
fn stdin_reaches_the_app_and_never_ends() {
    let mut w = World::new();
    let mut launch = w.launch(&[]);
    launch.program = b"/bin/sh".to_vec();
    launch.args = vec![b"sh".to_vec(), b"-c".to_vec(), b"read x; echo got $x; read y; echo end".to_vec()];
    let mut run = w.start(launch);
    use std::io::Write;
    std::fs::File::from(run.beside.remove(0)).write_all(b"word\n").unwrap();
    eventually(|| w.text("logs/out.log") == "got word\n");
    run.hang_up();
    run.until(|r| r.phase == Phase::Running);
    run.tell(&ToShim::Signal { signal: 15, scope: Scope::Main });
    assert_eq!(run.ended(), End::Signal { signal: 15, core: false });
    run.finish();
    assert_eq!(w.text("logs/out.log"), "got word\n");
}

#[test]
fn the_pid_file_tells_the_pid_while_it_runs() {
    let mut w = World::new();
    let mut launch = w.launch(&["wait"]);
    let path = w.home().join("pids/app.pid");
    launch.pid_file = path.clone().into_os_string().into_encoded_bytes();
    let mut run = w.start(launch);
    assert_eq!(w.text("pids/app.pid"), run.report().pid.to_string());
    run.tell(&ToShim::KillTree);
    run.ended();
    run.finish();
    assert!(!path.exists());
}

#[test]
fn a_second_keeper_leaves_and_quit_ends_the_first() {
    let mut w = World::new();
    let out = std::process::Command::new(PUPPET).arg("__keeper").arg(w.home()).output().unwrap();
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0));
    let mut run = w.start(w.launch(&["wait"]));
    w.tell_keeper(&ToKeeper::Quit, &[]);
    run.tell(&ToShim::KillTree);
    run.ended();
    run.finish();
    let daemon = w.daemon.as_ref().unwrap().0;
    eventually(|| w.processes().keys().all(|pid| *pid == daemon));
}

#[test]
fn the_same_request_twice_starts_one() {
    let mut w = World::new();
    let mut run = w.start(w.launch(&["wait"]));
    let pid = run.report().pid;
    w.tell_keeper(&ToKeeper::Spawn { run: run.key }, &[]);
    run.tell(&ToShim::Go);
    run.tell(&ToShim::KillTree);
    run.tell(&ToShim::KillTree);
    run.ended();
    assert_eq!(run.finish().pid, pid);
}
