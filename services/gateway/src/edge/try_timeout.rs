//! The time-outs of one attempt, and of the whole request, on the general path.
//!
//! pingora has one time-out for every read of a response, and it cannot be changed once the head is
//! there. So the socket of an upstream with `try_timeout_ms`, and of a request with
//! `request_timeout_seconds`, has deadlines of its own, which the request that uses the connection sets
//! and removes. pingora decides which connection a request gets; to know
//! it, each connection has a slot, which is the group of its own in pingora's pool. Whether an attempt is
//! given up is decided when its time is up: with no retry left, it has all the time that there is.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    Result,
    connectors::l4::Connect,
    protocols::l4::{
        socket::SocketAddr as PeerAddress,
        stream::Stream,
        virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    slow_try::SlowTry,
    tunnel::{connect, set_option},
};

/// Slots that are kept for later requests to one address.
const MAX_SLOTS: usize = 1_024;
/// Addresses with slots; beyond that, all slots that are free are forgotten.
const MAX_ADDRESSES: usize = 4_096;
/// A bit that no other group of pingora's pool has.
pub(super) const FIRST_SLOT: u64 = 1 << 62;

/// An address, and the group of its TLS settings.
type SlotKey = (SocketAddr, u64);

/// The slots that no request uses.
#[derive(Debug)]
pub(super) struct TrySlots {
    free: Mutex<HashMap<SlotKey, Vec<Arc<TrySlot>>>>,
    next: AtomicU64,
}

/// What a request and its connection share.
#[derive(Debug)]
pub(super) struct TrySlot {
    group: u64,
    state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    /// Of the head of the response.
    head: Option<Instant>,
    /// What decides then.
    slow: Option<SlowTry>,
    /// Of the whole request.
    end: Option<Instant>,
    expired: Option<Expired>,
}

/// Which deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// Another replica is asked.
    Attempt,
    Request,
}

/// The deadlines of an attempt; `None`: there is none.
#[derive(Debug)]
pub(super) struct TryDeadlines {
    pub(super) head: Option<(std::time::Instant, SlowTry)>,
    pub(super) end: Option<std::time::Instant>,
}

/// A slot while an attempt uses it.
#[derive(Debug)]
pub(super) struct TryLease {
    slots: Arc<TrySlots>,
    key: SlotKey,
    slot: Arc<TrySlot>,
}

impl Default for TrySlots {
    fn default() -> Self {
        Self {
            free: Mutex::default(),
            next: AtomicU64::new(FIRST_SLOT),
        }
    }
}

impl TrySlots {
    /// The slot that was used last, whose connection is the most likely to be open. `tls`: the group of
    /// the TLS settings.
    pub(super) fn take(
        self: &Arc<Self>,
        address: SocketAddr,
        tls: u64,
        deadlines: TryDeadlines,
    ) -> TryLease {
        let key = (address, tls);
        let free = self.free().get_mut(&key).and_then(Vec::pop);
        let slot = free.unwrap_or_else(|| {
            Arc::new(TrySlot {
                group: self.next.fetch_add(1, Ordering::Relaxed),
                state: Mutex::default(),
            })
        });
        let (head, slow) = deadlines.head.unzip();
        *slot.state() = SlotState {
            head: head.map(Instant::from_std),
            slow,
            end: deadlines.end.map(Instant::from_std),
            expired: None,
        };
        TryLease {
            slots: Arc::clone(self),
            key,
            slot,
        }
    }

    fn free(&self) -> MutexGuard<'_, HashMap<SlotKey, Vec<Arc<TrySlot>>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TryLease {
    /// Of pingora's pool.
    pub(super) fn group(&self) -> u64 {
        self.slot.group
    }

    pub(super) fn connector(&self, connect_timeout: Duration) -> TryConnector {
        TryConnector {
            connect_timeout,
            slot: Arc::clone(&self.slot),
        }
    }

    /// The response has begun. `false`: too late.
    pub(super) fn answered(&self) -> bool {
        let mut state = self.slot.state();
        state.head = None;
        state.expired.is_none()
    }

    /// The deadline that has passed.
    pub(super) fn expired(&self) -> Option<Expired> {
        self.slot.state().expired
    }
}

impl Drop for TryLease {
    fn drop(&mut self) {
        *self.slot.state() = SlotState::default();
        let mut free = self.slots.free();
        if free.len() >= MAX_ADDRESSES {
            free.clear();
        }
        let slots = free.entry(self.key).or_default();
        if slots.len() < MAX_SLOTS {
            slots.push(Arc::clone(&self.slot));
        }
    }
}

impl TrySlot {
    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotState {
    /// The earlier deadline.
    fn next(&self) -> Option<(Instant, Expired)> {
        let head = self.head.map(|head| (head, Expired::Attempt));
        let end = self.end.map(|end| (end, Expired::Request));
        head.into_iter().chain(end).min_by_key(|(at, _)| *at)
    }
}

/// Connects to an upstream with such deadlines.
#[derive(Debug)]
pub(super) struct TryConnector {
    connect_timeout: Duration,
    slot: Arc<TrySlot>,
}

#[async_trait]
impl Connect for TryConnector {
    async fn connect(&self, address: &PeerAddress) -> Result<Stream> {
        let socket = TrySocket {
            inner: connect(address, self.connect_timeout).await?,
            slot: Arc::clone(&self.slot),
            sleep: Box::pin(sleep_until(Instant::now())),
        };
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

#[derive(Debug)]
struct TrySocket {
    inner: TcpStream,
    slot: Arc<TrySlot>,
    sleep: Pin<Box<Sleep>>,
}

impl TrySocket {
    /// Ready if a deadline of the request has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((deadline, _)) = self.slot.state().next() else {
            return Poll::Pending;
        };
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        ready!(self.sleep.as_mut().poll(cx));
        let mut state = self.slot.state();
        let passed = state.next().filter(|(next, _)| *next <= deadline);
        let expired = passed.map(|(_, what)| what).filter(|what| {
            let slow = state.slow.as_ref();
            *what == Expired::Request || slow.is_some_and(SlowTry::is_given_up)
        });
        if expired.is_none() {
            if passed.is_some() {
                // It has all the time that there is.
                state.head = None;
            }
            // Or the response has begun meanwhile.
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        state.expired = expired;
        Poll::Ready(())
    }
}

impl VirtualSocket for TrySocket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        set_option(&self.inner, option)
    }
}

impl AsyncRead for TrySocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, buffer) {
            return Poll::Ready(read);
        }
        ready!(self.poll_deadline(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for TrySocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
