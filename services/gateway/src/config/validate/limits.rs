//! `[limits.*]` and `[rate_limit_store]`.

use std::time::Duration;

use http::HeaderName;
use url::{Host, Url};

use super::{
    checker::{Checker, DAY_SECONDS},
    reserved::ReservedHeaders,
    upstreams::{parse_authorities, parse_target},
};
use crate::config::{
    Host as TargetHost, Limit, LimitKey, StoreConfig, StorePlace, StoreServer,
    model::{self, Key, LimitScope, NamedKey},
};

const MAX_KEYS: usize = 4;
const MAX_SERVERS: usize = 100;
const DEFAULT_PORT: u16 = 6379;

pub(super) fn check(
    name: &str,
    limit: &model::Limit,
    reserved: &ReservedHeaders,
    checker: &mut Checker,
) -> Option<Limit> {
    let key = format!("limits.{name}");
    checker.name(&key, name);
    checker.ranges(
        &key,
        &[
            ("requests", limit.requests.into(), 1, 10_000_000),
            ("window_seconds", limit.window_seconds, 1, DAY_SECONDS),
        ],
    );
    if let Some(burst) = limit.burst {
        check_burst(&key, burst, limit, checker);
    }
    let keys = check_keys(&key, limit, reserved, checker);
    Some(Limit {
        name: name.into(),
        requests: limit.requests,
        window: Duration::from_secs(limit.window_seconds),
        burst: limit.burst,
        keys: keys?.into(),
        is_per_route: limit.scope == LimitScope::Route,
        on_store_error: limit.on_store_error,
    })
}

fn check_burst(key: &str, burst: u32, limit: &model::Limit, checker: &mut Checker) {
    let key = format!("{key}.burst");
    let most = limit.requests.saturating_sub(1);
    if !(1..=most).contains(&burst) {
        checker.error(
            &key,
            format!("must be between 1 and {most}: less than requests"),
        );
        return;
    }
    // Intervals are whole microseconds.
    let refill = u64::from(limit.requests - burst);
    if refill > limit.window_seconds.saturating_mul(1_000_000) {
        checker.error(
            &key,
            "must leave at most one request per microsecond of the window",
        );
    }
}

/// Without any, the user, and the client IP of those who have none.
fn check_keys(
    key: &str,
    limit: &model::Limit,
    reserved: &ReservedHeaders,
    checker: &mut Checker,
) -> Option<Vec<LimitKey>> {
    let key = format!("{key}.key");
    let keys = limit.key.as_slice();
    if keys.is_empty() {
        return Some(vec![LimitKey::User, LimitKey::ClientIp]);
    }
    if keys.len() > MAX_KEYS {
        checker.error(&key, format!("must have at most {MAX_KEYS} keys"));
        return None;
    }
    if let Some((at, _)) = keys
        .iter()
        .enumerate()
        .find(|(at, it)| keys[..*at].contains(it))
    {
        checker.error(&key, format!("must not have key {} twice", at + 1));
    }
    let keys = keys.iter().map(|it| {
        let parsed = match it {
            Key::Named(NamedKey::User) => Ok(LimitKey::User),
            Key::Named(NamedKey::Token) => Ok(LimitKey::Token),
            Key::Named(NamedKey::ApiKey) => Ok(LimitKey::ApiKey),
            Key::Named(NamedKey::ClientIp) => Ok(LimitKey::ClientIp),
            Key::Header(named) => HeaderName::try_from(&named.header)
                .map_err(|_| format!("`{}` is not a valid header name", named.header))
                .and_then(|name| reserved.check_key(&name).map(|()| LimitKey::Header(name))),
        };
        checker.ok(&key, parsed)
    });
    let keys: Vec<_> = keys.collect();
    keys.into_iter().collect()
}

/// `None` if there is no store, or if a rule is broken.
pub(super) fn check_store(
    store: &model::RateLimitStore,
    checker: &mut Checker,
) -> Option<StoreConfig> {
    const TABLE: &str = "rate_limit_store";
    let denied = store.max_denied_keys as u64;
    checker.ranges(
        TABLE,
        &[
            ("database", store.database.into(), 0, 1_000_000),
            ("timeout_ms", store.timeout_ms, 5, 1_000),
            ("connect_timeout_ms", store.connect_timeout_ms, 10, 60_000),
            ("max_failures", store.max_failures.into(), 1, 1_000),
            ("max_denied_keys", denied, 64, 1_000_000),
        ],
    );
    check_prefix(&store.key_prefix, checker);
    let place = check_place(store, checker);
    let tls = check_tls(store, checker);
    Some(StoreConfig {
        place: place?,
        authorities: tls?,
        database: store.database,
        username: store.username.clone(),
        password: store.password.clone(),
        sentinel_username: store.sentinel_username.clone(),
        sentinel_password: store.sentinel_password.clone(),
        key_prefix: store.key_prefix.clone(),
        key_secret: store.key_secret.clone(),
        timeout: Duration::from_millis(store.timeout_ms),
        connect_timeout: Duration::from_millis(store.connect_timeout_ms),
        max_failures: store.max_failures,
        max_denied_keys: store.max_denied_keys,
    })
}

