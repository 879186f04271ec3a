//! Keeper and shims with real processes: the test takes the daemon's place.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod frozen;
mod full;
mod groups;
mod logs;
mod memory;
mod spawn;
mod support;
mod survive;
mod tree;
