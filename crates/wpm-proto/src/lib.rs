//! The contracts of wpm: what client and daemon say to each other, what users' programs may read,
//! and what stands on disk.
//!
//! Owns the shapes and their numbers, no behaviour. Wire ([`request`], [`response`], [`app`],
//! [`view`]) and disk ([`state`]) are separate types on purpose: a change of one never silently
//! changes the other.

pub mod app;
pub mod env;
pub mod error;
pub mod event;
pub mod frame;
pub mod home;
pub mod request;
pub mod response;
pub mod state;
pub mod view;

pub use error::{ErrorCode, ExitCode, WireError};

/// Number of the client–daemon contract; part of the socket's name, so that incompatible builds
/// never meet.
pub const CONTRACT: u32 = 1;
