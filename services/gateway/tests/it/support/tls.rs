//! A gateway with TLS, and what clients need to reach it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use quartet_ca::{Authority, Identity, Request, Validity};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{DEADLINE, Gateway, free_address};

/// Certificates of one authority, in files.
pub(crate) struct Certificates {
    pub(crate) authority: Authority,
    directory: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let day = Validity::of(Duration::from_hours(24));
        Self {
            authority: Authority::create("test authority", day).unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.authority.issue(&Request::of(names)).unwrap()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes both files, as those of the table `name`.
    pub(crate) fn write(&self, name: &str, identity: &Identity) {
        std::fs::write(self.path(&format!("{name}.key")), &identity.key).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), &identity.certificate).unwrap();
    }

    /// A table of new files for these names; `more` are further lines.
    pub(crate) fn table(&self, name: &str, names: &[&str], more: &str) -> String {
        self.write(name, &self.issue(names));
        let [certificate, key] = ["pem", "key"].map(|end| {
            let path = self.path(&format!("{name}.{end}"));
            path.to_str().unwrap().to_owned()
        });
        format!(
            "[certificates.{name}]\ncertificate_path = \"{certificate}\"\nkey_path = \"{key}\"\n{more}\n"
        )
    }

    /// The text with a certificate for these names in place of the files of an example.
    pub(crate) fn in_place(&self, text: &str, names: &[&str]) -> String {
        let identity = self.issue(names);
        std::fs::write(self.path("tls.crt"), &identity.certificate).unwrap();
        std::fs::write(self.path("tls.key"), &identity.key).unwrap();
        text.replace("/etc/quartet/tls", self.directory.path().to_str().unwrap())
    }

    /// For clients that trust the authority, and have this certificate.
    pub(crate) fn client_config(&self, identity: Option<&Identity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.certificate().as_bytes());
        roots.add(authority.unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    /// A client for which every name in `hosts` leads to the address.
    pub(crate) fn client(&self, hosts: &[&str], address: SocketAddr) -> reqwest::ClientBuilder {
        let pem = self.authority.certificate().as_bytes();
        let authority = reqwest::Certificate::from_pem(pem).unwrap();
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE)
            .tls_certs_only([authority]);
        hosts
            .iter()
            .fold(builder, |builder, host| builder.resolve(host, address))
    }
}

/// A gateway with a plain listener and one with TLS.
pub(crate) struct TlsGateway {
    pub(crate) gateway: Gateway,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    settings: String,
}

impl TlsGateway {
    /// `plain` and `tls` are further settings in the tables of the listeners.
    pub(crate) async fn start_with(settings: &str, plain: &str, tls: &str) -> Self {
        let (plain_address, tls_address) = (free_address(), free_address());
        let listeners = format!(
            "[[server.listen]]\naddress = \"{plain_address}\"\n{plain}\n\
             [[server.listen]]\naddress = \"{tls_address}\"\ntls = true\n{tls}\n"
        );
        let variables = [("QUARTET_SERVER_LISTEN", "")];
        let text = format!("{settings}\n{listeners}");
        Self {
            gateway: Gateway::with_variables(&text, &variables).await,
            plain: plain_address,
            tls: tls_address,
            settings: listeners,
        }
    }

    pub(crate) async fn start(settings: &str) -> Self {
        Self::start_with(settings, "", "").await
    }

    /// The text of a configuration with the same listeners.
    pub(crate) fn settings(&self, settings: &str) -> String {
        format!("{settings}\n{}", self.settings)
    }

    /// A connection after its handshake, with this server name.
    ///
    /// # Errors
    /// Those of the handshake.
    pub(crate) async fn connect(
        &self,
        config: ClientConfig,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.tls).await?;
        shake(stream, config, name).await
    }
}

/// # Errors
/// Those of the handshake.
pub(crate) async fn shake(
    stream: TcpStream,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}
