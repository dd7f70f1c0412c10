//! `[upstreams.*]`: addresses and bounds.

use std::{net::IpAddr, time::Duration};

use http::HeaderName;
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{
    checker::{Checker, DAY_SECONDS},
    kubernetes,
    resilience::{self, parse_authority},
    validation,
};
use crate::config::{
    Balancing, ClientIdentity, HashBy, Host, LoadLimits, MAX_WEIGHT, Tls, UpstreamConfig,
    UpstreamTarget, model,
};

pub(super) fn check(
    name: &str,
    upstream: &model::Upstream,
    checker: &mut Checker,
) -> Option<UpstreamConfig> {
    let key = format!("upstreams.{name}");
    if !upstream.is_object {
        checker.name(&key, name);
    }
    if upstream.addresses.is_empty() {
        checker.error(format!("{key}.addresses"), "must have at least one address");
    }
    let targets: Vec<_> = upstream
        .addresses
        .iter()
        .enumerate()
        .map(|(at, address)| {
            let target = match upstream.discovery {
                model::UpstreamDiscovery::Dns => parse_address(address),
                model::UpstreamDiscovery::Kubernetes => checked_weight(address)
                    .and_then(|(text, weight)| kubernetes::parse_address(text, weight)),
            };
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
    let document = validation::check_document(&key, upstream, checker);
    let targets: Vec<UpstreamTarget> = targets.into_iter().collect::<Option<_>>()?;
    let tls = check_tls(&key, upstream, &targets, checker);
    let balance = check_balance(&key, upstream, checker);
    let health_check = resilience::check(&key, upstream, checker);
    let nonzero = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    Some(UpstreamConfig {
        name: name.into(),
        targets,
        host,
        connect_timeout: Duration::from_millis(upstream.connect_timeout_ms),
        idle_timeout: Duration::from_secs(upstream.idle_timeout_seconds),
        max_idle_connections: upstream.max_idle_connections,
        retries: upstream.retries,
        retry_budget_percent: upstream.retry_budget_percent,
        retry_on: upstream.retry_on,
        retry_backoff: Duration::from_millis(upstream.retry_backoff_ms),
        try_timeout: nonzero(upstream.try_timeout_ms),
        idempotency_keys: upstream.idempotency_keys,
        min_eject: Duration::from_millis(upstream.min_eject_ms),
        max_eject: Duration::from_millis(upstream.max_eject_ms),
        outlier_detection: upstream.outlier_detection,
        health_check: health_check?,
        circuit_breaker: upstream.circuit_breaker,
        slow_start: Duration::from_secs(upstream.slow_start_seconds),
        load: load_limits(upstream),
        balance: balance?,
        tls: tls?,
        http2: upstream.http2,
        max_http2_streams: upstream.max_http2_streams,
        openapi: upstream.openapi.clone(),
        document: document?,
    })
}

fn load_limits(upstream: &model::Upstream) -> LoadLimits {
    LoadLimits {
        upstream: upstream.max_in_flight,
        replica: upstream.max_in_flight_per_replica,
        queue: upstream.max_queue,
        queue_timeout: Duration::from_millis(upstream.queue_timeout_ms),
    }
}

fn check_balance(
    key: &str,
    upstream: &model::Upstream,
    checker: &mut Checker,
) -> Option<Balancing> {
    let hash_by = upstream.hash_by.as_deref();
    let other = match upstream.balance {
        model::Balance::Hash => {
            let hash_by = parse_hash_by(hash_by.unwrap_or("client"));
            return checker
                .ok(&format!("{key}.hash_by"), hash_by)
                .map(Balancing::Hash);
        }
        model::Balance::RoundRobin => Balancing::RoundRobin,
        model::Balance::LeastLoaded => Balancing::LeastLoaded,
    };
    if hash_by.is_some() {
        checker.error(format!("{key}.hash_by"), "needs balance = \"hash\"");
    }
    Some(other)
}

fn parse_hash_by(text: &str) -> Result<HashBy, String> {
    let invalid = || "must be client, ip, header:NAME or cookie:NAME".to_owned();
    let name = match text.split_once(':') {
        None if text == "client" => return Ok(HashBy::Client),
        None if text == "ip" => return Ok(HashBy::ClientIp),
        Some((kind, name)) => HeaderName::try_from(name).map(|name| (kind, name)),
        None => return Err(invalid()),
    };
    // The name of a cookie is a token too, but its case counts.
    match name {
        Ok(("header", name)) => Ok(HashBy::Header(name)),
        Ok(("cookie", _)) => Ok(HashBy::Cookie(text["cookie:".len()..].into())),
        Ok(_) | Err(_) => Err(invalid()),
    }
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
            ("retry_backoff_ms", upstream.retry_backoff_ms, 0, 1_000),
            ("try_timeout_ms", upstream.try_timeout_ms, 0, 3_600_000),
            ("min_eject_ms", min_eject, 1, 3_600_000),
            ("max_eject_ms", max_eject, min_eject, 3_600_000),
            ("slow_start_seconds", upstream.slow_start_seconds, 0, 3_600),
            ("max_in_flight", upstream.max_in_flight as u64, 0, 1_000_000),
            (
                "max_in_flight_per_replica",
                upstream.max_in_flight_per_replica as u64,
                0,
                1_000_000,
            ),
            ("max_queue", upstream.max_queue as u64, 0, 100_000),
            ("queue_timeout_ms", upstream.queue_timeout_ms, 1, 60_000),
            (
                "max_http2_streams",
                upstream.max_http2_streams as u64,
                1,
                10_000,
            ),
        ],
    );
    if upstream.max_queue > 0 && !load_limits(upstream).any() {
        checker.error(
            format!("{key}.max_queue"),
            "needs max_in_flight or max_in_flight_per_replica",
        );
    }
    if upstream.try_timeout_ms > 0 && upstream.http2 {
        checker.error(
            format!("{key}.try_timeout_ms"),
            "is not possible with http2",
        );
    }
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
            (
                "tls_client_certificate",
                upstream.tls_client_certificate.is_some(),
            ),
            ("tls_client_key", upstream.tls_client_key.is_some()),
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
    let identity = identity(key, upstream, checker);
    Some(Some(Tls {
        server_name: server_name?,
        authorities: authorities?,
        http2: upstream.http2,
        identity: identity?,
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
        Host::Ip(_) | Host::Service(_) | Host::Kubernetes(_) => None,
    });
    let first = names.next().flatten();
    let shared = first.filter(|first| names.all(|name| name == Some(first)));
    shared
        .map(str::to_owned)
        .ok_or_else(|| "must be set, because the addresses have no common name".to_owned())
}

/// What the gateway proves itself with. The outer `None`: a violation was found.
fn identity(
    key: &str,
    upstream: &model::Upstream,
    checker: &mut Checker,
) -> Option<Option<ClientIdentity>> {
    let certificate = upstream.tls_client_certificate.as_deref();
    let [certificate_key, secret_key] =
        ["tls_client_certificate", "tls_client_key"].map(|name| format!("{key}.{name}"));
    check_identity(
        (&certificate_key, certificate),
        (&secret_key, upstream.tls_client_key.as_ref()),
        checker,
    )
}

/// A certificate and its key, each with the key of its setting. The outer `None`: a violation was found.
pub(super) fn check_identity(
    (certificate_key, certificate): (&str, Option<&str>),
    (secret_key, secret): (&str, Option<&model::PrivateKey>),
    checker: &mut Checker,
) -> Option<Option<ClientIdentity>> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let (certificate, secret) = match (certificate, secret) {
        (None, None) => return Some(None),
        (Some(certificate), Some(secret)) => (certificate, &secret.0),
        (Some(_), None) => {
            checker.error(certificate_key, format!("needs {}", name(secret_key)));
            return None;
        }
        (None, Some(_)) => {
            checker.error(secret_key, format!("needs {}", name(certificate_key)));
            return None;
        }
    };
    let certificates = checker.ok(certificate_key, parse_certificates(certificate))?;
    let parsed = parse_key(secret, &certificates, &name(certificate_key));
    let parsed = checker.ok(secret_key, parsed)?;
    Some(Some(ClientIdentity {
        certificates: certificates.iter().map(|der| der.to_vec()).collect(),
        key: parsed,
        pem: format!("{certificate}\n{secret}"),
    }))
}

