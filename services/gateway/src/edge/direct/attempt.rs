//! The attempts of a request: a replica, a connection to it, and what comes of both.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use quartet_http::health::Readiness;
use tokio::{net::TcpStream, time::Instant};

use super::{
    buffer::Buffer,
    connect::{Connected, connect},
    exchange::{Client, Exchange, OnHead, PartialRequest, Timeouts},
    failed::FailedRequest,
    heads::{self, HeadEdits},
    response_head::ResponseHead,
    serve::{AttemptOutcome, Completion, Connection, InFlight},
    tunnel::SwitchedUpstream,
};
use crate::{
    edge::{ctx::Ctx, failure, reply, response::has_answered},
    upstream::Upstream,
};

impl InFlight<'_> {
    /// Tries one replica after the other, as far as that is safe.
    pub(super) async fn attempt(
        &mut self,
        upstream: &Arc<Upstream>,
        mut start: PartialRequest,
    ) -> Result<AttemptOutcome, FailedRequest> {
        let timeouts = self.timeouts();
        loop {
            let connected = self.connect(upstream).await?;
            let Connected { stream, reused, at } = connected;
            let client = Client {
                stream: &mut *self.stream,
                alarm: &mut self.connection.alarm,
            };
            let mut exchange = Exchange::new(client, stream, start, timeouts, at);
            let mut on_head = HeadWriter {
                ctx: &mut self.ctx,
                readiness: &self.connection.state.readiness,
                keep: self.keep,
                status: None,
            };
            let result = exchange.run(&mut on_head).await;
            let (status, keep, bytes) = (on_head.status, on_head.keep, exchange.body_bytes);
            let failure = match result {
                Ok(()) if exchange.has_switched() => {
                    let (upstream, first) = exchange.into_tunnel();
                    let switched = SwitchedUpstream::new(upstream, first, status, timeouts);
                    return Ok(AttemptOutcome::Switched(Box::new(switched)));
                }
                Ok(()) => {
                    let at = exchange.answered_at();
                    let idle = exchange.into_reusable();
                    self.put_back(upstream, idle, at);
                    return Ok(AttemptOutcome::Ended(Completion {
                        status,
                        bytes,
                        keep,
                        error: None,
                    }));
                }
                Err(failure) => failure,
            };
            let can_reply = exchange.can_reply();
            let unanswered = exchange.is_unanswered();
            let again = exchange.into_request();
            if failure.is_of_connection() {
                let idempotent = self.method.is_idempotent();
                let repeatable = idempotent && unanswered && again.is_some();
                let (ctx, state) = (&mut self.ctx, &self.connection.state);
                let retry = failure::after_a_failed_connection(ctx, state, repeatable, reused);
                if let Some(again) = again.filter(|_| retry) {
                    start = again;
                    continue;
                }
            }
            let sent = (!can_reply).then_some((status, bytes));
            return Err(FailedRequest::of(&failure, sent));
        }
    }

    /// Keeps a connection that can serve another request.
    fn put_back(&self, upstream: &Upstream, idle: Option<TcpStream>, now: Instant) {
        let replica = self.ctx.attempts.current.as_ref();
        if let (Some(stream), Some(replica)) = (idle, replica) {
            let pool = &self.connection.state.pool;
            pool.put(replica.address, upstream, stream, now);
        }
    }

    /// A connection to a replica; another replica, if one cannot be reached.
    async fn connect(&mut self, upstream: &Arc<Upstream>) -> Result<Connected, FailedRequest> {
        let Connection { state, alarm, .. } = &mut *self.connection;
        loop {
            let now = Instant::now();
            let attempts = &mut self.ctx.attempts;
            let replica = upstream
                .acquire(attempts.key, &attempts.tried, now.into_std())
                .ok_or_else(|| FailedRequest::unreachable(None))?;
            let address = replica.address;
            attempts.current = Some(replica);
            attempts.started = Some(now.into_std());
            let server = &self.ctx.snapshot.config.model.server;
            match connect((address, now), upstream, server, &state.pool, alarm).await {
                Ok(connected) => return Ok(connected),
                Err(_) if failure::while_connecting(&mut self.ctx, state) => {}
                Err(error) => return Err(FailedRequest::unreachable(Some(error.to_string()))),
            }
        }
    }

    fn timeouts(&self) -> Timeouts {
        let ctx = &self.ctx;
        let write = ctx.snapshot.config.model.server.write_timeout_seconds;
        let route = ctx.route();
        Timeouts {
            body: route.map_or(reply::LINGER, |route| route.body_timeout),
            response: ctx.silence(),
            write: Duration::from_secs(write),
        }
    }
}

/// Writes the heads of one response.
struct HeadWriter<'h> {
    ctx: &'h mut Ctx,
    readiness: &'h Readiness,
    keep: bool,
    status: Option<u16>,
}

impl OnHead for HeadWriter<'_> {
    fn head(&mut self, head: &ResponseHead<'_, '_>, keep: bool, at: Instant, out: &mut Buffer) {
        if head.is_interim() {
            heads::write_interim(head, out);
            return;
        }
        has_answered(self.ctx, at.into_std());
        // The drain may have begun since the request did.
        self.keep &= keep && !self.readiness.is_draining();
        self.status = Some(head.status);
        let mut edits = HeadEdits::new(StatusCode::from_u16(head.status).unwrap_or_default());
        reply::decorate(&mut edits, self.ctx);
        heads::write_response(head, &edits, self.keep, out);
    }
}
