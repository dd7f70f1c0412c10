//! Sessions in the memory of this process. They end with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use super::{
    flows::Flows,
    types::{MAX_PER_USER, SessionPage, StoreError, owner_key, owner_keys},
};
use crate::{
    revocations::open::OpenSessions,
    session::{
        flow::{Flow, FlowClient},
        ids::SessionKey,
        live::Session,
    },
};

/// Requests of different sessions rarely meet in one.
const SHARDS: usize = 16;
/// Logout tokens that are remembered.
const MAX_NAMES: usize = 100_000;

type Sessions = HashMap<SessionKey, Arc<Session>>;

#[derive(Debug)]
pub(crate) struct MemoryStore {
    shards: [RwLock<Sessions>; SHARDS],
    count: AtomicUsize,
    idle_seconds: AtomicI64,
    max_sessions: AtomicUsize,
    /// By the user, and by the session at the provider.
    index: Mutex<HashMap<SessionKey, BTreeSet<SessionKey>>>,
    flows: Mutex<Flows>,
    /// With the time until which they are remembered.
    names: Mutex<HashMap<SessionKey, i64>>,
    open: Arc<OpenSessions>,
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            count: AtomicUsize::new(0),
            idle_seconds: AtomicI64::new(0),
            max_sessions: AtomicUsize::new(0),
            index: Mutex::default(),
            flows: Mutex::default(),
            names: Mutex::default(),
            open: Arc::default(),
        }
    }

    /// As the configuration in force says.
    pub(crate) fn set_bounds(&self, idle_seconds: i64, max_sessions: usize) {
        self.idle_seconds.store(idle_seconds, Ordering::Relaxed);
        self.max_sessions.store(max_sessions, Ordering::Relaxed);
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn open(&self) -> &Arc<OpenSessions> {
        &self.open
    }

    pub(super) fn find(&self, key: &SessionKey, now: i64) -> Option<Arc<Session>> {
        let found = read(self.shard(key)).get(key).cloned()?;
        if found.is_alive(now, self.idle_seconds.load(Ordering::Relaxed)) {
            return Some(found);
        }
        self.remove(key);
        None
    }

    pub(super) fn insert(&self, session: Arc<Session>, now: i64) -> Result<(), StoreError> {
        let most = self.max_sessions.load(Ordering::Relaxed);
        if self.len() >= most {
            self.sweep(now);
        }
        if self.len() >= most {
            return Err(StoreError::Full);
        }
        let identity = &session.record.identity;
        let user = owner_key(["sub", &identity.issuer, &identity.subject]);
        self.end_oldest(&user);
        let (key, owners) = (session.key, owner_keys(identity));
        if write(self.shard(&key)).insert(key, session).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        let mut index = lock(&self.index);
        for owner in owners {
            index.entry(owner).or_default().insert(key);
        }
        Ok(())
    }

    /// Leaves room for one more session of a user.
    fn end_oldest(&self, user: &SessionKey) {
        let keys = lock(&self.index).get(user).cloned().unwrap_or_default();
        if keys.len() < MAX_PER_USER {
            return;
        }
        let created = |key: &SessionKey| {
            let shard = read(self.shard(key));
            shard
                .get(key)
                .map_or(0, |session| session.record.created_at)
        };
        if let Some(oldest) = keys.iter().min_by_key(|key| created(key)) {
            self.remove(oldest);
        }
    }

    pub(super) fn replace(&self, session: Arc<Session>) {
        if let Some(known) = write(self.shard(&session.key)).get_mut(&session.key) {
            *known = session;
        }
    }

    pub(super) fn remove(&self, key: &SessionKey) -> bool {
        let removed = write(self.shard(key)).remove(key);
        let Some(session) = removed else { return false };
        self.count.fetch_sub(1, Ordering::Relaxed);
        let mut index = lock(&self.index);
        for owner in owner_keys(&session.record.identity) {
            if let Some(keys) = index.get_mut(&owner) {
                keys.remove(key);
                if keys.is_empty() {
                    index.remove(&owner);
                }
            }
        }
        drop(index);
        self.open.end([&*key.hex()].into_iter());
        true
    }

    pub(super) fn remove_of(&self, owner: &SessionKey) -> usize {
        let keys = lock(&self.index).get(owner).cloned().unwrap_or_default();
        keys.iter().filter(|key| self.remove(key)).count()
    }

    pub(super) fn has_sid(&self, owner: &SessionKey) -> bool {
        let keys = lock(&self.index).get(owner).cloned().unwrap_or_default();
        let has_sid = |key: &SessionKey| {
            let shard = read(self.shard(key));
            shard
                .get(key)
                .is_some_and(|session| session.record.identity.sid.is_some())
        };
        keys.iter().any(has_sid)
    }

    pub(super) fn insert_flow(
        &self,
        state: SessionKey,
        flow: Flow,
        client: FlowClient,
        max_flows: usize,
    ) {
        lock(&self.flows).insert(state, flow, client, max_flows);
    }

    pub(super) fn take_flow(&self, state: &SessionKey) -> Option<Flow> {
        lock(&self.flows).take(state)
    }

    pub(super) fn is_first(&self, name: &SessionKey, until: i64, now: i64) -> bool {
        let mut names = lock(&self.names);
        if names.len() >= MAX_NAMES {
            names.retain(|_, until| *until > now);
        }
        if names.len() >= MAX_NAMES {
            return false;
        }
        let known = names.insert(*name, until);
        known.is_none_or(|until| until <= now)
    }

    pub(super) fn forget_name(&self, name: &SessionKey) {
        lock(&self.names).remove(name);
    }

    pub(super) fn list(&self, after: Option<&str>, limit: usize, now: i64) -> SessionPage {
        let after = after.and_then(SessionKey::from_hex);
        let idle_seconds = self.idle_seconds.load(Ordering::Relaxed);
        let mut first: BTreeMap<SessionKey, Arc<Session>> = BTreeMap::new();
        for shard in &self.shards {
            for (key, session) in read(shard).iter() {
                let is_later = after.is_none_or(|after| *key > after);
                let last = first.last_key_value().map(|(last, _)| *last);
                let fits = first.len() <= limit || last.is_some_and(|last| *key < last);
                if is_later && fits && session.is_alive(now, idle_seconds) {
                    first.insert(*key, Arc::clone(session));
                    if first.len() > limit + 1 {
                        first.pop_last();
                    }
                }
            }
        }
        let has_more = first.len() > limit;
        if has_more {
            first.pop_last();
        }
        let next = first.last_key_value().map(|(last, _)| last.hex());
        SessionPage {
            sessions: first.into_values().collect(),
            next: next.filter(|_| has_more),
        }
    }

    pub(super) fn find_shown(&self, shown: &str) -> Option<SessionKey> {
        self.shards.iter().find_map(|shard| {
            let sessions = read(shard);
            sessions.keys().find(|key| key.shown() == shown).copied()
        })
    }

    /// Forgets what is over.
    pub(crate) fn sweep(&self, now: i64) {
        let idle_seconds = self.idle_seconds.load(Ordering::Relaxed);
        for shard in &self.shards {
            let over: Vec<_> = {
                let sessions = read(shard);
                let over = sessions
                    .values()
                    .filter(|it| !it.is_alive(now, idle_seconds));
                over.map(|session| session.key).collect()
            };
            for key in over {
                self.remove(&key);
            }
        }
        lock(&self.flows).sweep(now);
        lock(&self.names).retain(|_, until| *until > now);
    }

    fn shard(&self, key: &SessionKey) -> &RwLock<Sessions> {
        &self.shards[usize::from(key.bytes()[0]) % SHARDS]
    }
}

