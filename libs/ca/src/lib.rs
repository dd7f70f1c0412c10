//! A certificate authority for development and tests: nothing that runs for users needs it.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};

pub use rcgen::Error;

/// So that the clock of another machine may be a little slow.
const BACKDATED: Duration = Duration::from_mins(5);

/// A private authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Followed by those between it and its authority, of which there are none here.
    pub certificate: String,
    pub key: String,
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// DNS names, wildcards among them, and IP addresses.
    pub names: &'r [&'r str],
    pub common_name: &'r str,
    /// It is for clients, beside servers.
    pub is_client: bool,
    pub key: KeyKind,
    pub validity: Validity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA with P-256.
    Ecdsa,
    /// 2048 bits.
    Rsa,
}

#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Validity {
    /// From now on.
    pub fn of(time: Duration) -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now - BACKDATED,
            not_after: now + time,
        }
    }
}

impl<'r> Request<'r> {
    /// Of a server and client with these names, for a day.
    pub fn of(names: &'r [&'r str]) -> Self {
        Self {
            names,
            common_name: names.first().copied().unwrap_or_default(),
            is_client: true,
            key: KeyKind::Ecdsa,
            validity: Validity::of(Duration::from_hours(24)),
        }
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness, or the name cannot be written.
    pub fn create(name: &str, validity: Validity) -> Result<Self, Error> {
        let (params, key) = (authority_params(name, validity), KeyPair::generate()?);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// One that was created with this name.
    ///
    /// # Errors
    /// When the key is none in PEM.
    pub fn open(name: &str, identity: &Identity) -> Result<Self, Error> {
        // Of these, only the name is part of what it issues.
        let params = authority_params(name, Validity::of(Duration::ZERO));
        let key = KeyPair::from_pem(&identity.key)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate: identity.certificate.clone(),
        })
    }

    /// In PEM: what others trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority itself, to [open](Self::open) it again.
    pub fn identity(&self) -> Identity {
        Identity {
            certificate: self.certificate.clone(),
            key: self.issuer.key().serialize_pem(),
        }
    }

    /// # Errors
    /// When a name cannot be part of a certificate.
    pub fn issue(&self, request: &Request<'_>) -> Result<Identity, Error> {
        let key = match request.key {
            KeyKind::Ecdsa => KeyPair::generate()?,
            KeyKind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        };
        let names: Vec<String> = request.names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(request.common_name);
        params.not_before = request.validity.not_before.into();
        params.not_after = request.validity.not_after.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if request.is_client {
            let purpose = ExtendedKeyUsagePurpose::ClientAuth;
            params.extended_key_usages.push(purpose);
        }
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn authority_params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_issues_again_after_it_was_kept() {
        let created = Authority::create("test", Validity::of(Duration::from_hours(1))).unwrap();
        let opened = Authority::open("test", &created.identity()).unwrap();
        assert_eq!(opened.certificate(), created.certificate());
        let request = Request::of(&["a.example", "*.b.example", "127.0.0.1"]);
        let issued = opened.issue(&request).unwrap();
        assert!(issued.certificate.contains("BEGIN CERTIFICATE"));
        assert!(issued.key.contains("PRIVATE KEY"));
    }
}
