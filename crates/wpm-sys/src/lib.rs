//! All raw system calls of wpm, and the contract between daemon, keeper and shim.
//!
//! Owns every `unsafe` block of the project. Deliberately knows nothing of apps, policy or files'
//! meaning: it offers the kernel's mechanisms with owned descriptors and errors.

#![expect(unsafe_code, reason = "this crate is where the system calls live; each block says why it holds")]

pub mod cgroup;
pub mod child;
pub mod clock;
pub mod codec;
pub mod contract;
pub mod exec;
pub mod heap;
pub mod image;
pub mod launch;
pub mod limits;
pub mod listener;
pub mod lock;
pub mod lodging;
pub mod memfd;
pub mod memory;
pub mod parting;
pub mod peer;
pub mod pidfd;
pub mod poll;
pub mod process;
pub mod procfs;
pub mod record;
pub mod signals;
pub mod slot;
pub mod splice;
pub mod start;
pub mod unit;
pub mod users;
