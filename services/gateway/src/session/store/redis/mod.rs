//! Sessions in a Redis that all replicas share. Every value is encrypted; keys are hashes.
//!
//! ```text
//! P:s:KEY   a session; its life is the idle time, or what is left
//! P:u:KEY   when it was used last, which is written once per touch interval at most
//! P:i:KEY   the sessions of a user, or of a session at the provider (sorted by creation)
//! P:all     all sessions (sorted by their last second), for lists
//! P:f:KEY   a flow       P:b:KEY  the flows of a browser      P:n:NUMBER  flows of ten minutes
//! P:c:KEY   the flows of a client
//! P:j:KEY   a logout token that was used                      P:l:KEY     the lock of a refresh
//! ```
//!
//! A replica keeps what it has read for a second, so that a page with many parts costs one question, and a
//! session that has ended elsewhere is known after that time.
//!
//! Only a use lets the idle time begin again: neither a look at a session nor new tokens do.

mod flows;
mod pages;

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join;
use moka::sync::Cache;
use quartet_auth::master_key::MasterKey;
use redis::{Cmd, FromRedisValue as _, Value, cmd};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    commands::CommandStore,
    types::{MAX_PER_USER, StoreAway, owner_keys},
};
use crate::{
    config::logins::LoginConfig,
    revocations::open::OpenSessions,
    session::{ids::SessionKey, live::Session, record::Record},
};

const CACHED: Duration = Duration::from_secs(1);
const MAX_CACHED: u64 = 100_000;
/// The idle time of a session begins again at most this often.
const MAX_TOUCH_SECONDS: u64 = 60;
/// Sessions with open sockets that are looked for in one round.
const MAX_WATCHED: usize = 10_000;

#[derive(Debug)]
pub(crate) struct RedisStore {
    commands: Arc<dyn CommandStore>,
    key: MasterKey,
    prefix: String,
    login: Arc<str>,
    idle_seconds: i64,
    max_seconds: i64,
    cached: Cache<SessionKey, Arc<Session>>,
    touched: Cache<SessionKey, ()>,
    open: Arc<OpenSessions>,
}

/// What is stored of a session.
#[derive(Serialize, Deserialize)]
struct StoredSession {
    record: Record,
    seen_at: i64,
}

impl RedisStore {
    /// `open`: what is open by sessions of the store before.
    pub(crate) fn new(
        commands: Arc<dyn CommandStore>,
        key: MasterKey,
        config: &LoginConfig,
        open: Option<&Arc<OpenSessions>>,
    ) -> Self {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let touch = (config.idle.as_secs() / 20).clamp(1, MAX_TOUCH_SECONDS);
        let cached = Cache::builder().max_capacity(MAX_CACHED);
        let touched = Cache::builder().max_capacity(MAX_CACHED);
        Self {
            commands,
            key,
            prefix: format!("quartet:login:{}", config.name),
            login: Arc::clone(&config.name),
            idle_seconds: seconds(config.idle),
            max_seconds: seconds(config.max),
            cached: cached.time_to_live(CACHED).build(),
            touched: touched.time_to_live(Duration::from_secs(touch)).build(),
            open: open.cloned().unwrap_or_default(),
        }
    }

    pub(super) fn open(&self) -> &Arc<OpenSessions> {
        &self.open
    }

    pub(super) fn cached(&self, key: &SessionKey, now: i64) -> Option<Arc<Session>> {
        let session = self.cached.get(key)?;
        (now < session.record.ends_at).then_some(session)
    }

    pub(super) async fn find(
        &self,
        key: &SessionKey,
        now: i64,
    ) -> Result<Option<Arc<Session>>, StoreAway> {
        let found = self.find_stored(key, now).await?;
        match &found {
            Some(session) => self.cached.insert(*key, Arc::clone(session)),
            None => self.forget(key),
        }
        Ok(found)
    }

    async fn find_stored(
        &self,
        key: &SessionKey,
        now: i64,
    ) -> Result<Option<Arc<Session>>, StoreAway> {
        let hex = key.hex();
        let (place, used) = (self.place("s", &hex), self.place("u", &hex));
        let (stored, used_at) = try_join(
            self.read::<StoredSession>("GET", &place),
            self.read::<i64>("GET", &used),
        )
        .await?;
        let Some(stored) = stored.filter(|stored| now < stored.record.ends_at) else {
            return Ok(None);
        };
        let seen_at = used_at.map_or(stored.seen_at, |used_at| used_at.max(stored.seen_at));
        let session = Session::new(*key, &self.login, stored.record, seen_at);
        Ok(Some(Arc::new(session)))
    }

