//! Revalidates a stored response while its client has the stale one already, on the general path.
//!
//! The request is that of the client, as far as the policies have let it be forwarded. It passes
//! pingora's phases as others do, but for those that decide about it: that was done. Its response goes
//! to a client that takes everything and sends nothing.

use std::{
    cell::Cell,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use pingora::{protocols::http::ServerSession, proxy::Session};
use tokio::{io, sync::Semaphore, time::timeout};

use super::{client_stream::ClientStream, ctx::Ctx};
use crate::{policy::PolicyContext, state::State};

/// At once, on both paths; others are left to the next request for the response.
pub(super) static REFRESHES: Semaphore = Semaphore::const_new(256);
/// Of one revalidation.
pub(super) const TIME: Duration = Duration::from_mins(1);
/// Between the upstream and no client.
pub(super) const PIPE_BYTES: usize = 64 * 1024;

tokio::task_local! {
    static REFRESH: Cell<Option<Box<Ctx>>>;
}

/// Serves a request as those of clients are.
type Serve = dyn Fn(ServerSession) -> BoxFuture<'static, ()> + Send + Sync;

/// Sends requests that no client waits for.
#[derive(Clone, Default)]
pub(super) struct Refresher(Arc<OnceLock<Box<Serve>>>);

impl Refresher {
    /// With what the requests are served. Once, since it needs this one to be made.
    pub(super) fn set(&self, serve: Box<Serve>) {
        let _ = self.0.set(serve);
    }

    /// `policy`: what the request of the session is to be forwarded with.
    pub(super) fn start(&self, session: &Session, ctx: &Ctx, policy: PolicyContext, state: &State) {
        let Ok(permit) = REFRESHES.try_acquire() else {
            return;
        };
        let sent = session.req_header();
        let fields = sent.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let authority = sent.uri.authority().map(http::uri::Authority::as_str);
        let head = head(sent.raw_path(), authority, fields);
        let ctx = Box::new(ctx.for_refresh(policy, state));
        let serve = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            // What does not succeed is tried again by the next request.
            let _ = timeout(TIME, serve.run(ctx, &head)).await;
        });
    }

    async fn run(&self, ctx: Box<Ctx>, head: &[u8]) {
        let Some(serve) = self.0.get() else { return };
        let (client, mut taker) = io::duplex(PIPE_BYTES);
        let mut session = ServerSession::new_http1(Box::new(ClientStream::new(Box::new(client))));
        session.set_pipelined_prefix(BytesMut::from(head));
        let request = REFRESH.scope(Cell::new(Some(ctx)), serve(session));
        let mut nowhere = io::sink();
        tokio::join!(request, async {
            let _ = io::copy(&mut taker, &mut nowhere).await;
        });
    }
}

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refresher")
    }
}

/// The state of the request, if it is such a one.
pub(super) fn prepared() -> Option<Box<Ctx>> {
    REFRESH.try_with(Cell::take).ok().flatten()
}

/// The head with what concerns the whole response. `target`: as it was sent, with the authority of HTTP/2.
pub(super) fn head<'f>(
    target: &[u8],
    authority: Option<&str>,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) -> Vec<u8> {
    const DROPPED: [&str; 7] = [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    let mut head = [b"GET ", target, b" HTTP/1.1\r\n"].concat();
    let mut put = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    let mut has_host = false;
    for (name, value) in fields {
        let is = |other: &&str| name.eq_ignore_ascii_case(other.as_bytes());
        has_host |= is(&"host");
        if !DROPPED.iter().any(is) {
            put(name, value);
        }
    }
    if let (Some(authority), false) = (authority, has_host) {
        put(b"host", authority.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_asks_for_the_whole_response_on_this_hop() {
        let fields = [
            (&b"Accept"[..], &b"a"[..]),
            (b"Connection", b"close"),
            (b"content-length", b"0"),
        ];
        let text = head(b"/a?b", Some("c"), fields.into_iter());
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "GET /a?b HTTP/1.1\r\nAccept: a\r\nhost: c\r\n\r\n");
        let text = head(b"/", Some("c"), [(&b"HOST"[..], &b"d"[..])].into_iter());
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\nHOST: d\r\n\r\n");
    }
}
