//! Keeper and shims with real processes: the test takes the daemon's place.

mod logs;
mod spawn;
mod support;
mod survive;
mod tree;
