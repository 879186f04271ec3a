//! One client's connection: frames in, frames out.
//!
//! Knows nothing of requests' meaning. A frame that is malformed, too long or not finished in time
//! costs its sender the connection; a client that does not read is dropped when its queue is full.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use interprocess::local_socket::tokio::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::time::timeout;
use wpm_proto::error::{ErrorCode, WireError};
use wpm_proto::frame::{self, Unframed};
use wpm_proto::request::{Hello, Request};
use wpm_proto::response::{Body, Response, Welcome};

/// Number of a session, never used twice by one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u64);

/// Bytes of responses that may wait for one client, beside a single one. Counted in bytes, because one command may
/// bring a short word on each of thousands of instances at once.
const QUEUE: usize = 16 << 20;
/// Time for a frame to be complete once it has begun, and for one to be taken by the client.
const FRAME_TIME: Duration = Duration::from_secs(10);

/// Room for what a client sends at once, and for a response, in bytes; most have it.
const USUAL: usize = 512;

/// A request and whose it is.
#[derive(Debug)]
pub(crate) struct Asked(pub(crate) SessionId, pub(crate) Box<Request>);

/// The loop's hand on a session.
#[derive(Debug)]
pub(crate) struct Session {
    out: UnboundedSender<Vec<u8>>,
    waiting: Waiting,
}

/// Bytes that wait for a client.
#[derive(Debug, Clone, Default)]
struct Waiting(Rc<Cell<usize>>);

impl Waiting {
    /// Queues a frame; `false` when too much waits already.
    fn put(&self, out: &UnboundedSender<Vec<u8>>, frame: Vec<u8>) -> bool {
        let (before, length) = (self.0.get(), frame.len());
        let room = before == 0 || before + length <= QUEUE;
        let put = room && out.send(frame).is_ok();
        if put {
            self.0.set(before + length);
        }
        put
    }

    fn taken(&self, length: usize) {
        self.0.set(self.0.get().saturating_sub(length));
    }
}

impl Session {
    /// Serves a connection in a task of its own.
    pub(crate) fn serve(
        id: SessionId,
        stream: Stream,
        requests: Sender<Asked>,
        left: UnboundedSender<SessionId>,
        tasks: &mut tokio::task::JoinSet<()>,
    ) -> Self {
        let (out, queue) = unbounded_channel();
        let waiting = Waiting::default();
        let written = waiting.clone();
        let replies = (out.downgrade(), waiting.clone());
        drop(tasks.spawn_local(async move {
            let writer = write(&stream, queue, written);
            let reader = read(id, &stream, &requests, replies);
            tokio::pin!(writer, reader);
            tokio::select! {
                () = &mut writer => {}
                () = &mut reader => {
                    // What is still queued for a client that only closed its sending side.
                    let _ = left.send(id);
                    let _ = timeout(FRAME_TIME, writer).await;
                }
            }
            let _ = left.send(id);
        }));
        Self { out, waiting }
    }

    /// Queues a response. `false`: the client does not read and must be dropped.
    pub(crate) fn send(&self, response: &Response) -> bool {
        self.waiting.put(&self.out, encode(response))
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    if let Err(why) = frame::push(&mut bytes, value) {
        let (message, hint) = match why {
            Unframed::TooLong(length) => (
                format!("the answer has {length} bytes, more than one frame holds"),
                Some("name the apps instead of asking for all".into()),
            ),
            Unframed::NoJson(cause) => (format!("the answer cannot be written: {cause}"), None),
        };
        let error = WireError { code: ErrorCode::Internal, message, hint, similar: vec![], entry: None };
        // A few words always fit.
        let _fits = frame::push(&mut bytes, &Response { id: 0, body: Body::Error { error } });
    }
    bytes
}

async fn write(mut stream: &Stream, mut queue: UnboundedReceiver<Vec<u8>>, waiting: Waiting) {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(bytes) = next {
            if !matches!(timeout(FRAME_TIME, stream.write_all(&bytes)).await, Ok(Ok(()))) {
                return;
            }
            waiting.taken(bytes.len());
            next = queue.try_recv().ok();
        }
    }
}

