//! One look at a run: does it listen, answer, say what it was asked to say?
//!
//! Deliberately knows nothing of how often or how long. Invariant: a look that is given up leaves
//! nothing behind; the command of an `exec:` check dies with it.

use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wpm_core::Check;
use wpm_sys::procfs;

use super::Ports;
use crate::shell::Place;

/// Longest answer that is read to find its status, in bytes.
const HEAD: usize = 1024;
/// Most of a log that is searched, from its end, in bytes.
const SEARCHED: u64 = 1024 * 1024;

/// Sizes of the files of stdout and stderr before a run, in bytes.
pub(crate) type LogSizes = [u64; 2];

/// What is looked at.
#[derive(Debug)]
pub(super) struct Subject {
    /// Main process and its start time.
    pub(super) process: (i32, u64),
    /// Its shim.
    pub(super) shim: i32,
    /// Where its `exec:` checks run.
    pub(super) place: Place,
    /// Files of stdout and stderr.
    pub(super) logs: [String; 2],
    pub(super) sizes: LogSizes,
    /// What it says of its ports.
    pub(super) ports: Rc<Ports>,
}

/// Whether all is well.
pub(super) async fn look(subject: &Subject, check: &Check) -> bool {
    match check {
        Check::Message | Check::Notify => false,
        Check::Port(port) => subject.ports.has(*port) || listens(subject, *port),
        Check::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await.is_ok(),
        Check::Http { url } => answers(url).await.unwrap_or(false),
        Check::Exec { command } => {
            subject.place.run(command, &[]).await.is_ok_and(|(status, _)| status.success())
        }
        Check::Log { pattern } => {
            regex::bytes::Regex::new(pattern).is_ok_and(|pattern| says(subject, &pattern))
        }
    }
}

/// Whether a process of the run has a listening TCP socket (proc_pid_net(5): state `0A`).
fn listens(subject: &Subject, port: Option<u16>) -> bool {
    let mut tree = vec![subject.process.0];
    tree.extend(procfs::descendants(subject.process.0));
    if subject.shim > 0 {
        tree.extend(procfs::descendants(subject.shim));
    }
    let listening = listening(subject.process.0, port);
    if listening.is_empty() {
        return false;
    }
    tree.iter().any(|pid| procfs::sockets(*pid).iter().any(|inode| listening.contains(inode)))
}

/// Inodes of the listening sockets that a process could have.
fn listening(pid: i32, port: Option<u16>) -> Vec<u64> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(|line| listener(line, port)));
    }
    found
}

/// Inode of the socket of a line, if it listens on the port.
fn listener(line: &str, port: Option<u16>) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (*state == "0A" && port.is_none_or(|port| port == number)).then(|| inode.parse().ok()).flatten()
}

/// Whether a GET is answered with a status from 200 to 399.
async fn answers(url: &str) -> std::io::Result<bool> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let mut stream = TcpStream::connect(address).await?;
    let path = if path.is_empty() { "/" } else { path };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: wpm\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(HEAD);
    while head.len() < HEAD && !head.contains(&b'\n') {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(status(&head).is_some_and(|code| (200..400).contains(&code)))
}

/// Status of an answer, from its first line.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|b| *b == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

/// Whether a line that the run has written matches.
fn says(subject: &Subject, pattern: &regex::bytes::Regex) -> bool {
    subject.logs.iter().zip(subject.sizes).any(|(path, before)| {
        written_since(path, before)
            .is_ok_and(|text| text.split(|b| *b == b'\n').any(|line| pattern.is_match(line)))
    })
}

/// What was added to a log file; all of one that has been rotated meanwhile.
fn written_since(path: &str, before: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let from = if size < before { 0 } else { before };
    let _at = file.seek(SeekFrom::Start(from.max(size.saturating_sub(SEARCHED))))?;
    let mut text = Vec::new();
    let _read = file.take(SEARCHED).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_tells_a_listener() {
        let line = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100 0 0 10 0";
        assert_eq!(listener(line, None), Some(12345));
        assert_eq!(listener(line, Some(3000)), Some(12345));
        assert_eq!(listener(line, Some(3001)), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), None), None, "connected, not listening");
        assert_eq!(listener("sl local_address", None), None);
    }

    #[test]
    fn the_first_line_of_an_answer_has_the_status() {
        for (head, code) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n", Some(200)),
            ("HTTP/1.0 503\r\n", Some(503)),
            ("HTTP/1.1 x\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(head.as_bytes()), code, "{head}");
        }
    }

    #[test]
    fn only_what_this_run_wrote_is_searched() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("out.log");
        let name = path.to_str().expect("utf-8");
        std::fs::write(&path, "ready\nnot").expect("written");
        assert_eq!(written_since(name, 6).expect("there"), b"not");
        assert_eq!(written_since(name, 90).expect("rotated"), b"ready\nnot");
        assert!(written_since("/nowhere", 0).is_err());
    }
}
