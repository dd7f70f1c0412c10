//! Large files on connections without TLS: the kernel sends its pages, and nothing is copied.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags,
        SocketType, recvmsg, socketpair,
    },
};
use tokio::{io::Interest, net::TcpStream, time::Instant};

use super::alarm::Alarm;
use crate::reply::{FileBody, SentFile};

/// Less is copied sooner than a descriptor is ready for it.
const MIN_BYTES: u64 = 512 * 1024;

/// Why it has ended.
#[derive(Debug)]
pub(super) enum SendOutcome {
    /// Everything was sent, or what is left has to be copied.
    Done,
    /// The file cannot be read.
    File(io::Error),
    Client(io::Error),
    /// The client does not read.
    Late,
}

/// Sends what it can. `sent`: the number of bytes is added to it.
pub(super) async fn send(
    file: &mut FileBody,
    socket: RawFd,
    sent: &mut u64,
    (alarm, limit): (&mut Alarm, Duration),
) -> SendOutcome {
    if file.length() < MIN_BYTES {
        return SendOutcome::Done;
    }
    let socket = duplicate(socket).and_then(|socket| TcpStream::from_std(OwnedFd::into(socket)));
    let socket = match socket.map(Arc::new) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::debug!(error = error.to_string(), "a file is copied");
            return SendOutcome::Done;
        }
    };
    while !file.is_sent() {
        let deadline = Some(Instant::now() + limit);
        match alarm.bound(deadline, socket.writable()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => return SendOutcome::Client(error),
            None => return SendOutcome::Late,
        }
        match file.send_to(&socket).await {
            Ok(SentFile::Bytes(count)) => *sent += count,
            Ok(SentFile::Full) => note_full(&socket),
            Ok(SentFile::Unsupported) => return SendOutcome::Done,
            Ok(SentFile::Closed(error)) => return SendOutcome::Client(error),
            Err(error) => return SendOutcome::File(error),
        }
    }
    SendOutcome::Done
}

/// Lets `writable` wait, unless the client has read meanwhile.
fn note_full(socket: &TcpStream) {
    let is_writable = || {
        let mut polled = [PollFd::new(socket, PollFlags::OUT)];
        match poll(&mut polled, Some(&Timespec::default()))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    };
    // What it is, the next wait says.
    let _ = socket.try_io(Interest::WRITABLE, is_writable);
}

/// pingora shows no more than the number of the descriptor, and owning one by its number is unsafe: it is sent to
/// this process, as to another one.
fn duplicate(socket: RawFd) -> io::Result<OwnedFd> {
    let kind = SocketType::DGRAM;
    let (here, there) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let sockets = [socket];
    let message = [ControlMessage::ScmRights(&sockets)];
    let byte = [IoSlice::new(&[0])];
    sendmsg::<()>(here.as_raw_fd(), &byte, &message, MsgFlags::empty(), None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut received = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    recvmsg(there, &mut bytes, &mut received, RecvFlags::CMSG_CLOEXEC)?;
    let duplicate = received.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    duplicate.ok_or_else(|| io::ErrorKind::Other.into())
}
