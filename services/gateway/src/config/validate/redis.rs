//! How to reach a Redis or Valkey, in any table.

use std::{ops::RangeInclusive, time::Duration};

use url::{Host, Url};

use super::{
    checker::Checker,
    upstreams::{parse_authorities, parse_target},
};
use crate::config::{Host as TargetHost, RedisConfig, StorePlace, StoreServer, model::Redis};

const MAX_SERVERS: usize = 100;
const DEFAULT_PORT: u16 = 6379;

/// `None` if there is none, or if a rule is broken. `timeout`: of one call, in milliseconds.
pub(super) fn check(
    table: &str,
    redis: &Redis,
    timeout: RangeInclusive<u64>,
    checker: &mut Checker,
) -> Option<RedisConfig> {
    checker.ranges(
        table,
        &[
            ("database", redis.database.into(), 0, 1_000_000),
            (
                "timeout_ms",
                redis.timeout_ms,
                *timeout.start(),
                *timeout.end(),
            ),
            ("connect_timeout_ms", redis.connect_timeout_ms, 10, 60_000),
        ],
    );
    let place = check_place(table, redis, checker);
    let tls = check_tls(table, redis, checker);
    Some(RedisConfig {
        place: place?,
        authorities: tls?,
        database: redis.database,
        username: redis.username.clone(),
        password: redis.password.clone(),
        sentinel_username: redis.sentinel_username.clone(),
        sentinel_password: redis.sentinel_password.clone(),
        timeout: Duration::from_millis(redis.timeout_ms),
        connect_timeout: Duration::from_millis(redis.connect_timeout_ms),
    })
}

/// A brace would move the key to another slot of a cluster.
pub(super) fn check_prefix(table: &str, prefix: &str, checker: &mut Checker) {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:./".contains(&byte);
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_allowed) {
        let rule = "must be 1 to 64 letters, digits or any of _-:./";
        checker.error(format!("{table}.key_prefix"), rule);
    }
}

/// The outer `None`: a violation was found.
fn check_tls(table: &str, store: &Redis, checker: &mut Checker) -> Option<Option<String>> {
    let key = format!("{table}.tls_ca");
    let is_used = uses_tls(store);
    match &store.tls_ca {
        Some(_) if !is_used => {
            checker.error(key, "needs rediss:// or tls = true");
            None
        }
        Some(pem) => {
            checker.ok(&key, parse_authorities(pem))?;
            Some(Some(pem.clone()))
        }
        None => Some(None),
    }
}

fn uses_tls(store: &Redis) -> bool {
    let is_tls = |url: &String| url.starts_with("rediss:") || url.starts_with("valkeys:");
    store.tls || store.url.as_ref().is_some_and(is_tls)
}

fn check_place(table: &str, store: &Redis, checker: &mut Checker) -> Option<StorePlace> {
    let ways = [
        store.url.is_some(),
        !store.sentinels.is_empty(),
        !store.cluster.is_empty(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        let rule = "must have one of `url`, `sentinels` and `cluster`";
        checker.error(table, rule);
        return None;
    }
    check_unused(table, store, checker);
    if let Some(url) = &store.url {
        let server = checker.ok(&format!("{table}.url"), parse_url(url));
        return server.map(|server| {
            StorePlace::Single(StoreServer {
                tls: server.tls || store.tls,
                ..server
            })
        });
    }
    if !store.sentinels.is_empty() {
        let sentinels = check_servers((table, "sentinels"), &store.sentinels, store.tls, checker);
        if store.master_name.is_empty() {
            checker.error(format!("{table}.master_name"), "must be set with sentinels");
            return None;
        }
        return Some(StorePlace::Sentinel {
            sentinels: sentinels?,
            master_name: store.master_name.clone(),
        });
    }
    if store.cluster.is_empty() {
        return None;
    }
    if store.database != 0 {
        checker.error(format!("{table}.database"), "must be 0 with a cluster");
    }
    check_servers((table, "cluster"), &store.cluster, store.tls, checker).map(StorePlace::Cluster)
}

/// Settings that have no effect point to a mistake.
fn check_unused(table: &str, store: &Redis, checker: &mut Checker) {
    let has_sentinels = !store.sentinels.is_empty();
    let has_store = has_sentinels || store.url.is_some() || !store.cluster.is_empty();
    for (name, is_set, is_used, needs) in [
        (
            "master_name",
            !store.master_name.is_empty(),
            has_sentinels,
            "sentinels",
        ),
        (
            "sentinel_username",
            store.sentinel_username.is_some(),
            has_sentinels,
            "sentinels",
        ),
        (
            "sentinel_password",
            store.sentinel_password.is_some(),
            has_sentinels,
            "sentinels",
        ),
        ("tls", store.tls, has_store, "url, sentinels or cluster"),
    ] {
        if is_set && !is_used {
            checker.error(format!("{table}.{name}"), format!("needs {needs}"));
        }
    }
}

fn check_servers(
    (table, field): (&str, &str),
    texts: &[String],
    tls: bool,
    checker: &mut Checker,
) -> Option<Vec<StoreServer>> {
    if texts.len() > MAX_SERVERS {
        let rule = format!("must have at most {MAX_SERVERS} entries");
        checker.error(format!("{table}.{field}"), rule);
    }
    let servers = texts.iter().enumerate().map(|(at, text)| {
        let key = format!("{table}.{field}[{at}]");
        let target = checker.ok(&key, parse_target(text, 1))?;
        let host = match target.host {
            TargetHost::Ip(ip) => ip.to_string(),
            // `parse_target` reads no names of services.
            TargetHost::Name(name) | TargetHost::Service(name) => name,
            TargetHost::Kubernetes(port) => port.service,
        };
        Some(StoreServer {
            host,
            port: target.port,
            tls,
        })
    });
    let servers: Vec<_> = servers.collect();
    servers.into_iter().collect()
}

/// Only where the server is. A password in it would be shown wherever the configuration is.
fn parse_url(text: &str) -> Result<StoreServer, String> {
    let invalid = || "must be redis://host:port or rediss://host:port".to_owned();
    let url: Url = text.parse().map_err(|_| invalid())?;
    let tls = match url.scheme() {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err(invalid()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a login; set username and password instead".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("must end after the port; `database` selects one".to_owned());
    }
    let host = match url.host().ok_or_else(invalid)? {
        Host::Domain(name) if !name.is_empty() => name.to_owned(),
        Host::Domain(_) => return Err(invalid()),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    let port = url.port().unwrap_or(DEFAULT_PORT);
    Ok(StoreServer { host, port, tls })
}
