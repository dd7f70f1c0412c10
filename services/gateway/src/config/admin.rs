//! Valid settings of the admin listener.

use std::net::SocketAddr;

use secrecy::SecretString;

use super::ClientIdentity;

/// Who may use the admin listener, and how its connections are encrypted.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminConfig {
    /// Any of them is accepted.
    pub(crate) tokens: Vec<SecretString>,
    /// `None`: connections are plain.
    pub(crate) tls: Option<AdminTls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminTls {
    /// What the listener proves itself with.
    pub(crate) identity: ClientIdentity,
    /// In DER. Empty: no client certificate is asked for.
    pub(crate) client_authorities: Vec<Vec<u8>>,
}

impl AdminConfig {
    /// Whether requests have to prove that they come from an operator.
    pub(crate) fn has_credentials(&self) -> bool {
        let authorities = self.tls.as_ref().map(|tls| &tls.client_authorities);
        !self.tokens.is_empty() || authorities.is_some_and(|all| !all.is_empty())
    }
}

/// Whether only this machine reaches the address.
pub(crate) fn is_loopback(listen: SocketAddr) -> bool {
    listen.ip().to_canonical().is_loopback()
}
