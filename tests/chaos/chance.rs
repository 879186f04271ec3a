//! Chance that can be had again: everything random in a storm follows from one seed.

/// Seed where nothing is said: a run of the tests is the same experiment each time, as far as timing lets
/// it be.
const SEED: u64 = 1;

/// What `WPM_CHAOS_SEED` asks for: a number, `fresh` (another one each time), or nothing.
fn seed(said: Option<&str>) -> u64 {
    match said {
        None | Some("") => SEED,
        Some("fresh") => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::from(now.expect("after 1970").subsec_nanos())
        }
        Some(number) => number.parse().expect("WPM_CHAOS_SEED is a number or the word fresh"),
    }
}

/// A small generator (splitmix64).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The chance of `row`, by the seed that `WPM_CHAOS_SEED` asks for; gives the seed, too.
    pub(crate) fn of(row: &str) -> (Self, u64) {
        let seed = seed(std::env::var("WPM_CHAOS_SEED").ok().as_deref());
        // Rows that run with one seed still differ from each other.
        let salt = row.bytes().fold(0_u64, |sum, b| sum.wrapping_mul(131).wrapping_add(u64::from(b)));
        (Self(seed ^ salt), seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `from` to `to`, both included.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    /// One of these.
    pub(crate) fn one_of<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        let last = u64::try_from(things.len()).expect("small").checked_sub(1)?;
        things.get(usize::try_from(self.between(0, last)).expect("small"))
    }
}

#[test]
fn the_seed_is_the_same_unless_another_is_asked_for() {
    assert_eq!((seed(None), seed(Some("")), seed(Some("7"))), (SEED, SEED, 7));
    let fresh: std::collections::BTreeSet<u64> = (0..10).map(|_| seed(Some("fresh"))).collect();
    assert!(fresh.len() > 1);
}
