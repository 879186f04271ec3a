//! The run journal: facts about the runs of this boot, one checksummed line each.
//!
//! Appended without fsync: a kill of the daemon loses nothing that was written, and after a power
//! cut the processes that it speaks of are gone anyway. A line is believed only if its checksum
//! holds; reading stops at the first that does not, and the writer goes on after the last good one.

mod shorten;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wpm_proto::home::Home;
use wpm_proto::state::{SavedDesire, SavedExit};

pub(crate) use shorten::{Needed, accounted, ended, open, shorten};

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(crate) enum Fact {
    /// First line: the boot that the runs belong to.
    Boot {
        /// `/proc/sys/kernel/random/boot_id`.
        id: String,
    },
    /// A run was asked for: written before the keeper hears of it.
    Asked {
        /// Run.
        run: u64,
        /// Public id of the instance.
        instance: u32,
    },
    /// The child exists; its gate is opened after this line.
    Start {
        /// Run.
        run: u64,
        /// Public id of the instance.
        instance: u32,
        /// Process id.
        pid: i32,
        /// Clock ticks since boot.
        start_time: u64,
    },
    /// Exec succeeded.
    Launched {
        /// Run.
        run: u64,
        /// Milliseconds on the boot clock.
        boot_ms: u64,
        /// Milliseconds since 1970.
        wall_ms: u64,
        /// Whether it has come up since: said that it is ready, or taken the place of the run before it.
        #[serde(default)]
        came_up: bool,
        /// What became of its instance by that, where it has taken the place of another run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<Account>,
    },
    /// The run is accounted for: its shim may go.
    End {
        /// Run.
        run: u64,
        /// What became of its instance; none where that had been deleted.
        #[serde(default)]
        account: Option<Account>,
    },
}

/// What an end has made of an instance. The state file is not written for each end, so until it is
/// written the next time, this is what a new daemon goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Restart counter.
    pub(crate) restarts: u32,
    /// How its last run ended.
    pub(crate) exit: Option<SavedExit>,
    /// What is wanted of it now.
    pub(crate) desire: SavedDesire,
    /// Generation of the last state that was written before: a later one knows all this itself.
    pub(crate) generation: u64,
}

/// One line, newline included.
pub(crate) fn line(fact: &Fact) -> String {
    let json = serde_json::to_string(fact).unwrap_or_default();
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// Puts this text in the place of the journal. Who has the old one open goes on with that.
///
/// # Errors
/// What the disk says; the old one is as it was.
pub(crate) fn replace(home: &Home, text: impl AsRef<[u8]>) -> std::io::Result<()> {
    let path = home.journal();
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

/// Reads facts up to the first bad line; gives the length in bytes of what is good.
pub(crate) fn read(bytes: &[u8]) -> (Vec<Fact>, usize) {
    let mut facts = Vec::new();
    let mut good = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Some(fact) = fact(line) else { break };
        facts.push(fact);
        good += line.len();
    }
    (facts, good)
}

fn fact(line: &[u8]) -> Option<Fact> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (sum, json) = text.split_once(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json.as_bytes())).then_some(())?;
    serde_json::from_str(json).ok()
}

/// What the journal says of one run that was not accounted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenRun {
    /// Run.
    pub(crate) run: u64,
    /// Public id of the instance.
    pub(crate) instance: u32,
    /// Process id and start time, once the child existed.
    pub(crate) process: Option<(i32, u64)>,
    /// When exec succeeded: boot clock and wall clock.
    pub(crate) launched: Option<(u64, u64)>,
    /// Whether it has come up since.
    pub(crate) came_up: bool,
}

/// The journal as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Boot that it belongs to.
    pub(crate) boot: Option<String>,
    /// Runs without an end, oldest first.
    pub(crate) open: Vec<OpenRun>,
    /// Greatest run number seen.
    pub(crate) last_run: u64,
    /// What the last end, or change of runs, has made of each instance that had one, and the end of which run.
    pub(crate) accounts: BTreeMap<u32, (u64, Account)>,
    /// Every run that is accounted for.
    pub(crate) ended: BTreeSet<u64>,
}

