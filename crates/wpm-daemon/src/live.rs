//! Runs that go on while no daemon did: their shims' sockets, and the processes of the journal.
//!
//! Starts and ends nothing. Invariant: a run is found to be gone only where the system has said so; where
//! it could not be asked (no descriptor, no memory), that is an error and proves nothing.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use wpm_proto::home::Home;
use wpm_sys::{procfs, record};

use crate::journal::OpenRun;

/// What was found of a shim.
#[derive(Debug)]
pub(crate) enum Shim {
    /// It answers on this connection.
    There(OwnedFd),
    /// Somebody holds its socket, but there was no connection to be had.
    Busy,
    /// Nobody holds its socket, and the app is there: adopt.
    Gone,
}

/// A run that goes on.
#[derive(Debug)]
pub(crate) struct Live {
    /// Its instance.
    pub(crate) instance: u32,
    /// Its number.
    pub(crate) run: u64,
    /// What was found of its shim.
    pub(crate) shim: Shim,
    /// Pid and start time of the main process.
    pub(crate) process: Option<(i32, u64)>,
    /// When it was executed, by the boot's clock and by the wall's, in ms.
    pub(crate) launched: Option<(u64, u64)>,
    /// Whether it has come up since.
    pub(crate) came_up: bool,
    /// Its end is accounted for: only its shim has not been told to go.
    pub(crate) over: bool,
}

/// Connects to every shim that answers; looks at the processes of the runs whose shim does not.
///
/// # Errors
/// When the folder of the runs cannot be looked through or a process not be looked at: an app that is
/// not found would be started a second time.
pub(crate) fn find(home: &Home, open: &[OpenRun], ended: &BTreeSet<u64>) -> io::Result<Vec<Live>> {
    let mut live: Vec<Live> = Vec::new();
    let found = |instance: u32, run: u64, shim: Shim| {
        let known = open.iter().find(|o| o.run == run);
        Live {
            instance,
            run,
            shim,
            process: known.and_then(|o| o.process),
            launched: known.and_then(|o| o.launched),
            came_up: known.is_some_and(|o| o.came_up),
            over: ended.contains(&run),
        }
    };
    for entry in entries(home)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((instance, run)) = name.to_str().and_then(Home::parse_shim_socket) else { continue };
        match record::connect_to(&entry.path()) {
            Ok(shim) => live.push(found(instance, run, Shim::There(shim))),
            // Nobody holds the socket, which proves that shim and keeper are dead.
            Err(error) if record::is_deserted(&error) => drop(std::fs::remove_file(entry.path())),
            Err(error) => {
                tracing::warn!(%error, run, "a shim takes no connection now");
                live.push(found(instance, run, Shim::Busy));
            }
        }
    }
    for o in open {
        if live.iter().any(|l| l.run == o.run) {
            continue;
        }
        if let Some((pid, start_time)) = o.process
            && procfs::is_alive(pid, start_time)?
        {
            live.push(found(o.instance, o.run, Shim::Gone));
        }
    }
    // Of two runs of one instance (an overlap that a crash cut short) the newest is the one.
    live.sort_by_key(|l| (l.instance, std::cmp::Reverse(l.run)));
    Ok(live)
}

/// Whether the folder of the runs can be looked through.
pub(crate) fn can_find(home: &Home) -> bool {
    entries(home).is_ok()
}

/// What is in the folder of the runs; nothing where there is none yet.
fn entries(home: &Home) -> io::Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>> {
    let entries = match std::fs::read_dir(home.run()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened?),
    };
    Ok(entries.into_iter().flatten())
}
