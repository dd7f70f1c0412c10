//! Notices a client that leaves while its request waits for something else than the client: its turn in
//! the queue of an upstream, or the end of a pause before a retry.
//!
//! Without this, users who reload a slow page would fill the queue with requests that no one waits for,
//! and each would still be sent. Nothing can be read from the client at that time, as what it sends is
//! of its body or of its next request. So the state of its connection is looked at. With HTTP/1, one that
//! has sent its last byte is taken for gone: that looks the same as having closed.

use std::{sync::Arc, time::Duration};

use pingora::{
    protocols::{
        GetSocketDigest as _, SocketDigest,
        http::{ServerSession, v2::server::HttpSession},
    },
    proxy::Session,
};

use super::client_stream::ClientStream;

/// Between two times that the connection is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// The state of a connection that both sides send on (`tcp_states.h` of Linux).
const ESTABLISHED: u8 = 1;

/// The client of one request.
pub(super) enum Departure<'d> {
    /// Of HTTP/1, on the direct path.
    Direct(&'d ClientStream),
    /// The same on the general path. `None`: there is no client.
    Connection(Option<Arc<SocketDigest>>),
    /// Of HTTP/2: the stream of the request.
    Stream(&'d mut HttpSession),
}

impl<'d> Departure<'d> {
    pub(super) fn of(session: &'d mut Session) -> Self {
        let socket = session
            .digest()
            .and_then(|digest| digest.socket_digest.clone());
        match session.as_downstream_mut() {
            ServerSession::H2(stream) => Self::Stream(stream),
            _ => Self::Connection(socket),
        }
    }

    /// Completes when the client has left.
    pub(super) async fn wait(self) {
        let socket = match self {
            Self::Stream(stream) => {
                // Reset by the client, or with its connection.
                let _ = stream.idle().await;
                return;
            }
            Self::Direct(stream) => stream.get_socket_digest(),
            Self::Connection(socket) => socket,
        };
        let Some(socket) = socket else {
            return std::future::pending().await;
        };
        while is_open(&socket) {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// What is not known is taken for open.
fn is_open(socket: &SocketDigest) -> bool {
    let info = socket.tcp_info();
    info.is_none_or(|info| info.tcpi_state == ESTABLISHED)
}
