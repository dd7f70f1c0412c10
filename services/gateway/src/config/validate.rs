//! Checks what a type alone cannot hold, all of it, and resolves names to indices.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue, Method};
use quartet_common::net::TrustedProxies;

use super::{Config, Host, Limit, Target, UpstreamConfig, model};
use crate::routing::{Action, HostPattern, PathPattern, Route, RouteTable};

const DAY_SECONDS: u64 = 86_400;

/// Mistakes as pairs of key and message.
type Found = Vec<(String, String)>;

/// Collects mistakes while the values are taken over.
#[derive(Default)]
struct Checker(Found);

impl Checker {
    fn note(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push((key.into(), message.into()));
    }

    fn take<T>(&mut self, key: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|message| self.note(key, message)).ok()
    }

    fn range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        if !(low..=high).contains(&value) {
            self.note(key, format!("must be from {low} to {high}"));
        }
    }
}

pub(super) fn validate(model: model::Model, file: Option<PathBuf>) -> Result<Config, Found> {
    let mut checker = Checker::default();
    check_server(&model, &mut checker);
    let upstreams: Vec<UpstreamConfig> = model
        .upstreams
        .iter()
        .filter_map(|(name, upstream)| check_upstream(name, upstream, &mut checker))
        .collect();
    let limits: Vec<Limit> = model
        .limits
        .iter()
        .map(|(name, limit)| check_limit(name, limit, &mut checker))
        .collect();
    let names = Names {
        upstreams: indices(model.upstreams.keys()),
        limits: indices(model.limits.keys()),
        defaults: &model.defaults,
    };
    let routes: Vec<Route> = model
        .routes
        .iter()
        .filter(|(_, route)| route.enabled)
        .filter_map(|(name, route)| check_route(name, route, &names, &mut checker))
        .collect();
    if !checker.0.is_empty() {
        return Err(checker.0);
    }
    let trusted_proxies = TrustedProxies::new(model.server.trusted_proxies.clone());
    let routes = RouteTable::new(routes);
    Ok(Config {
        model,
        trusted_proxies,
        upstreams,
        limits,
        routes,
        file,
    })
}

fn check_server(model: &model::Model, checker: &mut Checker) {
    let server = &model.server;
    let mut size = |name: &str, value: usize, low: u64, high: u64| {
        checker.range(&format!("server.{name}"), value as u64, low, high);
    };
    size("threads", server.threads, 0, 1_024);
    size("max_connections", server.max_connections, 1, 10_000_000);
    // The parser behind has room for 256 headers and one mebibyte.
    size(
        "header_limit_bytes",
        server.header_limit_bytes,
        1_024,
        1_000_000,
    );
    size("header_limit_count", server.header_limit_count, 1, 250);
    size(
        "upstream_pool_size",
        server.upstream_pool_size,
        1,
        1_000_000,
    );
    size(
        "rate_limit_keys_max",
        server.rate_limit_keys_max,
        64,
        100_000_000,
    );
    let mut seconds = |name: &str, value: u64, low: u64, high: u64| {
        checker.range(&format!("server.{name}_seconds"), value, low, high);
    };
    seconds("header_timeout", server.header_timeout_seconds, 1, 3_600);
    seconds(
        "keepalive_timeout",
        server.keepalive_timeout_seconds,
        1,
        3_600,
    );
    seconds("write_timeout", server.write_timeout_seconds, 1, 3_600);
    seconds("drain_delay", server.drain_delay_seconds, 0, 3_600);
    seconds(
        "shutdown_grace",
        server.shutdown_grace_seconds,
        1,
        DAY_SECONDS,
    );
    let (discovery, documents) = (&model.discovery, &model.documents);
    checker.range(
        "discovery.interval_ms",
        discovery.interval_ms,
        50,
        DAY_SECONDS * 1_000,
    );
    checker.range("discovery.timeout_ms", discovery.timeout_ms, 10, 60_000);
    checker.range(
        "documents.refresh_seconds",
        documents.refresh_seconds,
        0,
        DAY_SECONDS,
    );
    checker.range("documents.timeout_ms", documents.timeout_ms, 10, 60_000);
    check_timeouts("defaults", &model.defaults, checker);
}