/// A private key in PEM, as DER. Its errors never contain a part of it.
fn parse_key(
    pem: &str,
    certificates: &[CertificateDer<'static>],
    of: &str,
) -> Result<Vec<u8>, String> {
    let parsed = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let parsed = parsed.map_err(|_| "must be a private key in PEM".to_owned())?;
    let der = parsed.secret_der().to_vec();
    let provider = aws_lc_rs::default_provider();
    CertifiedKey::from_der(certificates.to_vec(), parsed, &provider)
        .map_err(|error| format!("must be the key of {of}: {error}"))?;
    Ok(der)
}

/// Each of them can be read by what verifies and sends them.
fn parse_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
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
    Ok(certificates)
}

/// Certificates in PEM, as DER.
pub(super) fn parse_authorities(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let certificates = parse_certificates(pem)?;
    Ok(certificates.iter().map(|der| der.to_vec()).collect())
}

fn parse_address(address: &model::Address) -> Result<UpstreamTarget, String> {
    match address {
        model::Address::Plain(text) if text.starts_with("srv+") => parse_service(&text[4..]),
        model::Address::Service(service) => parse_service(&service.srv),
        address => {
            let (text, weight) = checked_weight(address)?;
            parse_target(text, weight)
        }
    }
}

/// The text of an address that is no SRV record, and its weight.
fn checked_weight(address: &model::Address) -> Result<(&str, u32), String> {
    match address {
        model::Address::Plain(text) => Ok((text, 1)),
        model::Address::Service(_) => Ok(("", 1)),
        model::Address::Weighted(weighted) if (1..=MAX_WEIGHT).contains(&weighted.weight) => {
            Ok((&weighted.address, weighted.weight))
        }
        model::Address::Weighted(_) => Err(format!("weight must be between 1 and {MAX_WEIGHT}")),
    }
}

pub(super) fn parse_target(text: &str, weight: u32) -> Result<UpstreamTarget, String> {
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

fn parse_service(name: &str) -> Result<UpstreamTarget, String> {
    if !is_name(name) {
        return Err("must be the name of SRV records, such as _http._tcp.example.org".to_owned());
    }
    Ok(UpstreamTarget {
        host: Host::Service(name.to_ascii_lowercase()),
        port: 0,
        weight: 1,
    })
}

fn is_name(host: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_allowed);
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(is_label)
}
