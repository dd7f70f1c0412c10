//! TLS of a listener that is not public: its certificate, and those of the clients that may use it.
//!
//! The settings are asked for with each connection, so that a certificate is replaced without a restart.
//! Clients may come without a certificate: probes and others have none. Whether a request needs one is
//! decided when it is read.
//!
//! A service that demands them serves without one only what proves itself otherwise, or is for everyone:
//! probes and metrics, signed requests of other services, and public keys.

use std::{io, sync::Arc};

use arc_swap::ArcSwap;
use http::Extensions;
use quartet_common::{
    config::{ConfigError, Server},
    problem::{Problem, kinds},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;

use crate::serve::Transport;

/// What a listener proves itself with, and whose client certificates it accepts.
#[derive(Debug)]
pub struct ListenerIdentity {
    /// With those between it and its authority.
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// Empty: no client certificate is asked for.
    pub client_authorities: Vec<CertificateDer<'static>>,
}

/// On requests of a connection whose client has proved itself by a certificate.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// What the certificate was verified by.
    pub verified_by: Arc<ServerConfig>,
}

/// TLS, while there are settings for it.
#[derive(Clone, Debug)]
pub struct TlsTransport<F> {
    current: F,
}

/// TLS of a service: the settings in force, which can be replaced.
#[derive(Clone, Debug)]
pub struct ServiceTls {
    current: Arc<ArcSwap<InForce>>,
    /// Requests need a client certificate.
    demands: bool,
}

#[derive(Debug)]
struct InForce {
    config: Arc<ServerConfig>,
    authorities: TrustedAuthorities,
}

/// In PEM. The same ones are the same text in memory, also after their certificate was renewed.
#[derive(Clone, Debug)]
struct TrustedAuthorities(Arc<str>);

/// The connections of a service, which are plain without settings for TLS.
#[derive(Clone, Debug)]
pub struct ServiceTransport(pub Option<ServiceTls>);

/// Paths that need no certificate: their first part.
const OPEN_TO_ALL: [&str; 5] = ["health", "ready", "metrics", "internal", ".well-known"];

impl ServiceTls {
    /// `None`: the service serves plain HTTP.
    ///
    /// # Errors
    /// When a certificate or key cannot be used. The message has no part of the key.
    pub fn open(server: &Server) -> Result<Option<Self>, ConfigError> {
        let config = service_config(server)?;
        Ok(config.map(|config| Self {
            current: Arc::new(ArcSwap::from_pointee(InForce {
                config: config.into(),
                authorities: TrustedAuthorities(trusted(server).into()),
            })),
            demands: server.tls_client_ca.is_some(),
        }))
    }

    /// Puts other certificates in force, for connections from now on. With other authorities, requests on
    /// older ones are refused, and their connections closed.
    ///
    /// # Errors
    /// When they cannot be used, or would change whether there is TLS or a demand; nothing changes then.
    pub fn replace(&self, server: &Server) -> Result<(), ConfigError> {
        let demands = server.tls_client_ca.is_some();
        match service_config(server)? {
            Some(config) if demands == self.demands => {
                let known = self.current.load().authorities.clone();
                let trusted = trusted(server);
                let authorities = if *known.0 == *trusted {
                    known
                } else {
                    TrustedAuthorities(trusted.into())
                };
                self.current.store(Arc::new(InForce {
                    config: config.into(),
                    authorities,
                }));
                Ok(())
            }
            _ => {
                let rule = "cannot be set or removed without a restart";
                Err(ConfigError::invalid("server.tls_client_ca", rule))
            }
        }
    }
}

fn trusted(server: &Server) -> &str {
    server.tls_client_ca.as_deref().unwrap_or_default()
}

/// # Errors
/// As [`ServiceTls::open`].
fn service_config(server: &Server) -> Result<Option<ServerConfig>, ConfigError> {
    const KEYS: [&str; 3] = [
        "server.tls_certificate",
        "server.tls_key",
        "server.tls_client_ca",
    ];
    let authorities = trusted(server);
    let key = server.tls_key.as_ref().map(ExposeSecret::expose_secret);
    let (certificate, key) = match (server.tls_certificate.as_deref(), key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) if authorities.is_empty() => return Ok(None),
        (None, _) => return Err(ConfigError::invalid(KEYS[0], "must be set")),
        (Some(_), None) => return Err(ConfigError::invalid(KEYS[1], "must be set")),
    };
    let identity = ListenerIdentity::from_pem(certificate, key, authorities)
        .map_err(|(place, rule)| ConfigError::invalid(KEYS[place], rule))?;
    let config = identity.into_config();
    let config = config.map_err(|error| ConfigError::invalid(KEYS[0], error.to_string()))?;
    Ok(Some(config))
}

