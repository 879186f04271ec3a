//! All raw system calls of wpm, and the contract between daemon, keeper and shim.
//!
//! Owns every `unsafe` block of the project. Deliberately knows nothing of apps, policy or files'
//! meaning: it offers the kernel's mechanisms with owned descriptors and errors.

pub mod codec;
pub mod contract;
pub mod launch;
