//! The certificates of the configuration, and until when they are valid.

use chrono::DateTime;
use x509_parser::{parse_x509_certificate, time::ASN1Time};

use crate::{config::Config, state::State, status::CertificateStatus};

pub(super) fn of(state: &State) -> Vec<CertificateStatus> {
    let snapshot = state.snapshot();
    let files = snapshot.certificates.iter().map(|files| {
        let loaded = files.loaded();
        CertificateStatus {
            of: format!("{} ({})", loaded.names.join(", "), files.settings.name),
            subject: loaded.subject.clone(),
            not_before: loaded.not_before,
            not_after: loaded.not_after,
            problem: files.problem(),
        }
    });
    let issued = state.certificates.issued().into_iter();
    let issued = issued.map(|issued| CertificateStatus {
        of: issued.names.join(", "),
        subject: issued.subject.clone(),
        not_before: issued.not_before,
        not_after: issued.not_after,
        problem: None,
    });
    files
        .chain(issued)
        .chain(configured(&snapshot.config))
        .collect()
}

/// Those whose text is in the configuration.
fn configured(config: &Config) -> Vec<CertificateStatus> {
    let mut found = Vec::new();
    let mut add = |of: String, certificates: &[Vec<u8>]| {
        found.extend(certificates.iter().filter_map(|der| describe(&of, der)));
    };
    if let Some(tls) = &config.admin.tls {
        add("admin listener".to_owned(), &tls.identity.certificates);
        let of = "clients of the admin listener".to_owned();
        add(of, &tls.client_authorities);
    }
    for authority in config.tls.authorities.iter() {
        let of = format!("clients of {}", authority.name);
        add(of, &authority.certificates);
    }
    for upstream in &config.upstreams {
        let Some(tls) = &upstream.tls else { continue };
        let name = &upstream.name;
        if let Some(identity) = &tls.identity {
            add(format!("client of upstream {name}"), &identity.certificates);
        }
        if let Some(authorities) = &tls.authorities {
            add(format!("authority of upstream {name}"), authorities);
        }
    }
    found
}

/// `None`: it cannot be read, which was reported when it was first used.
fn describe(of: &str, der: &[u8]) -> Option<CertificateStatus> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let validity = certificate.validity();
    let time = |time: ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
    Some(CertificateStatus {
        of: of.to_owned(),
        subject: certificate.subject().to_string(),
        not_before: time(validity.not_before)?,
        not_after: time(validity.not_after)?,
        problem: None,
    })
}
