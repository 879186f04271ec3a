//! What a new daemon finds: the desired state, the journal of this boot, and live shims.
//!
//! The order of trust: a shim that answers on its socket is alive and knows its run exactly. Where
//! no shim answers, the journal's pid and start time decide whether the app itself is still there;
//! such an app gets a shim again (adoption). What is neither has ended unseen, if it ever began.
//!
//! Invariant: each end is counted once, however often daemons are killed around it. So what the
//! journal says of an end counts where the state file is older, and an end that nobody saw goes into
//! the journal before anything is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use wpm_core::{Desired, InstanceId, RestoredApp, RestoredInstance, RestoredRun, RunId};
use wpm_proto::home::Home;
use wpm_proto::state::{SavedApp, SavedDesire, SavedExit, SavedInstance, StateFile};
use wpm_sys::cgroup::Delegation;
use wpm_sys::contract::{End, RunKey, ToKeeper, ToShim};
use wpm_sys::{clock as boot, procfs, record};

use crate::convert::Defaults;
use crate::daemon::{Daemon, Message};
use crate::journal::{self, Account, Fact, OpenRun, Summary};
use crate::link::Link;
use crate::run::Run;
use crate::witness::{Witness, Witnesses};
use crate::{clock, convert, launch, leftovers, state_file};

/// Time until a shim that could not take a connection is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// What was found of a shim.
#[derive(Debug)]
enum Shim {
    /// It answers on this connection.
    There(OwnedFd),
    /// Somebody holds its socket, but there was no connection to be had.
    Busy,
    /// Nobody holds its socket, and the app is there: adopt.
    Gone,
}

/// A run that goes on.
#[derive(Debug)]
struct Live {
    instance: u32,
    run: u64,
    shim: Shim,
    process: Option<(i32, u64)>,
    launched: Option<(u64, u64)>,
    /// Its end is accounted for: only its shim has not been told to go.
    over: bool,
}

/// Last ends that the state file does not know: by instance, the run and what it led to.
type Accounts = BTreeMap<u32, (u64, Account)>;

/// Everything that was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// First run number of this daemon.
    pub(crate) first_run: u64,
    /// Generation of the state that was read.
    pub(crate) generation: u64,
    /// Keys of requests that were done.
    pub(crate) recent_keys: Vec<String>,
    apps: Vec<SavedApp>,
    live: Vec<Live>,
    accounts: Accounts,
    defaults: Defaults,
    /// Whether there is room for the next state, however full the disk is.
    pub(crate) reserved: bool,
    /// Where runs get control groups.
    pub(crate) groups: Option<Delegation>,
    witnesses: Witnesses,
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
    let boot_id = boot::boot_id().unwrap_or_default();
    let bytes = std::fs::read(home.journal()).unwrap_or_default();
    let (facts, good) = journal::read(&bytes);
    if good < bytes.len() {
        tracing::warn!("the run journal is good up to byte {good} of {}", bytes.len());
    }
    let summary = journal::summarise(&facts);
    let same_boot = summary.boot.as_deref() == Some(boot_id.as_str());
    // Of another boot, pids mean nothing any more.
    let open: &[OpenRun] = if same_boot { &summary.open } else { &[] };
    let live = find_live(home, open, &summary.ended);
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
        state.as_ref().map(|s| accounts(s, &summary, &live, same_boot, &witnesses)).unwrap_or_default();
    if let Err(error) = compact(home, &boot_id, &live, &accounts) {
        // Apps are not left alone because a disk is full: the old journal goes on, as far as it is good.
        tracing::error!(%error, "the run journal cannot be written anew: {}", home.journal().display());
        let keep = if same_boot { good } else { 0 };
        if let Err(error) = cut(&home.journal(), keep) {
            return Err(format!("cannot use {}: {error}", home.journal().display()));
        }
    }
    let first_run = (clock::wall_ms() * 1000)
        .max(summary.last_run + 1)
        .max(live.iter().map(|l| l.run + 1).max().unwrap_or(0));
    Ok(Recovered {
        first_run,
        generation,
        recent_keys: state.as_ref().map(|s| s.recent_keys.clone()).unwrap_or_default(),
        apps: state.map(|s| s.apps).unwrap_or_default(),
        live,
        accounts,
        defaults,
        groups,
        reserved,
        witnesses,
    })
}

