//! Revalidates a stored response while its client has the stale one already.
//!
//! The request is that of the client, as far as the policies have let it be forwarded. Its response
//! goes to a client that takes everything and sends nothing; the cache sees it as it sees others.

use std::{sync::Arc, time::Duration};

use http::Method;
use tokio::{io, sync::Semaphore, time::timeout};

use super::{
    request::RequestHead,
    serve::{Connection, InFlight},
};
use crate::{
    edge::{client_stream::ClientStream, ctx::Ctx},
    policy::PolicyContext,
    state::State,
};

/// At once; others are left to the next request for the response.
static REFRESHES: Semaphore = Semaphore::const_new(256);
/// Of one revalidation.
const TIME: Duration = Duration::from_mins(1);
/// Between the upstream and no client.
const PIPE_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 256;

/// `target`: as it was sent, with the authority of HTTP/2.
pub(in crate::edge) fn refresh<'f>(
    ctx: &Ctx,
    policy: PolicyContext,
    (target, authority): (&[u8], Option<&str>),
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    state: &Arc<State>,
) {
    let Ok(permit) = REFRESHES.try_acquire() else {
        return;
    };
    let head = head(target, authority, fields);
    let (ctx, state) = (ctx.for_refresh(policy, state), Arc::clone(state));
    tokio::spawn(async move {
        let _permit = permit;
        // What does not succeed is tried again by the next request.
        let _ = timeout(TIME, run(ctx, head, state)).await;
    });
}

/// The head with what concerns the whole response.
fn head<'f>(
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

async fn run(ctx: Ctx, head: Vec<u8>, state: Arc<State>) {
    let (client, mut taker) = io::duplex(PIPE_BYTES);
    let work = async move {
        let mut parsed = RequestHead::default();
        let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut room);
        if !matches!(request.parse(&head), Ok(httparse::Status::Complete(_))) {
            return;
        }
        parsed.note(&head, &request);
        let mut stream = ClientStream::new(Box::new(client));
        let mut connection = Connection::without_peer(state, &ctx);
        let request = InFlight {
            connection: &mut connection,
            stream: &mut stream,
            head: parsed.view(&head),
            method: &Method::GET,
            body_bytes: 0,
            ctx,
            keep: false,
        };
        if parsed.is_common() {
            Box::pin(request.revalidate()).await;
        }
    };
    let mut nowhere = io::sink();
    tokio::join!(work, async {
        let _ = io::copy(&mut taker, &mut nowhere).await;
    });
}

impl InFlight<'_> {
    /// Revalidates a stale response that was found for the request.
    pub(super) fn refresh(&mut self) {
        if let Some(policy) = self.ctx.policy.cache_refresh() {
            let (target, fields) = ((self.head.target(), None), self.head.fields());
            refresh(&self.ctx, policy, target, fields, &self.connection.state);
        }
    }

    async fn revalidate(mut self) {
        let Some(upstream) = self.ctx.attempts.upstream.clone() else {
            return;
        };
        upstream.retry_budget.deposit();
        let start = self.request_start(&upstream);
        if let Err(failed) = self.attempt(&upstream, start).await {
            let error = failed.error.unwrap_or_default();
            tracing::debug!(target: "quartet", error, "a stored response was not revalidated");
        }
    }
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
