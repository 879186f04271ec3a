//! Real Node workers under the primary: what an app sees must be what it sees under Node's own.
//!
//! `WPM_TEST_NODE` names another node than the one in PATH.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the crate does no I/O; its tests have to"
)]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

// The sockets are made as the daemon makes them.
#[path = "../../../wpm-daemon/src/cluster/bind.rs"]
mod bind;
mod driver;
mod ends;
mod listening;
mod sharing;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// One request on a connection of its own; the body of the answer.
fn get(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let chunk = body.split("\r\n").nth(1);
    chunk.filter(|_| head.contains("chunked")).unwrap_or(body).to_owned()
}

/// First of `count` free ports in a row, below those that the kernel gives to others; each call gives others.
fn free_ports(count: u16) -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port: &u16| (0..count).all(|n| std::net::TcpListener::bind(("127.0.0.1", port + n)).is_ok());
    let slot = || (std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed)) % 1000;
    (0..1000).map(|_| 12_000 + 8 * u16::try_from(slot()).unwrap()).find(free).expect("free ports")
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// Connects from a certain address of the loopback network.
fn connect_from(host: u8, port: u16) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let from: IpAddr = [127, 0, 0, host].into();
    bind(&socket, &SocketAddr::new(from, 0)).unwrap();
    connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    socket.into()
}

/// Which worker answers.
fn worker_of(body: &str) -> u32 {
    body.split(' ').next().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("not a worker: {body}"))
}