async fn read(
    id: SessionId,
    stream: &Stream,
    requests: &Sender<Asked>,
    (replies, waiting): (WeakUnboundedSender<Vec<u8>>, Waiting),
) {
    let reply = |bytes: Vec<u8>| replies.upgrade().is_some_and(|out| waiting.put(&out, bytes));
    let refuse = |request: u64, code: ErrorCode, message: String, hint: Option<String>| {
        let error = WireError { code, message, hint, similar: vec![], entry: None };
        let _ = reply(encode(&Response { id: request, body: Body::Error { error } }));
    };
    // Whoever does not even greet holds a descriptor that others may need.
    let mut stream = BufReader::with_capacity(USUAL, stream);
    let greeting = timeout(FRAME_TIME, next(&mut stream)).await;
    let hello: Hello = match greeting.unwrap_or_else(|_| Err("no greeting came in time".into())) {
        Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
            Ok(hello) => hello,
            Err(e) => {
                return refuse(
                    0,
                    ErrorCode::BadRequest,
                    format!("the first frame is no greeting: {e}"),
                    None,
                );
            }
        },
        Ok(None) => return,
        Err(message) => return refuse(0, ErrorCode::BadRequest, message, None),
    };
    let welcome = Welcome {
        contract: wpm_proto::CONTRACT,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: i32::try_from(std::process::id()).unwrap_or(0),
        features: vec![],
    };
    if !reply(encode(&welcome)) {
        return;
    }
    if hello.contract != wpm_proto::CONTRACT {
        let message = format!(
            "this client speaks contract {}, the daemon speaks {}",
            hello.contract,
            wpm_proto::CONTRACT
        );
        return refuse(
            0,
            ErrorCode::ContractMismatch,
            message,
            Some("use the wpm that started the daemon".into()),
        );
    }
    loop {
        let bytes = match next(&mut stream).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(message) => return refuse(0, ErrorCode::BadRequest, message, None),
        };
        match serde_json::from_slice::<Request>(&bytes) {
            Ok(request) => {
                if requests.send(Asked(id, Box::new(request))).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                let request = request_number(&bytes);
                return refuse(request, ErrorCode::BadRequest, format!("request not understood: {e}"), None);
            }
        }
    }
}

/// The number of a request that could not be understood as a whole.
fn request_number(bytes: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()
        .and_then(|v| v.get("id").and_then(serde_json::Value::as_u64))
        .unwrap_or(0)
}

/// The next frame; `None` when the client has closed between frames.
async fn next(mut stream: &mut BufReader<&Stream>) -> Result<Option<Vec<u8>>, String> {
    let mut prefix = [0; frame::PREFIX];
    // A client may be silent for as long as it likes, but not in the middle of a frame.
    match stream.read(&mut prefix).await {
        Ok(0) | Err(_) => Ok(None),
        Ok(n) => {
            let rest = async {
                let _ = stream.read_exact(&mut prefix[n..]).await.map_err(|e| e.to_string())?;
                let length = frame::length(prefix).map_err(|n| {
                    format!("a frame of {n} bytes is longer than {} allowed", frame::MAX_FRAME)
                })?;
                let mut payload = Vec::new();
                // Grows with what really arrives: an announced length alone takes no memory.
                let mut taken = (&mut stream).take(length as u64);
                let got = taken.read_to_end(&mut payload).await.map_err(|e| e.to_string())?;
                if got < length {
                    Err("the connection ended within a frame".into())
                } else {
                    Ok(Some(payload))
                }
            };
            timeout(FRAME_TIME, rest)
                .await
                .unwrap_or_else(|_| Err("the frame was not finished in time".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_on_thousands_of_instances_have_room_and_a_flood_has_not() {
        let ((out, mut queue), waiting) = (unbounded_channel(), Waiting::default());
        for _ in 0..10_000 {
            assert!(waiting.put(&out, vec![0; 200]));
        }
        assert!(!waiting.put(&out, vec![0; QUEUE]));
        while let Ok(frame) = queue.try_recv() {
            waiting.taken(frame.len());
        }
        // One alone may be of any length that a frame has.
        assert!(waiting.put(&out, vec![0; QUEUE + 1]));
        assert!(!waiting.put(&out, vec![0]));
    }
}