/// Adds the facts up.
pub(crate) fn summarise(facts: &[Fact]) -> Summary {
    let mut s = Summary::default();
    for fact in facts {
        match fact {
            Fact::Boot { id } => s.boot = Some(id.clone()),
            Fact::Asked { run, instance } => {
                s.last_run = s.last_run.max(*run);
                let (process, launched) = (None, None);
                s.open.push(OpenRun { run: *run, instance: *instance, process, launched, came_up: false });
            }
            Fact::Start { run, instance, pid, start_time } => {
                s.last_run = s.last_run.max(*run);
                let process = Some((*pid, *start_time));
                match s.open.iter_mut().rfind(|o| o.run == *run) {
                    Some(open) => open.process = process,
                    None => s.open.push(OpenRun {
                        run: *run,
                        instance: *instance,
                        process,
                        launched: None,
                        came_up: false,
                    }),
                }
            }
            Fact::Launched { run, boot_ms, wall_ms, came_up, account } => {
                if let Some(open) = s.open.iter_mut().rfind(|o| o.run == *run) {
                    open.launched = Some((*boot_ms, *wall_ms));
                    open.came_up |= *came_up;
                    if let Some(account) = account {
                        // Of no end: the run goes on.
                        s.accounts.insert(open.instance, (0, *account));
                    }
                }
            }
            Fact::End { run, account } => {
                s.last_run = s.last_run.max(*run);
                s.ended.insert(*run);
                if let Some(at) = s.open.iter().rposition(|o| o.run == *run) {
                    let open = s.open.remove(at);
                    if let Some(account) = account {
                        s.accounts.insert(open.instance, (*run, *account));
                    }
                }
            }
        }
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        let exit = Some(SavedExit::Code(4));
        Account { restarts: 3, exit, desire: SavedDesire::Finished, generation: 9 }
    }

    fn facts() -> Vec<Fact> {
        vec![
            Fact::Boot { id: "b".into() },
            Fact::Asked { run: 7, instance: 0 },
            Fact::Start { run: 7, instance: 0, pid: 11, start_time: 12 },
            Fact::Launched { run: 7, boot_ms: 1, wall_ms: 2, came_up: false, account: None },
            Fact::Asked { run: 8, instance: 1 },
            Fact::Start { run: 8, instance: 1, pid: 13, start_time: 14 },
            Fact::End { run: 8, account: Some(account()) },
        ]
    }

    #[test]
    fn an_ended_run_is_closed_and_its_account_kept() {
        let s = summarise(&facts());
        assert_eq!(s.last_run, 8);
        assert_eq!(s.open.len(), 1);
        assert_eq!(s.open[0].process, Some((11, 12)));
        assert_eq!(s.open[0].launched, Some((1, 2)));
        assert_eq!(s.accounts.get(&1), Some(&(8, account())));
        assert!(s.ended.contains(&8) && !s.ended.contains(&7));
    }

    #[test]
    fn a_torn_tail_is_left_out_and_the_rest_believed() {
        let text: String = facts().iter().map(line).collect();
        let whole = text.len();
        for cut in 0..whole {
            let (read_back, good) = read(&text.as_bytes()[..cut]);
            assert!(good <= cut);
            assert!(facts().starts_with(&read_back));
        }
        let mut nul = text.into_bytes();
        nul.extend_from_slice(&[0; 64]);
        assert_eq!(read(&nul), (facts(), whole));
    }

    #[test]
    fn a_changed_byte_is_not_believed() {
        let mut bytes = line(&facts()[1]).into_bytes();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        assert_eq!(read(&bytes), (vec![], 0));
    }

    proptest::proptest! {
        /// However a journal was damaged: nothing that is believed was not written, in its order.
        #[test]
        fn a_damaged_journal_is_believed_up_to_the_damage(
            at in 0_usize..400,
            with in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
            cut in 0_usize..40,
        ) {
            let mut bytes: Vec<u8> = facts().iter().flat_map(|f| line(f).into_bytes()).collect();
            let at = at % bytes.len();
            let end = (at + cut).min(bytes.len());
            drop(bytes.splice(at..end, with));
            let (believed, good) = read(&bytes);
            proptest::prop_assert!(good <= bytes.len());
            // A line whose bytes were put back by chance, or doubled, is one that was written.
            proptest::prop_assert!(believed.iter().all(|fact| facts().contains(fact)));
            let again = read(&bytes[..good]);
            proptest::prop_assert_eq!(again, (believed.clone(), good));
            drop(summarise(&believed));
        }

        #[test]
        fn any_bytes_are_a_journal(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            let (facts, good) = read(&bytes);
            proptest::prop_assert!(good <= bytes.len());
            drop(summarise(&facts));
        }
    }
}
