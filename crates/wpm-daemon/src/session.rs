//! One client's connection: frames in, frames out.
//!
//! Knows nothing of requests' meaning. A frame that is malformed, too long or not finished in time
//! costs its sender the connection; a client that does not read is dropped when its queue is full.

use std::time::Duration;

use interprocess::local_socket::tokio::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedSender, channel};
use tokio::time::timeout;
use wpm_proto::error::{ErrorCode, WireError};
use wpm_proto::frame;
use wpm_proto::request::{Hello, Request};
use wpm_proto::response::{Body, Response, Welcome};

/// Number of a session, never used twice by one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u64);

/// Responses that may wait for one client.
const QUEUE: usize = 1024;
/// Time for a frame to be complete once it has begun, and for one to be taken by the client.
const FRAME_TIME: Duration = Duration::from_secs(10);

/// A request and whose it is.
#[derive(Debug)]
pub(crate) struct Asked(pub(crate) SessionId, pub(crate) Box<Request>);

/// The loop's hand on a session.
#[derive(Debug)]
pub(crate) struct Session {
    out: Sender<Vec<u8>>,
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
        let (out, queue) = channel(QUEUE);
        let replies = out.downgrade();
        drop(tasks.spawn_local(async move {
            let writer = write(&stream, queue);
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
        Self { out }
    }

    /// Queues a response. `false`: the client does not read and must be dropped.
    pub(crate) fn send(&self, response: &Response) -> bool {
        self.out.try_send(encode(response)).is_ok()
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let json = serde_json::to_vec(value).unwrap_or_default();
    frame::encode(&json).unwrap_or_else(|bytes| {
        let error = WireError {
            code: ErrorCode::Internal,
            message: format!("the answer has {bytes} bytes, more than one frame holds"),
            hint: Some("name the apps instead of asking for all".into()),
            similar: vec![],
        };
        let json = serde_json::to_vec(&Response { id: 0, body: Body::Error { error } }).unwrap_or_default();
        frame::encode(&json).unwrap_or_default()
    })
}

async fn write(mut stream: &Stream, mut queue: Receiver<Vec<u8>>) {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(bytes) = next {
            if !matches!(timeout(FRAME_TIME, stream.write_all(&bytes)).await, Ok(Ok(()))) {
                return;
            }
            next = queue.try_recv().ok();
        }
    }
}

async fn read(
    id: SessionId,
    stream: &Stream,
    requests: &Sender<Asked>,
    replies: tokio::sync::mpsc::WeakSender<Vec<u8>>,
) {
    let reply = |bytes: Vec<u8>| replies.upgrade().is_some_and(|out| out.try_send(bytes).is_ok());
    let refuse = |request: u64, code: ErrorCode, message: String, hint: Option<String>| {
        let error = WireError { code, message, hint, similar: vec![] };
        let _ = reply(encode(&Response { id: request, body: Body::Error { error } }));
    };
    // Whoever does not even greet holds a descriptor that others may need.
    let greeting = timeout(FRAME_TIME, next(stream)).await;
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
        let bytes = match next(stream).await {
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
async fn next(mut stream: &Stream) -> Result<Option<Vec<u8>>, String> {
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
