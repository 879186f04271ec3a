//! The core as a whole, on a simulated host, in virtual time.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic as tests may")]

mod lifecycle;
mod properties;
mod sim;
