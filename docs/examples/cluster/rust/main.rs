// A server that takes the socket which wpm holds, by the protocol of systemd and with nothing but the
// standard library (the crate `listenfd` does the same).
//
// rustc -O main.rs -o server && wpm start ./server -i 4 --listen 8000

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, RawFd};

/// The first descriptor that is handed down, if any is and it is meant for this process.
fn handed_down() -> Option<RawFd> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let mine = number("LISTEN_PID")? == std::process::id();
    (mine && number("LISTEN_FDS")? > 0).then_some(3)
}

fn main() -> std::io::Result<()> {
    let listener = match handed_down() {
        // SAFETY: the protocol says that it is open, and nobody else in this process knows of it.
        Some(fd) => unsafe { TcpListener::from_raw_fd(fd) },
        None => TcpListener::bind("127.0.0.1:8000")?,
    };
    let instance = env::var("WPM_INSTANCE").unwrap_or_default();
    for stream in listener.incoming() {
        let mut stream = stream?;
        let request = BufReader::new(stream.try_clone()?);
        let mut head = request.lines().map_while(Result::ok);
        while head.next().is_some_and(|line| !line.is_empty()) {}
        let length = instance.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{instance}")?;
    }
    Ok(())
}
