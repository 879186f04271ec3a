//! Lines for the standard input of apps.
//!
//! Invariant: an app that does not read costs the daemon nothing: the pipe takes a line or refuses it.

use std::io;
use std::os::fd::AsFd;

use wpm_proto::error::ErrorCode;
use wpm_proto::response::Body;

use crate::daemon::Daemon;
use crate::refusals::error;

impl Daemon {
    /// Writes a line to the standard input of what the target means.
    pub(crate) fn send_line(&mut self, target: &str, line: &str) -> Body {
        let ids = match self.selected(&[target.to_owned()]) {
            Ok(ids) => ids,
            Err(body) => return body,
        };
        let mut text = line.as_bytes().to_vec();
        text.push(b'\n');
        for id in ids {
            let stdin = self
                .core
                .instance(id)
                .and_then(|i| i.run())
                .and_then(|run| self.runs.get(&run.id))
                .and_then(|run| run.stdin.as_ref());
            let Some(stdin) = stdin else {
                return error(ErrorCode::NotRunning, format!("`{target}` is not running"));
            };
            match write_whole(stdin.as_fd(), &text) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return error(
                        ErrorCode::NotRunning,
                        format!("`{target}` does not read its standard input: the pipe is full"),
                    );
                }
                Err(e) => {
                    return error(
                        ErrorCode::Internal,
                        format!("cannot write to the standard input of `{target}`: {e}"),
                    );
                }
            }
        }
        Body::Outcomes { outcomes: vec![], remarks: vec![] }
    }
}

/// Writes all of it or nothing that matters: a pipe takes up to `PIPE_BUF` bytes at once or refuses.
fn write_whole(fd: std::os::fd::BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(fd, rest)?;
        rest = &rest[n..];
    }
    Ok(())
}
