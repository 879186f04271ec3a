//! Who is next: choices among instances, as pure functions.
//!
//! Knows no process and counts nothing itself. Invariant: the same figures give the same choice.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Who hands connections of a shared port out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// The kernel: every instance accepts from the same socket, wpm is out of the path.
    #[default]
    Shared,
    /// wpm accepts, and gives connections to the instances in turn.
    RoundRobin,
    /// wpm accepts, and gives the connections of one client address to one instance.
    Sticky,
}

impl Balance {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::RoundRobin => "round-robin",
            Self::Sticky => "sticky",
        }
    }
}

/// A balancing policy that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot balance by {0:?}: no such policy (use shared, round-robin or sticky)")]
pub struct UnknownBalance(pub String);

impl std::str::FromStr for Balance {
    type Err = UnknownBalance;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "shared" | "none" => Ok(Self::Shared),
            "round-robin" | "rr" => Ok(Self::RoundRobin),
            "sticky" => Ok(Self::Sticky),
            _ => Err(UnknownBalance(text.to_owned())),
        }
    }
}

/// What an instance is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Instance number.
    pub index: u32,
    /// Established connections on its ports.
    pub connections: u64,
    /// CPU in thousandths of one core, over the last sample.
    pub cpu: u32,
}

/// The least loaded instance: fewest connections, then least CPU, then lowest number.
pub fn least_loaded(loads: &[Load]) -> Option<&Load> {
    loads.iter().min_by_key(|load| (load.connections, load.cpu, load.index))
}

/// The instance that serves a client address. The port of the client does not count.
///
/// Each pair of address and instance has a rank, and the highest wins. So an instance that goes
/// moves only its own clients, and one that comes back gets exactly those again.
pub fn sticky(client: IpAddr, indexes: impl IntoIterator<Item = u32>) -> Option<u32> {
    let address = match client.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let [low, high] =
        [address & u128::from(u64::MAX), address >> 64].map(|half| u64::try_from(half).unwrap_or(0));
    let seed = mix(mix(high) ^ low);
    indexes.into_iter().max_by_key(|index| (mix(seed ^ mix(u64::from(*index) + 1)), *index))
}

/// Spreads every bit of the input over the output (the finalizer of `SplitMix64`).
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The member after `last` in the order of their numbers, around the end.
pub fn round_robin(last: Option<u32>, indexes: impl IntoIterator<Item = u32> + Clone) -> Option<u32> {
    let after = indexes.clone().into_iter().filter(|i| last.is_none_or(|last| *i > last)).min();
    after.or_else(|| indexes.into_iter().min())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_least_loaded_has_fewest_connections_then_least_cpu() {
        let load = |index, connections, cpu| Load { index, connections, cpu };
        let pick = |loads: &[Load]| least_loaded(loads).map(|l| l.index);
        assert_eq!(pick(&[]), None);
        assert_eq!(pick(&[load(0, 5, 0), load(1, 4, 900), load(2, 4, 100)]), Some(2));
        assert_eq!(pick(&[load(3, 1, 1), load(1, 1, 1)]), Some(1));
    }

    #[test]
    fn turns_go_around() {
        assert_eq!(round_robin(None, []), None);
        assert_eq!(round_robin(None, [3, 1, 2]), Some(1));
        assert_eq!(round_robin(Some(1), [3, 1]), Some(3));
        assert_eq!(round_robin(Some(3), [3, 1]), Some(1));
        assert_eq!(round_robin(Some(9), [3, 1]), Some(1));
    }

    #[test]
    fn neighbours_are_spread() {
        let mut hits = [0_u32; 4];
        for host in 0..=255 {
            let client = IpAddr::V4(Ipv4Addr::new(192, 168, 1, host));
            let index = sticky(client, 0..4).unwrap();
            hits[usize::try_from(index).unwrap()] += 1;
        }
        assert!(hits.iter().all(|n| (40..90).contains(n)), "{hits:?}");
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let four: IpAddr = "10.1.2.3".parse().unwrap();
        let six: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
        assert_eq!(sticky(four, 0..50), sticky(six, 0..50));
    }

    #[test]
    fn names_are_read_back() {
        for balance in [Balance::Shared, Balance::RoundRobin, Balance::Sticky] {
            assert_eq!(balance.name().parse(), Ok(balance));
        }
        assert!("x".parse::<Balance>().unwrap_err().to_string().contains("sticky"));
    }

    proptest! {
        #[test]
        fn only_the_clients_of_who_left_move(bits: u128, members in proptest::collection::btree_set(0u32..16, 2..8),
                                             gone in any::<proptest::sample::Index>()) {
            let client = IpAddr::V6(bits.into());
            let before = sticky(client, members.iter().copied()).unwrap();
            let gone = *gone.get(&members.iter().copied().collect::<Vec<_>>());
            let after = sticky(client, members.iter().copied().filter(|i| *i != gone)).unwrap();
            prop_assert!(before == gone || before == after);
        }
    }
}
