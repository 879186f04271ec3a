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

/// Addresses on which these instances listen, by public id; `pids` gives the processes of one, and `lives`
/// knows whether one of another app is still there.
pub(super) fn listening(
    home: &Home,
    instances: &[&InstanceView],
    pids: impl Fn(&InstanceView) -> Vec<i32>,
    lives: impl Fn(Key) -> bool,
) -> HashMap<u32, Vec<SocketAddr>> {
    // Workers of a cluster have told theirs.
    let silent: Vec<&InstanceView> =
        instances.iter().copied().filter(|instance| instance.ports.is_empty()).collect();
    if silent.is_empty() {
        return HashMap::new();
    }
    let Some(sockets) = diag::listening() else { return HashMap::new() };
    let now: HashMap<u64, SocketAddr> =
        sockets.into_iter().map(|socket| (socket.inode, socket.local)).collect();
    let before = Known::load(home);
    let fresh = now.keys().any(|inode| !before.seen.contains(inode));
    let mut known = Known { seen: now.keys().copied().collect(), own: HashMap::new() };
    for instance in &silent {
        let key = (instance.pid, instance.start_time);
        let own = match before.own.get(&key).filter(|_| !fresh) {
            Some(own) => own.clone(),
            None => {
                let open = pids(instance).into_iter().flat_map(sockets::inodes);
                open.filter(|inode| now.contains_key(inode)).collect::<HashSet<u64>>().into_iter().collect()
            }
        };
        known.own.insert(key, own);
    }
    let addresses = |instance: &InstanceView| -> Vec<SocketAddr> {
        let own = known.own.get(&(instance.pid, instance.start_time)).into_iter().flatten();
        let mut found: Vec<SocketAddr> = own.filter_map(|inode| now.get(inode).copied()).collect();
        found.sort_unstable_by_key(|address| (address.port(), *address));
        found.dedup();
        found
    };
    let found = silent.iter().map(|instance| (instance.id, addresses(instance))).collect();
    // A look at some apps keeps what is known of the others, unless that may be out of date.
    if !fresh {
        for (key, own) in &before.own {
            if lives(*key) {
                known.own.entry(*key).or_insert_with(|| own.clone());
            }
        }
    }
    if known != before {
        known.store(home);
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
    use std::cell::Cell;
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
        let searched = Cell::new(0);
        let look = |one: &InstanceView| {
            let pids = |_: &InstanceView| {
                searched.set(searched.get() + 1);
                vec![i32::try_from(std::process::id()).expect("a pid")]
            };
            listening(&home, &[one], pids, |_| true).remove(&one.id).unwrap_or_default()
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
        // Other tests listen meanwhile: what is searched at most once for each is all that can be said.
        let before = searched.get();
        assert!(look(&one).contains(&address));
        assert!(searched.get() > before, "something new listens");
        // The same pid with another start is another process.
        let before = searched.get();
        assert!(look(&instance(1, 8)).contains(&address));
        assert!(searched.get() > before);
        assert_eq!(Known::load(&home).own.len(), 2, "of the other one it is kept, too");
        // Workers that have told theirs are not searched for.
        let told = InstanceView { ports: vec!["80".into()], ..instance(1, 9) };
        let before = searched.get();
        assert!(look(&told).is_empty() && searched.get() == before);
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
