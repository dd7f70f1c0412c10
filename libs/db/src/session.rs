//! Connections that pass from one request to the next.
//!
//! sqlx tests a connection whenever it comes back to its pool: a round trip for each statement that
//! stands alone, and the next request waits for it. Under load, a lease hands its connection over
//! instead:
//!
//! ```text
//! lease ends --someone waits--> the next lease, at most `MAX_HANDOVERS` times
//!            `--otherwise-----> the pool: tested, and closed when it is too old or rotated
//! ```
//!
//! Invariants:
//! - Only a connection at rest is handed over: everything that was sent on it has been answered.
//!   After a canceled statement the next one would wait for it.
//! - A connection on which a transaction may be open that sqlx does not know of is rolled back before
//!   another lease has it. The next lease would act for the principals of that transaction otherwise, and
//!   what it writes would be lost.
//! - Only while all connections of the pool are leased, or have just been. Requests wait for new
//!   connections, too: one that is handed an old one gives up the new one, and the pool would never grow.
//!   Without the second part, one return would entail the next.
//! - Every connection returns to its pool after some handovers. Connections would outlive their password
//!   otherwise.

use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    ops::{Deref, DerefMut},
    pin::pin,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::oneshot;

use crate::unanswered::{release, reset};

/// Few enough that a transaction waits little longer than a lease, and enough that tests cost nothing.
const MAX_HANDOVERS: u32 = 32;

/// How long a pool counts as leased completely: longer than a connection takes to return and to be
/// leased again.
const FULL: Duration = Duration::from_millis(100);

/// Entries exist while a pool has leases or waiters.
static POOLS: LazyLock<Mutex<HashMap<PoolKey, Leases>>> = LazyLock::new(Mutex::default);

/// The address of a pool's options: the same in all clones of the pool, and in use while they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PoolKey(usize);

#[derive(Default)]
struct Leases {
    count: u32,
    /// When all connections were leased last.
    full_at: Option<Instant>,
    /// The oldest one first.
    waiting: BTreeMap<u64, oneshot::Sender<Session>>,
    next_id: u64,
}

/// A leased connection. It is handed over, or given back to its pool, when it is dropped.
#[derive(Debug)]
pub(crate) struct Session(Option<Leased>);

#[derive(Debug)]
struct Leased {
    connection: PoolConnection<Postgres>,
    pool: PoolKey,
    max_connections: u32,
    handovers: u32,
    /// Whether a transaction may be open that sqlx does not know of.
    is_unclear: bool,
}

/// A place among those that wait, until it is dropped.
struct Waiting {
    pool: PoolKey,
    id: u64,
    handed: oneshot::Receiver<Session>,
}

impl Session {
    /// Waits for a connection of the pool, or for one that another lease hands over.
    ///
    /// # Errors
    /// When no connection is free in time, or the database does not respond.
    #[expect(clippy::disallowed_methods, reason = "this is the other way")]
    pub(crate) async fn acquire(db: &PgPool) -> Result<Self, sqlx::Error> {
        let mut acquiring = pin!(db.acquire());
        let at_once = poll_fn(|context| Poll::Ready(acquiring.as_mut().poll(context))).await;
        if let Poll::Ready(connection) = at_once {
            return Ok(Self::new(db, connection?));
        }
        let mut waiting = Waiting::new(db);
        tokio::select! {
            biased;
            Ok(session) = &mut waiting.handed => Ok(session),
            connection = acquiring => Ok(Self::new(db, connection?)),
        }
    }

    fn new(db: &PgPool, connection: PoolConnection<Postgres>) -> Self {
        let pool = PoolKey::of(db);
        let max_connections = db.options().get_max_connections();
        lock().entry(pool).or_default().add(max_connections);
        Self(Some(Leased {
            connection,
            pool,
            max_connections,
            handovers: 0,
            is_unclear: false,
        }))
    }

    /// A transaction may have begun, since its answer was not waited for. It is undone when this is
    /// dropped.
    pub(crate) fn mark_unclear(&mut self) {
        if let Some(leased) = &mut self.0 {
            leased.is_unclear = true;
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        let leased = self.0.as_ref();
        &leased.expect("it is taken when it is dropped").connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        let leased = self.0.as_mut();
        &mut leased.expect("it is taken when it is dropped").connection
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(leased) = self.0.take() else { return };
        if let Some(leased) = leased.hand_over() {
            leased.pool.update(|leases| leases.count -= 1);
            if leased.is_unclear {
                reset(leased.connection);
            } else {
                release(leased.connection);
            }
        }
    }
}

impl Leased {
    /// Gives the connection to the oldest waiter. Returns what cannot be handed over.
    fn hand_over(mut self) -> Option<Self> {
        let may_pass = !self.is_unclear && self.handovers < MAX_HANDOVERS;
        if !may_pass || !is_at_rest(&mut self.connection) {
            return Some(self);
        }
        self.handovers += 1;
        loop {
            let Some(next) = self.pool.next_waiting(self.max_connections) else {
                return Some(self);
            };
            match next.send(Session(Some(self))) {
                Ok(()) => return None,
                // It has left meanwhile.
                Err(mut session) => self = session.0.take()?,
            }
        }
    }
}

/// Whether everything that was sent has been answered: then there is nothing to wait for.
fn is_at_rest(connection: &mut PgConnection) -> bool {
    if connection.is_in_transaction() {
        return false;
    }
    let answered = pin!(connection.flush()).poll(&mut Context::from_waker(Waker::noop()));
    matches!(answered, Poll::Ready(Ok(())))
}

impl Leases {
    fn add(&mut self, max_connections: u32) {
        self.count += 1;
        if self.count >= max_connections {
            self.full_at = Some(Instant::now());
        }
    }

    fn is_full(&self, max_connections: u32) -> bool {
        self.count >= max_connections || self.full_at.is_some_and(|at| at.elapsed() < FULL)
    }
}

impl PoolKey {
    fn of(db: &PgPool) -> Self {
        Self(std::ptr::from_ref(db.options()).addr())
    }

    fn next_waiting(self, max_connections: u32) -> Option<oneshot::Sender<Session>> {
        let mut pools = lock();
        let leases = pools.get_mut(&self)?;
        if !leases.is_full(max_connections) {
            return None;
        }
        leases.waiting.pop_first().map(|(_, next)| next)
    }

    fn update(self, update: impl FnOnce(&mut Leases)) {
        let mut pools = lock();
        if let Some(leases) = pools.get_mut(&self) {
            update(leases);
            if leases.count == 0 && leases.waiting.is_empty() {
                pools.remove(&self);
            }
        }
    }
}

impl Waiting {
    fn new(db: &PgPool) -> Self {
        let pool = PoolKey::of(db);
        let (next, handed) = oneshot::channel();
        let mut pools = lock();
        let leases = pools.entry(pool).or_default();
        let id = leases.next_id;
        leases.next_id += 1;
        leases.waiting.insert(id, next);
        Self { pool, id, handed }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let id = self.id;
        self.pool.update(|leases| drop(leases.waiting.remove(&id)));
    }
}

fn lock() -> MutexGuard<'static, HashMap<PoolKey, Leases>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}
