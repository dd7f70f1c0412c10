//! The attempts of a request: a replica, a connection to it, and what comes of both.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::{net::TcpStream, time::Instant};

use super::{
    buffer::Buffer,
    connect::{Connected, connect},
    exchange::{Client, Exchange, OnHead, PartialRequest, Timeouts},
    failed::{ExchangeError, FailedRequest},
    heads::{self, HeadEdits},
    request::RequestView,
    response_head::ResponseHead,
    serve::{AttemptOutcome, Connection, InFlight},
    tunnel::SwitchedUpstream,
};
use crate::{
    cache::BodyLength,
    edge::{
        attempt::{self, NotChosen},
        ctx::Ctx,
        departure::Departure,
        reply,
        response::has_answered,
        response_framing::Framing,
        slow_try::SlowTry,
    },
    error,
    policy::ReceivedResponse,
    reply::GatewayResponse,
    state::State,
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
        let idempotent = attempt::is_idempotent(Some(upstream), self.method, &self.head);
        loop {
            let Connected { stream, reused, at } = self.connect(upstream).await?;
            let client = Client {
                stream: &mut *self.stream,
                alarm: &mut self.connection.alarm,
            };
            let mut exchange = Exchange::new(client, stream, start, timeouts, at);
            let can_repeat = idempotent && exchange.request_read();
            let (try_until, slow) = attempt::try_bound(&self.ctx, can_repeat).unzip();
            exchange.bound_try(try_until.map(Instant::from_std));
            let shown = (self.method, &self.head);
            let (ctx, state) = (&mut self.ctx, &*self.connection.state);
            let mut on_head = HeadWriter::new(ctx, state, (self.keep, idempotent), shown);
            let mut result = exchange.run(&mut on_head).await;
            if matches!(result, Err(ExchangeError::TryTimeout)) && !on_head.leaves(slow.as_ref()) {
                // No other replica is to be asked, so this one has all the time that there is.
                exchange.bound_try(None);
                result = exchange.run(&mut on_head).await;
            }
            let (status, keep, bytes) = (on_head.status, on_head.keep, exchange.body_bytes);
            let instead = on_head.instead.take();
            let failure = match result {
                Ok(()) if exchange.has_switched() => {
                    let (upstream, first) = exchange.into_tunnel();
                    let ping = self.ctx.ping();
                    let switched = SwitchedUpstream::new(upstream, first, status, timeouts, ping);
                    return Ok(AttemptOutcome::Switched(Box::new(switched)));
                }
                Ok(()) => {
                    let at = exchange.answered_at();
                    let idle = exchange.into_reusable();
                    self.put_back(upstream, idle, at);
                    return Ok(AttemptOutcome::of(instead, status, bytes, keep));
                }
                Err(failure) => failure,
            };
            let can_reply = exchange.can_reply();
            let unanswered = exchange.is_unanswered();
            let silence = exchange.silence_before_head();
            let again = exchange.into_request();
            let (ctx, state) = (&mut self.ctx, &self.connection.state);
            let retry = match &failure {
                // Decided when it was noticed.
                ExchangeError::Withheld | ExchangeError::TryTimeout => true,
                failure if failure.is_of_connection() => {
                    let repeatable = idempotent && unanswered && again.is_some();
                    attempt::after_a_failed_connection(ctx, state, repeatable, reused)
                }
                failure => {
                    note_timeout(ctx, failure, silence);
                    false
                }
            };
            if let Some(again) = again.filter(|_| retry) {
                start = again;
                continue;
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
            let client = Departure::Direct(self.stream);
            match attempt::next_replica(&mut self.ctx, state, client).await {
                Ok(()) => {}
                Err(NotChosen::Refused(problem)) => return Err(FailedRequest::refused(*problem)),
                Err(NotChosen::ClientGone) => {
                    return Err(FailedRequest::of(&ExchangeError::ClientGone, None));
                }
            }
            let attempts = &self.ctx.attempts;
            let (address, now) = attempts
                .address
                .zip(attempts.started)
                .ok_or_else(|| FailedRequest::refused(error::internal()))?;
            let now = Instant::from_std(now);
            let server = &self.ctx.snapshot.config.model.server;
            let end = self.ctx.deadline().map(Instant::from_std);
            let until = end
                .into_iter()
                .chain([now + upstream.config.connect_timeout]);
            let until = until.min().unwrap_or(now);
            match connect((address, now, until), server, &state.pool, alarm).await {
                Ok(connected) => return Ok(connected),
                Err(_) if attempt::has_expired(&self.ctx) => {
                    return Err(FailedRequest::of(&ExchangeError::RequestTimeout, None));
                }
                Err(_) if attempt::after_no_connection(&mut self.ctx, state) => {}
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
            end: ctx.deadline().map(Instant::from_std),
        }
    }
}

/// `silence`: for how long the head of the response has been waited for, if it was.
fn note_timeout(ctx: &Ctx, failure: &ExchangeError, silence: Option<Duration>) {
    match (failure, silence) {
        (ExchangeError::UpstreamTimeout, _) => attempt::note_silence(ctx),
        (ExchangeError::RequestTimeout, Some(silence)) => attempt::note_deadline(ctx, silence),
        _ => {}
    }
}

/// Writes the heads of one response.
struct HeadWriter<'h> {
    ctx: &'h mut Ctx,
    state: &'h State,
    keep: bool,
    status: Option<u16>,
    idempotent: bool,
    request: &'h RequestView<'h>,
    method: &'h Method,
    /// What the client gets in place of the response.
    instead: Option<Box<GatewayResponse>>,
}

