//! The stream of the daemon's events, for watchers that wait on several things at once.
//!
//! Invariant: [`Subscription::fd`] is readable only while [`Subscription::next_ready`] has returned
//! none since the last [`Subscription::fill`].

use std::os::fd::BorrowedFd;

use wpm_proto::event::EventView;
use wpm_proto::response::{Body, Response};

use crate::wire::Connection;
use crate::{Client, Error};

/// A subscription that is in force.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
    id: u64,
}

impl Subscription {
    /// Turns a client into a subscription; with `since_ms` (milliseconds since 1970) it begins with the
    /// events since then that the daemon remembers.
    ///
    /// # Errors
    /// When the daemon refuses or is gone.
    pub fn open(client: Client, since_ms: Option<u64>) -> Result<Self, Error> {
        let (connection, id) = client.subscribe(since_ms)?;
        Ok(Self { connection, id })
    }

    /// Descriptor to wait on for reading.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.connection.fd()
    }

    /// Reads what is there; blocks if nothing is.
    ///
    /// # Errors
    /// [`Error::Lost`] when the daemon has gone.
    pub fn fill(&mut self) -> Result<(), Error> {
        self.connection.fill(None)
    }

    /// An event that has arrived already.
    ///
    /// # Errors
    /// When the daemon says something that cannot be understood.
    pub fn next_ready(&mut self) -> Result<Option<EventView>, Error> {
        while let Some(response) = self.connection.take::<Response>()? {
            match response.body {
                Body::Event { event } if response.id == self.id => return Ok(Some(event)),
                Body::Error { error } => return Err(Error::Refused(error)),
                _ => {}
            }
        }
        Ok(None)
    }
}
