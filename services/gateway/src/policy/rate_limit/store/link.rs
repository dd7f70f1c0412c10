//! One connection to the store, or to the nodes of a cluster.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use quartet_common::clock::Clock;
use redis::{
    Cmd, ErrorKind, FromRedisValue as _, RedisError, RedisResult, Script, ServerErrorKind,
};

use crate::redis_client::Connection;

const SOURCE: &str = include_str!("../script.lua");
/// Names the script to a server that knows it.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(SOURCE));

const SLOTS: u16 = 16_384;
/// Of a cluster: neighboring slots usually are of the same node.
pub(super) const RANGES: u16 = 64;
/// As a number of failures.
const OPEN: u32 = u32::MAX;

pub(super) struct Link {
    connection: Connection,
    /// Where it leads to.
    pub(super) address: String,
    /// Whether the gateway says what time it is, because the server must not.
    pub(super) passes_time: bool,
    /// Failures in a row.
    breakers: Box<[AtomicU32]>,
}

/// What the script is asked to do.
pub(crate) struct Call<'c> {
    /// The time, if it is not the server's.
    pub(crate) at: Option<i64>,
    /// `take` or `give`.
    pub(crate) mode: &'static str,
    pub(crate) limits: &'c [(&'c str, ScriptRule)],
}

/// A rule as the script reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptRule {
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) span: u64,
}

impl<'c> Call<'c> {
    /// Counts by the time of the server.
    pub(super) fn take(limits: &'c [(&'c str, ScriptRule)]) -> Self {
        Self {
            at: None,
            mode: "take",
            limits,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.limits.len()
    }

    fn command(&self, name: &str, script: &str, at: Option<i64>) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.limits.len());
        for (key, _) in self.limits {
            command.arg(*key);
        }
        match at {
            Some(at) => command.arg(at),
            None => command.arg(""),
        };
        command.arg(self.mode);
        for (_, rule) in self.limits {
            command.arg(rule.kind).arg(rule.number).arg(rule.span);
        }
        command
    }
}

impl Link {
    pub(super) fn new(connection: Connection, address: String) -> Self {
        let breakers = match connection {
            Connection::Single(_) => 1,
            Connection::Cluster(_) => RANGES,
        };
        Self {
            connection,
            address,
            passes_time: false,
            breakers: (0..breakers).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.connection, Connection::Cluster(_))
    }

    pub(super) fn breaker_of(&self, key: &[u8]) -> usize {
        if self.is_cluster() {
            usize::from(range_of(key))
        } else {
            0
        }
    }

    /// Whether calls are sent.
    pub(super) fn is_closed(&self, breaker: usize) -> bool {
        self.breakers[breaker].load(Ordering::Relaxed) != OPEN
    }

    pub(super) fn is_whole(&self) -> bool {
        (0..self.breakers.len()).all(|breaker| self.is_closed(breaker))
    }

    pub(super) fn succeeded(&self, breaker: usize) {
        let failures = &self.breakers[breaker];
        let seen = failures.load(Ordering::Relaxed);
        if seen != 0 && seen != OPEN {
            // Another call may have opened it meanwhile.
            let _ = failures.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether this has opened the breaker.
    pub(super) fn failed(&self, breaker: usize, is_final: bool, max_failures: u32) -> bool {
        let more = |failures: u32| match failures {
            OPEN => None,
            failures if is_final || failures + 1 >= max_failures => Some(OPEN),
            failures => Some(failures + 1),
        };
        let (relaxed, failures) = (Ordering::Relaxed, &self.breakers[breaker]);
        let before = failures.fetch_update(relaxed, relaxed, more);
        before.is_ok_and(|before| more(before) == Some(OPEN))
    }

    /// # Errors
    /// When the server does not answer, or refuses.
    pub(super) async fn evaluate(&self, call: &Call<'_>, clock: &Clock) -> RedisResult<Vec<i64>> {
        let here = || clock.now().timestamp_micros();
        let at = call.at.or_else(|| self.passes_time.then(here));
        let mut connection = self.connection.clone();
        let known = call.command("EVALSHA", SCRIPT.get_hash(), at);
        let answer = match connection.send(&known).await {
            Err(error) if is_unknown_script(&error) => {
                // Loads the script as well.
                connection.send(&call.command("EVAL", SOURCE, at)).await
            }
            Err(error) if self.is_cluster() && is_elsewhere(&error) => {
                connection.send(&known).await
            }
            answer => answer,
        };
        Ok(Vec::<i64>::from_redis_value(answer?)?)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The range of the slot that a cluster has a key in.
pub(super) fn range_of(key: &[u8]) -> u16 {
    let slot = crc16::State::<crc16::XMODEM>::calculate(tag_of(key)) % SLOTS;
    slot / (SLOTS / RANGES)
}

/// The part of a key that chooses its slot: what the first braces enclose, if that is anything.
fn tag_of(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let rest = &key[open + 1..];
    match memchr::memchr(b'}', rest) {
        Some(0) | None => key,
        Some(close) => &rest[..close],
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// A node of a cluster did nothing, because the key is no longer its own. By now, the client asks
/// which node has it.
fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_the_same_tag_are_in_the_same_range() {
        assert_eq!(tag_of(b"a:{b}:c"), b"b");
        assert_eq!(tag_of(b"{}{b}"), b"{}{b}");
        assert_eq!(tag_of(b"a{b"), b"a{b");
        // The example of the cluster specification.
        let slot = crc16::State::<crc16::XMODEM>::calculate(b"123456789");
        assert_eq!(slot, 0x31c3);
        assert_eq!(range_of(b"x:{123456789}"), (0x31c3 % SLOTS) / 256);
    }
}
