//! A Redis or Valkey that several gateways share.
//!
//! ```text
//! quartet:acme:certificate-web   owner, epoch, until, row
//! quartet:acme:account-1f3a...   the same
//! quartet:acme:challenges        token -> when it expires, and the answer
//! ```
//!
//! Each call is repeated once on a new connection: all of them may be done twice.

use std::{collections::HashMap, time::Duration};

use redis::{Cmd, FromRedisValue, RedisError, RedisResult};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::contract::{Holder, MAX_CHALLENGES, StoreError};
use crate::{
    config::RedisConfig,
    redis_client::{Connection, Connector},
};

const SCRIPT: &str = include_str!("lease.lua");
const CHALLENGES: &str = "challenges";
/// Sentinels and their servers are asked one after the other.
const CONNECTIONS: u32 = 4;
/// After a failed attempt to connect, those who waited for it do not begin another one.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct RedisStore {
    key_prefix: String,
    timeout: Duration,
    connect_timeout: Duration,
    link: Mutex<Link>,
}

struct Link {
    connector: Connector,
    connection: Option<Connection>,
    /// How many connections there have been.
    number: u64,
    failed_at: Option<Instant>,
}

impl RedisStore {
    /// # Errors
    /// When no client can be built from the settings.
    pub(super) fn new(server: &RedisConfig, key_prefix: &str) -> RedisResult<Self> {
        Ok(Self {
            key_prefix: key_prefix.to_owned(),
            timeout: server.timeout,
            connect_timeout: server.connect_timeout * CONNECTIONS,
            link: Mutex::new(Link {
                connector: Connector::new(server)?,
                connection: None,
                number: 0,
                failed_at: None,
            }),
        })
    }

    pub(super) async fn load(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut command = redis::cmd("HGET");
        command.arg(self.key(name)).arg("row");
        self.call(&command).await
    }

    pub(super) async fn acquire(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let ttl = millis(ttl);
        let epoch: u64 = self.run(name, &["acquire", owner, &ttl]).await?;
        Ok((epoch > 0).then_some(epoch))
    }

    pub(super) async fn extend(
        &self,
        name: &str,
        (owner, epoch): Holder<'_>,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let (epoch, ttl) = (epoch.to_string(), millis(ttl));
        self.run(name, &["extend", owner, &epoch, &ttl]).await
    }

    pub(super) async fn put(
        &self,
        name: &str,
        (owner, epoch): Holder<'_>,
        row: &str,
    ) -> Result<bool, StoreError> {
        let epoch = epoch.to_string();
        self.run(name, &["put", owner, &epoch, row]).await
    }

    pub(super) async fn challenges(&self) -> Result<HashMap<String, String>, StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.key(CHALLENGES));
        let all: HashMap<String, String> = self.call(&command).await?;
        // Those that have expired are removed when the next one is added.
        let answers = all.into_iter().filter_map(|(token, stored)| {
            let (_, answer) = stored.split_once(' ')?;
            Some((token, answer.to_owned()))
        });
        Ok(answers.collect())
    }

    pub(super) async fn add_challenge(
        &self,
        token: &str,
        answer: &str,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let (ttl, most) = (millis(ttl), MAX_CHALLENGES.to_string());
        let words = ["add", token, answer, &ttl, &most];
        if self.run(CHALLENGES, &words).await? {
            Ok(())
        } else {
            Err(StoreError::Refused("too many challenges".to_owned()))
        }
    }

    pub(super) async fn remove_challenge(&self, token: &str) -> Result<(), StoreError> {
        let mut command = redis::cmd("HDEL");
        command.arg(self.key(CHALLENGES)).arg(token);
        self.call(&command).await
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.key_prefix)
    }

    /// The script with these arguments. It is rare and short, so its text is sent each time.
    async fn run<T: FromRedisValue>(&self, name: &str, words: &[&str]) -> Result<T, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(self.key(name)).arg(words);
        self.call(&command).await
    }

    async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let (known, number) = {
            let link = self.link.lock().await;
            (link.connection.clone(), link.number)
        };
        if let Some(known) = known
            && let Ok(answer) = self.send(known, command).await
        {
            return Ok(answer);
        }
        let fresh = self.connect(number).await?;
        self.send(fresh, command).await
    }

    async fn send<T: FromRedisValue>(
        &self,
        mut connection: Connection,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let answer = timeout(self.timeout, connection.send(command)).await;
        let answer = answer.map_err(|_| StoreError::Slow)??;
        Ok(T::from_redis_value(answer).map_err(RedisError::from)?)
    }

    /// A later connection than that with this number. Those who wait for it share one.
    async fn connect(&self, number: u64) -> Result<Connection, StoreError> {
        let mut link = self.link.lock().await;
        if let Some(connection) = link.connection.as_ref().filter(|_| link.number > number) {
            return Ok(connection.clone());
        }
        if link
            .failed_at
            .is_some_and(|at| at.elapsed() < CONNECT_PAUSE)
        {
            return Err(StoreError::Slow);
        }
        link.connection = None;
        let connected = timeout(self.connect_timeout, link.connector.connect()).await;
        let connected = connected.map_err(|_| StoreError::Slow);
        link.failed_at = (!matches!(connected, Ok(Ok(_)))).then(Instant::now);
        let (connection, _) = connected??;
        link.connection = Some(connection.clone());
        link.number += 1;
        Ok(connection)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
