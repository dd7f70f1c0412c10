//! The client's side of TLS, as cheap as possible: it shares its core with the upstream. It proves nothing about the
//! server, whose certificate is made for each run.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group::X25519};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, version};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The name in the certificate.
pub(crate) const HOST: &str = "bench.test";

/// Of each connection, what the client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Full,
    /// With the ticket of the connection before.
    Resumed,
}

/// Opens connections by TLS 1.3 with X25519, which all servers have.
pub(crate) struct Client(TlsConnector);

impl Client {
    pub(crate) fn new(handshake: Handshake) -> anyhow::Result<Self> {
        let provider = CryptoProvider {
            kx_groups: vec![X25519],
            ..aws_lc_rs::default_provider()
        };
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(algorithms)))
            .with_no_client_auth();
        config.resumption = match handshake {
            Handshake::Full => Resumption::disabled(),
            Handshake::Resumed => Resumption::in_memory_sessions(32),
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn open(&self, port: u16) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(HOST)?;
        self.0.connect(name, stream).await.context("TLS handshake")
    }
}

/// # Errors
/// Unless the handshake was of this kind.
pub(crate) fn expect(stream: &TlsStream<TcpStream>, handshake: Handshake) -> anyhow::Result<()> {
    let done = stream.get_ref().1.handshake_kind();
    let wanted = match handshake {
        Handshake::Full => HandshakeKind::Full,
        Handshake::Resumed => HandshakeKind::Resumed,
    };
    ensure!(done == Some(wanted), "a handshake was {done:?}");
    Ok(())
}

/// Believes every certificate.
#[derive(Debug)]
struct Trusting(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
