//! `[acme]`: who is asked for certificates, what for, and where they are kept.

use std::{collections::HashMap, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    checker::{Checker, DAY_SECONDS},
    redis,
    upstreams::parse_authorities,
};
use crate::{
    config::{
        acme::{AcmeConfig, AcmeStore, AcmeTimes, ExternalAccount, OrderedCertificate},
        model,
    },
    request::host::Authority,
};

const MAX_CERTIFICATES: usize = 100;
/// Of one certificate: more are refused by every known authority.
const MAX_HOSTS: usize = 100;
const MAX_CONTACTS: usize = 8;
const MAX_PROFILE_BYTES: usize = 64;
const KEY_BYTES: usize = 32;

/// `None` if no certificate is ordered, or if a rule is broken.
pub(super) fn check(acme: &model::Acme, checker: &mut Checker) -> Option<AcmeConfig> {
    check_times(acme, checker);
    redis::check_prefix("acme", &acme.key_prefix, checker);
    let server = redis::check("acme.redis", &acme.redis, 100..=60_000, checker);
    let keys = check_keys(acme, checker);
    let external_account = check_external_account(acme, checker);
    let authorities = acme.directory_ca.as_deref().map(parse_authorities);
    let authorities = checker.ok("acme.directory_ca", authorities.transpose());
    let contact = check_contact(&acme.contact, checker);
    check_profile("acme.profile", acme.profile.as_deref(), checker);
    if acme.directory_url.scheme() != "https" {
        checker.error("acme.directory_url", "must be https://");
    }
    if acme.certificates.is_empty() {
        return None;
    }
    let certificates = check_certificates(acme, checker);
    if !acme.terms_agreed {
        let rule = "must be true: the authority issues certificates to those who agree only";
        checker.error("acme.terms_agreed", rule);
    }
    let store = match (&acme.directory, acme.redis.is_set()) {
        (Some(directory), false) => Some(AcmeStore::Directory(directory.clone())),
        (None, true) => server.map(|server| AcmeStore::Redis {
            server,
            key_prefix: acme.key_prefix.clone(),
        }),
        _ => {
            let rule = "must have one of `directory` and `redis`: certificates are kept there";
            checker.error("acme", rule);
            None
        }
    };
    if acme.redis.is_set() && acme.encryption_key.is_none() {
        let rule = "must be set with acme.redis: private keys are stored there";
        checker.error("acme.encryption_key", rule);
    }
    let seconds = Duration::from_secs;
    Some(AcmeConfig {
        directory_url: acme.directory_url.clone(),
        authorities: authorities?,
        contact: contact?,
        external_account: external_account?,
        store: store?,
        encryption_keys: keys?,
        certificates: certificates?,
        times: AcmeTimes {
            poll: seconds(acme.poll_seconds),
            renewal_check: seconds(acme.renewal_check_seconds),
            retry: seconds(acme.retry_seconds),
            request: seconds(acme.request_timeout_seconds),
            order: seconds(acme.order_timeout_seconds),
        },
    })
}

fn check_times(acme: &model::Acme, checker: &mut Checker) {
    checker.ranges(
        "acme",
        &[
            ("poll_seconds", acme.poll_seconds, 1, 3_600),
            (
                "renewal_check_seconds",
                acme.renewal_check_seconds,
                1,
                DAY_SECONDS,
            ),
            ("retry_seconds", acme.retry_seconds, 1, 3_600),
            (
                "request_timeout_seconds",
                acme.request_timeout_seconds,
                1,
                300,
            ),
            (
                "order_timeout_seconds",
                acme.order_timeout_seconds,
                1,
                3_600,
            ),
        ],
    );
}

fn check_certificates(
    acme: &model::Acme,
    checker: &mut Checker,
) -> Option<Vec<OrderedCertificate>> {
    if acme.certificates.len() > MAX_CERTIFICATES {
        let rule = format!("must have at most {MAX_CERTIFICATES} certificates");
        checker.error("acme.certificates", rule);
        return None;
    }
    let mut owners: HashMap<String, &str> = HashMap::new();
    let mut all = Vec::new();
    for (name, certificate) in &acme.certificates {
        let key = format!("acme.certificates.{name}");
        checker.name(&key, name);
        check_profile(
            &format!("{key}.profile"),
            certificate.profile.as_deref(),
            checker,
        );
        let hosts = &certificate.hosts;
        if hosts.is_empty() || hosts.len() > MAX_HOSTS {
            let rule = format!("must have 1 to {MAX_HOSTS} hosts");
            checker.error(format!("{key}.hosts"), rule);
        }
        let mut parsed = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            let key = format!("{key}.hosts[{at}]");
            let host = checker.ok(&key, parse_host(host))?;
            if let Some(other) = owners.insert(host.clone(), name) {
                checker.error(key, format!("is in acme.certificates.{other} too"));
            }
            parsed.push(host);
        }
        let own = certificate.profile.as_ref().or(acme.profile.as_ref());
        all.push(OrderedCertificate {
            name: name.as_str().into(),
            hosts: parsed,
            profile: own.filter(|profile| !profile.is_empty()).cloned(),
        });
    }
    Some(all)
}

