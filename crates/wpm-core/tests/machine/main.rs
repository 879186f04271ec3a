//! The core as a whole, on a simulated host, in virtual time.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic as tests may")]

mod apply;
mod commands;
mod depends;
mod edges;
mod health;
mod jobs;
mod lifecycle;
mod policy;
mod properties;
mod reload;
mod restoring;
mod selecting;
mod sim;
