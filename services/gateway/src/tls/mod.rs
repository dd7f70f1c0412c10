//! TLS on the public listeners: which certificate a client gets, and what is asked of it.
//!
//! ```text
//! handshake -> acceptance   the settings, by the server name: are client certificates asked for
//!              resolver     the certificate, by the server name
//!                files      from files, read again when they change
//! ```

mod acceptance;
pub(crate) mod acme;
mod certificate;
mod client;
mod files;
mod names;
mod resolver;

pub(crate) use acceptance::Acceptance;
pub(crate) use client::describe_client;
pub(crate) use files::{AllCertificateFiles, CertificateFiles, FileCheck, check_object};
pub(crate) use resolver::{Certificates, FileTable, IssuedCertificate};

/// Where authorities fetch the responses to HTTP-01 challenges (RFC 8555, 8.3), over plain HTTP.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Whether a request of this path must be answered over plain HTTP, whatever else is redirected or refused.
pub(crate) fn is_challenge(path: impl AsRef<[u8]>) -> bool {
    path.as_ref().starts_with(CHALLENGES.as_bytes())
}
