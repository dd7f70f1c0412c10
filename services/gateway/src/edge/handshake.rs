//! TLS handshakes with clients, bounded in number and time.

use std::{io, sync::Arc};

use pingora::protocols::{GetSocketDigest as _, Peek as _, Stream, l4::stream::Stream as L4};
use rustls::{PeerIncompatible, server::Acceptor};
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream as Inner};

use super::{
    reply::{self, RejectedHead},
    socket::local,
    tls_stream::TlsStream,
};
use crate::{
    error,
    request::{AuthorityId, TlsSession},
    snapshot::Snapshot,
    state::State,
    tls,
};

/// A fatal alert `unrecognized_name` (RFC 6066, 3), which rustls does not send.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Why there is no connection. The reasons of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandshakeFailure {
    TooMany,
    Timeout,
    /// Not TLS at all.
    PlainHttp,
    /// The client has disconnected.
    Closed,
    /// There is no certificate for the server name, or none without one.
    UnknownName,
    Version,
    /// Nothing that both could use: cipher suites, groups, signatures, or protocols of ALPN.
    NoCommonParameters,
    /// None, or one that is not accepted.
    ClientCertificate,
    /// The client has refused what it was sent, the certificate for example.
    ByClient,
    Malformed,
}

impl HandshakeFailure {
    fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Timeout => "timeout",
            Self::PlainHttp => "plain_http",
            Self::Closed => "closed",
            Self::UnknownName => "unknown_name",
            Self::Version => "version",
            Self::NoCommonParameters => "no_common_parameters",
            Self::ClientCertificate => "client_certificate",
            Self::ByClient => "by_client",
            Self::Malformed => "malformed",
        }
    }

    fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(inner) = inner else {
            return Self::Closed;
        };
        match inner {
            rustls::Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Clients older than 1.2 do not send it.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Self::Version,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => {
                Self::NoCommonParameters
            }
            rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => {
                Self::ClientCertificate
            }
            rustls::Error::AlertReceived(_) => Self::ByClient,
            _ => Self::Malformed,
        }
    }
}

/// The connection after its handshake. `None`: it is closed.
pub(super) async fn accept(stream: L4, state: &State) -> Option<Stream> {
    let snapshot = state.snapshot();
    let metrics = &state.metrics.tls;
    let Some(_underway) = metrics.begin(snapshot.config.tls.max_handshakes) else {
        metrics.failed(HandshakeFailure::TooMany.name()).inc();
        return None;
    };
    let result = shake(stream, state, &snapshot).await;
    match result {
        Ok(stream) => Some(Box::new(stream)),
        // That is how a port is checked.
        Err(None) => None,
        Err(Some((failure, error))) => {
            metrics.failed(failure.name()).inc();
            let (reason, error) = (failure.name(), error.map(|error| error.to_string()));
            tracing::debug!(target: "quartet", reason, error, "a TLS handshake failed");
            None
        }
    }
}

type Failed = Option<(HandshakeFailure, Option<io::Error>)>;

/// # Errors
/// Why there is no connection; `None`: the client has sent nothing.
async fn shake(mut stream: L4, state: &State, snapshot: &Snapshot) -> Result<TlsStream, Failed> {
    let deadline = Instant::now() + snapshot.config.tls.handshake_timeout;
    let late = || -> Failed { Some((HandshakeFailure::Timeout, None)) };
    let failed = |error: io::Error| -> Failed { Some((HandshakeFailure::of(&error), Some(error))) };
    let mut first = [0];
    let peeked = timeout_at(deadline, stream.try_peek(&mut first)).await;
    peeked.map_err(|_| late())?.map_err(|_| Failed::None)?;
    if first[0].is_ascii_uppercase() {
        let problem = error::malformed("this port is for HTTPS");
        let answer = reply::reject(&mut stream, RejectedHead::of(problem), state);
        let _ = timeout_at(deadline, Box::pin(answer)).await;
        return Err(Some((HandshakeFailure::PlainHttp, None)));
    }
    let http2 = state.offers_http2(local(stream.get_socket_digest()));
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let hello = timeout_at(deadline, hello).await.map_err(|_| late())?;
    let mut hello = hello.map_err(failed)?;
    let (name, has_certificate) = {
        let hello = hello.client_hello();
        let name = hello.server_name();
        let found = state.certificates.find(name, hello.signature_schemes());
        (name.map(str::to_owned), found.is_some())
    };
    if !has_certificate {
        let alert = hello.io.write_all(&UNRECOGNIZED_NAME);
        let _ = timeout_at(deadline, alert).await;
        return Err(Some((HandshakeFailure::UnknownName, None)));
    }
    let (config, authority) = snapshot.acceptance.choose(name.as_deref(), http2);
    let shaken = timeout_at(deadline, Box::pin(hello.into_stream(config))).await;
    let stream = shaken.map_err(|_| late())?.map_err(failed)?;
    let session = Arc::new(session(&stream, authority));
    let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    state.metrics.tls.completed(session.version, resumed).inc();
    Ok(TlsStream::new(stream, session))
}

fn session(stream: &Inner<L4>, authority: Option<AuthorityId>) -> TlsSession {
    let connection = stream.get_ref().1;
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let suite = connection.negotiated_cipher_suite();
    let cipher = suite.and_then(|suite| suite.suite().as_str().map(registered_name));
    let chain = connection.peer_certificates();
    TlsSession {
        version,
        cipher: cipher.unwrap_or("unknown"),
        authority,
        certificate: chain.and_then(|chain| tls::describe_client(chain.first()?)),
    }
}

/// As IANA calls it; those of version 1.2 have their names already.
fn registered_name(name: &'static str) -> &'static str {
    match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, InvalidMessage};

    use super::*;
    use crate::metrics::FAILURE_REASONS;

    #[test]
    fn failures_have_few_reasons() {
        let wrapped = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, expected) in [
            (
                wrapped(rustls::Error::PeerIncompatible(
                    PeerIncompatible::Tls12NotOfferedOrEnabled,
                )),
                HandshakeFailure::Version,
            ),
            (
                wrapped(rustls::Error::PeerIncompatible(
                    PeerIncompatible::NoCipherSuitesInCommon,
                )),
                HandshakeFailure::NoCommonParameters,
            ),
            (
                wrapped(rustls::Error::InvalidCertificate(CertificateError::Expired)),
                HandshakeFailure::ClientCertificate,
            ),
            (
                wrapped(rustls::Error::AlertReceived(AlertDescription::UnknownCA)),
                HandshakeFailure::ByClient,
            ),
            (
                wrapped(rustls::Error::InvalidMessage(
                    InvalidMessage::InvalidContentType,
                )),
                HandshakeFailure::Malformed,
            ),
            (
                io::ErrorKind::UnexpectedEof.into(),
                HandshakeFailure::Closed,
            ),
        ] {
            assert_eq!(HandshakeFailure::of(&error), expected, "{error}");
            assert!(FAILURE_REASONS.contains(&expected.name()));
        }
    }
}
