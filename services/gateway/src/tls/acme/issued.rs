//! A certificate as it is used: parsed, and checked before it takes the place of another one.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use instant_acme::CertificateIdentifier;
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
};

use super::{failure::AcmeError, schedule::Validity};

/// With the longest chains that are in use.
const MAX_CHAIN: usize = 10;

#[derive(Debug)]
pub(crate) struct Issued {
    /// Host names, in lower case.
    pub(crate) names: Vec<String>,
    pub(crate) key: Arc<CertifiedKey>,
    pub(super) validity: Validity,
    /// SHA-256 of the certificate.
    pub(super) fingerprint: [u8; 32],
    /// Key identifier of the issuer and serial number, as ARI names a certificate (RFC 9773, 4.1).
    identifier: Option<(String, String)>,
}

impl Issued {
    /// `key`: in PKCS #8.
    ///
    /// # Errors
    /// When it is no chain, or the key is not that of its first certificate.
    pub(super) fn parse(chain: &str, key: &[u8]) -> Result<Self, AcmeError> {
        let unusable = |error: &dyn ToString| {
            AcmeError::Unusable(format!("a certificate: {}", error.to_string()))
        };
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let chain = parsed.map_err(|error| unusable(&error))?;
        if chain.is_empty() || chain.len() > MAX_CHAIN {
            return Err(unusable(&"it is no chain of certificates in PEM"));
        }
        let first = chain[0].clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|error| unusable(&error))?;
        let (_, certificate) = parse_x509_certificate(&first).map_err(|error| unusable(&error))?;
        let time = |at: x509_parser::time::ASN1Time| DateTime::from_timestamp(at.timestamp(), 0);
        let validity = certificate.validity();
        let (Some(not_before), Some(not_after)) =
            (time(validity.not_before), time(validity.not_after))
        else {
            return Err(unusable(&"its validity is out of range"));
        };
        Ok(Self {
            names: names(&certificate),
            key: Arc::new(certified),
            validity: Validity {
                not_before,
                not_after,
            },
            fingerprint: Sha256::digest(&first).into(),
            identifier: identifier(&certificate),
        })
    }

    pub(super) fn covers(&self, hosts: &[String]) -> bool {
        hosts.iter().all(|host| self.names.contains(host))
    }

    pub(crate) fn not_after(&self) -> DateTime<Utc> {
        self.validity.not_after
    }

    pub(super) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        let (issuer, serial) = self.identifier.clone()?;
        Some(CertificateIdentifier {
            authority_key_identifier: issuer.into(),
            serial: serial.into(),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
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

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use chrono::TimeDelta;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A self-signed certificate of sixty days, and its key.
    pub(in super::super) fn certificate(
        names: &[&str],
        not_before: DateTime<Utc>,
    ) -> (String, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = SystemTime::from(not_before).into();
        params.not_after = SystemTime::from(not_before + TimeDelta::days(60)).into();
        // By itself.
        params.use_authority_key_identifier_extension = true;
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_der())
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let now = "2026-11-01T00:00:00Z".parse().unwrap();
        let (chain, key) = certificate(&["A.example", "b.example"], now);
        let issued = Issued::parse(&chain, &key).unwrap();
        assert_eq!(issued.names, ["a.example", "b.example"]);
        assert_eq!(
            (issued.validity.not_before, issued.not_after()),
            (now, now + TimeDelta::days(60))
        );
        assert!(issued.covers(&["b.example".to_owned()]));
        assert!(!issued.covers(&["c.example".to_owned()]));
        let (_, other) = certificate(&["a.example"], now);
        for (chain, key) in [
            (chain.clone(), other),
            (chain.clone(), b"key".to_vec()),
            (String::new(), key.clone()),
            (chain.repeat(11), key.clone()),
            (chain[..chain.len() / 2].to_owned(), key),
        ] {
            assert!(Issued::parse(&chain, &key).is_err());
        }
    }
}
