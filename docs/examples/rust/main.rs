//! A native server, without dependencies.
//!
//! rustc -O docs/examples/rust/main.rs -o docs/examples/rust/main
//! PORT=8000 wpm start docs/examples/rust -i MAX --increment-var PORT
//! curl http://localhost:8000/

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let port = variable("PORT", "8000");
    let instance = variable("WPM_INSTANCE", "?");
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening on port {port}");
    for client in listener.incoming() {
        // A client that goes away early is its own affair.
        let Ok(mut client) = client else { continue };
        let Ok(reading) = client.try_clone() else { continue };
        let head = BufReader::new(reading).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        if let Some(first) = head.take(100).collect::<Vec<_>>().first() {
            println!("{first}");
        }
        let body = format!("instance {instance}, pid {}\n", std::process::id());
        let _ = write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    }
    Ok(())
}
