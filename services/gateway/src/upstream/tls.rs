//! TLS to upstreams where pingora does not speak it: for `WebSockets`.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio_rustls::TlsConnector;

use crate::config::Tls;

/// How a connection is encrypted.
#[derive(Clone)]
pub(crate) struct UpstreamTls {
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
}

impl std::fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.server_name;
        f.debug_struct("UpstreamTls")
            .field("server_name", name)
            .finish_non_exhaustive()
    }
}

impl UpstreamTls {
    /// With HTTP/1.1 alone: `WebSockets` begin with it.
    ///
    /// # Errors
    /// When the name or the certificates cannot be used.
    pub(super) fn new(tls: &Tls) -> anyhow::Result<Self> {
        let certificate = |der: &Vec<u8>| CertificateDer::from(der.clone());
        let mut roots = RootCertStore::empty();
        match &tls.authorities {
            Some(authorities) => {
                for authority in authorities {
                    roots.add(certificate(authority))?;
                }
            }
            // Those of them that cannot be read authenticate no one.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::try_from(identity.key.clone());
                let key =
                    key.map_err(|error| anyhow::anyhow!("the key cannot be used: {error}"))?;
                let chain = identity.certificates.iter().map(certificate);
                builder.with_client_auth_cert(chain.collect(), key)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server_name = ServerName::try_from(tls.server_name.clone());
        Ok(Self {
            connector: Arc::new(config).into(),
            server_name: server_name.context("tls_server_name is not a name")?,
        })
    }
}