/// A brace would move the key to another slot of a cluster.
fn check_prefix(prefix: &str, checker: &mut Checker) {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:./".contains(&byte);
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_allowed) {
        let rule = "must be 1 to 64 letters, digits or any of _-:./";
        checker.error("rate_limit_store.key_prefix", rule);
    }
}

/// The outer `None`: a violation was found.
fn check_tls(store: &model::RateLimitStore, checker: &mut Checker) -> Option<Option<String>> {
    const KEY: &str = "rate_limit_store.tls_ca";
    let is_used = uses_tls(store);
    match &store.tls_ca {
        Some(_) if !is_used => {
            checker.error(KEY, "needs rediss:// or tls = true");
            None
        }
        Some(pem) => {
            checker.ok(KEY, parse_authorities(pem))?;
            Some(Some(pem.clone()))
        }
        None => Some(None),
    }
}

fn uses_tls(store: &model::RateLimitStore) -> bool {
    let is_tls = |url: &String| url.starts_with("rediss:") || url.starts_with("valkeys:");
    store.tls || store.url.as_ref().is_some_and(is_tls)
}

fn check_place(store: &model::RateLimitStore, checker: &mut Checker) -> Option<StorePlace> {
    let ways = [
        store.url.is_some(),
        !store.sentinels.is_empty(),
        !store.cluster.is_empty(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        let rule = "must have one of `url`, `sentinels` and `cluster`";
        checker.error("rate_limit_store", rule);
        return None;
    }
    check_unused(store, checker);
    if let Some(url) = &store.url {
        let server = checker.ok("rate_limit_store.url", parse_url(url));
        return server.map(|server| {
            StorePlace::Single(StoreServer {
                tls: server.tls || store.tls,
                ..server
            })
        });
    }
    if !store.sentinels.is_empty() {
        let sentinels = check_servers("sentinels", &store.sentinels, store.tls, checker);
        if store.master_name.is_empty() {
            checker.error("rate_limit_store.master_name", "must be set with sentinels");
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
        checker.error("rate_limit_store.database", "must be 0 with a cluster");
    }
    check_servers("cluster", &store.cluster, store.tls, checker).map(StorePlace::Cluster)
}

/// Settings that have no effect point to a mistake.
fn check_unused(store: &model::RateLimitStore, checker: &mut Checker) {
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
            checker.error(format!("rate_limit_store.{name}"), format!("needs {needs}"));
        }
    }
}

