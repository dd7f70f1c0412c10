//! The table of users.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use quartet_common::problem::Problem;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::bucket::{Balance, Bucket, Rate, units_of_bytes};
use crate::{config::GraphQl as Settings, problems::graphql as problems};

/// How often a full table is searched for users that can be forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The users of this replica. Clones share the table.
#[derive(Clone, Debug)]
pub(crate) struct Users(Arc<UserTable>);

#[derive(Debug)]
struct UserTable {
    rate: Rate,
    settings: Settings,
    patience: Duration,
    users: Mutex<UserEntries>,
}

#[derive(Debug, Default)]
struct UserEntries {
    by_subject: HashMap<Arc<str>, Arc<User>>,
    swept: Option<Instant>,
}

/// What one user has left. It stays in the table while anything else refers to it.
#[derive(Debug)]
pub(crate) struct User {
    rate: Rate,
    patience: Duration,
    bucket: Mutex<Bucket>,
    operations: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    queued_bytes: Arc<Semaphore>,
    max_queued_bytes: u32,
}

impl Users {
    /// `patience` bounds the wait for a permit.
    pub(crate) fn new(settings: &Settings, patience: Duration) -> Self {
        let rate = Rate {
            burst: settings.cost_burst,
            per_second: settings.cost_per_second,
        };
        Self(Arc::new(UserTable {
            rate,
            settings: settings.clone(),
            patience,
            users: Mutex::default(),
        }))
    }

    /// # Errors
    /// `RATE_LIMITED` when the table is full of users that are active.
    pub(crate) fn get(&self, subject: &str) -> Result<Arc<User>, Problem> {
        self.get_at(subject, Instant::now())
    }

    fn get_at(&self, subject: &str, now: Instant) -> Result<Arc<User>, Problem> {
        let table = &*self.0;
        let mut entries = lock(&table.users);
        if let Some(user) = entries.by_subject.get(subject) {
            return Ok(Arc::clone(user));
        }
        if entries.by_subject.len() >= table.settings.max_users {
            entries.sweep(now);
        }
        if entries.by_subject.len() >= table.settings.max_users {
            let detail = "too many users are active; retry later";
            return Err(rate_limited(SWEEP_INTERVAL).detail(detail));
        }
        let user = Arc::new(User::new(table, now));
        entries.by_subject.insert(subject.into(), Arc::clone(&user));
        Ok(user)
    }
}

impl UserEntries {
    /// Forgets users that are as a new one would be.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        self.by_subject.retain(|_, user| {
            Arc::strong_count(user) > 1 || !lock(&user.bucket).is_full(user.rate, now)
        });
    }
}

impl User {
    fn new(table: &UserTable, now: Instant) -> Self {
        let settings = &table.settings;
        let permits = |count: usize| Arc::new(Semaphore::new(count));
        Self {
            rate: table.rate,
            patience: table.patience,
            bucket: Mutex::new(Bucket::full(table.rate, now)),
            operations: permits(settings.max_operations_per_user),
            subscriptions: permits(settings.max_subscriptions_per_user),
            sockets: permits(settings.max_sockets_per_user),
            connections: permits(settings.max_connections_per_user),
            queued_bytes: permits(settings.max_queued_bytes_per_user as usize),
            max_queued_bytes: settings.max_queued_bytes_per_user,
        }
    }

    /// # Errors
    /// `RATE_LIMITED` with the time after which the bucket holds enough.
    pub(crate) fn charge(&self, cost: u32) -> Result<(), Problem> {
        let taken = lock(&self.bucket).take(cost, self.rate, Instant::now());
        taken.map_err(|wait| {
            let Rate { burst, per_second } = self.rate;
            let detail = format!(
                "the operation costs more than is left of {burst} units, of which {per_second} are \
                 added per second"
            );
            rate_limited(wait).detail(detail)
        })
    }

    /// Charges a message of a socket, which has been read already. Returns the time until the next
    /// one may be read.
    pub(crate) fn charge_message(&self, bytes: usize) -> Duration {
        let cost = units_of_bytes(bytes);
        lock(&self.bucket).owe(cost, self.rate, Instant::now())
    }

    pub(crate) fn balance(&self) -> Balance {
        lock(&self.bucket).balance(self.rate, Instant::now())
    }

    /// Waits until fewer operations of the user run than the limit.
    ///
    /// # Errors
    /// `RATE_LIMITED` after a while.
    pub(crate) async fn operation(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.wait(&self.operations).await
    }

    /// Waits until the user holds fewer connections to Postgres than the limit.
    ///
    /// # Errors
    /// `RATE_LIMITED` after a while.
    pub(crate) async fn connection(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.wait(&self.connections).await
    }

    async fn wait(&self, permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(permits).acquire_owned();
        let waited = tokio::time::timeout(self.patience, permit).await;
        // A semaphore is never closed.
        waited.ok().and_then(Result::ok).ok_or_else(|| {
            let detail = "too many operations of the user run at the same time";
            rate_limited(Duration::from_secs(1)).detail(detail)
        })
    }

