//! What daemon, keeper and shim say to each other.
//!
//! One `SOCK_SEQPACKET` record is one message, encoded by hand with fixed little-endian integers: the
//! keeper and the shims parse nothing else. Every message names the run it speaks of, and every
//! request is idempotent: a daemon that does not know whether its predecessor sent it sends it again.
//!
//! Invariant: a record is at most [`MAX_RECORD`] bytes. What may be larger (the launch description,
//! with arguments and environment) travels as a sealed memfd beside the record.

#[cfg(test)]
mod fuzz;
mod keeper;
mod report;
mod shim;
#[cfg(test)]
mod tests;

pub use keeper::{FromKeeper, Thing, ToKeeper};
pub use report::{End, LogHealth, Phase, RunReport, Stage, Usage};
pub use shim::{Scope, ToShim};

/// Number of this contract; a daemon that speaks another one than its keeper ends, and an update to it is
/// taken back.
pub const CONTRACT: u16 = 1;
/// Number of the form in which keeper and shims hand what they hold to another program that takes their
/// place. It changes with every change of that form; programs of different numbers cannot take over from
/// each other in place.
pub const HANDOVER: u32 = 2;
/// Upper bound of one record in bytes.
pub const MAX_RECORD: usize = 512;
/// Upper bound of descriptors beside one record (`SCM_MAX_FD` is 253).
pub const MAX_FDS: usize = 64;

/// Identity of one spawn: never used twice in a home, not even after a crash or a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey(pub u64);
