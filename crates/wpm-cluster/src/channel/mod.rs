//! One IPC channel to a Node process: framing, descriptors, and the rule of handles in flight.
//!
//! Messages are JSON lines. A message with a descriptor is wrapped in `NODE_HANDLE`; until its
//! receiver says `NODE_HANDLE_ACK`, everything else to that receiver waits behind it, and the
//! descriptor is kept, because `NODE_HANDLE_NACK` asks for it again. Node's own primaries have one
//! handle in flight; as the kernel never joins two descriptors in one read and the receiver answers
//! each in turn, further messages with a descriptor may follow before the answer
//! ([`Channel::set_window`]), but nothing else may. What a message means is not known here: see
//! [`crate::primary`].
//!
//! Descriptors are tokens of a type `F` that the caller chooses; a token that comes in from a worker
//! is dropped, which closes it: wpm takes no sockets from apps.
//!
//! Invariant: messages leave in the order in which they were sent, and a token that was handed to
//! [`Channel::send`] leaves in a [`Frame`], comes back as [`Incoming::Undelivered`], or is given back by
//! [`Channel::into_undelivered`].

mod lines;

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use self::lines::{Line, Lines};

/// Longest line that is read, in bytes. Apps chatter with messages of a megabyte; more is a mistake.
pub const MAX_LINE: usize = 16 * 1024 * 1024;
/// How often a refused handle is sent again, as Node does.
const RESENDS: u8 = 3;
/// Bun's mark before its internal messages, which it expects before ours.
const BUN_MARK: u8 = 2;
/// Bytes of a line that is not JSON which are quoted in [`Incoming::Malformed`].
const EXCERPT: usize = 80;

/// What kind of object the receiver makes of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleKind {
    /// A listening or connected stream socket, TCP or Unix.
    Stream,
    /// A bound UDP socket.
    Datagram,
}

impl HandleKind {
    const fn wire(self) -> &'static str {
        match self {
            Self::Stream => "net.Native",
            Self::Datagram => "dgram.Native",
        }
    }
}

/// Bytes to write, in this order. A descriptor rides on the write of the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<F> {
    /// One line with its newline.
    pub bytes: Vec<u8>,
    /// Descriptor beside it.
    pub fd: Option<F>,
}

/// What came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming<F> {
    /// A `NODE_CLUSTER` message.
    Cluster(Map<String, Value>),
    /// What the app passed to `process.send`.
    User(Value),
    /// The receiver refused the descriptor of this message for good; the message was not delivered.
    Undelivered {
        /// The message, unwrapped.
        message: Value,
        /// Its descriptor.
        fd: F,
    },
    /// A line that is not JSON.
    Malformed {
        /// How it begins.
        excerpt: String,
    },
    /// A line above [`MAX_LINE`], skipped.
    TooLong,
}

/// A message on its way out.
#[derive(Debug)]
struct Parcel<F> {
    message: Value,
    handle: Option<(HandleKind, F)>,
}

/// A handle whose receipt is awaited.
#[derive(Debug)]
struct Flight<F> {
    message: Value,
    kind: HandleKind,
    fd: F,
    sent_again: u8,
}

/// Both directions of one channel.
#[derive(Debug)]
pub struct Channel<F> {
    lines: Lines,
    received: VecDeque<F>,
    /// The other side is Bun.
    marked: bool,
    frames: VecDeque<Frame<F>>,
    waiting: VecDeque<Parcel<F>>,
    /// Handles whose receipt is awaited, in the order of the answers.
    flights: VecDeque<Flight<F>>,
    window: usize,
}

impl<F> Default for Channel<F> {
    fn default() -> Self {
        Self::with_cap(MAX_LINE)
    }
}

impl<F> Channel<F> {
    /// A channel that skips lines above `cap` bytes.
    pub const fn with_cap(cap: usize) -> Self {
        Self {
            lines: Lines::new(cap),
            received: VecDeque::new(),
            marked: false,
            frames: VecDeque::new(),
            waiting: VecDeque::new(),
            flights: VecDeque::new(),
            window: 1,
        }
    }

    /// Whether the other side marks its internal messages as Bun does.
    pub const fn is_marked(&self) -> bool {
        self.marked
    }

    /// Sets what [`Self::is_marked`] tells, for a channel that another process has used before.
    pub const fn set_marked(&mut self, marked: bool) {
        self.marked = marked;
    }

    /// How many handles may be in flight; 1 where nothing was said.
    pub const fn set_window(&mut self, window: usize) {
        self.window = window;
    }

    /// Bytes to write next.
    pub fn poll_frame(&mut self) -> Option<Frame<F>> {
        self.frames.pop_front()
    }

    /// Gives back every message with a descriptor that the other side has not acknowledged.
    pub fn into_undelivered(self) -> impl Iterator<Item = (Value, F)> {
        let flight = self.flights.into_iter().map(|f| (f.message, f.fd));
        flight.chain(self.waiting.into_iter().filter_map(|p| Some((p.message, p.handle?.1))))
    }
}