/// What the authority can reach by HTTP, in lower case.
fn parse_host(text: &str) -> Result<String, String> {
    if text.starts_with("*.") {
        return Err("must not be a wildcard: HTTP-01 proves single hosts only".to_owned());
    }
    let invalid = || "must be a host name, such as www.example.org".to_owned();
    let authority = Authority::parse(text).ok_or_else(invalid)?;
    let host = authority.host.as_ref();
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_ip = host.starts_with('[') || last.bytes().all(|byte| byte.is_ascii_digit());
    if !authority.port.is_empty() || text.ends_with([':', '.']) || is_ip {
        return Err(invalid());
    }
    let is_label = |label: &str| {
        let has_dash_outside = label.starts_with('-') || label.ends_with('-');
        !label.contains('_') && label.len() <= 63 && !has_dash_outside
    };
    if !host.split('.').all(is_label) {
        return Err(invalid());
    }
    Ok(host.to_owned())
}

/// As `mailto:` URLs.
fn check_contact(contact: &[String], checker: &mut Checker) -> Option<Vec<String>> {
    if contact.len() > MAX_CONTACTS {
        let rule = format!("must have at most {MAX_CONTACTS} emails");
        checker.error("acme.contact", rule);
    }
    let parsed = contact.iter().enumerate().map(|(at, text)| {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_email = text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !host.contains('@')
        });
        // A URL may have several addresses and headers (RFC 8555, 7.3 forbids both).
        let is_single = !text.contains([',', '?', ':']);
        if is_visible && is_email && is_single {
            return Some(format!("mailto:{text}"));
        }
        let rule = "must be an email, such as ops@example.org";
        checker.error(format!("acme.contact[{at}]"), rule);
        None
    });
    let parsed: Vec<_> = parsed.collect();
    parsed.into_iter().collect()
}

