//! The certificates of the configuration, and until when they are valid.

use chrono::DateTime;
use x509_parser::parse_x509_certificate;

use crate::{config::Config, status::CertificateStatus};

pub(super) fn of(config: &Config) -> Vec<CertificateStatus> {
    let mut found = Vec::new();
    let mut add = |of: String, certificates: &[Vec<u8>]| {
        found.extend(certificates.iter().filter_map(|der| describe(&of, der)));
    };
    if let Some(tls) = &config.admin.tls {
        add("admin listener".to_owned(), &tls.identity.certificates);
        let of = "clients of the admin listener".to_owned();
        add(of, &tls.client_authorities);
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
    let not_after = certificate.validity().not_after.timestamp();
    Some(CertificateStatus {
        of: of.to_owned(),
        subject: certificate.subject().to_string(),
        not_after: DateTime::from_timestamp(not_after, 0)?,
    })
}
