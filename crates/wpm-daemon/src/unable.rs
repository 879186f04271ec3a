//! A daemon that cannot use what it found in its home: it serves nobody, and tells every client why.
//!
//! Touches no app and no file. It ends after a while, or as soon as the home can be used, and the keeper
//! starts the next one: putting the file right is all that is needed.

use std::collections::HashMap;
use std::time::Duration;

use interprocess::local_socket::tokio::Listener;
use tokio::sync::mpsc::{channel, unbounded_channel};
use tokio::task::JoinSet;
use wpm_proto::error::ErrorCode;
use wpm_proto::request::Op;
use wpm_proto::response::{Body, Response};

use crate::listener;
use crate::refusals::error;
use crate::session::{Asked, Session, SessionId};

/// How long one such daemon answers.
const STAY: Duration = Duration::from_secs(5);
/// Clients and requests that may wait.
const WAITING: usize = 64;

/// Answers every request with `why`, until `usable` says that another start would go well. Only to be ended
/// is granted: `quit` then has the keeper start no daemon any more.
pub(crate) async fn refuse(listener: &Listener, why: &str, usable: impl Fn() -> bool, quit: impl Fn()) {
    let (requests_to, mut requests) = channel(WAITING);
    let (left_to, mut left) = unbounded_channel();
    let (mut sessions, mut tasks) = (HashMap::new(), JoinSet::new());
    let mut number = 0;
    let end = tokio::time::sleep(STAY);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(Asked(session, request)) = requests.recv() => {
                if usable() {
                    // Unanswered: the client asks the next daemon.
                    return;
                }
                let ended = matches!(request.op, Op::Kill { .. });
                let body = if ended {
                    let remark = format!("no app was touched: {why}");
                    Body::Outcomes { outcomes: vec![], remarks: vec![remark] }
                } else {
                    error(ErrorCode::Storage, why)
                };
                if let Some(session) = sessions.get(&session) {
                    let _gone = Session::send(session, &Response { id: request.id, body });
                }
                if ended {
                    quit();
                    break;
                }
            }
            Some(session) = left.recv() => drop(sessions.remove(&session)),
            Ok(Some(stream)) = listener::accept(listener), if sessions.len() < WAITING => {
                number += 1;
                let id = SessionId(number);
                sessions.insert(id, Session::serve(id, stream, requests_to.clone(), left_to.clone(), &mut tasks));
            }
        }
    }
    sessions.clear();
    let written = async { while tasks.join_next().await.is_some() {} };
    let _late = tokio::time::timeout(Duration::from_secs(1), written).await;
}
