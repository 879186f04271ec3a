//! A journal without what nobody needs any more, for a daemon that stays up for long.
//!
//! Invariant: what [`summarise`](super::summarise) makes of the short one and of the long one is the same, as far
//! as somebody asks: open runs, the last end of instances that exist, ended runs whose shims may be there.

use std::collections::BTreeSet;

use super::{Account, Fact, OpenRun, Summary, line};

/// What is still asked for, besides runs that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// Runs whose shims may still be there.
    pub(crate) runs: BTreeSet<u64>,
    /// Instances that exist.
    pub(crate) instances: BTreeSet<u32>,
}

/// A journal that says what is needed of what another one said.
pub(crate) fn shorten(said: &Summary, needed: &Needed) -> String {
    let boot = said.boot.iter().map(|id| line(&Fact::Boot { id: id.clone() }));
    let over = said.ended.iter().filter(|run| needed.runs.contains(run)).chain(last_ended(said));
    let over = over.map(|run| ended(*run));
    let accounts = said.accounts.iter().filter(|(instance, _)| needed.instances.contains(instance));
    let accounts = accounts.map(|(instance, (run, account))| accounted(*run, *instance, *account));
    boot.chain(over).chain(accounts).chain(said.open.iter().map(open)).collect()
}

/// The greatest run of all, where it has ended: the numbers of later ones are above it.
fn last_ended(said: &Summary) -> Option<&u64> {
    said.ended.last().filter(|run| **run == said.last_run)
}

/// Lines of a run that is accounted for, where its end has changed nothing or is told elsewhere.
pub(crate) fn ended(run: u64) -> String {
    line(&Fact::End { run, account: None })
}

/// Lines of the last end of an instance.
pub(crate) fn accounted(run: u64, instance: u32, account: Account) -> String {
    line(&Fact::Asked { run, instance }) + &line(&Fact::End { run, account: Some(account) })
}

/// Lines of a run that has not ended.
pub(crate) fn open(it: &OpenRun) -> String {
    let OpenRun { run, instance, process, launched, came_up } = *it;
    let mut text = line(&Fact::Asked { run, instance });
    if let Some((pid, start_time)) = process {
        text += &line(&Fact::Start { run, instance, pid, start_time });
    }
    if let Some((boot_ms, wall_ms)) = launched {
        text += &line(&Fact::Launched { run, boot_ms, wall_ms, came_up, account: None });
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wpm_proto::state::SavedDesire;

    use super::super::{read, summarise};
    use super::*;

    /// The life of one run of three instances: how far it comes, and whether its end has an account.
    fn lives() -> impl Strategy<Value = Vec<Fact>> {
        let life = (0_u32..3, 0_u8..5, 0_u32..9);
        proptest::collection::vec(life, 0..40).prop_map(|lives| {
            let mut facts = vec![Fact::Boot { id: "b".into() }];
            for ((instance, far, restarts), run) in lives.into_iter().zip(100..) {
                let account = Account {
                    restarts,
                    exit: None,
                    desire: SavedDesire::Up,
                    generation: u64::from(restarts),
                };
                let all = [
                    Fact::Asked { run, instance },
                    Fact::Start { run, instance, pid: 7, start_time: run },
                    Fact::Launched {
                        run,
                        boot_ms: run,
                        wall_ms: run,
                        came_up: restarts % 2 == 0,
                        account: (restarts % 3 == 0).then_some(account),
                    },
                    Fact::End { run, account: (restarts > 2).then_some(account) },
                ];
                facts.extend(all.into_iter().take(far.into()));
            }
            facts
        })
    }

    proptest! {
        #[test]
        fn a_short_journal_says_what_is_needed_of_the_long_one(
            facts in lives(),
            runs in proptest::collection::btree_set(100_u64..140, 0..9),
            instances in proptest::collection::btree_set(0_u32..3, 0..3),
        ) {
            let long = summarise(&facts);
            let text = shorten(&long, &Needed { runs: runs.clone(), instances: instances.clone() });
            let (short, good) = read(text.as_bytes());
            prop_assert_eq!(good, text.len());
            let short = summarise(&short);
            prop_assert_eq!((&short.boot, &short.open), (&long.boot, &long.open));
            let accounts = long.accounts.iter().filter(|(it, _)| instances.contains(it));
            prop_assert!(short.accounts.iter().eq(accounts));
            prop_assert!(runs.iter().all(|run| short.ended.contains(run) == long.ended.contains(run)));
            prop_assert_eq!(short.last_run, long.last_run);
            // Its length does not depend on how much has happened.
            let most = 1 + long.open.len() * 3 + instances.len() * 2 + runs.len() + 1;
            prop_assert!(text.lines().count() <= most);
        }
    }
}
