//! `[caches.*]`.

use std::time::Duration;

use http::HeaderName;

use super::checker::{Checker, DAY_SECONDS};
use crate::{
    cache::{CacheSettings, Defaults},
    config::model::{Cache, ClientDirectives, SetCookie},
    request::is_untrusted,
};

/// A year; longer times have no meaning (RFC 9111, 1.2.2).
const YEAR_SECONDS: u64 = 365 * DAY_SECONDS;
const MIN_BYTES: u64 = 1 << 16;
/// Headers or cookies of one list.
const MAX_NAMES: usize = 16;

pub(super) fn check(name: &str, cache: &Cache, checker: &mut Checker) -> Option<CacheSettings> {
    let key = format!("caches.{name}");
    checker.name(&key, name);
    check_numbers(&key, cache, checker);
    let key_headers = check_headers(&key, "key_headers", &cache.key_headers, checker);
    if let Some(own) = key_headers.iter().flatten().find(|name| is_own(name)) {
        let message = format!("must not have `{own}`, which the gateway sets");
        checker.error(format!("{key}.key_headers"), message);
    }
    let key_cookies = check_cookies(&key, &cache.key_cookies, checker);
    let targeted = check_headers(&key, "targeted_control", &cache.targeted_control, checker);
    let tag_headers = check_headers(&key, "tag_headers", &cache.tag_headers, checker);
    Some(CacheSettings {
        name: name.into(),
        max_bytes: cache.max_bytes,
        max_object_bytes: usize::try_from(cache.max_object_bytes).ok()?,
        max_variants: usize::try_from(cache.max_variants).ok()?,
        defaults: Defaults {
            ttl_seconds: cache.ttl_seconds,
            max_heuristic_seconds: cache.max_heuristic_seconds,
            stale_while_revalidate_seconds: cache.stale_while_revalidate_seconds,
            stale_if_error_seconds: cache.stale_if_error_seconds,
        },
        fill_wait: Duration::from_millis(cache.fill_wait_ms),
        key_headers: key_headers?,
        key_cookies,
        strip_set_cookie: cache.set_cookie == SetCookie::Strip,
        ignore_client_directives: cache.client_directives == ClientDirectives::Ignore,
        targeted_control: targeted?,
        tag_headers: tag_headers?,
        forward_tags: cache.forward_tags,
        status_header: cache.status_header,
    })
}

fn check_numbers(key: &str, cache: &Cache, checker: &mut Checker) {
    // Below its own bound, the error about max_bytes is enough.
    let is_bound = cache.max_bytes >= MIN_BYTES;
    let largest = if is_bound { cache.max_bytes } else { u64::MAX };
    let largest = largest.min(1 << 30);
    checker.ranges(
        key,
        &[
            ("max_bytes", cache.max_bytes, MIN_BYTES, 1 << 40),
            ("max_object_bytes", cache.max_object_bytes, 1024, largest),
            ("max_variants", cache.max_variants, 1, 1_000),
            ("ttl_seconds", cache.ttl_seconds, 0, YEAR_SECONDS),
            ("fill_wait_ms", cache.fill_wait_ms, 0, 60_000),
        ],
    );
    for (name, value) in [
        ("max_heuristic_seconds", cache.max_heuristic_seconds),
        (
            "stale_while_revalidate_seconds",
            cache.stale_while_revalidate_seconds,
        ),
        ("stale_if_error_seconds", cache.stale_if_error_seconds),
    ] {
        checker.range(&format!("{key}.{name}"), value, 0, YEAR_SECONDS);
    }
}

/// The upstream does not see what the client sent.
fn is_own(name: &HeaderName) -> bool {
    is_untrusted(name.as_str().as_bytes())
}

fn check_headers(
    key: &str,
    field: &str,
    names: &[String],
    checker: &mut Checker,
) -> Option<Vec<HeaderName>> {
    let key = format!("{key}.{field}");
    check_count(&key, names, checker);
    let parse = |name: &String| {
        HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a valid header name"))
    };
    let parsed: Vec<_> = names
        .iter()
        .map(|name| checker.ok(&key, parse(name)))
        .collect();
    parsed.into_iter().collect()
}

fn check_cookies(key: &str, names: &[String], checker: &mut Checker) -> Vec<Box<str>> {
    let key = format!("{key}.key_cookies");
    check_count(&key, names, checker);
    for name in names {
        let is_token = |byte: u8| byte.is_ascii_graphic() && !b"=;,\"\\".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            checker.error(&*key, format!("`{name}` is not a valid cookie name"));
        }
    }
    names.iter().map(|name| name.as_str().into()).collect()
}

fn check_count(key: &str, names: &[String], checker: &mut Checker) {
    if names.len() > MAX_NAMES {
        checker.error(key, format!("must have at most {MAX_NAMES} names"));
    }
}