/// What the ends that the state file does not know have made of its instances.
fn accounts(
    state: &StateFile,
    summary: &Summary,
    live: &[Live],
    same_boot: bool,
    witnesses: &Witnesses,
) -> Accounts {
    let mut accounts = Accounts::new();
    let (apps, generation) = (&state.apps, state.generation);
    for (app, i) in apps.iter().flat_map(|a| a.instances.iter().map(move |i| (a, i))) {
        let known = summary.accounts.get(&i.id);
        let newer = known.filter(|(_, account)| account.generation >= generation).copied();
        let (run, now) = newer.unwrap_or((0, account_of(i, generation)));
        let runs = live.iter().any(|l| l.instance == i.id && !l.over);
        let mut asked = summary.open.iter().filter(|o| o.instance == i.id).peekable();
        let ended = asked.clone().filter_map(|o| end_of(o, witnesses)).next_back();
        // A run that was asked for and never let through its gate has not run. Where the journal knows
        // nothing at all of a wanted instance, it was lost, and with it the run.
        let heard_of = known.is_some() || asked.peek().is_some();
        let ran = ended != Some(End::Cancelled);
        let lost = if heard_of { asked.any(|o| o.process.is_some()) && ran } else { true };
        if lost && !runs && now.desire == SavedDesire::Up {
            // One that is not to be restarted has ended with the machine only, which starts it again.
            let exit = ended.map_or(SavedExit::Unknown, saved_end);
            let wanted = matches!(exit, SavedExit::Code(code) if app.spec.stop_exit_codes.contains(&code));
            let rests = same_boot && (!app.spec.autorestart || wanted);
            let desire = if rests { SavedDesire::Finished } else { SavedDesire::Up };
            let restarts = now.restarts.saturating_add(u32::from(!rests));
            let unseen = Account { restarts, exit: Some(exit), desire, generation };
            accounts.insert(i.id, (0, unseen));
        } else if newer.is_some() || (heard_of && !runs) {
            // Kept in any case: the next daemon, too, is to know that it was heard of.
            accounts.insert(i.id, (run, now));
        }
    }
    accounts
}

/// How the process of a run ended, where a witness tells.
fn end_of(run: &OpenRun, witnesses: &Witnesses) -> Option<End> {
    let end = witnesses.get(&RunId(run.run))?.end()?;
    // So ends a child whose gate is closed, and that is all it ever did.
    let unrun = run.launched.is_none() && end == End::Code(wpm_sys::child::FAILED);
    Some(if unrun { End::Cancelled } else { end })
}

const fn saved_end(end: End) -> SavedExit {
    match end {
        End::Code(code) => SavedExit::Code(code),
        End::Signal { signal, .. } => SavedExit::Signal(signal),
        End::Unknown | End::NotStarted { .. } | End::Cancelled => SavedExit::Unknown,
    }
}

fn account_of(i: &SavedInstance, generation: u64) -> Account {
    Account { restarts: i.restarts, exit: i.last_exit, desire: i.desire, generation }
}

/// Connects to every shim that answers; looks at the processes of the runs whose shim does not.
fn find_live(home: &Home, open: &[OpenRun], ended: &BTreeSet<u64>) -> Vec<Live> {
    let mut live: Vec<Live> = Vec::new();
    for entry in std::fs::read_dir(home.run()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((instance, run)) = name.to_str().and_then(Home::parse_shim_socket) else { continue };
        let known = open.iter().find(|o| o.run == run);
        let shim = match record::connect_to(&entry.path()) {
            Ok(shim) => Shim::There(shim),
            // Nobody holds the socket, which proves that shim and keeper are dead.
            Err(error) if record::is_deserted(&error) => {
                drop(std::fs::remove_file(entry.path()));
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, run, "a shim takes no connection now");
                Shim::Busy
            }
        };
        live.push(Live {
            instance,
            run,
            shim,
            process: known.and_then(|o| o.process),
            launched: known.and_then(|o| o.launched),
            over: ended.contains(&run),
        });
    }
    for o in open {
        if live.iter().any(|l| l.run == o.run) {
            continue;
        }
        if let Some((pid, start_time)) = o.process
            && procfs::start_time(pid) == Some(start_time)
        {
            live.push(Live {
                instance: o.instance,
                run: o.run,
                shim: Shim::Gone,
                process: o.process,
                launched: o.launched,
                over: false,
            });
        }
    }
    // Of two runs of one instance (an overlap that a crash cut short) the newest is the one.
    live.sort_by_key(|l| (l.instance, std::cmp::Reverse(l.run)));
    live
}

