//! TCP sockets of this network namespace, asked for by sock_diag(7): twenty times faster than
//! `/proc/net/tcp`, and what is not asked for (TIME_WAIT, say) costs nothing, however much there is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// Bytes of one answer of the kernel, at most.
const ANSWER: usize = 32 * 1024;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
const IPPROTO_TCP: u8 = 6;
/// Bits of the states `TCP_LISTEN` and `TCP_ESTABLISHED`.
const LISTENING: u32 = 1 << 10;
const CONNECTED: u32 = 1 << 1;
/// `SOCK_DIAG_BY_FAMILY`, with `NLM_F_REQUEST` and `NLM_F_DUMP`.
const BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// Sizes of `struct nlmsghdr` and of `struct inet_diag_req_v2`.
const HEADER: usize = 16;
const REQUEST: u32 = 16 + 56;

/// A socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) inode: u64,
    /// Its own address.
    pub(super) local: SocketAddr,
    /// It listens; else it is connected.
    pub(super) listens: bool,
}

/// Those that listen; `None` where the kernel does not tell.
pub(super) fn listening() -> Option<Vec<Socket>> {
    ask(LISTENING)
}

/// Those that listen or are connected; `None` where the kernel does not tell.
pub(super) fn open() -> Option<Vec<Socket>> {
    ask(LISTENING | CONNECTED)
}

fn ask(states: u32) -> Option<Vec<Socket>> {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG)).ok()?;
    let mut all = Vec::new();
    let mut answer = vec![0; ANSWER];
    for family in FAMILIES {
        send(&socket, &request(family, states), SendFlags::empty()).ok()?;
        loop {
            let (length, _) = recv(&socket, &mut answer, RecvFlags::empty()).ok()?;
            if take(answer.get(..length)?, &mut all)? {
                break;
            }
        }
    }
    Some(all)
}

fn request(family: u8, states: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST as usize);
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_AND_DUMP.to_ne_bytes());
    // Number and sender: the only request at a time.
    bytes.extend([0; 8]);
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    // Whatever the addresses.
    bytes.resize(REQUEST as usize, 0);
    bytes
}

/// Takes the messages of one answer; whether it was the last one. `None`: it is not understood.
fn take(mut answer: &[u8], all: &mut Vec<Socket>) -> Option<bool> {
    while let Some(header) = answer.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes(*header.first_chunk()?) as usize;
        match u16::from_ne_bytes([header[4], header[5]]) {
            DONE => return Some(true),
            ERROR => return None,
            _ => all.extend(entry(answer.get(HEADER..length)?)),
        }
        // Each message begins at a multiple of four.
        answer = answer.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
    }
    Some(false)
}

/// `struct inet_diag_msg`: family, state, timers, ports and addresses in network order, inode at its end.
fn entry(message: &[u8]) -> Option<Socket> {
    let port = u16::from_be_bytes(*message.get(4..)?.first_chunk()?);
    let address: [u8; 16] = *message.get(8..)?.first_chunk()?;
    let inode = u32::from_ne_bytes(*message.get(68..)?.first_chunk()?);
    let ip = match FAMILIES.iter().position(|family| Some(family) == message.first())? {
        0 => IpAddr::V4(Ipv4Addr::from(*address.first_chunk::<4>()?)),
        _ => Ipv6Addr::from(address).to_canonical(),
    };
    let listens = LISTENING == 1_u32.checked_shl((*message.get(1)?).into())?;
    Some(Socket { inode: inode.into(), local: SocketAddr::new(ip, port), listens })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_listener_is_told_with_its_inode_and_a_connection_is_not() {
        let listeners = ["127.0.0.1:0", "[::1]:0"].map(|at| TcpListener::bind(at).expect("bound"));
        let addresses = listeners.each_ref().map(|it| it.local_addr().expect("bound"));
        let _client = std::net::TcpStream::connect(addresses[0]).expect("connected");
        let all = listening().expect("the kernel tells");
        for (listener, address) in listeners.iter().zip(addresses) {
            let found: Vec<&Socket> = all.iter().filter(|socket| socket.local == address).collect();
            let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).expect("open");
            assert_eq!(found.len(), 1, "{all:?}");
            assert!(found[0].listens);
            assert_eq!(link.to_str(), Some(format!("socket:[{}]", found[0].inode).as_str()));
        }
        let (served, _) = listeners[0].accept().expect("accepted");
        let link = std::fs::read_link(format!("/proc/self/fd/{}", served.as_raw_fd())).expect("open");
        let is_it = |socket: &Socket| link.to_str() == Some(&format!("socket:[{}]", socket.inode));
        let all = open().expect("the kernel tells");
        let connected = all.iter().find(|socket| is_it(socket)).expect("told");
        assert_eq!((connected.local, connected.listens), (addresses[0], false));
    }

    #[test]
    fn what_is_cut_short_is_not_understood() {
        let mut all = Vec::new();
        assert_eq!(take(&[], &mut all), Some(false));
        let short = [&64_u32.to_ne_bytes()[..], &BY_FAMILY.to_ne_bytes(), &[0; 20]].concat();
        assert_eq!(take(&short, &mut all), None);
        assert!(all.is_empty());
    }
}
