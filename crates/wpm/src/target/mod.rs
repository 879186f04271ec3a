//! What a user names to start: turns it into the complete description that the daemon gets.
//!
//! Looks at files and at the caller's environment, never at running apps. Invariant: every path in a
//! resolved app is absolute.

mod altered;
mod caller;
mod folder;
mod interpreter;
mod path;
mod program;
mod spec;

pub(crate) use altered::altered;
pub(crate) use caller::Caller;
pub(crate) use path::{absolute, on_path};
pub(crate) use program::{Program, locate};
pub(crate) use spec::{file_variables, resolve};

#[cfg(test)]
mod tests;