fn check_timeouts(prefix: &str, timeouts: &model::RouteDefaults, checker: &mut Checker) {
    let mut check = |name: &str, value: u64, low: u64| {
        checker.range(&format!("{prefix}.{name}"), value, low, DAY_SECONDS);
    };
    check("body_timeout_seconds", timeouts.body_timeout_seconds, 1);
    check(
        "response_timeout_seconds",
        timeouts.response_timeout_seconds,
        0,
    );
    check("stream_timeout_seconds", timeouts.stream_timeout_seconds, 0);
}

fn check_name(key: &str, name: &str, checker: &mut Checker) {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(plain) {
        checker.note(
            key,
            "names consist of lower case letters, digits and underscores",
        );
    }
}

fn check_upstream(
    name: &str,
    written: &model::Upstream,
    checker: &mut Checker,
) -> Option<UpstreamConfig> {
    let key = format!("upstreams.{name}");
    check_name(&key, name, checker);
    if written.addresses.is_empty() {
        checker.note(format!("{key}.addresses"), "must name at least one address");
    }
    let targets = written
        .addresses
        .iter()
        .enumerate()
        .map(|(at, text)| checker.take(&format!("{key}.addresses[{at}]"), parse_target(text)))
        .collect::<Vec<_>>();
    let host = written.host.as_deref().map(parse_authority);
    let host = host.and_then(|host| checker.take(&format!("{key}.host"), host));
    let mut range = |field: &str, value: u64, low: u64, high: u64| {
        checker.range(&format!("{key}.{field}"), value, low, high);
    };
    range("connect_timeout_ms", written.connect_timeout_ms, 1, 60_000);
    range(
        "idle_timeout_seconds",
        written.idle_timeout_seconds,
        1,
        DAY_SECONDS,
    );
    range("retries", written.retries.into(), 0, 10);
    range(
        "retry_budget_percent",
        written.retry_budget_percent.into(),
        0,
        1_000,
    );
    range("eject_min_ms", written.eject_min_ms, 1, 3_600_000);
    range(
        "eject_max_ms",
        written.eject_max_ms,
        written.eject_min_ms,
        3_600_000,
    );
    if written
        .openapi
        .as_ref()
        .is_some_and(|path| !path.starts_with('/'))
    {
        checker.note(
            format!("{key}.openapi"),
            "must be a path that starts with /",
        );
    }
    Some(UpstreamConfig {
        name: name.into(),
        targets: targets.into_iter().collect::<Option<_>>()?,
        host,
        connect_timeout: Duration::from_millis(written.connect_timeout_ms),
        idle_timeout: Duration::from_secs(written.idle_timeout_seconds),
        retries: written.retries,
        retry_budget_percent: written.retry_budget_percent,
        eject_min: Duration::from_millis(written.eject_min_ms),
        eject_max: Duration::from_millis(written.eject_max_ms),
        openapi: written.openapi.clone(),
    })
}

/// A value for the `Host` header: a host, with or without a port.
fn parse_authority(text: &str) -> Result<HeaderValue, String> {
    let wrong = || "must be a host or host:port".to_owned();
    let authority: http::uri::Authority = text.parse().map_err(|_| wrong())?;
    if authority.as_str().contains('@') {
        return Err(wrong());
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())
}

fn parse_target(text: &str) -> Result<Target, String> {
    let wrong = || "must be host:port, address:port or [address]:port".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port
        .parse()
        .ok()
        .filter(|&port| port != 0)
        .ok_or_else(wrong)?;
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        let address: IpAddr = inner.parse().map_err(|_| wrong())?;
        return Ok(Target {
            host: Host::Address(address),
            port,
        });
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return if address.is_ipv4() {
            Ok(Target {
                host: Host::Address(address),
                port,
            })
        } else {
            Err(wrong())
        };
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.len() > 253 || !host.trim_end_matches('.').split('.').all(label) {
        return Err(wrong());
    }
    Ok(Target {
        host: Host::Name(host.to_ascii_lowercase()),
        port,
    })
}

fn check_limit(name: &str, written: &model::Limit, checker: &mut Checker) -> Limit {
    let key = format!("limits.{name}");
    check_name(&key, name, checker);
    checker.range(
        &format!("{key}.requests"),
        written.requests.into(),
        1,
        10_000_000,
    );
    checker.range(
        &format!("{key}.window_seconds"),
        written.window_seconds,
        1,
        DAY_SECONDS,
    );
    Limit {
        name: name.into(),
        requests: written.requests,
        window: Duration::from_secs(written.window_seconds),
    }
}

