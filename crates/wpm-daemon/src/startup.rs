//! From a fresh process to a daemon that serves, and what it leaves behind: the lock, the keeper's
//! connection, the socket, the state and runs of its predecessor.
//!
//! Invariant: nothing of a home is touched before its lock is held.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use wpm_proto::home::Home;
use wpm_sys::contract::{CONTRACT, FromKeeper, HANDOVER, ToKeeper};
use wpm_sys::pidfd::PidFd;
use wpm_sys::poll::{self, Watch};

use crate::daemon::Daemon;
use crate::keeper::Keeper;
use crate::link::{Link, Outbox, pump};
use crate::message::Message;
use crate::persistence::Persistence;
use crate::settings::Settings;
use crate::store::Store;
use crate::{listener, recover, unable, witness};

/// How long a keeper may take to die, in milliseconds.
const DYING_MS: u64 = 5000;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// With a sentence that says what could not be set up.
pub(crate) async fn run(home: Home) -> Result<(), String> {
    let told = |what: &str, e: io::Error| format!("{what}: {e}");
    // Held for life: two daemons in one home cannot be.
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(home.daemon_lock())
        .map_err(|e| told("cannot open the daemon's lock", e))?;
    if lock.try_lock().is_err() {
        // The predecessor may be on its way out; the keeper starts only one daemon at a time.
        let (done, waited) = tokio::sync::oneshot::channel();
        drop(std::thread::spawn(move || {
            drop(done.send(lock.lock().map(|()| lock)));
        }));
        match tokio::time::timeout(Duration::from_secs(5), waited).await {
            Ok(Ok(Ok(lock))) => return serve(home, lock).await,
            _ => return Err("another daemon holds this home".into()),
        }
    }
    serve(home, lock).await
}

