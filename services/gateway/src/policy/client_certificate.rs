//! Asks for the certificate of the client, for hosts that demand one, and names it to the upstream.
//!
//! Certificates are asked for in the handshake, by the server name that the client sends there. A request on
//! that connection may be for another host: it was not proved to that one, so the client is asked to
//! open a connection of its own (RFC 9110, 15.5.20), as browsers do.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

use super::context::{Edit, Flow, PolicyContext};
use crate::{
    config::tls::{CertificateHeaders, ClientAuthorities},
    error,
    request::{ClientCertificate as Certificate, RequestFacts, host::Authority},
};

#[derive(Debug)]
pub(super) struct ClientCertificates {
    authorities: ClientAuthorities,
}

impl ClientCertificates {
    pub(super) fn new(authorities: ClientAuthorities) -> Self {
        Self { authorities }
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) -> Flow {
        let host = facts.host.and_then(|host| std::str::from_utf8(host).ok());
        let host = host.and_then(Authority::parse);
        let authority = host.and_then(|host| self.authorities.of_host(&host.host));
        let Some(authority) = authority else {
            return Flow::Continue;
        };
        let session = facts.tls.filter(|it| it.authority == Some(authority.id));
        match session.map(|session| &session.certificate) {
            Some(Some(certificate)) => {
                context.edits.extend(edits(&authority.headers, certificate));
                Flow::Continue
            }
            Some(None) if !authority.required => Flow::Continue,
            _ => Flow::Reply(error::misdirected().into()),
        }
    }
}

fn edits(headers: &CertificateHeaders, certificate: &Certificate) -> impl Iterator<Item = Edit> {
    let subject = || certificate.subject.clone();
    let fingerprint = || certificate.fingerprint.clone();
    // A byte sequence of structured fields, as in RFC 9440.
    let encoded = || format!(":{}:", STANDARD.encode(&certificate.der));
    let texts = [
        headers.subject.clone().map(|name| (name, subject())),
        headers
            .fingerprint
            .clone()
            .map(|name| (name, fingerprint())),
        headers.certificate.clone().map(|name| (name, encoded())),
    ];
    let texts = texts.into_iter().flatten();
    let texts = texts.filter(|(_, text)| !text.is_empty());
    texts.filter_map(|(name, text)| {
        let value = HeaderValue::try_from(text).ok()?;
        Some(Edit::Set(name, value))
    })
}
