//! Which processes of wpm are killed at once: the rows of the failure table.

use crate::chance::Chance;
use crate::own::{self, Role};
use crate::world::World;

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victims {
    /// The daemon.
    Daemon,
    /// One shim.
    Shim,
    /// The keeper.
    Keeper,
    /// Both.
    KeeperAndDaemon,
    /// The daemon and every shim.
    DaemonAndShims,
    /// The keeper and one shim.
    KeeperAndShim,
    /// All of wpm.
    Everything,
}

impl Victims {
    /// Every row.
    pub(crate) const ALL: [Self; 7] = [
        Self::Daemon,
        Self::Shim,
        Self::Keeper,
        Self::KeeperAndDaemon,
        Self::DaemonAndShims,
        Self::KeeperAndShim,
        Self::Everything,
    ];

    /// As it is printed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "the daemon",
            Self::Shim => "a shim",
            Self::Keeper => "the keeper",
            Self::KeeperAndDaemon => "keeper and daemon",
            Self::DaemonAndShims => "daemon and all shims",
            Self::KeeperAndShim => "keeper and a shim",
            Self::Everything => "everything",
        }
    }

    /// Whether an app may end while nobody is left who could see how.
    pub(crate) const fn leaves_nobody(self) -> bool {
        matches!(self, Self::KeeperAndShim | Self::Everything)
    }

    /// Chooses them among those that live now.
    pub(crate) fn choose(self, world: &World, chance: &mut Chance) -> Vec<i32> {
        let own = own::all(&world.home());
        let of = |role| own.get(&role).cloned().unwrap_or_default();
        let (daemon, keeper, shims) = (of(Role::Daemon), of(Role::Keeper), of(Role::Shim));
        let shim: Vec<i32> = chance.one_of(&shims).copied().into_iter().collect();
        match self {
            Self::Daemon => daemon,
            Self::Shim => shim,
            Self::Keeper => keeper,
            Self::KeeperAndDaemon => [keeper, daemon].concat(),
            Self::DaemonAndShims => [daemon, shims].concat(),
            Self::KeeperAndShim => [keeper, shim].concat(),
            Self::Everything => [keeper, daemon, shims].concat(),
        }
    }
}
