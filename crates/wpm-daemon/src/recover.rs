//! What a new daemon finds: the desired state, the journal of this boot, and live shims.
//!
//! The order of trust: a shim that answers on its socket is alive and knows its run exactly. Where
//! no shim answers, the journal's pid and start time decide whether the app itself is still there;
//! such an app gets a shim again (adoption). What is neither has ended unseen, if it ever began.
//!
//! Invariant: each end is counted once, however often daemons are killed around it. So what the
//! journal says of an end counts where the state file is older, and an end that nobody saw goes into
//! the journal before anything is made of it.

use std::collections::BTreeMap;
use std::path::Path;

use wpm_core::{InstanceId, RunId};
use wpm_proto::home::Home;
use wpm_proto::state::{SavedApp, SavedDesire, SavedExit, SavedInstance, StateFile};
use wpm_sys::cgroup::Delegation;
use wpm_sys::clock as boot;
use wpm_sys::contract::End;

use crate::convert::Defaults;
use crate::journal::{self, Account, Fact, OpenRun, Summary};
use crate::live::{self, Live};
use crate::requests::Taken;
use crate::witness::{Witnesses, end_unseen};
use crate::{clock, leftovers, saved, state_file};

/// Last ends that the state file does not know: by instance, the run and what it led to.
pub(crate) type Accounts = BTreeMap<u32, (u64, Account)>;

/// Everything that was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// First run number of this daemon.
    pub(crate) first_run: u64,
    /// Generation of the state that was read.
    pub(crate) generation: u64,
    /// Requests that were taken.
    pub(crate) recent_keys: Vec<Taken>,
    /// The apps of the state file.
    pub(crate) apps: Vec<SavedApp>,
    /// Runs that go on.
    pub(crate) live: Vec<Live>,
    /// What the journal knows better than the state file.
    pub(crate) accounts: Accounts,
    /// What apps get that do not say otherwise.
    pub(crate) defaults: Defaults,
    /// Whether there is room for the next state, however full the disk is.
    pub(crate) reserved: bool,
    /// Where runs get control groups.
    pub(crate) groups: Option<Delegation>,
    /// Who can tell how a run ended.
    pub(crate) witnesses: Witnesses,
}

/// Makes a folder with mode 0700 if it is not there.
pub(crate) fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Reads state, journal and run folder, and compacts the journal.
pub(crate) fn recover(home: &Home, defaults: Defaults, witnesses: Witnesses) -> Result<Recovered, String> {
    let loaded = state_file::load(&home.state(), &home.state_backup())
        .map_err(|e| format!("cannot use {}: {e}", home.state().display()))?;
    for remark in &loaded.remarks {
        tracing::error!("{remark}");
    }
    let size = std::fs::metadata(home.state()).map_or(0, |data| data.len());
    let reserved = state_file::hold_reserve(&home.reserve(), size);
    let boot_id = boot::boot_id().map_err(|e| format!("cannot tell which boot this is: {e}"))?;
    let bytes = read_journal(home).map_err(|e| format!("cannot use {}: {e}", home.journal().display()))?;
    let (facts, good) = journal::read(&bytes);
    if good < bytes.len() {
        tracing::warn!("the run journal is good up to byte {good} of {}", bytes.len());
    }
    let summary = journal::summarise(&facts);
    let same_boot = summary.boot.as_deref() == Some(boot_id.as_str());
    // Of another boot, pids mean nothing any more.
    let open: &[OpenRun] = if same_boot { &summary.open } else { &[] };
    let live = live::find(home, open, &summary.ended)
        .map_err(|e| format!("cannot find out which apps run, by {}: {e}", home.run().display()))?;
    let lost = loaded.state.is_none() && (loaded.is_lost() || state_file::was_set_aside(&home.state()));
    let left = live.iter().filter(|l| !l.over).count();
    if lost && left > 0 {
        // With an empty list they would be nobody's, and be ended.
        return Err(format!(
            "{left} instances are running, and the list that they belong to cannot be read: they are left alone until \
             there is a good {} again (a copy of {}, if a list was saved)",
            home.state().display(),
            home.dump().display()
        ));
    }
    let live_runs: Vec<u64> = live.iter().map(|l| l.run).collect();
    leftovers::remove(home, &live_runs);
    let groups = Delegation::find(home.path()).inspect(|groups| {
        groups.turn_on();
        groups.tidy(&live_runs);
    });
    let state = loaded.state;
    let generation = state.as_ref().map_or(0, |s| s.generation);
    let accounts =
        state.as_ref().map(|s| accounts(home, s, &summary, &live, same_boot, &witnesses)).unwrap_or_default();
    if let Err(error) = compact(home, &boot_id, &live, &accounts) {
        // Apps are not left alone because a disk is full: the old journal goes on, as far as it is good.
        tracing::error!(%error, "the run journal cannot be written anew: {}", home.journal().display());
        let keep = if same_boot { good } else { 0 };
        if let Err(error) = cut(&home.journal(), keep) {
            return Err(format!("cannot use {}: {error}", home.journal().display()));
        }
    } else {
        leftovers::remove_marks(home, &live_runs);
    }
    let first_run = (clock::wall_ms() * 1000)
        .max(summary.last_run + 1)
        .max(live.iter().map(|l| l.run + 1).max().unwrap_or(0));
    Ok(Recovered {
        first_run,
        generation,
        recent_keys: state.as_ref().map(saved::taken).unwrap_or_default(),
        apps: state.map(|s| s.apps).unwrap_or_default(),
        live,
        accounts,
        defaults,
        groups,
        reserved,
        witnesses,
    })
}