fn read(sessions: &RwLock<Sessions>) -> RwLockReadGuard<'_, Sessions> {
    sessions.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(sessions: &RwLock<Sessions>) -> RwLockWriteGuard<'_, Sessions> {
    sessions.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::record::{Identity, Record, Secret, Tokens};

    const IDLE: i64 = 100;

    fn session(name: &str, subject: &str, sid: Option<&str>, created_at: i64) -> Arc<Session> {
        let record = Record {
            identity: Identity {
                issuer: "https://p".to_owned(),
                subject: subject.to_owned(),
                sid: sid.map(str::to_owned),
                ..Identity::default()
            },
            tokens: Tokens::default(),
            csrf: Secret("c".to_owned()),
            created_at,
            ends_at: created_at + 1_000,
            generation: 0,
        };
        Arc::new(Session::new(
            SessionKey::of(name.as_bytes()),
            "l",
            record,
            created_at,
        ))
    }

    fn store(max_sessions: usize) -> MemoryStore {
        let store = MemoryStore::new();
        store.set_bounds(IDLE, max_sessions);
        store
    }

    #[test]
    fn sessions_end_when_they_are_idle_or_old() {
        let store = store(10);
        let key = SessionKey::of(b"a");
        store.insert(session("a", "u", None, 0), 0).unwrap();
        for now in [50, 140, 230] {
            store.find(&key, now).unwrap().see(now);
        }
        assert!(store.find(&key, 230 + IDLE).is_none());
        assert_eq!((store.len(), lock(&store.index).len()), (0, 0));
        let busy = session("a", "u", None, 0);
        store.insert(Arc::clone(&busy), 0).unwrap();
        busy.see(999);
        assert!(store.find(&key, 999).is_some());
        store.sweep(1_000);
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn a_full_store_refuses_and_sessions_of_a_user_are_bounded() {
        let store = store(2);
        store.insert(session("a", "u", None, 0), 0).unwrap();
        store.insert(session("b", "v", None, 0), 0).unwrap();
        let refused = store.insert(session("c", "w", None, 0), 0);
        assert!(matches!(refused, Err(StoreError::Full)));
        // By then, the others are idle.
        store.insert(session("c", "w", None, 200), 200).unwrap();
        store.set_bounds(IDLE, 1_000);
        for number in 0..60_i64 {
            let name = format!("n{number}");
            store
                .insert(session(&name, "x", None, 200 + number), 200)
                .unwrap();
        }
        assert_eq!(store.len(), MAX_PER_USER + 1);
        assert!(store.find(&SessionKey::of(b"n9"), 200).is_none());
        assert!(store.find(&SessionKey::of(b"n10"), 200).is_some());
    }

    #[test]
    fn sessions_end_by_user_and_by_the_session_at_the_provider() {
        let store = store(10);
        for (name, subject, sid) in [
            ("a", "u", Some("1")),
            ("b", "u", Some("2")),
            ("c", "v", Some("1x")),
        ] {
            store.insert(session(name, subject, sid, 0), 0).unwrap();
        }
        assert_eq!(store.remove_of(&owner_key(["sid", "https://p", "1"])), 1);
        assert_eq!(store.remove_of(&owner_key(["sid", "https://p", "1"])), 0);
        assert_eq!(store.remove_of(&owner_key(["sub", "https://q", "u"])), 0);
        assert_eq!(store.remove_of(&owner_key(["sub", "https://p", "u"])), 1);
        assert_eq!(store.len(), 1);
        assert!(store.is_first(&SessionKey::of(b"j"), 10, 0));
        assert!(!store.is_first(&SessionKey::of(b"j"), 10, 9));
        assert!(store.is_first(&SessionKey::of(b"j"), 30, 10));
    }

    #[test]
    fn lists_have_pages() {
        let store = store(100);
        for number in 0..25 {
            let (name, user) = (format!("n{number}"), format!("u{number}"));
            store.insert(session(&name, &user, None, 0), 0).unwrap();
        }
        let (mut seen, mut after) = (BTreeSet::new(), None);
        loop {
            let page = store.list(after.as_deref(), 10, 0);
            assert!(page.sessions.len() <= 10);
            seen.extend(page.sessions.iter().map(|session| session.key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 25);
    }
}