/// Writes a journal that holds only what is open.
fn compact(home: &Home, boot_id: &str, live: &[Live], accounts: &Accounts) -> std::io::Result<()> {
    let mut text = journal::line(&Fact::Boot { id: boot_id.to_owned() });
    for l in live.iter().filter(|l| l.over) {
        text.push_str(&journal::line(&Fact::End { run: l.run, account: None }));
    }
    for (instance, (run, account)) in accounts {
        text.push_str(&journal::line(&Fact::Asked { run: *run, instance: *instance }));
        text.push_str(&journal::line(&Fact::End { run: *run, account: Some(*account) }));
    }
    for l in live.iter().filter(|l| !l.over) {
        text.push_str(&journal::line(&Fact::Asked { run: l.run, instance: l.instance }));
        if let Some((pid, start_time)) = l.process {
            let start = Fact::Start { run: l.run, instance: l.instance, pid, start_time };
            text.push_str(&journal::line(&start));
        }
        if let Some((boot_ms, wall_ms)) = l.launched {
            text.push_str(&journal::line(&Fact::Launched { run: l.run, boot_ms, wall_ms }));
        }
    }
    let path = home.journal();
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

/// Cuts the journal off behind what is good of it.
fn cut(journal: &Path, good: usize) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).create(true).truncate(false).open(journal)?;
    if file.metadata()?.len() > good as u64 { file.set_len(good as u64) } else { Ok(()) }
}

impl Daemon {
    /// Puts everything that was found in its place.
    pub(crate) fn take_over(&mut self, found: Recovered) {
        let Recovered { apps, live, accounts, defaults, mut witnesses, .. } = found;
        for run in witnesses.keys() {
            self.keeper.send(ToKeeper::Drop { key: run.0 }.encode(), vec![]);
        }
        let (mut runs, mut superfluous) = (BTreeMap::new(), Vec::new());
        let mut others: BTreeMap<u32, Vec<RestoredRun>> = BTreeMap::new();
        for l in live {
            let wanted = apps.iter().any(|a| a.instances.iter().any(|i| i.id == l.instance));
            if l.over || !wanted || runs.contains_key(&l.instance) {
                if wanted && !l.over {
                    others.entry(l.instance).or_default().push(restored_run(&l));
                }
                superfluous.push(l);
            } else {
                runs.insert(l.instance, l);
            }
        }
        tracing::info!(
            "daemon {} ({}) with {} apps, {} of whose instances are running",
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            apps.len(),
            runs.len()
        );
        let restored = apps
            .into_iter()
            .map(|app| RestoredApp {
                instances: app
                    .instances
                    .iter()
                    .map(|i| {
                        let now =
                            accounts.get(&i.id).map_or_else(|| account_of(i, 0), |(_, account)| *account);
                        let others = others.remove(&i.id).unwrap_or_default();
                        restored_instance(i, now, runs.get(&i.id), others)
                    })
                    .collect(),
                spec: convert::restored_spec(app.spec, defaults),
            })
            .collect();
        self.core.restore(clock::now(), restored);
        self.follow_specs();
        if self.core.apps().any(|app| crate::notify::is_used(&app.spec))
            && let Err(error) = self.listen_for_notes()
        {
            tracing::error!(%error, "what apps say at NOTIFY_SOCKET is not heard");
        }
        self.claim_sockets();
        for l in runs.into_values().chain(superfluous) {
            let witness = witnesses.remove(&RunId(l.run));
            self.attach(l, witness);
        }
        self.forget_dead_workers();
    }

    /// Connects a live run with the loop; adopts its app where the shim is gone.
    fn attach(&mut self, l: Live, witness: Option<Witness>) {
        let (instance, run) = (InstanceId(l.instance), RunId(l.run));
        let current = self.core.instance_of(run).is_some();
        let fd = match l.shim {
            Shim::There(fd) => fd,
            Shim::Busy => {
                let mut held = Run::restored(instance, None, l.process, l.launched.is_some(), witness);
                held.released = !current;
                self.runs.insert(run, held);
                self.try_shim_later(run);
                return;
            }
            Shim::Gone if current => match self.adopt(instance, run, l.process) {
                Ok(fd) => fd,
                Err(error) => {
                    tracing::error!(%error, run = run.0, "cannot adopt a running app");
                    return;
                }
            },
            Shim::Gone => return,
        };
        let link = match Link::new(fd) {
            Ok(link) => Rc::new(link),
            Err(error) => {
                tracing::error!(%error, "cannot use the connection to a shim");
                return;
            }
        };
        self.listen_to(run, &link);
        if current {
            self.worker_joins(run, instance);
        } else {
            dismiss(&link);
        }
        let mut held = Run::restored(instance, Some(link), l.process, l.launched.is_some(), witness);
        held.released = !current;
        self.runs.insert(run, held);
    }

    /// Asks the keeper for a shim around an app that lives without one.
    pub(crate) fn adopt(
        &mut self,
        instance: InstanceId,
        run: RunId,
        process: Option<(i32, u64)>,
    ) -> std::io::Result<OwnedFd> {
        let (pid, start_time) = process.ok_or(std::io::ErrorKind::NotFound)?;
        let spec = self
            .core
            .instance(instance)
            .and_then(|i| Some((i.index, self.core.app(i.app)?)))
            .ok_or(std::io::ErrorKind::NotFound)?;
        let described = launch::describe(&self.home, &spec.1.spec, spec.0, instance, run, self.settings.log)
            .map_err(|e| std::io::Error::from_raw_os_error(e.errno))?;
        let (ours, theirs) = record::pair()?;
        let beside = self.beside(instance, run, &described.encode(), theirs)?;
        tracing::info!(run = run.0, pid, "taking a running app back");
        self.keeper.send(ToKeeper::Adopt { run: RunKey(run.0), pid, start_time }.encode(), beside);
        Ok(ours)
    }