    /// Notes a use, and lets the idle time begin again, without anyone waiting for it.
    pub(super) fn touch(&self, session: &Session, now: i64) {
        if self.touched.contains_key(&session.key) {
            return;
        }
        self.touched.insert(session.key, ());
        let hex = session.key.hex();
        let (place, used) = (self.place("s", &hex), self.place("u", &hex));
        let Ok(used_at) = self.sealed(&used, &now) else {
            return;
        };
        let seconds = self.life(session, now);
        let commands = Arc::clone(&self.commands);
        tokio::spawn(async move {
            let mut command = cmd("EXPIRE");
            command.arg(&place).arg(seconds);
            // A store that is away says so to the next request. Of a session that has ended, nothing is kept.
            if let Ok(Value::Int(1)) = commands.command(&place, &command).await {
                let mut command = cmd("SET");
                command.arg(&used).arg(used_at).arg("EX").arg(seconds);
                let _ = commands.command(&used, &command).await;
            }
        });
    }

    /// How long it stays unless it is used.
    fn life(&self, session: &Session, now: i64) -> i64 {
        let left = session.record.ends_at.saturating_sub(now);
        left.min(self.idle_seconds).max(1)
    }

    pub(super) async fn insert(&self, session: Arc<Session>, now: i64) -> Result<(), StoreAway> {
        let key = session.key.hex();
        let place = self.place("s", &key);
        let text = self.sealed(&place, &stored(&session))?;
        let mut command = cmd("SET");
        command
            .arg(&place)
            .arg(text)
            .arg("EX")
            .arg(self.life(&session, now));
        self.commands.command(&place, &command).await?;
        let owners = owner_keys(&session.record.identity);
        for (at, owner) in owners.iter().enumerate() {
            let place = self.place("i", &owner.hex());
            self.add(&place, session.record.created_at, &key).await?;
            self.ask(&place, "EXPIRE", |command| command.arg(self.max_seconds))
                .await?;
            if at == 0 {
                self.end_oldest(&place).await?;
            }
        }
        let all = self.place("all", "");
        self.ask(&all, "ZREMRANGEBYSCORE", |command| {
            command.arg("-inf").arg(now)
        })
        .await?;
        self.add(&all, session.record.ends_at, &key).await?;
        self.touched.insert(session.key, ());
        self.cached.insert(session.key, session);
        Ok(())
    }

    async fn end_oldest(&self, place: &str) -> Result<(), StoreAway> {
        let surplus = -1 - i64::try_from(MAX_PER_USER).unwrap_or(i64::MAX);
        let members = self
            .ask(place, "ZRANGE", |command| command.arg(0).arg(surplus))
            .await?;
        for member in Vec::<String>::from_redis_value(members).unwrap_or_default() {
            if let Some(key) = SessionKey::from_hex(&member) {
                self.remove(&key).await?;
            }
            self.ask(place, "ZREM", |command| command.arg(&member))
                .await?;
        }
        Ok(())
    }

    /// The idle time continues: requests that are refused get other tokens too.
    pub(super) async fn replace(&self, session: Arc<Session>) -> Result<(), StoreAway> {
        let place = self.place("s", &session.key.hex());
        let text = self.sealed(&place, &stored(&session))?;
        let mut command = cmd("SET");
        command.arg(&place).arg(text).arg("XX").arg("KEEPTTL");
        let answer = self.commands.command(&place, &command).await?;
        if answer == Value::Nil {
            self.forget(&session.key);
        } else {
            self.cached.insert(session.key, session);
        }
        Ok(())
    }

    pub(super) async fn remove(&self, key: &SessionKey) -> Result<bool, StoreAway> {
        let hex = key.hex();
        let place = self.place("s", &hex);
        let removed = self.ask(&place, "DEL", |command| command).await?;
        self.forget(key);
        let used = self.place("u", &hex);
        self.ask(&used, "DEL", |command| command).await?;
        let all = self.place("all", "");
        self.ask(&all, "ZREM", |command| command.arg(&hex)).await?;
        Ok(removed == Value::Int(1))
    }

    fn forget(&self, key: &SessionKey) {
        self.cached.invalidate(key);
        self.open.end([&*key.hex()].into_iter());
    }

    pub(super) async fn remove_of(&self, owner: &SessionKey) -> Result<usize, StoreAway> {
        let place = self.place("i", &owner.hex());
        let members = self
            .ask(&place, "ZRANGE", |command| command.arg(0).arg(-1))
            .await?;
        let mut removed = 0;
        for member in Vec::<String>::from_redis_value(members).unwrap_or_default() {
            if let Some(key) = SessionKey::from_hex(&member) {
                removed += usize::from(self.remove(&key).await?);
            }
        }
        self.ask(&place, "DEL", |command| command).await?;
        Ok(removed)
    }

