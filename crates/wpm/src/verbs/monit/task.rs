//! Commands that the dashboard carries out while it goes on to draw.
//!
//! Each has a connection and a thread of its own. Invariant: what came of it is one line, harmless on a terminal.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use wpm_client::{Client, Options, Start};
use wpm_proto::home::Home;
use wpm_proto::request::Op;
use wpm_proto::response::Body;

use super::board::Wish;
use crate::context::unexpected;
use crate::failure::Failure;
use crate::outcome::{Words, in_a_line};
use crate::render::escape;

/// Commands under way.
pub(super) struct Tasks {
    home: Home,
    answers: (Sender<String>, Receiver<String>),
    bell: (PipeReader, PipeWriter),
}

impl Tasks {
    /// None yet.
    pub(super) fn new(home: Home) -> Result<Self, Failure> {
        Ok(Self { home, answers: channel(), bell: std::io::pipe()? })
    }

    /// Begins one; gives what is to be said meanwhile.
    pub(super) fn begin(&self, wish: Wish) -> String {
        let (doing, app, op) = match wish {
            Wish::Leave => return String::new(),
            Wish::Restart(app) => {
                let op = Op::Restart { targets: vec![app.clone()], change: Box::default(), wait: true };
                ("restarting", app, op)
            }
            Wish::Reload(app) => {
                let targets = vec![app.clone()];
                let op =
                    Op::Reload { targets, change: Box::default(), parallel: 0, force: false, wait: true };
                ("reloading", app, op)
            }
            Wish::Stop(app) => ("stopping", app.clone(), Op::Stop { targets: vec![app], wait: true }),
            Wish::Delete(app) => ("deleting", app.clone(), Op::Delete { targets: vec![app], wait: true }),
        };
        let (home, sender, bell) = (self.home.clone(), self.answers.0.clone(), self.bell.1.try_clone());
        let words = Words { doing, noun: "done", hints: false };
        std::thread::spawn(move || {
            let said = carry_out(home, op, words).unwrap_or_else(|failure| failure.message().to_owned());
            // Nobody listens any more: the dashboard has ended.
            let _ended = sender.send(said);
            let _ended = bell.and_then(|mut bell| bell.write_all(b"!"));
        });
        format!("{doing} {} …", escape::clean(&app))
    }

    /// What came of those that are done.
    pub(super) fn answer(&self) -> String {
        let mut bytes = [0; 16];
        // Only what was rung.
        let _count = (&self.bell.0).read(&mut bytes);
        self.answers.1.try_iter().last().unwrap_or_default()
    }
}

impl AsFd for Tasks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.0.as_fd()
    }
}

fn carry_out(home: Home, op: Op, words: Words) -> Result<String, Failure> {
    let begun = Instant::now();
    let mut client = Client::open(home, Options { start: Start::Never, ..Options::default() })?;
    match client.call(op, |_| ())? {
        Body::Outcomes { outcomes, .. } => Ok(in_a_line(&outcomes, words, begun)),
        other => Err(unexpected(&other)),
    }
}
