//! Makes the sockets that apps share. Knows addresses and options, nothing of who uses them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};
use wpm_cluster::primary::{BindTo, Bound};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Binds, and listens on what is a stream.
pub(super) fn make(to: &BindTo, backlog: u32) -> Result<OwnedFd, Errno> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    match to {
        BindTo::Tcp { address: None, scope: _, port, v6_only, reuse_port } => {
            // Both families on one socket; where there is no IPv6, the other alone.
            let any = |ip: IpAddr| tcp(SocketAddr::new(ip, *port), *v6_only, *reuse_port, backlog);
            any(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| any(Ipv4Addr::UNSPECIFIED.into()))
        }
        BindTo::Tcp { address: Some(ip), scope, port, v6_only, reuse_port } => {
            tcp(address(*ip, scope.as_deref(), *port)?, *v6_only, *reuse_port, backlog)
        }
        BindTo::Udp { address: ip, scope, port, v6_only, reuse_address, reuse_port } => {
            let at = address(*ip, scope.as_deref(), *port)?;
            let socket = socket_with(family(&at), SocketType::DGRAM, FLAGS, None)?;
            if *reuse_address {
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            options(&socket, &at, *v6_only, *reuse_port)?;
            bind(&socket, &at)?;
            Ok(socket)
        }
        BindTo::Path { path, add_mode } => {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
            bind(&socket, &SocketAddrUnix::new(path.as_str())?)?;
            if *add_mode != 0 {
                let mode = rustix::fs::stat(path.as_str())?.st_mode & 0o7777;
                let mode = Mode::from_raw_mode(mode | add_mode);
                rustix::fs::chmodat(CWD, path.as_str(), mode, AtFlags::empty())?;
            }
            listen(&socket, backlog)?;
            Ok(socket)
        }
        BindTo::Abstract { name } => {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
            bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
            listen(&socket, backlog)?;
            Ok(socket)
        }
        BindTo::Inherited { .. } => Err(Errno::INVAL),
    }
}

/// The socket with its own address, as the primary wants it.
pub(super) fn bound<F>(fd: F, socket: &OwnedFd) -> Bound<F> {
    Bound { fd, local: getsockname(socket).ok().and_then(|a| SocketAddr::try_from(a).ok()) }
}

/// Removes what a path socket leaves in the file system.
pub(super) fn unlink(to: &BindTo) -> io::Result<()> {
    match to {
        BindTo::Path { path, .. } => std::fs::remove_file(Path::new(path)),
        _ => Ok(()),
    }
}

fn address(ip: IpAddr, scope: Option<&str>, port: u16) -> Result<SocketAddr, Errno> {
    match (ip, scope) {
        (IpAddr::V6(ip), Some(scope)) => {
            let scope = scope.parse().map_err(|_| Errno::INVAL)?;
            Ok(SocketAddrV6::new(ip, port, 0, scope).into())
        }
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

fn tcp(at: SocketAddr, v6_only: bool, reuse_port: bool, backlog: i32) -> Result<OwnedFd, Errno> {
    let socket = socket_with(family(&at), SocketType::STREAM, FLAGS, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    options(&socket, &at, v6_only, reuse_port)?;
    bind(&socket, &at)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

fn options(socket: &OwnedFd, at: &SocketAddr, v6_only: bool, reuse_port: bool) -> Result<(), Errno> {
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(socket, v6_only)?;
    }
    if reuse_port {
        sockopt::set_socket_reuseport(socket, true)?;
    }
    Ok(())
}

fn family(at: &SocketAddr) -> AddressFamily {
    if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}
