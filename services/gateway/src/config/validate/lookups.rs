//! `[lookups.*]`, and the `lookup` of a route.

use std::{ops::RangeInclusive, time::Duration};

use http::{HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::{
    checker::{Checker, DAY_SECONDS},
    upstreams,
    values::{indices, resolve, unknown},
};
use crate::{
    config::{
        Host, UpstreamConfig,
        lookups::{AddressGuard, LookupConfig, LookupEndpoint},
        model,
    },
    routing::{HostPattern, PathPattern},
};

const KEY: &str = "key";
const MAX_TABLE: usize = 10_000;

/// The host and the port of an address such as `10.0.0.1:80`.
///
/// # Errors
/// When it is none.
pub(crate) fn parse_address(text: &str) -> Result<(Host, u16), String> {
    let config = upstream_of("address", &[text.to_owned()], Duration::from_secs(1))?;
    let target = config.targets.into_iter().next();
    let target = target.ok_or_else(|| "must be an address".to_owned())?;
    Ok((target.host, target.port))
}

/// An upstream that the configuration does not name.
pub(crate) fn upstream_of(
    name: &str,
    addresses: &[String],
    connect_timeout: Duration,
) -> Result<UpstreamConfig, String> {
    let milliseconds = u64::try_from(connect_timeout.as_millis()).unwrap_or(u64::MAX);
    let settings = serde_json::json!({
        "addresses": addresses,
        "connect_timeout_ms": milliseconds,
    });
    let settings: model::Upstream =
        serde_json::from_value(settings).map_err(|error| error.to_string())?;
    let mut checker = Checker::default();
    let config = upstreams::check(name, &settings, &mut checker);
    let violations = checker.finish().err().unwrap_or_default();
    match (config, violations.into_iter().next()) {
        (Some(config), None) => Ok(config),
        (_, Some((_, message))) => Err(message),
        (None, None) => Err("is not valid".to_owned()),
    }
}

pub(super) fn check(model: &model::Model, checker: &mut Checker) -> Vec<LookupConfig> {
    let lookups = model.lookups.iter();
    lookups
        .filter_map(|(name, lookup)| check_lookup(name, lookup, model, checker))
        .collect()
}

fn check_lookup(
    name: &str,
    lookup: &model::Lookup,
    model: &model::Model,
    checker: &mut Checker,
) -> Option<LookupConfig> {
    let key = format!("lookups.{name}");
    checker.name(&key, name);
    check_bounds(&key, lookup, checker);
    let guard = check_guard(&key, lookup, checker);
    let endpoint = check_endpoint(&key, lookup, model, checker);
    if lookup.table.is_empty() && lookup.upstream.is_none() {
        checker.error(&*key, "must have `table`, or `upstream` and `path`");
    }
    let guard = guard?;
    check_table(&key, lookup, &guard, checker);
    Some(LookupConfig {
        name: name.into(),
        table: lookup.table.clone(),
        endpoint: endpoint?,
        timeout: Duration::from_millis(lookup.timeout_ms),
        ttl: Duration::from_secs(lookup.ttl_seconds),
        unknown_ttl: Duration::from_secs(lookup.unknown_ttl_seconds),
        stale: Duration::from_secs(lookup.stale_seconds),
        max_entries: lookup.max_entries,
        max_in_flight: lookup.max_in_flight,
        connect_timeout: Duration::from_millis(lookup.connect_timeout_ms),
        guard,
    })
}

fn check_bounds(key: &str, lookup: &model::Lookup, checker: &mut Checker) {
    let unknown = lookup.unknown_ttl_seconds;
    let in_flight = lookup.max_in_flight as u64;
    checker.ranges(
        key,
        &[
            ("timeout_ms", lookup.timeout_ms, 10, 60_000),
            ("ttl_seconds", lookup.ttl_seconds, 1, DAY_SECONDS),
            ("unknown_ttl_seconds", unknown, 0, DAY_SECONDS),
            ("stale_seconds", lookup.stale_seconds, 0, DAY_SECONDS),
            ("max_entries", lookup.max_entries, 1, 1_000_000),
            ("max_in_flight", in_flight, 1, 10_000),
            ("connect_timeout_ms", lookup.connect_timeout_ms, 1, 60_000),
        ],
    );
}

fn check_guard(key: &str, lookup: &model::Lookup, checker: &mut Checker) -> Option<AddressGuard> {
    for (name, is_empty) in [
        ("networks", lookup.networks.is_empty()),
        ("ports", lookup.ports.is_empty()),
    ] {
        if is_empty {
            let message = "must list what requests may be sent to";
            checker.error(format!("{key}.{name}"), message);
        }
    }
    let ports = lookup.ports.iter().enumerate();
    let ports: Vec<_> = ports
        .map(|(at, ports)| checker.ok(&format!("{key}.ports[{at}]"), parse_ports(ports)))
        .collect();
    let hosts = lookup.hosts.iter().enumerate();
    let hosts: Vec<_> = hosts
        .map(|(at, host)| checker.ok(&format!("{key}.hosts[{at}]"), HostPattern::parse(host)))
        .collect();
    Some(AddressGuard {
        networks: lookup.networks.clone(),
        ports: ports.into_iter().collect::<Option<_>>()?,
        hosts: hosts.into_iter().collect::<Option<_>>()?,
    })
}

fn parse_ports(ports: &model::Ports) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = match ports {
        model::Ports::One(port) => (Some(*port), Some(*port)),
        model::Ports::Range(text) => match text.split_once('-') {
            Some((first, last)) => (first.parse().ok(), last.parse().ok()),
            None => (None, None),
        },
    };
    let range = first
        .zip(last)
        .filter(|&(first, last)| 0 < first && first <= last);
    let (first, last) =
        range.ok_or("must be a port from 1 to 65535, or ports such as \"8000-8999\"")?;
    Ok(first..=last)
}

