//! Revalidates a stored response while its client has the stale one already, as
//! [`refresh`](super::super::refresh) does on the general path.

use std::sync::Arc;

use http::Method;
use tokio::{io, time::timeout};

use super::{
    request::RequestHead,
    serve::{Connection, InFlight},
};
use crate::{
    edge::{
        client_stream::ClientStream,
        ctx::Ctx,
        refresh::{PIPE_BYTES, REFRESHES, TIME, head},
    },
    state::State,
};

const MAX_FIELDS: usize = 256;

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
        let Some(policy) = self.ctx.policy.cache_refresh() else {
            return;
        };
        let Ok(permit) = REFRESHES.try_acquire() else {
            return;
        };
        let state = Arc::clone(&self.connection.state);
        let head = head(self.head.target(), None, self.head.fields());
        let ctx = self.ctx.for_refresh(policy, &state);
        tokio::spawn(async move {
            let _permit = permit;
            // What does not succeed is tried again by the next request.
            let _ = timeout(TIME, run(ctx, head, state)).await;
        });
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
