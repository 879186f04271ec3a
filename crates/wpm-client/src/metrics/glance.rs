//! Where instances listen, for a list that is asked for often: the kernel is asked for its listening
//! sockets at once, and the open files of an instance are searched only when something new listens.
//!
//! What was found is kept in a file of the run folder. Invariant: what it says is used for the same
//! process alone, and only while no socket listens that was not there when it was written; a file that is
//! missing, damaged or cannot be written costs a search and nothing else.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;

use wpm_proto::home::Home;
use wpm_proto::view::InstanceView;

use super::{cache, diag, sockets};

/// A process that is not mistaken for a later one: pid and start time.
type Key = (i32, u64);

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// Sockets that listened then, whoever's they are.
    seen: HashSet<u64>,
    /// Those of each instance.
    own: HashMap<Key, Vec<u64>>,
}

/// What listens now, and what was found before.
#[derive(Debug)]
pub(super) struct Listening {
    /// Addresses by inode; none where the kernel does not tell.
    now: Option<HashMap<u64, SocketAddr>>,
    before: Known,
}

impl Listening {
    /// Asks the kernel, and reads what an earlier look has left.
    pub(super) fn look(home: &Home) -> Self {
        let by_inode = |socket: diag::Socket| (socket.inode, socket.local);
        let now = diag::listening().map(|all| all.into_iter().map(by_inode).collect());
        let before = if now.is_some() { Known::load(home) } else { Known::default() };
        Self { now, before }
    }
}

/// Addresses on which these instances listen, by public id; each comes with the processes of its tree, and `lives`
/// knows whether one of another app is still there. `looked`: what listens, where it was asked for already.
pub(super) fn listening(
    home: &Home,
    looked: Option<Listening>,
    trees: &[(&InstanceView, Vec<i32>)],
    lives: impl Fn(Key) -> bool,
) -> HashMap<u32, Vec<SocketAddr>> {
    // Workers of a cluster have told theirs.
    let silent: Vec<&(&InstanceView, Vec<i32>)> =
        trees.iter().filter(|(instance, _)| instance.ports.is_empty()).collect();
    if silent.is_empty() {
        return HashMap::new();
    }
    let Listening { now: Some(now), mut before } = looked.unwrap_or_else(|| Listening::look(home)) else {
        return HashMap::new();
    };
    let fresh = now.keys().any(|inode| !before.seen.contains(inode));
    let mut changed = fresh || before.seen.len() != now.len();
    let mut own = HashMap::with_capacity(silent.len());
    for (instance, pids) in silent.iter().copied() {
        let key = (instance.pid, instance.start_time);
        let found = before.own.remove(&key).filter(|_| !fresh).unwrap_or_else(|| {
            changed = true;
            let open = pids.iter().flat_map(|pid| sockets::inodes(*pid));
            open.filter(|inode| now.contains_key(inode)).collect::<HashSet<u64>>().into_iter().collect()
        });
        own.insert(key, found);
    }
    let addresses = |instance: &InstanceView| -> Vec<SocketAddr> {
        let own = own.get(&(instance.pid, instance.start_time)).into_iter().flatten();
        let mut found: Vec<SocketAddr> = own.filter_map(|inode| now.get(inode).copied()).collect();
        found.sort_unstable_by_key(|address| (address.port(), *address));
        found.dedup();
        found
    };
    let found = silent.iter().map(|(instance, _)| (instance.id, addresses(instance))).collect();
    // A look at some apps keeps what is known of the others, unless that may be out of date.
    let others = before.own.len();
    before.own.retain(|key, _| !fresh && lives(*key));
    changed |= before.own.len() != others;
    own.extend(before.own);
    if changed {
        Known { seen: now.into_keys().collect(), own }.store(home);
    }
    found
}

impl Known {
    fn load(home: &Home) -> Self {
        let mut known = Self::default();
        let text = fs::read_to_string(home.listening()).unwrap_or_default();
        for line in text.lines() {
            let numbers =
                |text: &str| text.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<u64>>();
            if let Some(seen) = line.strip_prefix("seen ") {
                known.seen = numbers(seen).into_iter().collect();
            } else if let [pid, start, own @ ..] = numbers(line).as_slice()
                && let Ok(pid) = i32::try_from(*pid)
            {
                known.own.insert((pid, *start), own.to_vec());
            }
        }
        known
    }

    fn store(&self, home: &Home) {
        let mut text = String::from("seen");
        for inode in &self.seen {
            let _written = write!(text, " {inode}");
        }
        text.push('\n');
        for ((pid, start), inodes) in &self.own {
            let _written = write!(text, "{pid} {start}");
            for inode in inodes {
                let _written = write!(text, " {inode}");
            }
            text.push('\n');
        }
        cache::replace(&home.listening(), &text);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn instance(id: u32, start_time: u64) -> InstanceView {
        serde_json::from_value(serde_json::json!({
            "id": id, "index": 0, "pid": std::process::id(), "start_time": start_time, "shim_pid": 1,
            "status": "online", "reason": null, "restarts": 0, "unstable": 0, "started_ms": 0, "created_ms": 0,
            "last_exit": null, "restart_in_ms": null, "log_errno": 0, "log_dropped": 0
        }))
        .expect("complete")
    }

    #[test]
    fn open_files_are_searched_when_something_new_listens() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        let me = i32::try_from(std::process::id()).expect("a pid");
        let look = |one: &InstanceView| {
            listening(&home, None, &[(one, vec![me])], |_| true).remove(&one.id).unwrap_or_default()
        };
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
            let address = listener.local_addr().expect("bound");
            (listener, address)
        };
        let (_first, address) = bind();
        let one = instance(1, 7);
        assert!(look(&one).contains(&address));
        let (_second, address) = bind();
        assert!(look(&one).contains(&address), "something new listens");
        // The same pid with another start is another process.
        assert!(look(&instance(1, 8)).contains(&address));
        assert_eq!(Known::load(&home).own.len(), 2, "of the other one it is kept, too");
        // Workers that have told theirs are not searched for.
        let told = InstanceView { ports: vec!["80".into()], ..instance(1, 9) };
        assert!(look(&told).is_empty());
    }

    #[test]
    fn a_damaged_file_is_no_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let home = Home::new(dir.path());
        fs::create_dir(home.run()).expect("created");
        fs::write(home.listening(), "seen 1 x 2\nnonsense\n5\n7 8 9\n-1 2 3\n").expect("written");
        let known = Known::load(&home);
        assert_eq!(known.seen, HashSet::from([1, 2]));
        assert_eq!(known.own.get(&(7, 8)), Some(&vec![9]));
    }
}
