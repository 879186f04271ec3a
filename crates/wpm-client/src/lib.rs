//! The client side of wpm: finds the home, starts the daemon where there is none, talks to it, reads
//! log files and the kernel's figures of running apps.
//!
//! Owns everything that a program needs to speak to a daemon; prints nothing, decides no exit code and
//! knows no command line. Blocking on purpose: a command lives for a few milliseconds and asks one
//! question, so an async runtime would cost more than the question.

pub mod alive;
pub mod call;
mod connect;
mod ending;
pub mod error;
pub mod home;
pub mod logs;
pub mod metrics;
mod spawn;
mod state;
pub mod subscribe;
mod wire;

pub use call::{Client, Options, Start};
pub use ending::Ending;
pub use error::Error;
pub use state::saved_apps;
