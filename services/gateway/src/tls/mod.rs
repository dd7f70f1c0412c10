//! TLS on the public listeners: which certificate a client gets, and what is asked of it.

pub(crate) mod acme;
mod names;
mod resolver;

pub(crate) use resolver::{Certificates, IssuedCertificate};

/// Where authorities fetch the responses to HTTP-01 challenges (RFC 8555, 8.3), over plain HTTP.
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Whether this path must be answered over plain HTTP, whatever else is redirected or refused. `path`
/// is in its one spelling.
pub(crate) fn is_challenge(path: &str) -> bool {
    path.starts_with(CHALLENGES)
}