    /// `None` when the user has as many subscriptions as the limit allows.
    pub(crate) fn subscription(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.subscriptions).try_acquire_owned().ok()
    }

    /// `None` when the user has as many sockets as the limit allows.
    pub(crate) fn socket(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.sockets).try_acquire_owned().ok()
    }

    /// What is to be sent to the user, counted until the connection has taken it. Waits while too much
    /// of the user is waiting already. What is larger than all that may wait counts as that much.
    ///
    /// # Errors
    /// `RATE_LIMITED` after a while.
    pub(crate) async fn counted(self: &Arc<Self>, text: String) -> Result<Bytes, Problem> {
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let bytes = bytes.min(self.max_queued_bytes);
        let permits = Arc::clone(&self.queued_bytes).acquire_many_owned(bytes);
        let waited = tokio::time::timeout(self.patience, permits).await;
        let permit = waited.ok().and_then(Result::ok).ok_or_else(|| {
            let detail = "too many responses wait for clients of the user that do not read them";
            rate_limited(Duration::from_secs(1)).detail(detail)
        })?;
        Ok(Bytes::from_owner(CountedText {
            text,
            _permit: permit,
            _user: Arc::clone(self),
        }))
    }

    /// The bytes of all sockets of the user that wait for the client.
    pub(crate) fn queued_bytes(&self) -> Arc<Semaphore> {
        Arc::clone(&self.queued_bytes)
    }
}

/// A text that is counted as long as any part of it is in memory.
struct CountedText {
    text: String,
    _permit: OwnedSemaphorePermit,
    /// Keeps the user in the table: a new entry would count from zero.
    _user: Arc<User>,
}

impl AsRef<[u8]> for CountedText {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

fn rate_limited(wait: Duration) -> Problem {
    // Rounded up, so that a client that waits this long is not refused again.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem::new(&problems::RATE_LIMITED).retry_after(seconds)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(max_users: usize) -> Users {
        let settings = Settings {
            max_users,
            max_sockets_per_user: 1,
            ..Settings::for_tests()
        };
        Users::new(&settings, Duration::from_millis(1))
    }

    #[test]
    fn the_table_is_bounded_and_forgets_idle_users() {
        let users = users(2);
        let start = Instant::now();
        let get = |subject, seconds| users.get_at(subject, start + Duration::from_secs(seconds));
        get("usr_a", 0).unwrap().charge(20_000).unwrap();
        let held = get("usr_b", 0).unwrap();
        let refused = get("usr_c", 0).unwrap_err();
        assert_eq!(refused.kind.code, "rate_limited", "both are active");
        // The bucket of A is full again, but a full table is searched once per second only.
        assert!(get("usr_c", 0).is_err());
        get("usr_c", 12).unwrap();
        get("usr_d", 14).unwrap();
        assert!(
            Arc::ptr_eq(&held, &get("usr_b", 14).unwrap()),
            "held, so kept"
        );
    }

    #[tokio::test]
    async fn what_waits_for_a_client_is_counted_until_it_is_dropped() {
        let settings = Settings {
            max_queued_bytes_per_user: 10_000,
            ..Settings::for_tests()
        };
        let users = Users::new(&settings, Duration::from_millis(1));
        let user = users.get("usr_a").unwrap();
        let first = user.counted("x".repeat(6000)).await.unwrap();
        assert_eq!(first.len(), 6000);
        let refused = user.counted("x".repeat(6000)).await.unwrap_err();
        assert_eq!(refused.kind.code, "rate_limited");
        let other = users.get("usr_b").unwrap();
        other.counted("x".repeat(6000)).await.unwrap();
        // A part of it is enough.
        let part = first.slice(..1);
        drop(first);
        assert!(user.counted("x".repeat(6000)).await.is_err());
        drop(part);
        user.counted("x".repeat(60_000)).await.unwrap();
    }

    /// Forgotten meanwhile, the user would have a whole quota of waiting bytes again.
    #[tokio::test]
    async fn a_user_is_kept_while_bytes_wait() {
        let users = users(1);
        let user = users.get("usr_a").unwrap();
        let waiting = user.counted("x".repeat(100)).await.unwrap();
        let part = waiting.slice(..1);
        drop((user, waiting));
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert!(users.get_at("usr_b", later(100)).is_err());
        drop(part);
        users.get_at("usr_b", later(200)).unwrap();
    }

    #[tokio::test]
    async fn a_user_has_one_bucket_and_permits_of_its_own() {
        let users = users(10);
        let user = users.get("usr_a").unwrap();
        user.charge(20_000).unwrap();
        let refused = users.get("usr_a").unwrap().charge(4000).unwrap_err();
        assert_eq!(refused.headers["retry-after"], "2");
        users.get("usr_b").unwrap().charge(4000).unwrap();
        let socket = user.socket().unwrap();
        assert!(user.socket().is_none());
        drop(socket);
        assert!(user.socket().is_some());
        let mut held = Vec::new();
        for _ in 0..Settings::for_tests().max_operations_per_user {
            held.push(user.operation().await.unwrap());
        }
        assert_eq!(
            user.operation().await.unwrap_err().kind.code,
            "rate_limited"
        );
        held.pop();
        assert!(user.operation().await.is_ok());
    }
}
