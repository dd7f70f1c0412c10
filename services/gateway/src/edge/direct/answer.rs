//! Responses of the gateway itself.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt as _;

use super::{
    buffer::Buffer,
    closing::discard_small_body,
    failed::FailedRequest,
    heads::{self, HeadEdits},
    serve::{Completion, InFlight},
};
use crate::{
    edge::reply,
    reply::{FileBody, Reply},
};

const LATE: &str = "the client did not read in time";

impl InFlight<'_> {
    /// Sends the client what failed, unless it has disconnected or a response has started.
    pub(super) async fn failed(&mut self, failed: FailedRequest) -> Completion {
        if failed.problem.is_some()
            && failed.sent.is_none()
            && let Some(stale) = self.ctx.policy.cache_instead(self.method, &self.head)
        {
            let mut ended = Box::pin(self.answer(*stale)).await;
            ended.error = failed.error;
            return ended;
        }
        // The rest of the request may still arrive.
        self.keep = false;
        let mut ended = match (failed.problem, failed.sent) {
            (Some(problem), None) => self.problem(problem).await,
            (_, sent) => {
                let (status, bytes) = sent.unwrap_or_default();
                Completion {
                    status,
                    bytes,
                    ..Completion::default()
                }
            }
        };
        ended.error = ended.error.or(failed.error);
        ended
    }

    /// Sends a response of the gateway's own.
    pub(super) async fn reply(&mut self, reply: &mut Reply) -> Completion {
        if reply.file.is_some() {
            // Rare, and idle connections would hold room for it.
            Box::pin(self.reply_with_file(reply)).await
        } else {
            self.reply_from_memory(reply).await
        }
    }

    async fn reply_with_file(&mut self, reply: &mut Reply) -> Completion {
        let mut sent = self.reply_from_memory(reply).await;
        if let Some(file) = reply.file.take()
            && sent.status.is_some()
            && *self.method != Method::HEAD
        {
            self.send_file(*file, &mut sent).await;
        }
        sent
    }

    /// The head, and the body that is in memory.
    async fn reply_from_memory(&mut self, reply: &Reply) -> Completion {
        // The rest of a request that was too slow is not waited for.
        let timed_out = reply.status == StatusCode::REQUEST_TIMEOUT;
        let read = !timed_out && discard_small_body(self.stream, self.body_bytes).await;
        // The drain may have begun since the request did.
        let draining = self.connection.state.readiness.is_draining();
        let keep = self.keep && read && !draining;
        let mut out = Buffer::lend();
        {
            let mut edits = HeadEdits::new(reply.status);
            self.ctx.head_after = Some(self.ctx.started.elapsed());
            reply::decorate(&mut edits, &self.ctx);
            heads::write_reply(reply, self.method, &edits, keep, &mut out);
        }
        let server = &self.ctx.snapshot.config.model.server;
        let limit = Duration::from_secs(server.page_timeout_seconds);
        let deadline = tokio::time::Instant::now() + limit;
        let stream = &mut *self.stream;
        let shared = heads::body_beside_head(reply, self.method);
        let sent = async {
            stream.write_all(out.unused()).await?;
            stream.write_all(shared).await?;
            stream.flush().await
        };
        let sent = self.connection.alarm.bound(Some(deadline), sent).await;
        if !matches!(sent, Some(Ok(()))) {
            return Completion::default();
        }
        let is_head = *self.method == Method::HEAD;
        let bytes = if is_head { 0 } else { reply.body.len() as u64 };
        Completion {
            status: Some(reply.status.as_u16()),
            bytes,
            keep,
            error: None,
        }
    }

    /// Sends a body that is read on the way, each part within the time that the client has to read it.
    async fn send_file(&mut self, mut file: FileBody, sent: &mut Completion) {
        let server = &self.ctx.snapshot.config.model.server;
        let limit = Duration::from_secs(server.write_timeout_seconds);
        #[cfg(target_os = "linux")]
        if let Some(socket) = self.stream.plain_socket() {
            use super::sendfile::{self, SendOutcome};

            let waits = (&mut self.connection.alarm, limit);
            match sendfile::send(&mut file, socket, &mut sent.bytes, waits).await {
                SendOutcome::Done => {}
                SendOutcome::File(error) => return cut(sent, format!("{}: {error}", reply::FILE)),
                SendOutcome::Client(error) => return cut(sent, error.to_string()),
                SendOutcome::Late => return cut(sent, LATE.to_owned()),
            }
        }
        loop {
            let part = match file.part().await {
                Ok(Some(part)) => part,
                Ok(None) => return,
                Err(error) => return cut(sent, format!("{}: {error}", reply::FILE)),
            };
            let stream = &mut *self.stream;
            let written = async {
                stream.write_all(&part).await?;
                stream.flush().await
            };
            let deadline = tokio::time::Instant::now() + limit;
            match self.connection.alarm.bound(Some(deadline), written).await {
                Some(Ok(())) => sent.bytes += part.len() as u64,
                Some(Err(error)) => return cut(sent, error.to_string()),
                None => return cut(sent, LATE.to_owned()),
            }
        }
    }
}

/// The body has ended early, which the client sees by the end of the connection alone.
fn cut(sent: &mut Completion, error: String) {
    sent.keep = false;
    sent.error = Some(error);
}
