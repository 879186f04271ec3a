//! Names by which caller and primary speak of workers and listeners.

use serde::{Deserialize, Serialize};

/// One worker process: the caller's number of the run, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Run(pub u64);

/// One socket that the primary asked the caller to bind; never used twice for one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListenerId(pub u64);
