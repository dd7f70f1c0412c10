//! Valid settings of TLS on the public listeners.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::HeaderName;

use super::model::{CertificateObject, MinVersion};
use crate::{request::AuthorityId, routing::HostPattern};

#[derive(Clone, Debug)]
pub(crate) struct TlsConfig {
    pub(crate) min_version: MinVersion,
    /// For clients that ask for no name.
    pub(crate) default_certificate: Option<String>,
    pub(crate) handshake_timeout: Duration,
    /// At a time.
    pub(crate) max_handshakes: usize,
    /// In URLs that plain requests are redirected to.
    pub(crate) https_port: u16,
    pub(crate) certificates: Vec<CertificateConfig>,
    pub(crate) authorities: ClientAuthorities,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateConfig {
    pub(crate) name: Arc<str>,
    pub(crate) certificate_path: PathBuf,
    pub(crate) key_path: PathBuf,
    /// In lower case. Empty: all names of the certificate.
    pub(crate) hosts: Vec<String>,
    /// In place of the files.
    pub(crate) object: Option<CertificateObject>,
}

/// Whose client certificates are accepted, by host.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientAuthorities(Arc<[ClientAuthority]>);

#[derive(Clone, Debug)]
pub(crate) struct ClientAuthority {
    pub(crate) id: AuthorityId,
    pub(crate) name: String,
    pub(crate) hosts: Vec<HostPattern>,
    /// In DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// A client without a certificate is refused.
    pub(crate) required: bool,
    /// What upstreams get.
    pub(crate) headers: CertificateHeaders,
}

/// Names of headers about the client's certificate; `None`: not sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct CertificateHeaders {
    pub(crate) subject: Option<HeaderName>,
    pub(crate) fingerprint: Option<HeaderName>,
    pub(crate) certificate: Option<HeaderName>,
}

impl CertificateHeaders {
    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.subject, &self.fingerprint, &self.certificate]
            .into_iter()
            .flatten()
    }
}

impl ClientAuthorities {
    pub(crate) fn new(authorities: Vec<ClientAuthority>) -> Self {
        Self(authorities.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ClientAuthority> {
        self.0.iter()
    }

    /// Those of a host in its one spelling; the most specific pattern counts. Handshakes and requests are
    /// judged by this alone, so that they agree.
    pub(crate) fn of_host(&self, host: &str) -> Option<&ClientAuthority> {
        let matching = self.0.iter().flat_map(|authority| {
            let hosts = authority.hosts.iter();
            hosts
                .filter(|pattern| pattern.matches(host))
                .map(move |pattern| (pattern.specificity(), authority))
        });
        let best = matching.max_by_key(|(specificity, _)| *specificity);
        best.map(|(_, authority)| authority)
    }
}
