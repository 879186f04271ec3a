//! The program that the tests execute: keeper and shim under their hidden commands, a stand-in daemon
//! that lends its connection to the test, and small apps that behave in a known way.

#![expect(clippy::unwrap_used, reason = "a puppet that cannot play its part is to fail loudly")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use wpm_sys::{exec, process, record, signals, start};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let resume = |fd: &str| fd.parse().unwrap();
    match *args.as_slice() {
        ["__keeper", home, ref options @ ..] => wpm_keeper::keeper_main(Path::new(home), options),
        ["__shim", "--resume", fd] => wpm_keeper::shim_main(resume(fd)),
        ["__daemon", home] => stand_in(Path::new(home)),
        ["exit", code] => process::exit_now(code.parse().unwrap()),
        ["die", signal] => process::kill(process::own_pid(), signal.parse().unwrap()).unwrap(),
        ["burn", ticks] => burn(ticks.parse().unwrap()),
        ["wait"] => wait(),
        ["say", ref text @ ..] => say(text),
        ["count", seed, bytes, code] => {
            count(seed.parse().unwrap(), bytes.parse().unwrap());
            process::exit_now(code.parse().unwrap());
        }
        ["both", lines] => both(lines.parse().unwrap()),
        ["evil", pids] => evil(Path::new(pids), true),
        ["still", pids] => evil(Path::new(pids), false),
        ["show", file] => show(Path::new(file)),
        ["panic"] => panic_in_a_child(),
        _ => process::exit_now(64),
    }
}

/// Lends the keeper's connection to the test, and ends when the test hangs up: with the code that it
/// said last.
fn stand_in(home: &Path) {
    let keeper = exec::inherited(std::env::var(start::KEEPER_FD).unwrap().parse().unwrap()).unwrap();
    let Ok(test) = record::connect_to(&home.join("test.sock")) else {
        // The test is over.
        process::exit_now(1);
    };
    record::send(&test, &process::own_pid().to_le_bytes(), &[keeper.as_fd()]).unwrap();
    drop(keeper);
    let mut code = 1;
    loop {
        let watch = [wpm_sys::poll::Watch::read(Some(test.as_fd()))];
        let _ = wpm_sys::poll::wait(watch, None).unwrap();
        let mut buf = [0; 4];
        match record::receive(&test, &mut buf) {
            Ok(Some(_)) => code = i32::from_le_bytes(buf),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => process::exit_now(code),
        }
    }
}

/// Panics in a child that has none of the heap that it was forked from, as a shim does; ends as the child does.
fn panic_in_a_child() {
    let proof = process::SingleThread::prove().unwrap();
    wpm_sys::heap::set_apart(proof);
    let kept = vec!["of the parent".to_owned(); 10];
    if process::fork(proof).unwrap() == process::Fork::Child {
        let caught = std::panic::catch_unwind(|| panic!("{} panics", ["a", "child"].join(" "))).is_err();
        process::exit_now(if caught { 7 } else { 8 });
    }
    loop {
        if let process::Children::Ended(ended) = process::look_at_children() {
            let code = if let wpm_sys::contract::End::Code(code) = ended.end { code } else { 9 };
            process::exit_now(if kept.iter().all(|text| text == "of the parent") { code } else { 10 });
        }
        std::thread::yield_now();
    }
}

fn wait() {
    // The far end of this pipe is never closed.
    let (read, _write) = wpm_sys::splice::blocking_pipe().unwrap();
    drop(std::fs::File::from(read).read(&mut [0]));
}

/// Words to print; `WAIT` ends in waiting, `FLUSH` flushes, `2:` writes to stderr.
fn say(words: &[&str]) {
    let mut out = std::io::stdout().lock();
    for word in words {
        match word.strip_prefix("2:") {
            _ if *word == "WAIT" => wait(),
            Some(text) => std::io::stderr().write_all(text.replace("\\n", "\n").as_bytes()).unwrap(),
            None => {
                write!(out, "{}", word.replace("\\n", "\n")).unwrap();
                out.flush().unwrap();
            }
        }
    }
}