impl<'h> HeadWriter<'h> {
    /// `request`: what a cache is shown of it.
    fn new(
        ctx: &'h mut Ctx,
        state: &'h State,
        (keep, idempotent): (bool, bool),
        (method, request): (&'h Method, &'h RequestView<'h>),
    ) -> Self {
        Self {
            ctx,
            state,
            keep,
            status: None,
            idempotent,
            request,
            method,
            instead: None,
        }
    }
}

impl HeadWriter<'_> {
    /// Whether another replica is asked instead of one that has not answered in time.
    fn leaves(&mut self, slow: Option<&SlowTry>) -> bool {
        let leaves = slow.is_some_and(SlowTry::is_given_up);
        if leaves {
            attempt::after_a_slow_try(self.ctx, self.state);
        }
        leaves
    }

    /// Shows the response to a cache.
    fn show(&mut self, head: &ResponseHead<'_, '_>) -> ControlFlow<()> {
        let headers = header_map(head);
        let response = ReceivedResponse {
            status: StatusCode::from_u16(head.status).unwrap_or_default(),
            headers: &headers,
            length: match head.framing {
                Framing::Empty => BodyLength::Known(0),
                Framing::Length(length) => BodyLength::Known(length),
                Framing::Chunked => BodyLength::Marked,
                Framing::UntilClose => BodyLength::Unknown,
            },
            method: self.method,
            request: self.request,
        };
        self.instead = self.ctx.policy.cache_head(response);
        if self.instead.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// The fields of a head in the form that policies know.
fn header_map(head: &ResponseHead<'_, '_>) -> HeaderMap {
    let fields = head.fields.iter().filter_map(|field| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(field.value).ok()?))
    });
    fields.collect()
}

impl OnHead for HeadWriter<'_> {
    fn withholds(&mut self, head: &ResponseHead<'_, '_>) -> bool {
        let idempotent = self.idempotent;
        let has_retry_after = || {
            let mut fields = head.fields.iter();
            fields.any(|field| field.name.eq_ignore_ascii_case("retry-after"))
        };
        let (ctx, state) = (&mut *self.ctx, self.state);
        attempt::after_a_status(ctx, state, head.status, has_retry_after, |_| idempotent)
    }

    fn head(
        &mut self,
        head: &ResponseHead<'_, '_>,
        keep: bool,
        at: Instant,
        out: &mut Buffer,
    ) -> ControlFlow<()> {
        if head.is_interim() {
            heads::write_interim(head, out);
            return ControlFlow::Continue(());
        }
        has_answered(self.ctx, head.status, at.into_std());
        if self.ctx.policy.has_cache() {
            self.show(head)?;
        }
        if self.ctx.policy.checks_response() {
            let status = StatusCode::from_u16(head.status).unwrap_or_default();
            self.ctx
                .policy
                .check_response_head(status, &header_map(head));
        }
        // The drain may have begun since the request did.
        self.keep &= keep && !self.state.readiness.is_draining();
        self.status = Some(head.status);
        let mut edits = HeadEdits::new(StatusCode::from_u16(head.status).unwrap_or_default());
        reply::decorate(&mut edits, self.ctx);
        heads::write_response(head, &edits, self.keep, out);
        ControlFlow::Continue(())
    }

    fn data(&mut self, data: &[u8]) {
        self.ctx.policy.cache_body(data);
        self.ctx.policy.check_response_part(data);
    }

    fn end(&mut self) {
        self.ctx.policy.cache_end();
        self.ctx.policy.check_response_end();
    }
}
