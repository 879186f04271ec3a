//! Identities. Each is its own type, so that a run is never taken for an instance.

/// An app, for the life of the home; not shown to users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(pub u32);

/// The number that users see in `wpm list` and name in commands (pm2's `pm_id`): counts up, starts
/// at 0 again when the list is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u32);

/// One spawn. Counts up for ever: the daemon seeds it from the clock in microseconds at its start
/// and above every run in the journal, so that no run of an earlier daemon is taken for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// One request of a client that waits for its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);