/// The journal; empty where there is none yet.
///
/// One that cannot be read says nothing: whoever took it for an empty one would forget running apps.
fn read_journal(home: &Home) -> std::io::Result<Vec<u8>> {
    match std::fs::read(home.journal()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// Whether a daemon that could not use what it found would be able to now. Changes nothing.
pub(crate) fn is_usable(home: &Home) -> bool {
    state_file::is_usable(&home.state(), &home.state_backup())
        && read_journal(home).is_ok()
        && live::can_find(home)
}

/// What the ends that the state file does not know have made of its instances.
fn accounts(
    home: &Home,
    state: &StateFile,
    summary: &Summary,
    live: &[Live],
    same_boot: bool,
    witnesses: &Witnesses,
) -> Accounts {
    let mut accounts = Accounts::new();
    let (apps, generation) = (&state.apps, state.generation);
    let end_of = |o: &OpenRun| {
        let (instance, run) = (InstanceId(o.instance), RunId(o.run));
        let began = o.process.is_some();
        began.then(|| end_unseen(home, (instance, run), o.launched.is_some(), witnesses.get(&run))).flatten()
    };
    for (app, i) in apps.iter().flat_map(|a| a.instances.iter().map(move |i| (a, i))) {
        let known = summary.accounts.get(&i.id);
        let newer = known.filter(|(_, account)| account.generation >= generation).copied();
        let (run, now) = newer.unwrap_or((0, account_of(i, generation)));
        let runs = live.iter().any(|l| l.instance == i.id && !l.over);
        let mut asked = summary.open.iter().filter(|o| o.instance == i.id).peekable();
        // A restart had ended it, and counted it: the next run is still owed.
        let renewed = i.renews.is_some() && asked.clone().any(|o| i.renews == Some(o.run));
        let ended = asked.clone().filter_map(&end_of).next_back();
        // A run that was asked for and never let through its gate has not run. Where the journal knows
        // nothing at all of a wanted instance, it was lost, and with it the run.
        let heard_of = known.is_some() || asked.peek().is_some();
        let ran = ended != Some(End::Cancelled);
        let lost = if heard_of { asked.any(|o| o.process.is_some()) && ran } else { true };
        if lost && !runs && now.desire == SavedDesire::Up {
            // One that is not to be restarted has ended with the machine only, which starts it again.
            let exit = ended.map_or(SavedExit::Unknown, saved_end);
            let wanted = matches!(exit, SavedExit::Code(code) if app.spec.stop_exit_codes.contains(&code));
            let rests = same_boot && !renewed && (!app.spec.autorestart || wanted);
            let desire = if rests { SavedDesire::Finished } else { SavedDesire::Up };
            let restarts = now.restarts.saturating_add(u32::from(!rests && !renewed));
            let unseen = Account { restarts, exit: Some(exit), desire, generation };
            accounts.insert(i.id, (0, unseen));
        } else if newer.is_some() || (heard_of && !runs) {
            // Kept in any case: the next daemon, too, is to know that it was heard of.
            accounts.insert(i.id, (run, now));
        }
    }
    accounts
}

pub(crate) const fn saved_end(end: End) -> SavedExit {
    match end {
        End::Code(code) => SavedExit::Code(code),
        End::Signal { signal, .. } => SavedExit::Signal(signal),
        End::Unknown | End::NotStarted { .. } | End::Cancelled => SavedExit::Unknown,
    }
}

pub(crate) fn account_of(i: &SavedInstance, generation: u64) -> Account {
    Account { restarts: i.restarts, exit: i.last_exit, desire: i.desire, generation }
}

/// Writes a journal that holds only what is open.
fn compact(home: &Home, boot_id: &str, live: &[Live], accounts: &Accounts) -> std::io::Result<()> {
    let mut text = journal::line(&Fact::Boot { id: boot_id.to_owned() });
    text.extend(live.iter().filter(|l| l.over).map(|l| journal::ended(l.run)));
    text.extend(accounts.iter().map(|(instance, (run, it))| journal::accounted(*run, *instance, *it)));
    let open = live.iter().filter(|l| !l.over).map(|l| OpenRun {
        run: l.run,
        instance: l.instance,
        process: l.process,
        launched: l.launched,
        came_up: l.came_up,
    });
    text.extend(open.map(|run| journal::open(&run)));
    journal::replace(home, text)
}

/// Cuts the journal off behind what is good of it.
fn cut(journal: &Path, good: usize) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).create(true).truncate(false).open(journal)?;
    if file.metadata()?.len() > good as u64 { file.set_len(good as u64) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wpm_sys::procfs;

    use super::*;

    /// A journal in which this very process is the app of a run, and a state that wants it up.
    fn home_with(boot_id: &str, start_time: u64) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("tempdir");
        let home = Home::new(dir.path());
        std::fs::create_dir_all(home.log_locks()).expect("mkdir");
        let pid = i32::try_from(std::process::id()).expect("small");
        let facts = [
            Fact::Boot { id: boot_id.to_owned() },
            Fact::Asked { run: 7, instance: 0 },
            Fact::Start { run: 7, instance: 0, pid, start_time },
            Fact::Launched { run: 7, boot_ms: 1, wall_ms: 2, came_up: false, account: None },
        ];
        std::fs::write(home.journal(), facts.iter().map(journal::line).collect::<String>()).expect("write");
        (dir, home)
    }

    fn live(home: &Home) -> usize {
        recover(home, Defaults::default(), Witnesses::default()).expect("recovers").live.len()
    }

    #[test]
    fn a_pid_is_believed_only_with_its_start_time_and_its_boot() {
        let boot_id = boot::boot_id().expect("procfs");
        let own = procfs::start_time(i32::try_from(std::process::id()).expect("small")).expect("procfs");
        let (_dir, home) = home_with(&boot_id, own);
        assert_eq!(live(&home), 1);
        assert_eq!(live(&home), 1, "the compacted journal says the same");
        // The pid was given to somebody else since.
        let (_dir, home) = home_with(&boot_id, own + 1);
        assert_eq!(live(&home), 0);
        // The machine was booted since, and pid and start time are the same by chance.
        let (_dir, home) = home_with("another-boot", own);
        assert_eq!(live(&home), 0);
        let text = std::fs::read(home.journal()).expect("there");
        let (facts, _) = journal::read(&text);
        assert_eq!(facts, [Fact::Boot { id: boot_id }], "nothing of the other boot is left");
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let boot_id = boot::boot_id().expect("procfs");
        let (_dir, home) = home_with(&boot_id, 1);
        std::fs::remove_file(home.journal()).expect("there");
        std::os::unix::fs::symlink("journal", home.journal()).expect("a loop");
        let why = recover(&home, Defaults::default(), Witnesses::default()).expect_err("it cannot be read");
        assert!(why.contains("run/journal"), "{why}");
        assert!(!is_usable(&home));
        assert!(home.journal().is_symlink(), "it was left as it was");
        std::fs::remove_file(home.journal()).expect("there");
        assert!(is_usable(&home));
    }

    #[test]
    fn a_child_that_says_that_it_has_not_run_is_no_end() {
        let boot_id = boot::boot_id().expect("procfs");
        let instance = SavedInstance { restarts: 3, ..SavedInstance::default() };
        let app = SavedApp { instances: vec![instance], ..SavedApp::default() };
        let state = serde_json::json!({ "version": wpm_proto::state::VERSION, "apps": [app] });
        let facts = [
            Fact::Boot { id: boot_id },
            Fact::Asked { run: 7, instance: 0 },
            // Nobody has this pid and this start time.
            Fact::Start { run: 7, instance: 0, pid: 1, start_time: u64::MAX },
        ];
        for (marked, restarts) in [(true, 3), (false, 4)] {
            let (_dir, home) = home_with("x", 1);
            std::fs::write(home.state(), state.to_string()).expect("write");
            std::fs::write(home.journal(), facts.iter().map(journal::line).collect::<String>())
                .expect("write");
            let mark = wpm_sys::child::unrun_mark(home.shim_socket(0, 7).as_os_str().as_encoded_bytes());
            if marked {
                std::fs::write(&mark, "").expect("write");
            }
            for daemon in ["the first", "the next"] {
                let found = recover(&home, Defaults::default(), Witnesses::default()).expect("recovers");
                assert_eq!(found.accounts[&0].1.restarts, restarts, "{daemon}, marked: {marked}");
                assert!(!mark.exists(), "the journal knows it now");
            }
        }
    }

    #[test]
    fn a_doubled_line_changes_nothing() {
        let boot_id = boot::boot_id().expect("procfs");
        let (_dir, home) = home_with(&boot_id, 1);
        let text = std::fs::read_to_string(home.journal()).expect("there");
        let once = journal::summarise(&journal::read(text.as_bytes()).0);
        let doubled: String = text.lines().flat_map(|line| [line, "\n", line, "\n"]).collect();
        let twice = journal::summarise(&journal::read(doubled.as_bytes()).0);
        assert_eq!((once.boot, once.last_run), (twice.boot, twice.last_run));
        let runs: BTreeSet<u64> = twice.open.iter().map(|o| o.run).collect();
        assert_eq!(runs.len(), once.open.len());
    }
}
