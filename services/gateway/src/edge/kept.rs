//! The connection of a client that got another response than that of the upstream.
//!
//! An error is the only way to leave a response of the upstream, and pingora closes the connection of a
//! request that ended with one. What the client got is whole, so its connection is good for another
//! request.

use std::{cell::Cell, mem};

use pingora::{
    protocols::{Stream, http::ServerSession},
    proxy::Session,
};
use tokio::io::duplex;

use super::client_stream::ClientStream;

tokio::task_local! {
    static KEPT: Cell<Option<Stream>>;
}

/// Serves one request. The connection, if the request has [kept](keep) it.
pub(super) async fn serve<T>(request: impl Future<Output = T>) -> (T, Option<Stream>) {
    KEPT.scope(Cell::new(None), async {
        let result = request.await;
        (result, KEPT.with(Cell::take))
    })
    .await
}

/// Takes the connection from a request that has ended, if another one may follow. Nothing may be done
/// with the session after that.
pub(super) async fn keep(session: &mut Session) {
    if session.is_http2() {
        return;
    }
    let (nothing, _) = duplex(1);
    let nothing = ServerSession::new_http1(Box::new(ClientStream::new(Box::new(nothing))));
    let served = mem::replace(session.as_downstream_mut(), nothing);
    if let Ok(Some(reusable)) = served.finish().await {
        let (stream, _) = reusable.into_parts();
        let _ = KEPT.try_with(|kept| kept.set(Some(stream)));
    }
}