/// What routes refer to.
struct Names<'a> {
    upstreams: BTreeMap<&'a str, usize>,
    limits: BTreeMap<&'a str, usize>,
    defaults: &'a model::RouteDefaults,
}

fn indices<'a>(names: impl Iterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    names
        .enumerate()
        .map(|(index, name)| (name.as_str(), index))
        .collect()
}

fn check_route(
    name: &str,
    written: &model::Route,
    names: &Names<'_>,
    checker: &mut Checker,
) -> Option<Route> {
    let key = format!("routes.{name}");
    check_name(&key, name, checker);
    let action = check_action(&key, written, names, checker);
    let limit = match written.limit.as_deref().filter(|limit| !limit.is_empty()) {
        None => Some(None),
        Some(limit) => {
            let known = names.limits.get(limit).copied();
            checker
                .take(
                    &format!("{key}.limit"),
                    known.ok_or_else(|| format!("there is no limit `{limit}`")),
                )
                .map(Some)
        }
    };
    let paths = check_list(&key, "paths", &written.paths, PathPattern::parse, checker);
    if written.paths.is_empty() {
        checker.note(format!("{key}.paths"), "must name at least one path");
    }
    let hosts = check_list(&key, "hosts", &written.hosts, HostPattern::parse, checker);
    let methods = check_list(&key, "methods", &written.methods, parse_method, checker);
    let headers = check_headers(&key, &written.headers, checker);
    let defaults = names.defaults;
    let timeouts = model::RouteDefaults {
        body_limit_bytes: written
            .body_limit_bytes
            .unwrap_or(defaults.body_limit_bytes),
        body_timeout_seconds: written
            .body_timeout_seconds
            .unwrap_or(defaults.body_timeout_seconds),
        response_timeout_seconds: written
            .response_timeout_seconds
            .unwrap_or(defaults.response_timeout_seconds),
        stream_timeout_seconds: written
            .stream_timeout_seconds
            .unwrap_or(defaults.stream_timeout_seconds),
    };
    check_timeouts(&key, &timeouts, checker);
    Some(Route {
        name: name.into(),
        priority: written.priority,
        hosts: hosts?,
        paths: paths?,
        methods: methods?,
        headers: headers?,
        action: action?,
        auth: written.auth,
        limit: limit?,
        upgrade: written.upgrade,
        body_limit_bytes: timeouts.body_limit_bytes,
        body_timeout: Duration::from_secs(timeouts.body_timeout_seconds),
        response_timeout: unless_zero(timeouts.response_timeout_seconds),
        stream_timeout: unless_zero(timeouts.stream_timeout_seconds),
    })
}

fn unless_zero(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn check_action(
    key: &str,
    written: &model::Route,
    names: &Names<'_>,
    checker: &mut Checker,
) -> Option<Action> {
    match (&written.upstream, written.serve) {
        (Some(upstream), None) => {
            let known = names.upstreams.get(upstream.as_str()).copied();
            let known = known.ok_or_else(|| format!("there is no upstream `{upstream}`"));
            checker
                .take(&format!("{key}.upstream"), known)
                .map(Action::Proxy)
        }
        (None, Some(serve)) => Some(Action::Serve(serve)),
        (None, None) => {
            checker.note(key, "must have `upstream` or `serve`");
            None
        }
        (Some(_), Some(_)) => {
            checker.note(
                format!("{key}.serve"),
                "cannot stand together with `upstream`",
            );
            None
        }
    }
}

fn check_list<T>(
    key: &str,
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
    checker: &mut Checker,
) -> Option<Vec<T>> {
    let parsed: Vec<Option<T>> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| checker.take(&format!("{key}.{field}[{at}]"), parse(text)))
        .collect();
    parsed.into_iter().collect()
}

fn parse_method(text: &str) -> Result<Method, String> {
    if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("must be a method in upper case, such as GET".to_owned());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| "is not a method".to_owned())
}

fn check_headers(
    key: &str,
    written: &BTreeMap<String, String>,
    checker: &mut Checker,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let parsed: Vec<Option<_>> = written
        .iter()
        .map(|(name, value)| {
            let pair = HeaderName::try_from(name)
                .map_err(|_| "is not a header name".to_owned())
                .and_then(|name| {
                    let value = HeaderValue::try_from(value)
                        .map_err(|_| "is not a header value".to_owned())?;
                    Ok((name, value))
                });
            checker.take(&format!("{key}.headers.{name}"), pair)
        })
        .collect();
    parsed.into_iter().collect()
}