fn check_servers(
    field: &str,
    texts: &[String],
    tls: bool,
    checker: &mut Checker,
) -> Option<Vec<StoreServer>> {
    if texts.len() > MAX_SERVERS {
        let rule = format!("must have at most {MAX_SERVERS} entries");
        checker.error(format!("rate_limit_store.{field}"), rule);
    }
    let servers = texts.iter().enumerate().map(|(at, text)| {
        let key = format!("rate_limit_store.{field}[{at}]");
        let target = checker.ok(&key, parse_target(text, 1))?;
        let host = match target.host {
            TargetHost::Ip(ip) => ip.to_string(),
            // `parse_target` reads no names of services.
            TargetHost::Name(name) | TargetHost::Service(name) => name,
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

#[cfg(test)]
mod tests {
    use crate::config::load::Sources;

    fn check(text: &str) -> Result<(), String> {
        let loaded = Sources::of_test(text).map(drop);
        loaded.map_err(|errors| errors.to_string())
    }

    #[test]
    fn limits_that_contradict_themselves_are_refused() {
        let limit = |more: &str| {
            check(&format!(
                "[limits.l]\nrequests = 10\nwindow_seconds = 1\n{more}\n"
            ))
        };
        for accepted in [
            "",
            "burst = 1",
            "burst = 9",
            "key = \"api_key\"",
            "key = [\"token\", \"user\", { header = \"X-Tenant\" }, \"client_ip\"]",
            "scope = \"route\"\non_store_error = \"deny\"",
        ] {
            assert_eq!(limit(accepted), Ok(()), "{accepted}");
        }
        for (refused, says) in [
            ("burst = 0", "must be between 1 and 9"),
            ("burst = 10", "must be between 1 and 9"),
            ("key = \"cookie\"", "limits.l.key"),
            ("key = { header = \"a b\" }", "is not a valid header name"),
            ("key = { header = \"X-User-Id\" }", "clients can forge"),
            (
                "key = { header = \"x-forwarded-for\" }",
                "clients can forge",
            ),
            ("key = [\"user\", \"user\"]", "must not have key 2 twice"),
            (
                "key = [\"user\", \"token\", \"api_key\", \"client_ip\", { header = \"a\" }]",
                "at most 4",
            ),
            ("on_store_error = \"ignore\"", "limits.l.on_store_error"),
        ] {
            let error = limit(refused).unwrap_err();
            assert!(error.contains(says), "{refused}: {error}");
        }
    }

    /// What a client sends under the name of a claim is removed later, so it must not choose a quota.
    #[test]
    fn limits_do_not_count_by_what_the_gateway_removes() {
        let claim = "claim_headers = { \"X-Tenant\" = \"tenant\" }";
        let limit = |header: &str| {
            format!(
                "[limits.l]\nrequests = 1\nwindow_seconds = 1\nkey = {{ header = \"{header}\" }}\n"
            )
        };
        let route =
            |more: &str| format!("[routes.r]\npaths = [\"/r\"]\nserve = \"docs\"\n{more}\n");
        let of_claims = [limit("x-tenant"), route(claim)].concat();
        let error = check(&of_claims).unwrap_err();
        assert!(
            error.contains("limits.l.key") && error.contains("clients can forge"),
            "{error}"
        );
        assert_eq!(check(&[limit("x-tenant"), route("")].concat()), Ok(()));
        let hasura = "[jwt]\nhasura_claims = \"a\"\n".to_owned();
        let error = check(&[limit("x-hasura-role"), hasura].concat()).unwrap_err();
        assert!(error.contains("clients can forge"), "{error}");
        for (name, is_allowed) in [
            ("x-tenant", false),
            ("x-user-id", false),
            ("x-forwarded-proto", true),
            ("x-beta", true),
        ] {
            let condition = format!("headers = {{ {name} = \"a\" }}\n{claim}");
            assert_eq!(check(&route(&condition)).is_ok(), is_allowed, "{name}");
        }
    }

    #[test]
    fn a_store_is_in_one_place() {
        let store = |text: &str| check(&format!("[rate_limit_store]\n{text}\n"));
        for accepted in [
            "",
            "url = \"redis://valkey:6379\"",
            "url = \"redis://[::1]\"\ndatabase = 3",
            "url = \"rediss://valkey.example\"",
            "sentinels = [\"a:26379\", \"b:26379\"]\nmaster_name = \"limits\"\nsentinel_password = \"x\"",
            "cluster = [\"a:6379\", \"10.0.0.1:6379\"]\ntls = true",
        ] {
            assert_eq!(store(accepted), Ok(()), "{accepted}");
        }
        for (refused, says) in [
            ("url = \"http://valkey\"", "must be redis://host:port"),
            ("url = \"redis://:secret@valkey\"", "must not have a login"),
            ("url = \"redis://valkey/1\"", "`database` selects one"),
            (
                "url = \"redis://valkey#insecure\"",
                "must end after the port",
            ),
            (
                "url = \"redis://a\"\ncluster = [\"b:1\"]",
                "must have one of",
            ),
            ("sentinels = [\"a:1\"]", "must be set with sentinels"),
            ("master_name = \"a\"", "needs sentinels"),
            (
                "cluster = [\"a:1\"]\ndatabase = 1",
                "must be 0 with a cluster",
            ),
            ("cluster = [\"a\"]", "cluster[0]"),
            ("url = \"redis://a\"\ntls_ca = \"x\"", "needs rediss://"),
            (
                "url = \"rediss://a\"\ntls_ca = \"x\"",
                "must have at least one certificate",
            ),
            ("key_prefix = \"{a}\"", "key_prefix"),
            ("timeout_ms = 1", "must be between 5 and 1000"),
        ] {
            let error = store(refused).unwrap_err();
            assert!(error.contains(says), "{refused}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
