//! Responses of the gateway itself, and the end of a connection.

use std::{pin::pin, time::Duration};

use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    buffer::Buffer,
    failed::Failed,
    heads::{self, Edits},
    serve::{Ended, InFlight},
};
use crate::{
    edge::{client_stream::ClientStream, reply},
    reply::Reply,
};

impl InFlight<'_> {
    /// Sends the client what failed, unless it has disconnected or a response has started.
    pub(super) async fn failed(&mut self, failed: Failed) -> Ended {
        // The rest of the request may still arrive.
        self.keep = false;
        let mut ended = match (failed.problem, failed.sent) {
            (Some(problem), None) => self.problem(problem).await,
            (_, sent) => {
                let (status, bytes) = sent.unwrap_or_default();
                Ended {
                    status,
                    bytes,
                    ..Ended::default()
                }
            }
        };
        ended.error = ended.error.or(failed.error);
        ended
    }

    /// Sends a response of the gateway's own.
    pub(super) async fn reply(&mut self, reply: &Reply) -> Ended {
        // The rest of a request that was too slow is not waited for.
        let timed_out = reply.status == StatusCode::REQUEST_TIMEOUT;
        let read = !timed_out && discard_small_body(self.stream, self.body_bytes).await;
        let keep = self.keep && read;
        let mut out = Buffer::lend();
        {
            let mut edits = Edits::new(reply.status);
            reply::decorate(&mut edits, &mut self.ctx);
            heads::write_reply(reply, self.method, &edits, keep, &mut out);
        }
        let server = &self.ctx.snapshot.config.model.server;
        let limit = Duration::from_secs(server.page_timeout_seconds);
        let deadline = tokio::time::Instant::now() + limit;
        let stream = &mut *self.stream;
        let sent = async {
            stream.write_all(out.unused()).await?;
            stream.flush().await
        };
        let sent = self.connection.alarm.bound(Some(deadline), sent).await;
        if !matches!(sent, Some(Ok(()))) {
            return Ended::default();
        }
        let is_head = *self.method == Method::HEAD;
        let bytes = if is_head { 0 } else { reply.body.len() as u64 };
        Ended {
            status: Some(reply.status.as_u16()),
            bytes,
            keep,
            error: None,
        }
    }
}

/// True: the request was read to its end.
async fn discard_small_body(stream: &mut ClientStream, bytes: u64) -> bool {
    stream.take_body();
    if !stream.has_ended() && bytes <= reply::DISCARDED_BYTES {
        let read = async {
            let mut buffer = Buffer::lend();
            while !stream.has_ended() {
                let read = std::future::poll_fn(|context| {
                    buffer.consume(usize::MAX);
                    buffer.poll_read(stream, u64::MAX, context)
                });
                if !matches!(read.await, Ok(1..)) {
                    return;
                }
            }
        };
        let _ = timeout(reply::DISCARD_TIMEOUT, read).await;
    }
    stream.has_ended()
}

/// Closes, and reads what the client was sending: a reset could otherwise overtake the response.
pub(super) async fn linger(stream: &mut ClientStream) {
    stream.read_on();
    let closing = pin!(async {
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    });
    let _ = timeout(reply::LINGER, closing).await;
}