fn check_profile(key: &str, profile: Option<&str>, checker: &mut Checker) {
    let is_name = |text: &str| {
        text.len() <= MAX_PROFILE_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !profile.is_none_or(is_name) {
        let rule = format!("must be at most {MAX_PROFILE_BYTES} visible characters");
        checker.error(key, rule);
    }
}

/// The outer `None`: a violation was found.
fn check_external_account(
    acme: &model::Acme,
    checker: &mut Checker,
) -> Option<Option<ExternalAccount>> {
    let (id, key) = match (&acme.external_account_id, &acme.external_account_key) {
        (None, None) => return Some(None),
        (Some(id), Some(key)) => (id, key),
        (Some(_), None) => {
            checker.error("acme.external_account_id", "needs external_account_key");
            return None;
        }
        (None, Some(_)) => {
            checker.error("acme.external_account_key", "needs external_account_id");
            return None;
        }
    };
    let bytes = decode_key(key.expose_secret()).filter(|bytes| !bytes.is_empty());
    let Some(bytes) = bytes else {
        checker.error("acme.external_account_key", "must be in base64");
        return None;
    };
    Some(Some(ExternalAccount {
        id: id.clone(),
        key: bytes.into(),
    }))
}

/// Authorities print keys in either alphabet, with or without padding.
fn decode_key(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    let url_safe = text.replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD
        .decode(&url_safe)
        .or_else(|_| STANDARD.decode(text))
        .ok()
}

fn check_keys(acme: &model::Acme, checker: &mut Checker) -> Option<Vec<[u8; KEY_BYTES]>> {
    let keys = [
        ("encryption_key", &acme.encryption_key),
        ("previous_encryption_key", &acme.previous_encryption_key),
    ];
    if acme.previous_encryption_key.is_some() && acme.encryption_key.is_none() {
        checker.error("acme.previous_encryption_key", "needs encryption_key");
    }
    let parsed = keys.into_iter().filter_map(|(name, key)| {
        let key = key.as_ref()?;
        let parsed = parse_key(key);
        if parsed.is_none() {
            let rule = "must be 64 hexadecimal digits; generate it with `openssl rand -hex 32`";
            checker.error(format!("acme.{name}"), rule);
        }
        Some(parsed)
    });
    let parsed: Vec<_> = parsed.collect();
    parsed.into_iter().collect()
}

fn parse_key(key: &SecretString) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    hex::decode_to_slice(key.expose_secret().trim(), &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::Sources;

    const BASE: &str = "[acme]\nterms_agreed = true\ndirectory = \"/var/lib/quartet\"\n";

    fn check(text: &str) -> Result<(), String> {
        let loaded = Sources::of_test(text).map(drop);
        loaded.map_err(|errors| errors.to_string())
    }

    fn certificate(more: &str) -> String {
        format!("[acme.certificates.web]\n{more}\n")
    }

    #[test]
    fn complete_settings_are_accepted() {
        let hosts = certificate("hosts = [\"www.example.org\", \"API.example.org\"]");
        assert_eq!(check(&[BASE, &hosts].concat()), Ok(()));
        let config = Sources::of_test(&[BASE, &hosts].concat()).unwrap();
        let acme = config.acme.unwrap();
        assert_eq!(
            acme.certificates[0].hosts,
            ["www.example.org", "api.example.org"]
        );
        assert!(Sources::of_test("").unwrap().acme.is_none());
        let shared = format!(
            "[acme]\nterms_agreed = true\nencryption_key = \"{}\"\ncontact = [\"a@example.org\"]\n\
             profile = \"shortlived\"\n[acme.redis]\nurl = \"redis://valkey\"\n{hosts}",
            "0f".repeat(32)
        );
        assert_eq!(check(&shared), Ok(()));
    }

    #[test]
    fn every_rule_is_named() {
        let hosts = certificate("hosts = [\"www.example.org\"]");
        let key = "0f".repeat(32);
        for (text, says) in [
            (format!("[acme]\n{hosts}"), "acme.terms_agreed"),
            (
                format!("[acme]\nterms_agreed = true\n{hosts}"),
                "must have one of `directory` and `redis`",
            ),
            (
                format!("{BASE}[acme.redis]\nurl = \"redis://a\"\n{hosts}"),
                "must have one of `directory` and `redis`",
            ),
            (
                format!("[acme]\nterms_agreed = true\n[acme.redis]\nurl = \"redis://a\"\n{hosts}"),
                "acme.encryption_key",
            ),
            (
                "[acme.redis]\nurl = \"redis://:secret@a\"\n".to_owned(),
                "acme.redis.url",
            ),
            (
                "[acme]\ndirectory_url = \"http://ca\"\n".to_owned(),
                "must be https://",
            ),
            (
                "[acme]\nencryption_key = \"secret\"\n".to_owned(),
                "acme.encryption_key",
            ),
            (
                format!("[acme]\nprevious_encryption_key = \"{key}\"\n"),
                "needs encryption_key",
            ),
            (
                "[acme]\nexternal_account_id = \"a\"\n".to_owned(),
                "needs external_account_key",
            ),
            (
                "[acme]\ncontact = [\"mailto:a@b\"]\n".to_owned(),
                "acme.contact[0]",
            ),
            ("[acme]\nprofile = \"a b\"\n".to_owned(), "acme.profile"),
            (
                format!("{BASE}{}", certificate("hosts = []")),
                "must have 1 to 100 hosts",
            ),
            (
                format!("{BASE}{hosts}[acme.certificates.b]\nhosts = [\"WWW.example.org\"]\n"),
                "too",
            ),
        ] {
            let error = check(&text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("secret\""), "{error}");
        }
    }

    #[test]
    fn hosts_are_those_that_http_proves() {
        for (host, is_valid) in [
            ("a.example", true),
            ("xn--bcher-kva.example", true),
            // Authorities of a private network know such names.
            ("localhost", true),
            ("*.example.org", false),
            ("a.example:80", false),
            ("a.example.", false),
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
            ("a_b.example", false),
            ("-a.example", false),
            ("b\u{fc}cher.example", false),
            ("", false),
        ] {
            assert_eq!(parse_host(host).is_ok(), is_valid, "{host}");
        }
    }

    #[test]
    fn keys_are_decoded_as_authorities_print_them() {
        for text in ["-_8", "+/8=", "+/8", "-_8="] {
            assert_eq!(decode_key(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(decode_key("a b"), None);
    }
}
