//! `[limits.*]` and `[rate_limit_store]`.

use std::time::Duration;

use http::HeaderName;

use super::{
    checker::{Checker, DAY_SECONDS},
    redis,
    reserved::ReservedHeaders,
};
use crate::config::{
    Limit, LimitKey, StoreConfig,
    model::{self, Key, LimitScope, NamedKey},
};

const MAX_KEYS: usize = 4;

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
            ("max_failures", store.max_failures.into(), 1, 1_000),
            ("max_denied_keys", denied, 64, 1_000_000),
        ],
    );
    redis::check_prefix(TABLE, &store.key_prefix, checker);
    let redis = redis::check(TABLE, &store.redis(), 5..=1_000, checker);
    Some(StoreConfig {
        redis: redis?,
        key_prefix: store.key_prefix.clone(),
        key_secret: store.key_secret.clone(),
        max_failures: store.max_failures,
        max_denied_keys: store.max_denied_keys,
    })
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
