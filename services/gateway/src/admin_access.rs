//! Who may use the admin listener, and the TLS settings of its connections.

use std::sync::Arc;

use quartet_common::config::ConfigError;
use quartet_http::tls::ListenerIdentity;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::{Choice, ConstantTimeEq as _};

use crate::config::admin::{AdminConfig, AdminTls};

#[derive(Clone, Debug)]
pub(crate) struct AdminAccess {
    tokens: Vec<SecretString>,
    has_credentials: bool,
    tls: Option<AcceptedTls>,
}

/// What a connection is accepted with.
#[derive(Clone, Debug)]
struct AcceptedTls {
    settings: AdminTls,
    config: Arc<ServerConfig>,
}

impl AdminAccess {
    /// With equal settings, the TLS configuration is the one before, so that connections stay verified.
    ///
    /// # Errors
    /// When the certificates cannot be used together.
    pub(crate) fn build(
        config: &AdminConfig,
        previous: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let known = previous.and_then(|previous| previous.tls.clone());
        let tls = match &config.tls {
            None => None,
            Some(settings) => match known.filter(|known| known.settings == *settings) {
                Some(known) => Some(known),
                None => Some(AcceptedTls {
                    settings: settings.clone(),
                    config: Arc::new(server_config(settings).map_err(|error| {
                        ConfigError::invalid("admin.tls_certificate", error.to_string())
                    })?),
                }),
            },
        };
        Ok(Self {
            tokens: config.tokens.clone(),
            has_credentials: config.has_credentials(),
            tls,
        })
    }

    /// Whether a request needs a token or a client certificate.
    pub(crate) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    pub(crate) fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| &tls.config)
    }

    /// Whether this is one of the tokens. In constant time: how much of a guess is right, and of which
    /// token, must not be measurable.
    pub(crate) fn is_token(&self, sent: &[u8]) -> bool {
        let tokens = self.tokens.iter();
        let matches = tokens.map(|token| token.expose_secret().as_bytes().ct_eq(sent));
        matches.fold(Choice::from(0), |any, one| any | one).into()
    }
}

fn server_config(settings: &AdminTls) -> anyhow::Result<ServerConfig> {
    let certificate = |der: &Vec<u8>| CertificateDer::from(der.clone());
    let key = PrivateKeyDer::try_from(settings.identity.key.clone());
    let certificates = settings.identity.certificates.iter();
    let identity = ListenerIdentity {
        certificates: certificates.map(certificate).collect(),
        key: key.map_err(|error| anyhow::anyhow!("the key cannot be used: {error}"))?,
        client_authorities: settings
            .client_authorities
            .iter()
            .map(certificate)
            .collect(),
    };
    Ok(identity.into_config()?)
}
