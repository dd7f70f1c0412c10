//! Idle connections to replicas.
//!
//! - One list per worker thread and address, newest first: a connection is usually taken by the
//!   thread that returned it. Another thread's list is only looked at instead of connecting.
//! - Bounded in number, in all and per replica, so that one upstream cannot take the places of all
//!   others; and in time. A connection is kept for the idle time-out of its upstream, which is shorter
//!   than that of the replica; [`Pool::sweep`] closes what expired.
//! - **Never lent with bytes in it.** Whatever an upstream sends after its response would be taken
//!   for the response to the next request, of another client. So a connection is only returned
//!   when nothing was left of the response, and the kernel is asked once more before it is lent: what
//!   is readable, closed or not, is dropped. The runtime's own view of the socket is no answer: it may
//!   not have heard yet of bytes that have arrived.

use std::{
    cell::Cell,
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::{net::TcpStream, time::Instant};

use super::replicas::Upstream;

static NEXT_WORKER: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Idle connections of the process.
#[derive(Debug)]
pub(crate) struct Pool {
    /// One per worker thread.
    shards: Box<[Mutex<Shard>]>,
    max_per_shard: usize,
}

#[derive(Debug, Default)]
struct Shard {
    idle: HashMap<SocketAddr, Vec<IdleConnection>>,
    count: usize,
}

#[derive(Debug)]
struct IdleConnection {
    stream: TcpStream,
    until: Instant,
}

impl Pool {
    /// For `threads` worker threads and at most `max` connections.
    pub(crate) fn new(threads: usize, max: usize) -> Self {
        let threads = threads.max(1);
        Self {
            shards: (0..threads).map(|_| Mutex::default()).collect(),
            max_per_shard: max.div_ceil(threads),
        }
    }

    /// A connection that is open and has nothing to be read.
    pub(crate) fn take(&self, address: SocketAddr, now: Instant) -> Option<TcpStream> {
        let own = self.own();
        if let Some(stream) = self.lock(own).take(address, now) {
            return Some(stream);
        }
        let others = (1..self.shards.len()).map(|step| (own + step) % self.shards.len());
        others
            .filter_map(|other| self.shards[other].try_lock().ok())
            .find_map(|mut shard| shard.take(address, now))
    }

    /// Keeps a connection to a replica of `upstream` whose response was read to its last byte.
    pub(crate) fn put(
        &self,
        address: SocketAddr,
        upstream: &Upstream,
        stream: TcpStream,
        now: Instant,
    ) {
        let until = now + upstream.config.idle_timeout;
        self.keep(
            address,
            upstream.config.max_idle_connections,
            IdleConnection { stream, until },
        );
    }

    /// `max`: for this address, of all threads together.
    fn keep(&self, address: SocketAddr, max: usize, idle: IdleConnection) {
        let max = max.div_ceil(self.shards.len());
        let mut shard = self.lock(self.own());
        if shard.count >= self.max_per_shard {
            return;
        }
        let list = shard.idle.entry(address).or_default();
        if list.len() < max {
            list.push(idle);
            shard.count += 1;
        }
    }

    /// Closes what has expired, and what belongs to no replica any more.
    pub(crate) fn sweep(&self, now: Instant, is_known: impl Fn(SocketAddr) -> bool) {
        for index in 0..self.shards.len() {
            let mut shard = self.lock(index);
            shard.idle.retain(|&address, idle| {
                idle.retain(|idle| idle.until > now && is_known(address));
                !idle.is_empty()
            });
            shard.count = shard.idle.values().map(Vec::len).sum();
        }
    }

    /// Number of idle connections.
    pub(crate) fn len(&self) -> usize {
        (0..self.shards.len())
            .map(|index| self.lock(index).count)
            .sum()
    }

    fn own(&self) -> usize {
        let worker = WORKER.get().unwrap_or_else(|| {
            let worker = NEXT_WORKER.fetch_add(1, Ordering::Relaxed);
            WORKER.set(Some(worker));
            worker
        });
        worker % self.shards.len()
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn take(&mut self, address: SocketAddr, now: Instant) -> Option<TcpStream> {
        let idle = self.idle.get_mut(&address)?;
        while let Some(IdleConnection { stream, until }) = idle.pop() {
            self.count -= 1;
            if until > now && is_silent(&stream) {
                return Some(stream);
            }
        }
        None
    }
}

/// Neither closed, nor with bytes that no request asked for.
fn is_silent(stream: &TcpStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(recv(stream, &mut [0], flags), Err(Errno::WOULDBLOCK))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::Duration};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0, address)
    }

    /// Waits until the idle connection can be read.
    async fn something_arrives(pool: &Pool, address: SocketAddr) {
        while is_silent(&pool.lock(pool.own()).idle[&address][0].stream) {
            tokio::task::yield_now().await;
        }
    }

    fn idle(stream: TcpStream) -> IdleConnection {
        let until = later();
        IdleConnection { stream, until }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[tokio::test]
    async fn only_silent_connections_are_lent() {
        let pool = Pool::new(2, 10);
        let (stream, mut server, address) = pair().await;
        pool.keep(address, 100, idle(stream));
        assert_eq!(pool.len(), 1);
        let stream = pool.take(address, Instant::now()).unwrap();
        assert!(pool.take(address, Instant::now()).is_none());
        // Bytes behind the end of a response.
        pool.keep(address, 100, idle(stream));
        server.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        something_arrives(&pool, address).await;
        assert!(pool.take(address, Instant::now()).is_none());
        // Closed by the replica.
        let (stream, server, address) = pair().await;
        pool.keep(address, 100, idle(stream));
        drop(server);
        something_arrives(&pool, address).await;
        assert!(pool.take(address, Instant::now()).is_none());
        assert_eq!(pool.len(), 0);
    }

    #[tokio::test]
    async fn bytes_that_the_runtime_has_not_heard_of_are_seen() {
        let (mut stream, server, _) = pair().await;
        let mut server = server.into_std().unwrap();
        server.set_nonblocking(false).unwrap();
        server.write_all(b"response").unwrap();
        // A buffer that is not filled: the runtime takes the socket for drained.
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 8);
        assert!(is_silent(&stream));
        server.write_all(b"more").unwrap();
        // The runtime has no turn before this.
        assert!(stream.try_read(&mut [0]).is_err());
        assert!(!is_silent(&stream));
    }

    #[tokio::test]
    async fn connections_are_bounded_in_number_and_time() {
        let pool = Pool::new(1, 2);
        let mut servers = Vec::new();
        let (_, _, address) = pair().await;
        for _ in 0..3 {
            let (stream, server, _) = pair().await;
            servers.push(server);
            pool.keep(address, 100, idle(stream));
        }
        assert_eq!(pool.len(), 2);
        assert!(
            pool.take(address, later()).is_none(),
            "expired ones are closed"
        );
        let (stream, _server, other) = pair().await;
        pool.keep(other, 100, idle(stream));
        pool.sweep(Instant::now(), |_| true);
        assert_eq!(pool.len(), 1);
        pool.sweep(Instant::now(), |address| address != other);
        assert_eq!(pool.len(), 0, "the replica is gone");
    }

    #[tokio::test]
    async fn one_replica_does_not_take_every_place() {
        let pool = Pool::new(1, 4);
        let (mut servers, (_, _, busy)) = (Vec::new(), pair().await);
        for _ in 0..4 {
            let (stream, server, _) = pair().await;
            servers.push(server);
            pool.keep(busy, 2, idle(stream));
        }
        assert_eq!(pool.len(), 2);
        let (stream, _server, other) = pair().await;
        pool.keep(other, 2, idle(stream));
        assert!(pool.take(other, Instant::now()).is_some());
    }

    #[tokio::test]
    async fn other_threads_find_a_connection() {
        let pool = Pool::new(4, 8);
        let (stream, _server, address) = pair().await;
        pool.keep(address, 100, idle(stream));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let found = scope
                    .spawn(|| pool.take(address, Instant::now()))
                    .join()
                    .unwrap();
                pool.keep(address, 100, idle(found.unwrap()));
            }
        });
    }
}