impl<F: Clone> Channel<F> {
    /// Sends a message, with a descriptor if there is one, as soon as the handle before it has arrived.
    pub fn send(&mut self, message: Value, handle: Option<(HandleKind, F)>) {
        self.waiting.push_back(Parcel { message, handle });
        self.forward();
    }

    /// Takes bytes and descriptors as one read returned them.
    pub fn receive(&mut self, bytes: &[u8], fds: impl IntoIterator<Item = F>) {
        self.received.extend(fds);
        self.lines.push(bytes);
    }

    /// What the received bytes say next.
    pub fn poll_incoming(&mut self) -> Option<Incoming<F>> {
        loop {
            let message = match self.lines.next() {
                None => {
                    if self.lines.is_empty() {
                        // The kernel delivers a descriptor with its first byte: what no line has
                        // claimed by now, none will.
                        self.received.clear();
                    }
                    return None;
                }
                Some(Line::TooLong) => return Some(Incoming::TooLong),
                Some(Line::Whole([])) => continue,
                Some(Line::Whole(line)) => {
                    let line = match line {
                        [BUN_MARK, rest @ ..] => {
                            self.marked = true;
                            rest
                        }
                        line => line,
                    };
                    match serde_json::from_slice(line) {
                        Ok(message) => message,
                        Err(_) => {
                            let head = line.get(..line.len().min(EXCERPT)).unwrap_or_default();
                            let excerpt = String::from_utf8_lossy(head).into_owned();
                            return Some(Incoming::Malformed { excerpt });
                        }
                    }
                }
            };
            if let Some(incoming) = self.interpret(message) {
                return Some(incoming);
            }
        }
    }

    fn interpret(&mut self, message: Value) -> Option<Incoming<F>> {
        let Value::Object(mut fields) = message else { return Some(Incoming::User(message)) };
        let command = match fields.get("cmd") {
            Some(Value::String(command)) if command.len() > 5 && command.starts_with("NODE_") => command,
            _ => return Some(Incoming::User(Value::Object(fields))),
        };
        match command.as_str() {
            "NODE_CLUSTER" => Some(Incoming::Cluster(fields)),
            "NODE_HANDLE_ACK" => {
                self.flights.pop_front();
                self.forward();
                None
            }
            "NODE_HANDLE_NACK" => self.refused(),
            "NODE_HANDLE" => {
                let arrived = self.received.pop_front().is_some();
                let answer = if arrived { "NODE_HANDLE_ACK" } else { "NODE_HANDLE_NACK" };
                // Answers overtake what waits, or two sides that send handles would wait for each other.
                self.write(&json!({ "cmd": answer }), None);
                match fields.remove("msg").filter(|_| arrived)? {
                    Value::Object(inner) if inner.get("cmd") == Some(&json!("NODE_CLUSTER")) => {
                        Some(Incoming::Cluster(inner))
                    }
                    inner => Some(Incoming::User(inner)),
                }
            }
            // NODE_DEBUG_ENABLED, NODE_SOCKET_…: not for a primary that is not Node.
            _ => None,
        }
    }

    fn refused(&mut self) -> Option<Incoming<F>> {
        let mut flight = self.flights.pop_front()?;
        if flight.sent_again < RESENDS {
            flight.sent_again += 1;
            self.launch(flight);
            return None;
        }
        self.forward();
        Some(Incoming::Undelivered { message: flight.message, fd: flight.fd })
    }

    /// Writes what waits, as far as the handles in flight let it.
    fn forward(&mut self) {
        while let Some(next) = self.waiting.front() {
            let free = if next.handle.is_some() { self.window } else { 1 };
            if self.flights.len() >= free {
                return;
            }
            let Some(Parcel { message, handle }) = self.waiting.pop_front() else { return };
            match handle {
                None => self.write(&message, None),
                Some((kind, fd)) => self.launch(Flight { message, kind, fd, sent_again: 0 }),
            }
        }
    }

    fn launch(&mut self, flight: Flight<F>) {
        // Written, not built: each connection that is handed on comes through here.
        let (kind, message) = (flight.kind.wire(), &flight.message);
        let line = format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"{kind}\",\"msg\":{message}}}\n");
        self.push(line, true, Some(flight.fd.clone()));
        self.flights.push_back(flight);
    }

    fn write(&mut self, message: &Value, fd: Option<F>) {
        self.push(format!("{message}\n"), is_internal(message), fd);
    }

    fn push(&mut self, line: String, internal: bool, fd: Option<F>) {
        let mut bytes = line.into_bytes();
        if self.marked && internal {
            bytes.insert(0, BUN_MARK);
        }
        self.frames.push_back(Frame { bytes, fd });
    }
}

/// Whether Node keeps a message from the app.
fn is_internal(message: &Value) -> bool {
    let command = message.get("cmd").and_then(Value::as_str);
    command.is_some_and(|command| command.len() > 5 && command.starts_with("NODE_"))
}

#[cfg(test)]
mod tests;
