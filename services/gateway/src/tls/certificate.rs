//! A chain of certificates in PEM, as files and authorities have it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
    time::ASN1Time,
};

/// With the longest chains that are in use; more of them are a bundle of authorities.
const MAX_CHAIN: usize = 10;

/// A chain, and what its first certificate says.
#[derive(Debug)]
pub(super) struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    /// The names that clients accept it for, in lower case; they do not read the common name.
    pub(super) names: Vec<String>,
    pub(super) subject: String,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
    /// SHA-256 of the certificate.
    pub(super) fingerprint: [u8; 32],
    /// Key identifier of the issuer and serial number, as ARI names a certificate (RFC 9773, 4.1).
    pub(super) identifier: Option<(String, String)>,
}

impl Chain {
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|error| format!("must be PEM: {error}"))?;
        let Some(first) = certificates.first() else {
            return Err("has no certificate in PEM".to_owned());
        };
        if certificates.len() > MAX_CHAIN {
            return Err(format!("must have at most {MAX_CHAIN} certificates"));
        }
        let (_, parsed) =
            parse_x509_certificate(first).map_err(|_| "is not a certificate".to_owned())?;
        Ok(Self {
            names: names(&parsed)?,
            subject: parsed.subject().to_string(),
            not_before: time(parsed.validity().not_before)?,
            not_after: time(parsed.validity().not_after)?,
            fingerprint: Sha256::digest(first).into(),
            identifier: identifier(&parsed),
            certificates,
        })
    }

    /// # Errors
    /// When this is not the key of the first certificate.
    pub(super) fn with_key(
        &self,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<CertifiedKey>, rustls::Error> {
        let chain = self.certificates.clone();
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map(Arc::new)
    }
}

fn time(time: ASN1Time) -> Result<DateTime<Utc>, String> {
    let time = DateTime::from_timestamp(time.timestamp(), 0);
    time.ok_or_else(|| "has an invalid validity".to_owned())
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    let extension = certificate.subject_alternative_name();
    let extension = extension.map_err(|_| "has an invalid subjectAltName".to_owned())?;
    let names = extension.iter().flat_map(|it| &it.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok(names.collect())
}

fn identifier(certificate: &X509Certificate<'_>) -> Option<(String, String)> {
    let issuer = certificate.extensions().iter().find_map(|extension| {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
            _ => None,
        }
    })?;
    Some((
        URL_SAFE_NO_PAD.encode(issuer.0),
        URL_SAFE_NO_PAD.encode(certificate.raw_serial()),
    ))
}
