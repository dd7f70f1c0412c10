//! TLS on the connections of the admin listener, if the configuration in force says so.

use std::{io, sync::Arc};

use http::Extensions;
use quartet_http::serve::Transport;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;

use crate::state::State;

#[derive(Clone)]
pub(super) struct AdminTransport {
    state: Arc<State>,
}

/// On requests of a connection whose client has proved itself by a certificate.
#[derive(Clone, Debug)]
pub(super) struct ClientCertificate {
    /// What the certificate was verified by.
    pub(super) verified_by: Arc<ServerConfig>,
}

impl AdminTransport {
    pub(super) fn new(state: &Arc<State>) -> Self {
        let state = Arc::clone(state);
        Self { state }
    }
}

impl Transport for AdminTransport {
    type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

    async fn open(&self, stream: TcpStream) -> io::Result<(Self::Stream, Extensions)> {
        let mut extensions = Extensions::new();
        let Some(config) = self.state.snapshot().admin.tls().cloned() else {
            return Ok((Either::Left(stream), extensions));
        };
        let stream = TlsAcceptor::from(Arc::clone(&config))
            .accept(stream)
            .await?;
        let (_, session) = stream.get_ref();
        if session.peer_certificates().is_some() {
            extensions.insert(ClientCertificate {
                verified_by: config,
            });
        }
        Ok((Either::Right(Box::new(stream)), extensions))
    }
}
