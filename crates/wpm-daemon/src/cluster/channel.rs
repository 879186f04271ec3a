//! The IPC channel of one instance, on the event loop: bytes and descriptors in and out.
//!
//! Understands nothing of what passes. The shim holds the same channel, so the app never sees its end
//! when the daemon goes. A chatty app is read only as fast as the loop takes what it says.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wpm_core::RunId;

use crate::message::Message;

/// Bytes of one read.
const READ: usize = 64 * 1024;
/// Reads of one channel that may wait for the loop.
const AHEAD: usize = 4;
/// Descriptors beside one read.
const FDS: usize = 16;

/// A descriptor that workers may share.
pub(crate) type Fd = Rc<OwnedFd>;
/// Bytes and what rides with the first of them.
pub(super) type Outgoing = (Vec<u8>, Option<Fd>);

/// The loop's hand on a channel.
#[derive(Debug)]
pub(super) struct Channel {
    stream: Rc<UnixStream>,
    queue: UnboundedSender<Outgoing>,
    /// What is queued and not written yet.
    queued: Rc<Cell<usize>>,
}

impl Channel {
    /// Reads and writes a channel in tasks of its own.
    pub(super) fn open(run: RunId, fd: OwnedFd, inbox: UnboundedSender<Message>) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(fd);
        socket.set_nonblocking(true)?;
        let stream = Rc::new(UnixStream::from_std(socket)?);
        let (queue, queued) = (unbounded_channel(), Rc::new(Cell::new(0)));
        let (reading, writing, left) = (Rc::clone(&stream), Rc::clone(&stream), Rc::clone(&queued));
        let _detached = tokio::task::spawn_local(async move {
            let (reader, writer) = (read(run, &reading, &inbox), write(&writing, queue.1, &left));
            tokio::join!(reader, writer);
        });
        Ok(Self { stream, queue: queue.0, queued })
    }

    /// Writes bytes now if they can be, else after what waits before them.
    pub(super) fn send(&self, mut bytes: Vec<u8>, mut fd: Option<Fd>) {
        if self.queued.get() == 0 {
            match self.stream.try_io(Interest::WRITABLE, || transmit(&self.stream, &bytes, fd.as_ref())) {
                Ok(n) if n < bytes.len() => {
                    drop(bytes.drain(..n));
                    fd = None;
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                // Written; or the app is gone, and the reading half tells.
                Ok(_) | Err(_) => return,
            }
        }
        self.queued.set(self.queued.get() + 1);
        // A channel that has ended needs no more.
        let _gone = self.queue.send((bytes, fd));
    }
}

async fn read(run: RunId, stream: &UnixStream, inbox: &UnboundedSender<Message>) {
    let ahead = Arc::new(Semaphore::new(AHEAD));
    let mut buffer = vec![0; READ];
    loop {
        if stream.readable().await.is_err() {
            break;
        }
        let mut last = None;
        let read = stream.try_io(Interest::READABLE, || match receive(stream, &mut buffer) {
            // Less than could be had, and not cut short by a descriptor: there is no more for now, and
            // nothing is to ask the kernel again for that.
            Ok((n, fds)) if n > 0 && n < READ && fds.is_empty() => {
                last = Some(n);
                Err(io::ErrorKind::WouldBlock.into())
            }
            read => read,
        });
        match last.map_or(read, |n| Ok((n, Vec::new()))) {
            Ok((0, _)) => break,
            Ok((n, fds)) => {
                let Ok(permit) = Arc::clone(&ahead).acquire_owned().await else { break };
                let said = Said { bytes: buffer[..n].to_vec(), fds, _permit: permit };
                let _gone = inbox.send(Message::Ipc(run, said));
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => break,
        }
    }
    let _gone = inbox.send(Message::IpcEnd(run));
}

/// One read of a channel; the next but three waits until the loop is done with it.
#[derive(Debug)]
pub(crate) struct Said {
    /// What was read.
    pub(crate) bytes: Vec<u8>,
    /// What came beside it.
    pub(crate) fds: Vec<OwnedFd>,
    _permit: OwnedSemaphorePermit,
}

fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let n = recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut control, flags)?.bytes;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = part {
            fds.extend(list);
        }
    }
    Ok((n, fds))
}

async fn write(stream: &UnixStream, mut queue: UnboundedReceiver<Outgoing>, queued: &Cell<usize>) {
    let mut waiting: VecDeque<Outgoing> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(next) => waiting.push_back(next),
                None => return,
            }
        }
        while let Some((bytes, fd)) = waiting.front_mut() {
            match stream.try_io(Interest::WRITABLE, || transmit(stream, bytes, fd.as_ref())) {
                Ok(n) if n < bytes.len() => {
                    drop(bytes.drain(..n));
                    *fd = None;
                }
                Ok(_) => {
                    drop(waiting.pop_front());
                    queued.set(queued.get().saturating_sub(1));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if stream.writable().await.is_err() {
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The app is gone; the reading half tells.
                Err(_) => return,
            }
        }
    }
}

fn transmit(stream: &UnixStream, bytes: &[u8], fd: Option<&Fd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::<u8>::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let beside = fd.map(|fd| [fd.as_fd()]);
    if let Some(fds) = &beside
        && !control.push(SendAncillaryMessage::ScmRights(fds))
    {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags)?)
}
