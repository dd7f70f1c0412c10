//! `[upstreams.*]`: addresses and bounds.

use std::{net::IpAddr, time::Duration};

use http::{HeaderValue, uri::Authority};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::checker::{Checker, DAY_SECONDS};
use crate::config::{Host, Tls, UpstreamConfig, UpstreamTarget, model};

pub(super) fn check(
    name: &str,
    upstream: &model::Upstream,
    checker: &mut Checker,
) -> Option<UpstreamConfig> {
    let key = format!("upstreams.{name}");
    checker.name(&key, name);
    if upstream.addresses.is_empty() {
        checker.error(format!("{key}.addresses"), "must have at least one address");
    }
    let targets: Vec<_> = upstream
        .addresses
        .iter()
        .enumerate()
        .map(|(at, address)| {
            let target = parse_address(address);
            checker.ok(&format!("{key}.addresses[{at}]"), target)
        })
        .collect();
    let host = upstream.host.as_deref().map(parse_authority);
    let host = host.and_then(|host| checker.ok(&format!("{key}.host"), host));
    check_bounds(&key, upstream, checker);
    let path = upstream.openapi.as_ref();
    if path.is_some_and(|path| !path.starts_with('/')) {
        checker.error(
            format!("{key}.openapi"),
            "must be a path that starts with /",
        );
    }
    let targets: Vec<UpstreamTarget> = targets.into_iter().collect::<Option<_>>()?;
    let tls = check_tls(&key, upstream, &targets, checker);
    Some(UpstreamConfig {
        name: name.into(),
        targets,
        host,
        connect_timeout: Duration::from_millis(upstream.connect_timeout_ms),
        idle_timeout: Duration::from_secs(upstream.idle_timeout_seconds),
        max_idle_connections: upstream.max_idle_connections,
        retries: upstream.retries,
        retry_budget_percent: upstream.retry_budget_percent,
        min_eject: Duration::from_millis(upstream.min_eject_ms),
        max_eject: Duration::from_millis(upstream.max_eject_ms),
        balance: upstream.balance,
        tls: tls?,
        openapi: upstream.openapi.clone(),
    })
}

fn check_bounds(key: &str, upstream: &model::Upstream, checker: &mut Checker) {
    let (min_eject, max_eject) = (upstream.min_eject_ms, upstream.max_eject_ms);
    checker.ranges(
        key,
        &[
            ("connect_timeout_ms", upstream.connect_timeout_ms, 1, 60_000),
            (
                "idle_timeout_seconds",
                upstream.idle_timeout_seconds,
                1,
                DAY_SECONDS,
            ),
            (
                "max_idle_connections",
                upstream.max_idle_connections as u64,
                0,
                1_000_000,
            ),
            ("retries", upstream.retries.into(), 0, 10),
            (
                "retry_budget_percent",
                upstream.retry_budget_percent.into(),
                0,
                1_000,
            ),
            ("min_eject_ms", min_eject, 1, 3_600_000),
            ("max_eject_ms", max_eject, min_eject, 3_600_000),
        ],
    );
}

/// The outer `None`: a violation was found.
fn check_tls(
    key: &str,
    upstream: &model::Upstream,
    targets: &[UpstreamTarget],
    checker: &mut Checker,
) -> Option<Option<Tls>> {
    if !upstream.tls {
        for (name, is_set) in [
            ("tls_server_name", upstream.tls_server_name.is_some()),
            ("tls_ca", upstream.tls_ca.is_some()),
            ("http2", upstream.http2),
        ] {
            if is_set {
                checker.error(format!("{key}.{name}"), "needs tls = true");
            }
        }
        return Some(None);
    }
    let server_name = checker.ok(
        &format!("{key}.tls_server_name"),
        server_name(upstream.tls_server_name.as_deref(), targets),
    );
    let authorities = upstream.tls_ca.as_deref().map(parse_authorities);
    let authorities = authorities.transpose();
    let authorities = checker.ok(&format!("{key}.tls_ca"), authorities);
    Some(Some(Tls {
        server_name: server_name?,
        authorities: authorities?,
        http2: upstream.http2,
    }))
}

/// The configured name, or the one that all targets have.
fn server_name(configured: Option<&str>, targets: &[UpstreamTarget]) -> Result<String, String> {
    if let Some(name) = configured {
        let invalid = || "must be a host name without a port".to_owned();
        return if is_name(name) && name.parse::<IpAddr>().is_err() {
            Ok(name.to_ascii_lowercase())
        } else {
            Err(invalid())
        };
    }
    let mut names = targets.iter().map(|target| match &target.host {
        Host::Name(name) => Some(name.trim_end_matches('.')),
        Host::Ip(_) => None,
    });
    let first = names.next().flatten();
    let shared = first.filter(|first| names.all(|name| name == Some(first)));
    shared
        .map(str::to_owned)
        .ok_or_else(|| "must be set, because the addresses have no common name".to_owned())
}

/// Certificates in PEM, as DER.
fn parse_authorities(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = parsed.map_err(|error| format!("must be certificates in PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("must have at least one certificate in PEM".to_owned());
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        let added = store.add(certificate.clone());
        added.map_err(|error| format!("has a certificate that cannot be used: {error}"))?;
    }
    Ok(certificates.iter().map(|der| der.to_vec()).collect())
}

/// A value for the `Host` header.
fn parse_authority(text: &str) -> Result<HeaderValue, String> {
    let invalid = || "must be a host or host:port".to_owned();
    let authority: Authority = text.parse().map_err(|_| invalid())?;
    if authority.as_str().contains('@') {
        return Err(invalid());
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())
}

/// Bounds the length of a round.
const MAX_WEIGHT: u32 = 100;

fn parse_address(address: &model::Address) -> Result<UpstreamTarget, String> {
    match address {
        model::Address::Plain(text) => parse_target(text, 1),
        model::Address::Weighted(weighted) if (1..=MAX_WEIGHT).contains(&weighted.weight) => {
            parse_target(&weighted.address, weighted.weight)
        }
        model::Address::Weighted(_) => Err(format!("weight must be between 1 and {MAX_WEIGHT}")),
    }
}

fn parse_target(text: &str, weight: u32) -> Result<UpstreamTarget, String> {
    let invalid = || "must be host:port, IPv4:port or [IPv6]:port".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().ok().filter(|&port: &u16| port != 0);
    let port = port.ok_or_else(invalid)?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match (bracketed, host.parse::<IpAddr>()) {
        (Some(ip), _) => Host::Ip(ip.parse().map_err(|_| invalid())?),
        (None, Ok(ip @ IpAddr::V4(_))) => Host::Ip(ip),
        (None, Err(_)) if is_name(host) => Host::Name(host.to_ascii_lowercase()),
        (None, _) => return Err(invalid()),
    };
    Ok(UpstreamTarget { host, port, weight })
}

fn is_name(host: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_allowed);
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(is_label)
}
