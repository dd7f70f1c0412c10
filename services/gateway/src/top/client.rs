//! Requests to the admin listener of a running gateway.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use http::{Method, StatusCode};
use quartet_common::config;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::options::TopOptions;
use crate::{
    config::{Config, load::Sources},
    listener,
    response_body::read_body,
    status::Status,
};

const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct AdminClient {
    http: reqwest::Client,
    /// Scheme, host and port.
    base: String,
    token: Option<SecretString>,
}

impl AdminClient {
    /// For the given URL, or the listener that the configuration has.
    ///
    /// # Errors
    /// When the configuration is invalid, or a file cannot be read.
    pub(super) fn new(sources: &Sources, options: &TopOptions) -> anyhow::Result<Self> {
        let token = options.token_file.as_deref().map(read_token).transpose()?;
        let identity = options.certificate_files.as_ref();
        let identity = identity.map(|(certificate, key)| {
            anyhow::Ok((config::read(certificate, None)?, config::read(key, None)?))
        });
        let identity = identity.transpose()?;
        let Some(url) = &options.url else {
            let config = sources.load()?;
            return Self::of_config(&config, token, identity);
        };
        let mut http = builder();
        if let Some(file) = &options.authority_file {
            let pem = config::read(file, None)?;
            http = http.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
        }
        if let Some((certificate, key)) = identity {
            let pem = format!("{certificate}\n{key}");
            http = http.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
        }
        Ok(Self {
            http: http.build()?,
            base: url.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// For the gateway of this configuration, on this machine. Its certificate is known.
    pub(super) fn of_config(
        config: &Config,
        token: Option<SecretString>,
        identity: Option<(String, String)>,
    ) -> anyhow::Result<Self> {
        let address = listener::loopback(config.model.server.admin_listen);
        let token = token.or_else(|| config.admin.tokens.first().cloned());
        let mut http = builder();
        let mut scheme = "http";
        if let Some(tls) = &config.admin.tls {
            let own = tls.identity.certificates.first();
            let own = own.context("admin.tls_certificate is empty")?;
            http = http.tls_backend_preconfigured(pinned(own.clone(), identity)?);
            scheme = "https";
        }
        Ok(Self {
            http: http.build()?,
            base: format!("{scheme}://{address}"),
            token,
        })
    }

    /// # Errors
    /// When the gateway cannot be reached, refuses the request, or is of a version whose report differs.
    pub(super) async fn status(&self) -> anyhow::Result<Status> {
        let body = self.get("/status").await?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{} answers with another report than expected", self.base))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.send(Method::GET, path).await
    }

    /// # Errors
    /// When the gateway cannot be reached, or refuses the request.
    pub(super) async fn send(&self, method: Method, path: &str) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response = request.send().await;
        let response = response.with_context(|| format!("{} does not respond", self.base))?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            anyhow::bail!("{} needs a token or a client certificate", self.base);
        }
        let body = read_body(response, MAX_BYTES).await?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).into_owned();
            anyhow::bail!("{}{path} returned {status} {text}", self.base);
        }
        Ok(body)
    }
}

/// The readiness of the gateway of this configuration, over TLS.
///
/// # Errors
/// When it is not ready.
pub(crate) fn ask_readiness(config: &Config) -> anyhow::Result<()> {
    let client = AdminClient::of_config(config, None, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(client.get("/ready")).map(drop)
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .no_proxy()
}

fn read_token(file: &Path) -> anyhow::Result<SecretString> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    // In the form of the setting, which may have several.
    let token = text.split(',').next().unwrap_or_default().trim();
    anyhow::ensure!(!token.is_empty(), "{} is empty", file.display());
    Ok(token.into())
}

/// Trusts this certificate alone, whatever its name and authority.
fn pinned(
    certificate: Vec<u8>,
    identity: Option<(String, String)>,
) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = PinnedCertificate {
        certificate,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| anyhow::anyhow!("the key must be a private key in PEM"))?;
    Ok(builder.with_client_auth_cert(chain?, key)?)
}

#[derive(Debug)]
struct PinnedCertificate {
    certificate: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        let rule = "the listener has another certificate than admin.tls_certificate";
        Err(rustls::Error::General(rule.to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