async fn serve(home: Home, lock: File) -> Result<(), String> {
    let keeper_fd = std::env::var(wpm_proto::env::KEEPER_FD)
        .ok()
        .and_then(|number| wpm_sys::exec::inherited(number.parse().ok()?).ok())
        .ok_or("the daemon is started by the keeper alone (use any wpm command)")?;
    let keeper_link =
        Rc::new(Link::new(keeper_fd).map_err(|e| format!("cannot use the keeper's connection: {e}"))?);
    let form = std::env::var(wpm_sys::start::HANDOVER_FORM).ok();
    let (hello, held) = greeting(&keeper_link).await;
    understands(hello.as_ref(), form.as_deref())?;
    make_folders(&home).map_err(|e| e.to_string())?;
    let (inbox, messages) = unbounded_channel();
    let (written_to, written) = unbounded_channel();
    let (keeper, queue) = Outbox::new();
    let settings = Settings::of_home(&crate::settings::file(&home));

    let listener = listener::open(&home).map_err(|e| e.to_string())?;
    let (held, witnesses) = witness::part(held);
    let recovered = match recover::recover(&home, settings.spec, witnesses) {
        Ok(recovered) => recovered,
        Err(why) => {
            tracing::error!("{why}");
            let usable = || recover::is_usable(&home);
            let quit = || drop(keeper_link.try_send(&ToKeeper::Quit.encode(), &[]));
            unable::refuse(&listener, &why, usable, quit).await;
            return Err(why);
        }
    };
    let store = Store::start(home.clone(), written_to)
        .map_err(|e| format!("cannot open {}: {e}", home.journal().display()))?;
    let persistence = Persistence::new(store, &recovered);
    drop(std::fs::write(home.daemon_pid(), format!("{}\n", std::process::id())));

    let mut daemon = Daemon::new((home, lock), settings, Keeper::new(keeper), inbox, persistence, &recovered);
    {
        let link = Rc::clone(&keeper_link);
        let _detached = tokio::task::spawn_local(async move { pump(&link, queue).await });
        let (link, inbox) = (keeper_link, daemon.inbox.clone());
        let _detached = tokio::task::spawn_local(async move {
            while let Some((record, _fds)) = link.receive().await {
                match FromKeeper::decode(&record) {
                    Ok(report) => {
                        let _gone = inbox.send(Message::Keeper(report));
                    }
                    Err(error) => tracing::error!(%error, "the keeper sent what is not understood"),
                }
            }
            let _gone = inbox.send(Message::KeeperLost);
        });
    }
    daemon.clusters.hold(held);
    if let Some(hello) = hello {
        daemon.take(Message::Keeper(hello));
    }
    daemon.take_over(recovered);
    daemon.guard_home();
    daemon.run(listener, messages, written).await;
    let (home, keeper_gone) = (daemon.home.clone(), daemon.keeper.is_gone && !daemon.quitting);
    let mut sockets = daemon.clusters.all_held();
    sockets.extend(daemon.notes.socket.take());
    let witnesses = if keeper_gone { witness::to_hand_on(daemon.runs.iter()) } else { vec![] };
    daemon.persistence.store.finish();
    drop(daemon.lock);
    if keeper_gone {
        await_end(daemon.keeper.pid);
        let sockets = sockets.iter().map(|(key, fd)| (*key, fd.as_fd()));
        let witnesses = witnesses.iter().map(|(run, fd)| (*run, fd.as_fd()));
        start_keeper(&home, &sockets.chain(witnesses).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Whether this program may serve under its keeper, which may be of another version: they have to speak one
/// contract, and what keeper and shims hold must be what this program would take over from them. The client
/// that asked for an update looks at the forms, too, but may be older than the question.
fn understands(hello: Option<&FromKeeper>, form: Option<&str>) -> Result<(), String> {
    let refuse = |what: &str, theirs: &str, own: &str| {
        Err(format!("this wpm cannot take over from the one that runs: {what} {theirs}, it knows {own}"))
    };
    if let Some(FromKeeper::Hello { contract, .. }) = hello
        && *contract != CONTRACT
    {
        return refuse("the keeper speaks contract", &contract.to_string(), &CONTRACT.to_string());
    }
    match form {
        Some(form) if form != HANDOVER.to_string() => {
            refuse("keeper and shims hand over in form", form, &HANDOVER.to_string())
        }
        _ => Ok(()),
    }
}

/// Makes the folders of a home, and the small file that Node reads at each start of an app with
/// `--port-step`.
pub(crate) fn make_folders(home: &Home) -> io::Result<()> {
    for dir in [home.run(), home.log_locks(), home.logs(), home.pids()] {
        recover::make_private(&dir)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot make {}: {e}", dir.display())))?;
    }
    let preload = home.run().join(wpm_cluster::port_step::FILE_NAME);
    let there = std::fs::read(&preload).is_ok_and(|text| text == wpm_cluster::port_step::PRELOAD.as_bytes());
    if !there && let Err(error) = std::fs::write(&preload, wpm_cluster::port_step::PRELOAD) {
        tracing::warn!(%error, "cannot write {}, which apps with a port step need", preload.display());
    }
    Ok(())
}

/// The keeper's greeting, and the sockets that it has held for this daemon.
async fn greeting(link: &Link) -> (Option<FromKeeper>, Vec<(u64, OwnedFd)>) {
    let (mut hello, mut held) = (None, Vec::new());
    let mut missing = 1;
    let receive = async {
        while missing > 0 {
            let Some((record, fds)) = link.receive().await else { return };
            missing -= 1;
            match FromKeeper::decode(&record) {
                Ok(FromKeeper::Held { key }) => held.extend(fds.into_iter().next().map(|fd| (key, fd))),
                Ok(greeting) => {
                    if let FromKeeper::Hello { held, .. } = &greeting {
                        missing += *held;
                    }
                    hello = Some(greeting);
                }
                Err(error) => tracing::error!(%error, "the keeper sent what is not understood"),
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(5), receive).await.is_err() {
        tracing::error!("the keeper has not sent all that it holds");
    }
    (hello, held)
}

/// Waits until a keeper whose connection has ended is gone for good. It closes one descriptor after the
/// other, and its lock last: another one that came between would find the lock held, and leave.
fn await_end(keeper: i32) {
    if let Ok(process) = PidFd::open(keeper)
        && let Err(error) = poll::wait([Watch::read(Some(process.as_fd()))], Some(DYING_MS))
    {
        tracing::warn!(%error, "cannot wait for the end of the keeper");
    }
}

/// Starts a keeper in place of the one that died; it starts the next daemon.
fn start_keeper(home: &Home, held: &[(u64, BorrowedFd<'_>)]) -> Result<(), String> {
    tracing::warn!("the keeper is gone: starting another, which starts the next daemon");
    wpm_sys::start::spawn_keeper(std::path::Path::new("/proc/self/exe"), home.path(), held)
        .map_err(|e| format!("cannot start a keeper: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_of_another_form_or_contract_is_not_served() {
        let hello = |contract| FromKeeper::Hello { contract, pid: 1, daemon_starts: 1, held: 0 };
        let own = HANDOVER.to_string();
        assert_eq!(understands(Some(&hello(CONTRACT)), Some(&own)), Ok(()));
        assert_eq!(understands(Some(&hello(CONTRACT)), None), Ok(()));
        let why = understands(Some(&hello(CONTRACT + 1)), Some(&own)).expect_err("another contract");
        assert!(why.contains("contract 2, it knows 1"), "{why}");
        let why = understands(None, Some("999")).expect_err("another form");
        assert!(why.contains("form 999"), "{why}");
    }

    #[test]
    fn the_end_of_a_keeper_is_waited_for() {
        let mut dying = std::process::Command::new("true").spawn().expect("true");
        let pid = i32::try_from(dying.id()).expect("small");
        await_end(pid);
        assert!(dying.try_wait().expect("a child").is_some(), "it has ended");
        // One that is gone altogether is not waited for.
        await_end(pid);
    }
}