/// The outer `None`: a violation was found.
fn check_endpoint(
    key: &str,
    lookup: &model::Lookup,
    model: &model::Model,
    checker: &mut Checker,
) -> Option<Option<LookupEndpoint>> {
    let (upstream, path) = match (&lookup.upstream, &lookup.path) {
        (Some(upstream), Some(path)) => (upstream, path),
        (None, None) if lookup.request_headers.is_empty() => return Some(None),
        _ => {
            checker.error(
                key,
                "`upstream`, `path` and `request_headers` need each other",
            );
            return None;
        }
    };
    let known = indices(&model.upstreams);
    let upstream = resolve(key, "upstream", upstream, &known, checker);
    let is_keyed =
        |path: &PathPattern| path.wildcards() == 1 && path.has_capture(KEY) && !path.prefix;
    let path = PathPattern::parse(path)
        .ok()
        .filter(is_keyed)
        .ok_or_else(|| "must be a path with the segment {key}".to_owned());
    let path = checker.ok(&format!("{key}.path"), path);
    let headers = lookup.request_headers.iter().map(|(name, value)| {
        let parsed = HeaderName::try_from(name)
            .ok()
            .zip(secret(value.expose_secret()));
        let parsed = parsed.ok_or_else(|| "is not a valid header".to_owned());
        checker.ok(&format!("{key}.request_headers.{name}"), parsed)
    });
    let headers: Vec<Option<_>> = headers.collect();
    Some(Some(LookupEndpoint {
        upstream: upstream?,
        path: path?,
        headers: headers.into_iter().collect::<Option<_>>()?,
    }))
}

/// A value that is not printed.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn check_table(key: &str, lookup: &model::Lookup, guard: &AddressGuard, checker: &mut Checker) {
    if lookup.table.len() > MAX_TABLE {
        let message = format!("must have at most {MAX_TABLE} entries");
        checker.error(format!("{key}.table"), message);
    }
    for (name, address) in &lookup.table {
        let key = format!("{key}.table.{name}");
        let segment = PathPattern::parse(&format!("/{name}"));
        if name.is_empty() || segment.is_err() || name.contains(['/', '{', '*']) {
            checker.error(&*key, "must be a segment of a path, as requests have it");
        }
        let checked = parse_address(address).and_then(|(host, port)| {
            let checked = guard.check(&host, port);
            checked.map_err(|rule| format!("is not allowed: {rule}"))
        });
        checker.ok(&key, checked);
    }
}

/// Index and segment; the outer `None`: a violation was found.
pub(super) fn check_route(
    key: &str,
    route: &model::Route,
    paths: &[PathPattern],
    known: &std::collections::BTreeMap<&str, usize>,
    checker: &mut Checker,
) -> Option<Option<(usize, String)>> {
    let Some(lookup) = &route.lookup else {
        return Some(None);
    };
    let key = format!("{key}.lookup");
    let segment = &lookup.segment;
    if !paths.iter().all(|path| path.has_capture(segment)) {
        let message = format!("there is no segment `{{{segment}}}` in every path");
        checker.error(format!("{key}.segment"), message);
    }
    if route.raw_path {
        checker.error(&*key, "cannot be combined with `raw_path`");
    }
    let index = known.get(&*lookup.name).copied();
    let index = index.ok_or_else(|| unknown("lookup", &lookup.name, known.keys().copied()));
    let index = checker.ok(&format!("{key}.name"), index)?;
    Some(Some((index, segment.clone())))
}
