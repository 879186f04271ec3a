//! One connection: length-prefixed JSON frames over a blocking stream, with a deadline.
//!
//! Knows frames and nothing of what they say. Invariant: bytes that were read beyond one frame are
//! kept for the next.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use interprocess::local_socket::Stream;
use interprocess::local_socket::traits::Stream as _;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wpm_proto::frame;

use crate::Error;

/// Room for what comes, in bytes, where nothing tells how much that is.
const READ: usize = 32 * 1024;

/// When an answer must have come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    pub(crate) fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }

    fn left(&self) -> Result<Duration, Error> {
        match self.at.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(Error::TimedOut(self.allowed)),
        }
    }
}

/// A connection to the daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    /// Start of the bytes that are not used up.
    start: usize,
    timed: bool,
}

/// Puts a value into a frame behind what is there already.
pub(crate) fn push_frame(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    frame::push(out, value).map_err(|why| match why {
        frame::Unframed::TooLong(length) => Error::TooLarge(length),
        frame::Unframed::NoJson(cause) => Error::Protocol(cause.to_string()),
    })
}

impl Connection {
    pub(crate) const fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), start: 0, timed: false }
    }

    /// Writes all of it; a daemon that does not read is given up at the deadline.
    pub(crate) fn write(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), Error> {
        self.stream.set_send_timeout(Some(deadline.left()?)).map_err(Error::Talk)?;
        (&self.stream).write_all(bytes).map_err(|cause| match cause.kind() {
            // It died before it took what it is asked.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Lost,
            _ => in_time(cause, Some(deadline)),
        })
    }

    /// The next frame. Without a deadline it waits for as long as it takes.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, deadline: Option<Deadline>) -> Result<T, Error> {
        loop {
            if let Some(value) = self.take()? {
                return Ok(value);
            }
            match deadline {
                Some(deadline) => {
                    self.stream.set_recv_timeout(Some(deadline.left()?)).map_err(Error::Talk)?;
                    self.timed = true;
                }
                None if self.timed => {
                    self.stream.set_recv_timeout(None).map_err(Error::Talk)?;
                    self.timed = false;
                }
                None => {}
            }
            self.fill(deadline)?;
        }
    }

    /// A frame that has been read already.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some((prefix, rest)) = self.buffer[self.start..].split_first_chunk::<{ frame::PREFIX }>() else {
            return Ok(None);
        };
        let length = frame::length(*prefix)
            .map_err(|length| Error::Protocol(format!("a frame of {length} bytes was announced")))?;
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let no_json =
            |cause: &dyn std::fmt::Display| Error::Protocol(format!("frame of {length} bytes: {cause}"));
        // Once for all of it, not for each word of hundreds of instances.
        let text = std::str::from_utf8(payload).map_err(|cause| no_json(&cause))?;
        let value = serde_json::from_str(text).map_err(|cause| no_json(&cause))?;
        self.start += frame::PREFIX + length;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        Ok(Some(value))
    }

    /// Reads once.
    pub(crate) fn fill(&mut self, deadline: Option<Deadline>) -> Result<(), Error> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(self.missing());
        loop {
            // Into room that nobody has cleared: an answer of a few bytes touches one page of it.
            let Stream::UdSocket(socket) = &self.stream;
            match rustix::io::read(socket, spare_capacity(&mut self.buffer)) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(Errno::CONNRESET) => return Err(Error::Lost),
                Ok(_) => return Ok(()),
                Err(errno) => return Err(in_time(errno.into(), deadline)),
            }
        }
    }

    /// Bytes that the rest of the frame needs that has begun; at least [`READ`].
    fn missing(&self) -> usize {
        let announced = self.buffer.first_chunk().and_then(|prefix| frame::length(*prefix).ok());
        let whole = announced.map_or(0, |length| frame::PREFIX + length);
        whole.saturating_sub(self.buffer.len()).max(READ)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::UdSocket(socket) => socket.as_fd(),
        }
    }
}

fn in_time(cause: io::Error, deadline: Option<Deadline>) -> Error {
    match (cause.kind(), deadline) {
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(deadline)) => {
            Error::TimedOut(deadline.allowed)
        }
        _ => Error::Talk(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_daemon_that_died_with_something_unread_is_lost() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("bound");
        let patience = Duration::from_secs(10);
        let stream = crate::connect::connect(&path, patience).expect("connected");
        let mut connection = Connection::new(stream);
        connection.write(b"a question", Deadline::after(patience)).expect("written");
        drop(listener.accept().expect("accepted"));
        assert!(matches!(connection.fill(None), Err(Error::Lost)));
    }
}
