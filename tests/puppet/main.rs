//! The puppet: an app that does what a test tells it.
//!
//! It connects to the socket that `PUPPET` names, says who it is, and carries out one order a line.
//! The connection is its life line: the test's end of it comes to an end exactly when the puppet and
//! everything that it forked are dead.
//!
//! Orders: `exit N`, `print TEXT`, `part TEXT` (no line end), `error TEXT`, `count FROM TO` (numbered lines as fast as
//! possible), `pour MIB` (lines of 100 bytes, in writes of 64 KiB), `lines N` (a write for each, 100 µs apart),
//! `bytes N` (binary), `ignore NAME`,
//! `fork` (a child that waits), `daemon` (a grandchild in a session of its own), `read` (one line of
//! standard input), `env NAME`, `cwd`, `args`, `eat MIB`, `flood TAG MIB_PER_SECOND [both]` and `halt` (see [`flood`]).
//! Each is answered by one line when it is done.

#![expect(
    unsafe_code,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "a program under test does what programs do"
)]

mod flood;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

fn main() {
    let path = std::env::var_os("PUPPET").expect("PUPPET names the test's socket");
    let mut line = UnixStream::connect(path).expect("the test listens");
    // Children keep the life line open: the test sees them die too.
    rustix::io::fcntl_setfd(&line, rustix::io::FdFlags::empty()).expect("an open descriptor");
    let instance = std::env::var("WPM_INSTANCE").unwrap_or_else(|_| "-".into());
    let name = std::env::args().nth(1).unwrap_or_else(|| "-".into());
    // In one piece: whoever waits for the first byte has the whole line.
    let hello = format!("hello {} {instance} {name}\n", std::process::id());
    line.write_all(hello.as_bytes()).expect("the test reads");
    let orders = BufReader::new(line.try_clone().expect("a descriptor is free"));
    let mut flood = flood::Flood::default();
    for order in orders.lines() {
        let Ok(order) = order else { break };
        let (verb, rest) = order.split_once(' ').unwrap_or((&order, ""));
        let answer = match verb {
            "flood" => flood.begin(rest),
            "halt" => flood.halt(),
            _ => obey(verb, rest),
        };
        if writeln!(line, "{answer}").is_err() {
            break;
        }
    }
}

fn obey(verb: &str, rest: &str) -> String {
    match verb {
        "exit" => std::process::exit(rest.parse().expect("a code")),
        "print" => println!("{rest}"),
        "part" => {
            print!("{rest}");
            std::io::stdout().flush().expect("stdout takes it");
        }
        "error" => eprintln!("{rest}"),
        "count" => {
            let (from, to) = rest.split_once(' ').expect("two numbers");
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            for n in from.parse::<u64>().expect("a number")..to.parse().expect("a number") {
                writeln!(out, "line {n:09}").expect("stdout takes it");
            }
            out.flush().expect("stdout takes it");
        }
        "pour" => pour(rest.parse().expect("a number")),
        "lines" => lines(rest.parse().expect("a number")),
        "bytes" => {
            let n: usize = rest.parse().expect("a number");
            let bytes: Vec<u8> = (0..n).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
            std::io::stdout().write_all(&bytes).expect("stdout takes it");
        }
        "ignore" => {
            let signal = match rest {
                "INT" => libc::SIGINT,
                "TERM" => libc::SIGTERM,
                _ => panic!("no signal {rest}"),
            };
            // SAFETY: SIG_IGN is a valid disposition.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        "fork" => child(false),
        "daemon" => child(true),
        "read" => {
            let mut text = String::new();
            let _ = std::io::stdin().read_line(&mut text).expect("stdin is readable");
            return format!("read {}", text.trim_end());
        }
        "env" => return format!("env {}", std::env::var(rest).unwrap_or_else(|_| "(unset)".into())),
        "cwd" => return format!("cwd {}", std::env::current_dir().expect("a folder").display()),
        "args" => return format!("args {:?}", std::env::args().skip(1).collect::<Vec<_>>()),
        "eat" => {
            let mib: usize = rest.parse().expect("a number");
            std::mem::forget(vec![1_u8; mib << 20]);
        }
        other => return format!("what is {other}?"),
    }
    "done".into()
}

/// Prints so many lines, each by itself.
fn lines(count: usize) {
    for n in 0..count {
        println!("line {n:09}");
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// Prints so many MiB as fast as it is taken.
fn pour(mib: usize) {
    let block: Vec<u8> = [&[b'x'; 99][..], b"\n"].concat().repeat(656).into_iter().take(64 << 10).collect();
    let mut out = std::fs::File::from(
        std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().expect("a descriptor is free"),
    );
    for _ in 0..mib * 16 {
        out.write_all(&block).expect("stdout takes it");
    }
}

/// Forks a process that waits for ever; `away`: through a child that starts a session and ends.
fn child(away: bool) {
    // SAFETY: this program has one thread.
    match unsafe { libc::fork() } {
        0 => {
            if away {
                // SAFETY: as above.
                unsafe {
                    libc::setsid();
                    if libc::fork() != 0 {
                        libc::_exit(0);
                    }
                }
            }
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        pid => {
            if away {
                // SAFETY: `pid` is our child.
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            }
        }
    }
}