    pub(super) async fn has_sid(&self, owner: &SessionKey, now: i64) -> Result<bool, StoreAway> {
        let place = self.place("i", &owner.hex());
        let members = self
            .ask(&place, "ZRANGE", |command| command.arg(0).arg(-1))
            .await?;
        for member in Vec::<String>::from_redis_value(members).unwrap_or_default() {
            let Some(key) = SessionKey::from_hex(&member) else {
                continue;
            };
            let session = self.find_stored(&key, now).await?;
            if session.is_some_and(|session| session.record.identity.sid.is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn is_first(
        &self,
        name: &SessionKey,
        seconds: i64,
    ) -> Result<bool, StoreAway> {
        let place = self.place("j", &name.hex());
        let seconds = seconds.max(1);
        let answer = self.ask(&place, "SET", |command| {
            command.arg(1).arg("NX").arg("EX").arg(seconds)
        });
        Ok(answer.await? != Value::Nil)
    }

    pub(super) async fn forget_name(&self, name: &SessionKey) -> Result<(), StoreAway> {
        let place = self.place("j", &name.hex());
        self.ask(&place, "DEL", |command| command).await.map(drop)
    }

    /// The lock of a session's refresh, which ends by itself. `None`: another replica has it.
    pub(crate) async fn lock(
        &self,
        key: &SessionKey,
        owner: &str,
        life: Duration,
    ) -> Result<bool, StoreAway> {
        let place = self.place("l", &key.hex());
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let answer = self.ask(&place, "SET", |command| {
            command.arg(owner).arg("NX").arg("PX").arg(life)
        });
        Ok(answer.await? != Value::Nil)
    }

    /// Unless it has ended, and another replica has one of its own.
    pub(crate) async fn unlock(&self, key: &SessionKey, owner: &str) {
        const SCRIPT: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
        let place = self.place("l", &key.hex());
        let mut command = cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(&place).arg(owner);
        // Otherwise it ends by itself.
        let _ = self.commands.command(&place, &command).await;
    }

    /// What is stored now, whatever is known here.
    pub(crate) async fn find_newest(
        &self,
        key: &SessionKey,
        now: i64,
    ) -> Result<Option<Arc<Session>>, StoreAway> {
        self.cached.invalidate(key);
        self.find(key, now).await
    }

    /// Closes what is open by sessions that have ended elsewhere.
    pub(crate) async fn watch(&self) {
        for name in self.open.names(MAX_WATCHED) {
            let place = self.place("s", &name);
            let answer = self.ask(&place, "EXISTS", |command| command).await;
            if matches!(answer, Ok(Value::Int(0))) {
                self.open.end([&*name].into_iter());
            }
        }
    }

    fn place(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.prefix)
    }

    async fn add(&self, place: &str, score: i64, member: &str) -> Result<Value, StoreAway> {
        self.ask(place, "ZADD", |command| command.arg(score).arg(member))
            .await
    }

    async fn ask(
        &self,
        place: &str,
        name: &str,
        arguments: impl FnOnce(&mut Cmd) -> &mut Cmd,
    ) -> Result<Value, StoreAway> {
        let mut command = cmd(name);
        arguments(command.arg(place));
        self.commands.command(place, &command).await
    }

    async fn write(
        &self,
        place: &str,
        value: &impl Serialize,
        seconds: i64,
    ) -> Result<(), StoreAway> {
        let text = self.sealed(place, value)?;
        self.ask(place, "SET", |command| {
            command.arg(text).arg("EX").arg(seconds)
        })
        .await?;
        Ok(())
    }

    /// What cannot be opened, such as after a change of the key, is as good as not there.
    async fn read<T: DeserializeOwned>(
        &self,
        command: &str,
        place: &str,
    ) -> Result<Option<T>, StoreAway> {
        let answer = self.ask(place, command, |command| command).await?;
        let Value::BulkString(sealed) = answer else {
            return Ok(None);
        };
        let text = self.key.open(place, &sealed).ok();
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Bound to its place: what is moved elsewhere cannot be opened.
    fn sealed(&self, place: &str, value: &impl Serialize) -> Result<Vec<u8>, StoreAway> {
        let text = serde_json::to_vec(value).map_err(|_| StoreAway)?;
        self.key.seal(place, &text).map_err(|_| StoreAway)
    }
}

fn stored(session: &Session) -> StoredSession {
    StoredSession {
        record: session.record.clone(),
        seen_at: session.seen_at(),
    }
}
