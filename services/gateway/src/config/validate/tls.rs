//! `[tls]`, `[certificates.*]`, `[client_authorities.*]`, and listeners with TLS.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use http::{HeaderName, header};
use sha2::{Digest as _, Sha256};

use super::{
    checker::Checker, edits::is_own, reserved::ReservedHeaders, upstreams::parse_authorities,
    values::check_list,
};
use crate::{
    config::{
        model,
        tls::{
            CertificateConfig, CertificateHeaders, ClientAuthorities, ClientAuthority, TlsConfig,
        },
    },
    request::{AuthorityId, is_reserved},
    routing::HostPattern,
};

const HOUR_SECONDS: u64 = 3_600;
const MAX_HANDSHAKES: u64 = 1_000_000;

/// `None`: a violation was found.
pub(super) fn check(
    model: &model::Model,
    reserved: &ReservedHeaders,
    checker: &mut Checker,
) -> Option<TlsConfig> {
    let tls = &model.tls;
    check_bounds(tls, checker);
    check_listeners(model, checker);
    if let Some(name) = &tls.default_certificate
        && !enabled(model).any(|(other, _)| other == name)
    {
        let rule = format!("there is no table [certificates.{name}] that is enabled");
        checker.error("tls.default_certificate", rule);
    }
    let certificates: Vec<_> = enabled(model)
        .map(|(name, certificate)| check_certificate(name, certificate, checker))
        .collect();
    let authorities = model.client_authorities.iter();
    let authorities: Vec<_> = authorities
        .map(|(name, authority)| check_authority(name, authority, reserved, checker))
        .collect();
    check_shared_hosts(model, checker);
    let authorities = authorities.into_iter().collect::<Option<Vec<_>>>()?;
    Some(TlsConfig {
        min_version: tls.min_version,
        default_certificate: tls.default_certificate.clone(),
        handshake_timeout: Duration::from_secs(tls.handshake_timeout_seconds),
        max_handshakes: tls.max_handshakes,
        https_port: tls.port(),
        certificates: certificates.into_iter().collect::<Option<_>>()?,
        authorities: ClientAuthorities::new(authorities),
    })
}

fn enabled(model: &model::Model) -> impl Iterator<Item = (&String, &model::Certificate)> {
    let all = model.certificates.iter();
    all.filter(|(_, certificate)| certificate.enabled)
}

fn check_bounds(tls: &model::Tls, checker: &mut Checker) {
    let (timeout, port) = (tls.handshake_timeout_seconds, u64::from(tls.https_port));
    checker.ranges(
        "tls",
        &[
            ("handshake_timeout_seconds", timeout, 1, HOUR_SECONDS),
            (
                "max_handshakes",
                tls.max_handshakes as u64,
                1,
                MAX_HANDSHAKES,
            ),
            ("https_port", port, 1, u64::from(u16::MAX)),
        ],
    );
}

fn check_listeners(model: &model::Model, checker: &mut Checker) {
    for (at, listen) in model.server.listen.iter().enumerate() {
        let key = format!("server.listen[{at}]");
        let has_any = enabled(model).next().is_some()
            || !model.acme.certificates.is_empty()
            || model.kubernetes.enabled;
        if listen.tls() && !has_any {
            let rule = "needs a table in [certificates] that is enabled, or in [acme.certificates], or [kubernetes]";
            checker.error(format!("{key}.tls"), rule);
        }
        if listen.tls() && listen.redirects_to_https() {
            let rule = "is not possible with tls = true";
            checker.error(format!("{key}.redirect_to_https"), rule);
        }
    }
}

fn check_certificate(
    name: &str,
    certificate: &model::Certificate,
    checker: &mut Checker,
) -> Option<CertificateConfig> {
    let key = format!("certificates.{name}");
    if certificate.object.is_none() {
        check_files(name, &key, certificate, checker);
    }
    let hosts = check_list(&key, "hosts", &certificate.hosts, parse_host, checker);
    Some(CertificateConfig {
        name: name.into(),
        certificate_path: certificate.certificate_path.clone(),
        key_path: certificate.key_path.clone(),
        hosts: hosts?,
        object: certificate.object.clone(),
    })
}

fn check_files(name: &str, key: &str, certificate: &model::Certificate, checker: &mut Checker) {
    checker.name(key, name);
    for (file, path) in [
        ("certificate_path", &certificate.certificate_path),
        ("key_path", &certificate.key_path),
    ] {
        if path.as_os_str().is_empty() {
            checker.error(format!("{key}.{file}"), "must be the path of a file");
        }
    }
}

/// A name as clients ask for it, or a wildcard.
fn parse_host(text: &str) -> Result<String, String> {
    HostPattern::parse(text)?;
    if text.starts_with('[') || text.parse::<IpAddr>().is_ok() {
        return Err("must be a name: clients do not ask for IP addresses".to_owned());
    }
    Ok(text.to_ascii_lowercase())
}

fn check_authority(
    name: &str,
    authority: &model::ClientAuthority,
    reserved: &ReservedHeaders,
    checker: &mut Checker,
) -> Option<ClientAuthority> {
    let key = format!("client_authorities.{name}");
    checker.name(&key, name);
    if authority.hosts.is_empty() {
        checker.error(format!("{key}.hosts"), "must have at least one host");
    }
    check_list(&key, "hosts", &authority.hosts, parse_host, checker)?;
    let hosts = check_list(&key, "hosts", &authority.hosts, HostPattern::parse, checker);
    let certificates = parse_authorities(&authority.certificates);
    let certificates = checker.ok(&format!("{key}.certificates"), certificates);
    let mut header = |setting: &str, text: Option<&String>| {
        let parsed = text.map(|text| parse_header(text, reserved)).transpose();
        checker.ok(&format!("{key}.{setting}"), parsed)
    };
    let subject = header("subject_header", authority.subject_header.as_ref());
    let fingerprint = header("fingerprint_header", authority.fingerprint_header.as_ref());
    let certificate = header("certificate_header", authority.certificate_header.as_ref());
    Some(ClientAuthority {
        id: identify(name, authority),
        name: name.to_owned(),
        hosts: hosts?,
        certificates: certificates?,
        required: authority.required,
        headers: CertificateHeaders {
            subject: subject?,
            fingerprint: fingerprint?,
            certificate: certificate?,
        },
    })
}

/// Headers that the gateway or the connection needs would be overwritten.
fn parse_header(text: &str, reserved: &ReservedHeaders) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(text).map_err(|_| "must be the name of a header".to_owned())?;
    let bytes = name.as_str().as_bytes();
    let is_credential = [header::AUTHORIZATION, header::COOKIE].contains(&name);
    if is_credential || is_own(name.as_str()) || is_reserved(bytes) || reserved.is_claim(&name) {
        return Err("must be a header of its own, which nothing else sets".to_owned());
    }
    Ok(name)
}

/// What a connection was verified by.
fn identify(name: &str, authority: &model::ClientAuthority) -> AuthorityId {
    let mut hash = Sha256::new();
    let hosts = authority.hosts.join(",");
    for part in [name, &hosts, &authority.certificates] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update([u8::from(authority.required)]);
    AuthorityId(hash.finalize().into())
}

/// Of two tables for one host, one would be ignored.
fn check_shared_hosts(model: &model::Model, checker: &mut Checker) {
    let mut seen = BTreeSet::new();
    for (name, authority) in &model.client_authorities {
        for host in &authority.hosts {
            if !seen.insert(host.to_ascii_lowercase()) {
                let rule = format!("`{host}` is in another table, or twice in this one");
                checker.error(format!("client_authorities.{name}.hosts"), rule);
            }
        }
    }
}
