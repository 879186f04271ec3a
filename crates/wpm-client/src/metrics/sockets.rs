//! TCP and Unix sockets of running apps, from the kernel's tables (proc_pid_net(5)).
//!
//! Invariant: a socket counts for an instance only if a process of its tree has it open.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::fs::{Mode, OFlags, RawDir, open, readlinkat_raw};
use wpm_proto::view::InstanceView;

use super::diag;

/// What an instance has open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sockets {
    /// Addresses on which it listens, each once, in order.
    pub listening: Vec<SocketAddr>,
    /// Absolute paths of Unix sockets on which it listens, each once, in order.
    pub paths: Vec<String>,
    /// Connections that were made to these ports and paths and are open.
    pub connections: u64,
}

/// A line of one of the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    local: Local,
    listens: bool,
    inode: u64,
}

/// The own address of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Local {
    Tcp(SocketAddr),
    Unix(String),
}

/// Sockets of instances with the processes of their trees, by public id.
pub(super) fn of_trees(trees: &[(&InstanceView, Vec<i32>)]) -> HashMap<u32, Sockets> {
    // Apps of one machine may live in network namespaces of their own; most do not.
    let mut tables: HashMap<Option<std::path::PathBuf>, Vec<Entry>> = HashMap::new();
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    trees
        .iter()
        .map(|(instance, pids)| {
            let namespace = std::fs::read_link(format!("/proc/{}/ns/net", instance.pid)).ok();
            let is_own = namespace == own;
            let entries = tables.entry(namespace).or_insert_with(|| entries(instance.pid, is_own));
            let open: HashSet<u64> = pids.iter().flat_map(|pid| inodes(*pid)).collect();
            (instance.id, of(entries, &open, &told(instance)))
        })
        .collect()
}

/// TCP ports on which a worker of a cluster has said that it listens: wpm may hold the socket for it.
fn told(instance: &InstanceView) -> Vec<u16> {
    let tcp = instance.ports.iter().filter(|text| !text.starts_with("udp:") && !text.starts_with("unix:"));
    tcp.filter_map(|text| text.rsplit(':').next()?.parse().ok()).collect()
}

fn of(entries: &[Entry], open: &HashSet<u64>, told: &[u16]) -> Sockets {
    let own = || entries.iter().filter(|entry| open.contains(&entry.inode));
    let (mut listening, mut paths) = (Vec::new(), Vec::new());
    for entry in own().filter(|entry| entry.listens) {
        match &entry.local {
            Local::Tcp(address) => listening.push(*address),
            Local::Unix(path) => paths.push(path.clone()),
        }
    }
    listening.sort_unstable_by_key(|address| (address.port(), *address));
    listening.dedup();
    paths.sort_unstable();
    paths.dedup();
    let served = |local: &Local| match local {
        Local::Tcp(address) => {
            let port = address.port();
            told.contains(&port) || listening.iter().any(|address| address.port() == port)
        }
        Local::Unix(path) => paths.contains(path),
    };
    let connections = own().filter(|e| !e.listens && served(&e.local)).count();
    Sockets { listening, paths, connections: u64::try_from(connections).unwrap_or(u64::MAX) }
}

/// What is open where a process is; `own`: it is the namespace of this process, too.
fn entries(pid: i32, own: bool) -> Vec<Entry> {
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let told = Some(own).filter(|own| *own).and_then(|_| diag::open());
    let mut all: Vec<Entry> = match told {
        Some(sockets) => sockets
            .into_iter()
            .map(|it| Entry { local: Local::Tcp(it.local), listens: it.listens, inode: it.inode })
            .collect(),
        None => ["tcp", "tcp6"]
            .iter()
            .flat_map(|name| table(name).lines().filter_map(entry).collect::<Vec<_>>())
            .collect(),
    };
    all.extend(table("unix").lines().filter_map(unix_entry));
    all
}

/// One that listens or is connected; what is being closed counts for nothing.
fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.split_ascii_whitespace();
    let (local, state, inode) = (fields.nth(1)?, fields.nth(1)?, fields.nth(5)?);
    let listens = match state {
        "0A" => true,
        "01" => false,
        _ => return None,
    };
    Some(Entry { local: Local::Tcp(address(local)?), listens, inode: inode.parse().ok()? })
}