    /// Connects to a shim a little later.
    fn try_shim_later(&self, id: RunId) {
        let inbox = self.inbox.clone();
        let _task = tokio::task::spawn_local(async move {
            tokio::time::sleep(BUSY_PAUSE).await;
            let _gone = inbox.send(Message::Lost(id));
        });
    }

    /// The connection to a shim ended: it is done, or it was killed and the keeper makes another.
    pub(crate) fn shim_lost(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.link = None;
        run.stdin = None;
        let (instance, process, released) = (run.instance, run.process, run.released);
        let found = record::connect_to(&self.home.shim_socket(instance.0, id.0));
        let unwanted = self.core.instance_of(id).is_none() && released;
        let connected = match found {
            Ok(fd) => Ok(fd),
            Err(error) if !record::is_deserted(&error) => {
                tracing::warn!(%error, run = id.0, "a shim takes no connection now");
                self.try_shim_later(id);
                return;
            }
            Err(_) if unwanted => {
                self.runs.remove(&id);
                return;
            }
            Err(error) => match process {
                Some((pid, start_time)) if procfs::start_time(pid) == Some(start_time) => {
                    self.adopt(instance, id, process)
                }
                _ => Err(error),
            },
        };
        match connected.and_then(Link::new) {
            Ok(link) => {
                tracing::warn!(run = id.0, "a shim was lost and replaced");
                let link = Rc::new(link);
                self.listen_to(id, &link);
                if unwanted {
                    dismiss(&link);
                }
                if let Some(run) = self.runs.get_mut(&id) {
                    run.link = Some(link);
                }
            }
            Err(error) => {
                tracing::warn!(%error, run = id.0, "a run was lost together with its shim");
                // One whose gate was never opened (the keeper died with the request on its way) has not run.
                let event = match self.runs.get(&id) {
                    Some(run) if !run.opened => wpm_core::Event::Cancelled,
                    _ => {
                        let end = self.runs.get(&id).and_then(|run| run.witness.as_ref()?.end());
                        let exit = convert::restored_exit(end.map_or(SavedExit::Unknown, saved_end));
                        wpm_core::Event::Exited { exit, tree_gone: true, ran_ms: None }
                    }
                };
                let _gone = self.inbox.send(Message::Event(id, event));
            }
        }
    }

    /// The keeper is gone: start another, which starts the daemon anew, and leave.
    pub(crate) fn keeper_lost(&mut self) {
        self.keeper_gone = true;
    }
}

/// Ends a run that nobody wants: an ended one whose shim was not told, or a leftover.
fn dismiss(link: &Link) {
    drop(link.try_send(&ToShim::KillTree.encode(), &[]));
    drop(link.try_send(&ToShim::Release.encode(), &[]));
}

fn restored_instance(
    i: &SavedInstance,
    now: Account,
    run: Option<&Live>,
    others: Vec<RestoredRun>,
) -> RestoredInstance {
    RestoredInstance {
        id: InstanceId(i.id),
        index: i.index,
        desired: match now.desire {
            SavedDesire::Down | SavedDesire::Finished => Desired::Down,
            SavedDesire::Up | SavedDesire::Errored => Desired::Up,
        },
        errored: now.desire == SavedDesire::Errored,
        finished: now.desire == SavedDesire::Finished,
        restarts: now.restarts,
        last_exit: now.exit.map(convert::restored_exit),
        created_wall_ms: i.created_ms,
        run: run.map(restored_run),
        others,
        cause: i.cause.clone(),
    }
}

fn restored_run(l: &Live) -> RestoredRun {
    let (pid, start_time) = l.process.unwrap_or((0, 0));
    RestoredRun {
        run: RunId(l.run),
        pid,
        start_time,
        launched: l.launched.map(|(boot, _)| wpm_core::Millis(boot)),
        launched_wall_ms: l.launched.map_or(0, |(_, wall)| wall),
    }
}

#[cfg(test)]
mod tests {
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
            Fact::Launched { run: 7, boot_ms: 1, wall_ms: 2 },
        ];
        std::fs::write(home.journal(), facts.iter().map(journal::line).collect::<String>()).expect("write");
        (dir, home)
    }

    fn live(home: &Home) -> usize {
        recover(home, Defaults::default()).expect("recovers").live.len()
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