/// Uses CPU time: as many clock ticks (10 ms) as the system counts.
fn burn(ticks: u64) {
    let mut sum = 0_u64;
    let used = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields.skip(11).take(2).map(|f| f.parse::<u64>().unwrap()).sum::<u64>()
    };
    while used() < ticks {
        sum = (0..100_000).fold(sum, u64::wrapping_add);
    }
    process::exit_now(i32::from(sum == 1));
}

/// Prints numbered lines of random length in writes of random size: what the tests compare with.
fn count(seed: u64, bytes: usize) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut text, mut number, mut done) = (Vec::new(), 0, 0);
    let mut out = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    while done < bytes {
        text.clear();
        while text.len() < 1 << 16 {
            let pad = random.next() % 200;
            write!(text, "{seed} {number:09} ").unwrap();
            text.resize(text.len() + pad, b'a' + u8::try_from(number % 26).unwrap());
            text.push(b'\n');
            number += 1;
        }
        // Whole lines only, so that several writers of one file can be told apart.
        if done + text.len() > bytes {
            let end = text[..bytes - done].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            text.truncate(end);
            done = bytes;
        }
        done += text.len();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let n = (1 + random.next() % 20_000).min(rest.len());
            out.write_all(&rest[..n]).unwrap();
            rest = &rest[n..];
        }
    }
}

fn both(lines: usize) {
    for n in 0..lines {
        std::io::stdout().write_all(format!("out {n}\n").as_bytes()).unwrap();
        std::io::stderr().write_all(format!("err {n}\n").as_bytes()).unwrap();
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap()
    }
}

/// Nine processes that are hard to find and hard to kill; each appends its pid to the file.
fn evil(pids: &Path, moving: bool) {
    let proof = process::SingleThread::prove().unwrap();
    let child = |body: &dyn Fn()| {
        if process::fork(proof).unwrap() == process::Fork::Child {
            body();
            process::exit_now(0);
        }
    };
    let here = || {
        let mut file = std::fs::File::options().create(true).append(true).open(pids).unwrap();
        file.write_all(format!("{}\n", process::own_pid()).as_bytes()).unwrap();
    };
    let stay = || {
        here();
        wait();
    };
    // In the group; in a session of its own; a daemon; one that ignores every polite signal; a
    // stopped one; a subreaper of its own with a child that changed session.
    child(&stay);
    child(&|| {
        process::start_session().unwrap();
        stay();
    });
    child(&|| {
        child(&|| {
            process::start_session().unwrap();
            child(&stay);
        });
    });
    child(&|| {
        drop(signals::SignalFd::open().unwrap());
        stay();
    });
    child(&|| {
        here();
        process::kill(process::own_pid(), signals::STOP).unwrap();
        wait();
    });
    child(&|| {
        process::become_subreaper().unwrap();
        child(&|| {
            process::start_session().unwrap();
            stay();
        });
        stay();
    });
    child(&|| {
        // A moving target: each generation forks the next and goes.
        here();
        if !moving {
            wait();
        }
        loop {
            if process::fork(proof).unwrap() != process::Fork::Child {
                process::exit_now(0);
            }
        }
    });
    stay();
}

/// Writes what the process sees of its surroundings.
fn show(file: &Path) {
    let mut text = String::new();
    let mut fds: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| std::fs::read_link(e.path()).is_ok_and(|to| !to.starts_with("/proc")))
        .map(|e| e.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    fds.sort_unstable();
    text += &format!("fds {fds:?}\n");
    text += &format!("pid {}\n", process::own_pid());
    text += &format!("cwd {}\n", std::env::current_dir().unwrap().display());
    for (name, value) in std::env::vars() {
        text += &format!("env {name}={value}\n");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines().filter(|l| {
        l.starts_with("Sig") || l.starts_with("Umask") || l.starts_with("Uid") || l.starts_with("Groups")
    }) {
        text += &format!("{line}\n");
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    text += limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    text += &format!(
        "\nnice {}\n",
        std::fs::read_to_string("/proc/self/stat")
            .unwrap()
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .nth(16)
            .unwrap()
    );
    let part = PathBuf::from(format!("{}.part", file.display()));
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, file).unwrap();
}
