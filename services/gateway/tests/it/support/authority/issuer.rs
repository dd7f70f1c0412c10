//! Certificates of the test.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, serve::Listener};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

/// An authority with its key.
pub(super) struct TestIssuer {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A key that the issuer does not have, but has seen in a request.
struct RequestedKey(Vec<u8>);

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl TestIssuer {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// The chain in PEM for a certificate request in DER.
    pub(super) fn issue(&self, request: &[u8], hosts: &[String], life: Duration) -> Option<String> {
        let (_, request) = X509CertificationRequest::from_der(request).ok()?;
        let info = &request.certification_request_info;
        let key = RequestedKey(info.subject_pki.subject_public_key.data.to_vec());
        let params = params(hosts, life);
        let certificate = params.signed_by(&key, &self.issuer).ok()?;
        Some([certificate.pem(), self.pem.clone()].concat())
    }

    fn server_config(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = params(&["127.0.0.1".to_owned()], Duration::from_hours(24));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

fn params(hosts: &[String], life: Duration) -> CertificateParams {
    let mut params = CertificateParams::new(hosts.to_vec()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.use_authority_key_identifier_extension = true;
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + life).into();
    params
}

/// Serves over TLS on loopback, with a certificate for 127.0.0.1.
pub(super) async fn tls_server(issuer: &TestIssuer, router: Router) -> SocketAddr {
    serve_with_tls(issuer.server_config(), router).await
}

/// Serves over TLS on loopback.
pub(crate) async fn serve_with_tls(config: ServerConfig, router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TlsListener { listener, acceptor };
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
