//! A certificate as it is used: parsed, and checked before it takes the place of another one.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use instant_acme::CertificateIdentifier;
use rustls::{
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::{failure::AcmeError, schedule::Validity};
use crate::tls::certificate::Chain;

#[derive(Debug)]
pub(crate) struct Issued {
    /// Host names, in lower case.
    pub(crate) names: Vec<String>,
    pub(crate) subject: String,
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
        let chain = Chain::parse(chain.as_bytes()).map_err(|error| unusable(&error))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
        let key = chain.with_key(key).map_err(|error| unusable(&error))?;
        Ok(Self {
            names: chain.names,
            subject: chain.subject,
            key,
            validity: Validity {
                not_before: chain.not_before,
                not_after: chain.not_after,
            },
            fingerprint: chain.fingerprint,
            identifier: chain.identifier,
        })
    }

    pub(super) fn covers(&self, hosts: &[String]) -> bool {
        hosts.iter().all(|host| self.names.contains(host))
    }

    pub(crate) fn not_before(&self) -> DateTime<Utc> {
        self.validity.not_before
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