/// A stream socket with an absolute path: `Num: RefCount Protocol Flags Type St Inode Path`.
fn unix_entry(line: &str) -> Option<Entry> {
    let mut fields = line.splitn(7, ' ');
    let (flags, kind, state) = (fields.nth(3)?, fields.next()?, fields.next()?);
    // The inode is set to the right: its field may begin with blanks.
    let (inode, path) = fields.next()?.trim_start().split_once(' ')?;
    // Of the flags there is one: that it accepts (__SO_ACCEPTCON).
    let listens = match (flags, state) {
        ("00010000", _) => true,
        (_, "03") => false,
        _ => return None,
    };
    let entry = || Some(Entry { local: Local::Unix(path.to_owned()), listens, inode: inode.parse().ok()? });
    (kind == "0001" && path.starts_with('/')).then(entry).flatten()
}

/// `0100007F:0BB8`: the address as the words of this machine, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = host
        .as_bytes()
        .chunks(8)
        .map(|word| Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    let ip = match *words.as_slice() {
        [four] => IpAddr::V4(Ipv4Addr::from(four)),
        [a, b, c, d] => {
            let bytes: [u8; 16] = [a, b, c, d].concat().try_into().ok()?;
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Inodes of the sockets that a process has open.
pub(super) fn inodes(pid: i32) -> Vec<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = open(format!("/proc/{pid}/fd"), flags, Mode::empty()) else { return Vec::new() };
    let (mut inodes, mut names) = (Vec::new(), Vec::with_capacity(4096));
    let mut entries = RawDir::new(&folder, names.spare_capacity_mut());
    while let Some(Ok(entry)) = entries.next() {
        // Long enough for a socket; what is cut is none.
        let mut link = [0; 64];
        let length = readlinkat_raw(&folder, entry.file_name(), &mut link).unwrap_or(0);
        inodes.extend(link.get(..length).and_then(inode));
    }
    inodes
}

/// `socket:[4711]`.
fn inode(link: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let line = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0";
        let read = entry(line).expect("a line");
        assert_eq!(
            (read.local, read.listens, read.inode),
            (Local::Tcp("127.0.0.1:3000".parse().expect("an address")), true, 12345)
        );
        let connected = entry(&line.replace(" 0A ", " 01 ")).expect("a line");
        assert!(!connected.listens);
        assert_eq!(entry(&line.replace(" 0A ", " 06 ")), None, "on its way out");
        let six = "00000000000000000000000001000000:1F90";
        assert_eq!(address(six).expect("an address").to_string(), "[::1]:8080");
        assert_eq!(address("nonsense"), None);
    }

    #[test]
    fn only_what_the_tree_has_open_counts() {
        let at = |port: u16, listens, inode| Entry {
            local: Local::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
            listens,
            inode,
        };
        let entries =
            [at(80, true, 1), at(80, false, 2), at(80, false, 3), at(5432, false, 4), at(81, true, 5)];
        let sockets = of(&entries, &HashSet::from([1, 2, 4]), &[]);
        assert_eq!(sockets.listening, [SocketAddr::from(([127, 0, 0, 1], 80))]);
        assert_eq!(sockets.connections, 1, "one of its own, not the one to a database");
        // A worker to which wpm hands connections has no socket that listens.
        let handed = of(&entries, &HashSet::from([2, 3, 4]), &[80]);
        assert_eq!((handed.listening, handed.connections), (vec![], 2));
    }

    #[test]
    fn paths_are_read_with_their_blanks() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 34567 /run/a b.sock";
        let listens = unix_entry(line).expect("a line");
        assert_eq!((&listens.local, listens.inode), (&Local::Unix("/run/a b.sock".into()), 34567));
        let connected = line.replace("00010000 0001 01", "00000000 0001 03");
        assert!(!unix_entry(&connected).expect("a line").listens);
        for other in [line.replace(" /run/a b.sock", ""), line.replace("/run", "@run"), "Num RefCount".into()]
        {
            assert_eq!(unix_entry(&other), None, "{other}");
        }
        assert_eq!(unix_entry(&line.replace(" 34567", "   567")).expect("padded").inode, 567);
    }

    #[test]
    fn a_path_of_this_process_is_found() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a b.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let _client = std::os::unix::net::UnixStream::connect(&path).expect("connected");
        let (_served, _) = listener.accept().expect("accepted");
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let found = of(&entries(pid, false), &inodes(pid).into_iter().collect(), &[]);
        let path = path.to_str().expect("utf-8").to_owned();
        assert!(found.paths.contains(&path) && found.connections >= 1, "{found:?}");
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let _client = std::net::TcpStream::connect(address).expect("connected");
        let (_served, _) = listener.accept().expect("accepted");
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let entries = entries(pid, false);
        for entries in [entries, self::entries(pid, true)] {
            let found = of(&entries, &inodes(pid).into_iter().collect(), &[]);
            assert!(found.listening.contains(&address), "{found:?}");
            assert!(found.connections >= 1, "{found:?}");
        }
    }
}
