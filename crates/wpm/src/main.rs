//! The one binary of wpm: client, and, under hidden names, keeper, shim and daemon.
//!
//! Owns the command line, what it prints and its exit codes. Decides nothing about apps. Invariant:
//! the hidden entries are taken before anything of the command line is built, so that keeper, shims
//! and daemon carry none of it.

mod appfile;
mod boot;
mod cli;
mod complete;
mod context;
mod cpus;
mod entry;
mod failure;
mod http;
mod interrupt;
mod man;
mod nearest;
mod options;
mod outcome;
mod output;
mod pages;
mod pm2;
mod progress;
mod quantity;
mod reach;
mod render;
mod settings;
mod signals;
mod target;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    entry::hidden().unwrap_or_else(cli::run)
}
