//! What is known of a client's connection with TLS.

/// The result of a handshake, shared by the requests of the connection.
#[derive(Debug)]
pub(crate) struct TlsSession {
    /// Such as `1.3`.
    pub(crate) version: &'static str,
    /// Such as `TLS13_AES_128_GCM_SHA256`.
    pub(crate) cipher: &'static str,
    /// Whose client certificates the handshake has asked for, because of the server name.
    pub(crate) authority: Option<AuthorityId>,
    /// With which the client has proved itself.
    pub(crate) certificate: Option<ClientCertificate>,
}

/// A verified certificate of a client.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// As in RFC 4514, visible ASCII; other bytes are percent-encoded. Empty: it has none, or a very long one.
    pub(crate) subject: String,
    /// SHA-256 of the certificate in lower-case hexadecimal digits.
    pub(crate) fingerprint: String,
    pub(crate) der: Vec<u8>,
}

/// Stands for everything that a configuration says about the client certificates of some hosts: it is another
/// one once anything about them changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AuthorityId(pub(crate) [u8; 32]);
