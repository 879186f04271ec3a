//! A look that begins before it is known whose processes there are: while the daemon is asked for its instances, a
//! thread reads what an earlier look lets expect.
//!
//! Owns that thread. Invariant: what it has read counts only where it fits what the daemon says then; where it does
//! not, all is read again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use wpm_proto::home::Home;
use wpm_proto::view::InstanceView;

use super::bystanders::Bystanders;
use super::glance::Listening;
use super::procfs::{self, Named, Process, Reading};
use super::samples::Samples;
use super::{Earlier, FEW, Survey, Table, boottime_ms, running, shims_of};

/// What is older, in milliseconds, is read again.
const STALE_MS: u64 = 100;

/// A look that goes on until [`Early::of`] asks for it.
#[derive(Debug)]
pub struct Early {
    home: Home,
    /// None where little is expected: a look at a few is quick enough when it is known at whom.
    thread: Option<Thread>,
}

/// A thread, by what it says: first what there is to read, then what it has found. Its own end is not waited for.
type Thread = (Receiver<Arc<Reading>>, Receiver<Seen>);

/// What the thread has found.
#[derive(Debug)]
struct Seen {
    known: Bystanders,
    named: Vec<Named>,
    processes: Vec<Process>,
    /// When it had read them, in milliseconds since boot.
    at_ms: u64,
    earlier: Earlier,
}

impl Survey<'_> {
    /// Begins to look at all that runs in this home; `listening`: where it listens will be asked, too.
    pub fn begin(home: &Home, listening: bool) -> Early {
        // A single CPU has nothing to do meanwhile but the daemon's work.
        let expects_many = procfs::cpus() > 1 && home.bystanders().exists();
        let begin = || {
            let ((to, reading), (found, seen), home) = (channel(), channel(), home.clone());
            let look = move || {
                if let Some(seen) = see(&home, listening, &to) {
                    // Nobody may want to know any more.
                    drop(found.send(seen));
                }
            };
            std::thread::Builder::new().spawn(look).ok()?;
            Some((reading, seen))
        };
        Early { home: home.clone(), thread: expects_many.then(begin).flatten() }
    }
}

impl Early {
    /// What runs now of these instances, which are all that the home has.
    pub fn of<'a>(self, instances: impl Iterator<Item = &'a InstanceView>) -> Survey<'a> {
        let instances = running(instances);
        // The daemon may have taken its time.
        let is_new = |seen: &Seen| boottime_ms().saturating_sub(seen.at_ms) <= STALE_MS;
        let seen = self.thread.and_then(join).filter(is_new);
        match seen.and_then(|seen| fitting(&self.home, seen, &instances)) {
            Some(survey) => survey,
            None => Survey::look(Some(&self.home), instances, true),
        }
    }
}

/// What was seen of these instances, if it was the processes that they are.
fn fitting<'a>(home: &Home, seen: Seen, instances: &[&'a InstanceView]) -> Option<Survey<'a>> {
    let Seen { known, named, mut processes, at_ms, earlier } = seen;
    let shims = shims_of(instances);
    // A child of the keeper is nobody's child here.
    let all = processes.len();
    processes.retain(|process| shims.binary_search(&process.pid).is_err());
    let unknown_shims = all - processes.len();
    let table = Table::new(processes);
    // One that was started meanwhile was not there yet.
    let fits = |it: &&InstanceView| table.has_main(it) && !known.mistakes(it.pid, it.shim_pid);
    if !instances.iter().all(fits) {
        return None;
    }
    let survey = Survey { earlier, ..Survey::of(instances.to_vec(), table, at_ms) };
    if survey.trees.len() <= FEW {
        // The next look does not expect many.
        let _absent = std::fs::remove_file(home.bystanders());
    } else {
        survey.note(home, &known, &named, &shims, unknown_shims);
    }
    Some(survey)
}

/// Reads what the thread has left, and takes what it has found.
fn join((reading, seen): Thread) -> Option<Seen> {
    let mut processes = reading.recv().ok()?.go_on(0);
    let mut seen = seen.recv().ok()?;
    seen.processes.append(&mut processes);
    Some(seen)
}

/// Looks; tells what there is to read as soon as that is known.
fn see(home: &Home, listening: bool, to: &Sender<Arc<Reading>>) -> Option<Seen> {
    let known = Bystanders::load(home);
    let named = procfs::named();
    let asked = named.iter().filter(|it| !known.has(**it)).map(|it| it.pid).collect();
    let reading = Arc::new(Reading::new(asked)?);
    let _gone = to.send(Arc::clone(&reading));
    let earlier =
        Earlier { samples: Some(Samples::load(home)), listening: listening.then(|| Listening::look(home)) };
    // The daemon and whoever waits for it have a CPU to themselves.
    let processes = reading.go_on(procfs::cpus().saturating_sub(2).min(procfs::MOST_THREADS - 2));
    Some(Seen { known, named, processes, at_ms: boottime_ms(), earlier })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn instance(pid: i32) -> InstanceView {
        let start_time = procfs::trees(&[pid]).expect("this kernel tells")[0].start_time;
        serde_json::from_value(serde_json::json!({
            "id": 3, "index": 0, "pid": pid, "start_time": start_time, "status": "online"
        }))
        .expect("complete")
    }

    #[test]
    fn what_was_started_meanwhile_and_what_was_taken_for_a_stranger_is_seen() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        let me = i32::try_from(std::process::id()).expect("a pid");
        let named = procfs::named().into_iter().find(|named| named.pid == me).expect("runs");
        let other = Named { inode: named.inode + 1, ..named };
        for bystander in [named, other] {
            fs::write(home.bystanders(), format!("{} {}\n", bystander.pid, bystander.inode))
                .expect("written");
            let usage = Survey::begin(&home, true).of(std::iter::once(&instance(me))).usage(&home);
            assert!(usage[&3].processes >= 1 && usage[&3].memory > 0, "{bystander:?}");
        }
        fs::write(home.bystanders(), "1 2\n").expect("written");
        let early = Survey::begin(&home, false);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleeps");
        let late = instance(i32::try_from(child.id()).expect("a pid"));
        let mut survey = early.of(std::iter::once(&late));
        assert_eq!(survey.usage(&home)[&3].processes, 1);
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    #[test]
    fn where_few_were_found_no_early_look_is_expected() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        fs::write(home.bystanders(), "1 2\n").expect("written");
        let (me, (to, _from)) = (i32::try_from(std::process::id()).expect("a pid"), channel());
        let seen = || see(&home, true, &to).expect("seen");
        let stranger = InstanceView { start_time: 0, ..instance(me) };
        assert!(fitting(&home, seen(), &[&stranger]).is_none() && home.bystanders().exists());
        let survey = fitting(&home, seen(), &[&instance(me)]).expect("it fits").usage(&home);
        assert!(survey[&3].processes >= 1 && !home.bystanders().exists());
    }
}
