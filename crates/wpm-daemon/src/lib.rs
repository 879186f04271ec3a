//! The daemon: the loop around the core, and its hands.
//!
//! Decides nothing: what a client asked or a shim reported goes into the core, and the actions that
//! come out are carried out. Parent of no process, in no data path: it may be killed, hung or
//! replaced at any moment.
//!
//! Invariant: the loop never waits for a disk, a client, a shim or the keeper. Writing is done by
//! one thread of its own, everything else by tasks that hand messages to the loop.

mod actions;
mod answers;
mod clock;
mod cluster;
mod convert;
mod cron;
mod daemon;
mod drain;
mod dump;
mod events;
mod groups;
mod hooks;
mod identity;
mod journal;
mod keeper;
mod launch;
mod leftovers;
mod link;
mod listener;
mod live;
mod log_files;
mod memory;
mod message;
mod notes;
mod notify;
mod own_log;
mod persistence;
mod probe;
mod recover;
mod refusals;
mod renew;
mod reports;
mod requests;
mod rest;
mod run;
mod saved;
mod serve;
mod session;
mod settings;
mod shell;
mod shims;
mod signals;
mod sound;
mod startup;
mod state_file;
mod stderr;
mod stdin;
mod store;
mod take_over;
mod unable;
mod update;
mod views;
mod watch;
mod witness;

pub use sound::{Unsound, check};

use std::path::Path;
use std::process::ExitCode;

use wpm_proto::home::Home;

/// Runs the daemon of this home until it is told to end.
///
/// The keeper starts it, with their connection as the descriptor that `WPM_KEEPER_FD` names.
pub fn daemon_main(home: &Path) -> ExitCode {
    // Else tools name it by the descriptor that it was executed from.
    wpm_sys::process::set_name("wpm-daemon");
    // Whatever the daemon makes is for its user alone; apps get an umask of their own.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env(wpm_proto::env::LOG)
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_ansi(false)
        .with_target(false)
        .with_writer(own_log::OwnLog::of(&Home::new(home)))
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .on_thread_park(rest::before_waiting)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the event loop");
            return ExitCode::FAILURE;
        }
    };
    let local = tokio::task::LocalSet::new();
    match local.block_on(&runtime, startup::run(Home::new(home))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