impl Transport for ServiceTransport {
    type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

    async fn open(&self, stream: TcpStream) -> io::Result<(Self::Stream, Extensions)> {
        let Some(tls) = &self.0 else {
            return accept(None, stream).await;
        };
        let current = tls.current.load_full();
        let (stream, mut extensions) = accept(Some(Arc::clone(&current.config)), stream).await?;
        if extensions.get::<ClientCertificate>().is_some() {
            extensions.insert(current.authorities.clone());
        }
        Ok((stream, extensions))
    }

    fn refuse(&self, path: &str, extensions: &Extensions) -> Option<Problem> {
        let tls = self.0.as_ref().filter(|tls| tls.demands)?;
        let first = path.split('/').nth(1).unwrap_or_default();
        if OPEN_TO_ALL.contains(&first) {
            return None;
        }
        let proved = extensions.get::<TrustedAuthorities>();
        let current = tls.current.load();
        if proved.is_some_and(|proved| Arc::ptr_eq(&proved.0, &current.authorities.0)) {
            return None;
        }
        let detail = "a client certificate is needed";
        Some(Problem::new(&kinds::FORBIDDEN).detail(detail))
    }
}

impl ListenerIdentity {
    /// Of texts in PEM.
    ///
    /// # Errors
    /// The first text that cannot be used, by its place, and why; never with a part of the key.
    pub fn from_pem(
        certificate: &str,
        key: &str,
        client_authorities: &str,
    ) -> Result<Self, (usize, String)> {
        let list = |place, pem: &str| {
            let parsed = CertificateDer::pem_slice_iter(pem.as_bytes());
            let parsed: Result<Vec<_>, _> = parsed.collect();
            let parsed =
                parsed.map_err(|error| (place, format!("must be certificates in PEM: {error}")))?;
            if parsed.is_empty() {
                let rule = "must have at least one certificate in PEM".to_owned();
                return Err((place, rule));
            }
            Ok(parsed)
        };
        Ok(Self {
            certificates: list(0, certificate)?,
            key: PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| (1, "must be a private key in PEM".to_owned()))?,
            client_authorities: if client_authorities.is_empty() {
                Vec::new()
            } else {
                list(2, client_authorities)?
            },
        })
    }

    /// The settings of handshakes.
    ///
    /// # Errors
    /// When the key is another one's, or a certificate cannot be used.
    pub fn into_config(self) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = if self.client_authorities.is_empty() {
            WebPkiClientVerifier::no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for authority in self.client_authorities {
                roots.add(authority)?;
            }
            let roots = roots.into();
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.certificates, self.key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl<F> TlsTransport<F>
where
    F: Fn() -> Option<Arc<ServerConfig>> + Clone + Send + Sync + 'static,
{
    /// `current`: the settings in force; `None`: connections are plain.
    pub fn new(current: F) -> Self {
        Self { current }
    }
}

impl<F> Transport for TlsTransport<F>
where
    F: Fn() -> Option<Arc<ServerConfig>> + Clone + Send + Sync + 'static,
{
    type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

    async fn open(&self, stream: TcpStream) -> io::Result<(Self::Stream, Extensions)> {
        accept((self.current)(), stream).await
    }
}

type Accepted = (Either<TcpStream, Box<TlsStream<TcpStream>>>, Extensions);

async fn accept(config: Option<Arc<ServerConfig>>, stream: TcpStream) -> io::Result<Accepted> {
    let mut extensions = Extensions::new();
    let Some(config) = config else {
        return Ok((Either::Left(stream), extensions));
    };
    let stream = TlsAcceptor::from(Arc::clone(&config))
        .accept(stream)
        .await?;
    let (_, session) = stream.get_ref();
    if session.peer_certificates().is_some() {
        extensions.insert(ClientCertificate {
            verified_by: config,
        });
    }
    Ok((Either::Right(Box::new(stream)), extensions))
}
