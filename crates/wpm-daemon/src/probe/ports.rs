//! The TCP ports on which a run says that it listens, for checks that would not find its socket: the
//! connections of a worker may be handed to it by wpm, which holds the socket itself.

use std::cell::RefCell;

use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    told: RefCell<Vec<u16>>,
    changed: Notify,
}

impl Ports {
    /// What it says now.
    pub(crate) fn set(&self, ports: Vec<u16>) {
        if *self.told.borrow() != ports {
            *self.told.borrow_mut() = ports;
            self.changed.notify_one();
        }
    }

    /// Whether it listens on this port; on any, where none is named.
    pub(super) fn has(&self, port: Option<u16>) -> bool {
        let told = self.told.borrow();
        port.map_or(!told.is_empty(), |port| told.contains(&port))
    }

    /// Waits until it says something else.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
