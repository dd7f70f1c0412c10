//! TLS on the public listeners: which certificate a client gets, and what is asked of it.
//!
//! ```text
//! handshake -> acceptance   the settings, by the server name: are client certificates asked for
//!              resolver     the certificate, by the server name
//!                files      from files, read again when they change
//! ```

mod acceptance;
pub(crate) mod acme;
mod client;
mod files;
mod names;
mod resolver;

pub(crate) use acceptance::Acceptance;
pub(crate) use client::describe_client;
pub(crate) use files::{AllCertificateFiles, CertificateFiles, FileCheck, check_object};
pub(crate) use resolver::{Certificates, FileTable};

/// Where authorities fetch the responses to HTTP-01 challenges (RFC 8555, 8.3), over plain HTTP.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Whether this path must be answered over plain HTTP, whatever else is redirected or refused. `path`
/// is in its one spelling.
pub(crate) fn is_challenge(path: &str) -> bool {
    path.starts_with(CHALLENGES)
}
