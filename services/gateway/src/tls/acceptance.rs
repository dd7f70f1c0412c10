//! The settings that handshakes are accepted with.
//!
//! Versions 1.2 and 1.3, and the cipher suites of the provider: all of them have forward secrecy and
//! authenticated encryption. HTTP/2 is offered before HTTP/1.1, and no data is accepted before the
//! handshake is complete (0-RTT): it could be sent again by others.
//!
//! Sessions are resumed by tickets. Their keys are of this process and change every six hours, so a client
//! that another replica has given a ticket to makes a full handshake. Hosts that ask for client
//! certificates give none: what was verified once would count for as long as the ticket.

use std::sync::Arc;

use quartet_common::config::ConfigError;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::{
        NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    version::{TLS12, TLS13},
};

use super::resolver::Certificates;
use crate::{
    config::{
        model::MinVersion,
        tls::{ClientAuthorities, ClientAuthority, TlsConfig},
    },
    request::AuthorityId,
};

/// What connections of the public listeners are accepted with.
#[derive(Debug)]
pub(crate) struct Acceptance {
    authorities: ClientAuthorities,
    /// Of hosts that ask for no client certificate.
    open: Offer,
    /// Of the authorities, in their order.
    verifying: Vec<(AuthorityId, Offer)>,
    tickets: Arc<dyn ProducesTickets>,
}

/// With and without HTTP/2.
#[derive(Clone, Debug)]
struct Offer {
    http2: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
}

impl Acceptance {
    /// The keys of the tickets are those of the one before.
    ///
    /// # Errors
    /// When certificates of authorities cannot be used, or there is no randomness.
    pub(crate) fn build(
        config: &TlsConfig,
        certificates: &Arc<Certificates>,
        previous: Option<&Self>,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tickets = match previous {
            Some(previous) => Arc::clone(&previous.tickets),
            None => aws_lc_rs::Ticketer::new()
                .map_err(|error| ConfigError::invalid("tls", error.to_string()))?,
        };
        let versions = versions(config.min_version);
        let builder = |verifier| {
            server_config(&provider, &versions, certificates, verifier)
                .map_err(|error| ConfigError::invalid("tls.min_version", error.to_string()))
        };
        let mut open = builder(WebPkiClientVerifier::no_client_auth())?;
        open.ticketer = Arc::clone(&tickets);
        let verifying = config.authorities.iter().map(|authority| {
            let verifier = verifier(authority, &provider).map_err(|error| {
                let key = format!("client_authorities.{}.certificates", authority.name);
                ConfigError::invalid(&key, error.to_string())
            })?;
            let mut config = builder(verifier)?;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok((authority.id, Offer::of(config)))
        });
        Ok(Self {
            verifying: verifying.collect::<Result<_, ConfigError>>()?,
            authorities: config.authorities.clone(),
            open: Offer::of(open),
            tickets,
        })
    }

    /// The settings for a client that asks for this name, and whose certificates they ask for.
    pub(crate) fn choose(
        &self,
        server_name: Option<&str>,
        http2: bool,
    ) -> (Arc<ServerConfig>, Option<AuthorityId>) {
        let name = server_name.map(str::to_ascii_lowercase);
        let authority = name.and_then(|name| self.authorities.of_host(&name));
        let verifying = authority
            .and_then(|authority| self.verifying.iter().find(|(id, _)| *id == authority.id));
        let (offer, id) = match verifying {
            Some((id, offer)) => (offer, Some(*id)),
            None => (&self.open, None),
        };
        let config = if http2 { &offer.http2 } else { &offer.http1 };
        (Arc::clone(config), id)
    }
}

impl Offer {
    fn of(config: ServerConfig) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Self {
            http2: offering(&[b"h2", b"http/1.1"]),
            http1: offering(&[b"http/1.1"]),
        }
    }
}

fn versions(min: MinVersion) -> Vec<&'static SupportedProtocolVersion> {
    match min {
        MinVersion::Tls12 => vec![&TLS13, &TLS12],
        MinVersion::Tls13 => vec![&TLS13],
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    certificates: &Arc<Certificates>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let certificates: Arc<Certificates> = Arc::clone(certificates);
    let config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificates);
    Ok(config)
}

fn verifier(
    authority: &ClientAuthority,
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for der in &authority.certificates {
        roots.add(CertificateDer::from(der.clone()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
    let builder = if authority.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    Ok(builder.build()?)
}
