//! Many processes, one port: what a primary of Node cluster workers has to say, and the rest of balancing.
//!
//! - [`channel`]: the framing of Node's IPC channel;
//! - [`primary`]: the state machine that answers the workers of one app and hands connections out;
//! - [`activation`]: environments for workers and for programs that take listening sockets by number;
//! - [`balance`]: who is next, as pure functions;
//! - [`nginx`]: a configuration for a proxy in front;
//! - [`port_step`]: the preload that gives each instance of a Node program a port of its own.
//!
//! Nothing here does I/O, reads a clock or knows an operating system's descriptor: the caller binds,
//! accepts, reads and writes, and represents descriptors by a token type of its own. Invariant: the
//! same inputs give the same outputs.

pub mod activation;
pub mod balance;
pub mod channel;
mod ids;
pub mod nginx;
pub mod port_step;
pub mod primary;

pub use ids::{ListenerId, Run};
pub use primary::{Balance, Input, Output, Primary};
