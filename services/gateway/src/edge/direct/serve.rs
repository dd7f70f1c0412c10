//! One request from its head to its line in the log.

use std::{
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use pingora::protocols::{GetSocketDigest as _, Ssl as _};
use quartet_common::{problem::Problem, request_id};
use quartet_telemetry::TRACEPARENT;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    alarm::Alarm,
    buffer::Buffer,
    connect::{Connected, connect},
    exchange::{Client, Exchange, Failure, OnHead, Request, Timeouts},
    heads::{self, Edits},
    request::RequestHead,
    response_head::ResponseHead,
};
use crate::{
    edge::{
        client_stream::ClientStream,
        ctx::{Ctx, peer_ip},
        downstream::is_dropped,
        failure, logging, reply,
        request::route,
        response::has_answered,
    },
    error,
    policy::{
        Edit, Flow, ResponseHead as _,
        headers::{Origin, forwarded_headers},
    },
    reply::{Answer, Reply},
    routing::{Action, Route},
    state::State,
    upstream::Upstream,
};

/// Serves requests of one connection, and keeps what they share.
pub(in crate::edge) struct Direct {
    state: Arc<State>,
    peer: Option<IpAddr>,
    tls: bool,
    head: RequestHead,
    alarm: Alarm,
}

/// How a request ended.
#[derive(Default)]
struct Ended {
    /// Of the response that the client was sent.
    status: Option<u16>,
    bytes: u64,
    /// Another request may follow on the connection.
    keep: bool,
    error: Option<String>,
}

/// What is known of a request beside its head.
struct InFlight<'r> {
    stream: &'r mut ClientStream,
    parts: &'r Parts,
    ctx: &'r mut Ctx,
    /// Unless something happens that prevents it.
    keep: bool,
}

impl Direct {
    pub(in crate::edge) fn new(stream: &ClientStream, state: &Arc<State>) -> Self {
        Self {
            state: Arc::clone(state),
            peer: peer_ip(stream.get_socket_digest().as_deref()),
            tls: stream.get_ssl_digest().is_some(),
            head: RequestHead::default(),
            alarm: Alarm::new(),
        }
    }

    /// Whether another request may follow. `None`: the request is not for this path.
    pub(in crate::edge) async fn serve(
        &mut self,
        stream: &mut ClientStream,
        head: &[u8],
    ) -> Option<bool> {
        let snapshot = self.state.snapshot();
        let server = &snapshot.config.model.server;
        if !server.direct_path || !self.head.read(head, |name| is_dropped(name, server)) {
            return None;
        }
        let parts = self.head.view(head).to_parts()?;
        let target = self.head.view(head).target();
        let matched = route(&snapshot, &parts, target).ok()?;
        if !matched.route.direct || self.needs_stored_body(stream) {
            return None;
        }
        self.state.metrics.direct_requests.inc();
        let mut ctx = Ctx::new(snapshot);
        ctx.identify(&parts, self.peer, &self.state);
        ctx.matched = Some(matched);
        let keep = !self.head.close() && !self.state.readiness.is_draining();
        let request = InFlight {
            stream,
            parts: &parts,
            ctx: &mut ctx,
            keep,
        };
        let ended = self.respond(request, head).await;
        let done = logging::Done {
            method: &parts.method,
            path: parts.uri.path(),
            status: ended.status,
            bytes: ended.bytes,
            error: ended.error,
        };
        logging::record(done, &mut ctx, &self.state);
        Some(ended.keep)
    }

    /// Another attempt would need a body that this path does not keep.
    fn needs_stored_body(&self, stream: &ClientStream) -> bool {
        let received = stream.body_received() as u64;
        received < self.head.body_bytes() && self.head.method().is_idempotent()
    }

    async fn respond(&mut self, mut request: InFlight<'_>, head: &[u8]) -> Ended {
        let snapshot = Arc::clone(&request.ctx.snapshot);
        let Some(route) = request.ctx.route().cloned() else {
            return self.problem(&mut request, error::internal()).await;
        };
        match request.ctx.judge(request.parts).await {
            Flow::Continue => {}
            Flow::Reply(answer) => return self.answer(&mut request, *answer).await,
        }
        let Action::Proxy(index) = route.action else {
            return self.problem(&mut request, error::internal()).await;
        };
        let upstream = &snapshot.upstreams[index];
        upstream.retry_budget.deposit();
        request.ctx.attempts.upstream = Some(Arc::clone(upstream));
        let start = self.request_start(&mut request, upstream, head);
        match self.attempt(&mut request, upstream, &route, start).await {
            Ok(ended) => ended,
            Err(failed) => self.failed(&mut request, failed).await,
        }
    }

    /// The head for the upstream, and what is here of the body.
    fn request_start(
        &self,
        request: &mut InFlight<'_>,
        upstream: &Upstream,
        head: &[u8],
    ) -> Request {
        let edits = request_edits(request, upstream, self.tls);
        let mut start = Buffer::lend();
        let view = self.head.view(head);
        let respelled = request
            .ctx
            .matched
            .as_ref()
            .and_then(|matched| matched.target.as_deref());
        let target = respelled.map_or(view.target(), str::as_bytes);
        heads::write_request(&request.parts.method, target, view, &edits, &mut start);
        let body = request.stream.take_body();
        start.push(&body);
        Request {
            start,
            left: self.head.body_bytes() - body.len() as u64,
            is_head: request.parts.method == Method::HEAD,
        }
    }

    /// Tries one replica after the other, as far as that is safe.
    async fn attempt(
        &mut self,
        request: &mut InFlight<'_>,
        upstream: &Arc<Upstream>,
        route: &Route,
        mut start: Request,
    ) -> Result<Ended, Failed> {
        let timeouts = timeouts(request.ctx, route);
        loop {
            let now = Instant::now();
            let attempts = &mut request.ctx.attempts;
            let replica = upstream
                .acquire(attempts.key, &attempts.tried, now)
                .ok_or(Failed::unreachable(None))?;
            let address = replica.address;
            attempts.current = Some(replica);
            attempts.started = Some(now);
            let server = &request.ctx.snapshot.config.model.server;
            let connected =
                connect(address, upstream, server, &self.state.pool, &mut self.alarm).await;
            let Connected { stream, reused } = match connected {
                Ok(connected) => connected,
                Err(_) if failure::while_connecting(request.ctx, &self.state) => continue,
                Err(error) => return Err(Failed::unreachable(Some(error.to_string()))),
            };
            let client = Client {
                stream: &mut *request.stream,
                alarm: &mut self.alarm,
            };
            let mut exchange = Exchange::new(client, stream, start, timeouts);
            let mut on_head = Heads {
                ctx: request.ctx,
                keep: request.keep,
                status: None,
            };
            let result = exchange.run(&mut on_head).await;
            let (status, keep) = (on_head.status, on_head.keep);
            let bytes = exchange.body_bytes;
            let Err(failure) = result else {
                let read = exchange.request_read();
                if let Some(stream) = exchange.into_reusable() {
                    let until = tokio::time::Instant::now() + upstream.config.idle_timeout;
                    self.state.pool.put(address, stream, until);
                }
                if !read {
                    linger(request.stream).await;
                }
                return Ok(Ended {
                    status,
                    bytes,
                    keep,
                    error: None,
                });
            };
            let can_reply = exchange.can_reply();
            let unanswered = exchange.is_unanswered();
            let again = exchange.into_request();
            if failure.is_of_connection() {
                let idempotent = request.parts.method.is_idempotent();
                let repeatable = idempotent && unanswered && again.is_some();
                let (ctx, state) = (&mut *request.ctx, &self.state);
                let retry = failure::after_a_failed_connection(ctx, state, repeatable, reused);
                if let Some(again) = again.filter(|_| retry) {
                    start = again;
                    continue;
                }
            }
            let sent = (!can_reply).then_some((status, bytes));
            return Err(Failed {
                problem: failure.problem(),
                error: Some(failure.text()),
                sent,
            });
        }
    }

    /// Sends the client what failed, unless it has disconnected or a response has started.
    async fn failed(&mut self, request: &mut InFlight<'_>, failed: Failed) -> Ended {
        // The rest of the request may still arrive.
        request.keep = false;
        let mut ended = match (failed.problem, failed.sent) {
            (Some(problem), None) => self.problem(request, problem).await,
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

    /// Sends what a policy answered.
    async fn answer(&mut self, request: &mut InFlight<'_>, answer: Answer) -> Ended {
        match answer {
            Answer::Problem(problem) => self.problem(request, problem).await,
            Answer::Reply(reply) => self.reply(request, &reply).await,
        }
    }

    async fn problem(&mut self, request: &mut InFlight<'_>, problem: Problem) -> Ended {
        let path = request.parts.uri.path();
        let reply = reply::problem_reply(request.ctx, &problem, path);
        self.reply(request, &reply).await
    }

    /// Sends a response of the gateway's own.
    async fn reply(&mut self, request: &mut InFlight<'_>, reply: &Reply) -> Ended {
        // The rest of a request that was too slow is not waited for.
        let timed_out = reply.status == StatusCode::REQUEST_TIMEOUT;
        let read = !timed_out && discard_small_body(request.stream, self.head.body_bytes()).await;
        let keep = request.keep && read;
        let mut edits = Edits::new(reply.status);
        reply::decorate(&mut edits, request.ctx);
        let mut out = Buffer::lend();
        heads::write_reply(reply, &request.parts.method, &edits, keep, &mut out);
        let seconds = request
            .ctx
            .snapshot
            .config
            .model
            .server
            .page_timeout_seconds;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
        let stream = &mut *request.stream;
        let sent = async {
            stream.write_all(out.unused()).await?;
            stream.flush().await
        };
        let sent = self.alarm.bound(Some(deadline), sent).await;
        if !matches!(sent, Some(Ok(()))) {
            return Ended::default();
        }
        if !read && !timed_out {
            linger(request.stream).await;
        }
        let is_head = request.parts.method == Method::HEAD;
        let bytes = if is_head { 0 } else { reply.body.len() as u64 };
        Ended {
            status: Some(reply.status.as_u16()),
            bytes,
            keep,
            error: None,
        }
    }
}

/// Why no attempt brought a whole response.
struct Failed {
    /// `None`: the client has disconnected.
    problem: Option<Problem>,
    error: Option<String>,
    /// The status and the bytes of a response that has started.
    sent: Option<(Option<u16>, u64)>,
}

impl Failed {
    fn unreachable(error: Option<String>) -> Self {
        let problem = Some(error::upstream_unreachable());
        Self {
            problem,
            error,
            sent: None,
        }
    }
}

impl Failure {
    /// Rather than of the client or of time.
    fn is_of_connection(&self) -> bool {
        matches!(self, Self::UpstreamClosed(_) | Self::Refused(_))
    }

    fn problem(&self) -> Option<Problem> {
        match self {
            Self::ClientGone | Self::ClientStalled => None,
            Self::BodyTimeout => Some(failure::body_timed_out()),
            Self::UpstreamTimeout => Some(error::upstream_timeout()),
            Self::UpstreamClosed(_) | Self::Refused(_) => Some(error::bad_gateway()),
        }
    }

    fn text(&self) -> String {
        let text = match self {
            Self::ClientGone => "the client disconnected",
            Self::ClientStalled => "the client did not read the response in time",
            Self::BodyTimeout => "the request body did not arrive in time",
            Self::UpstreamTimeout => "the upstream did not respond in time",
            Self::UpstreamClosed(None) => "the upstream closed the connection",
            Self::UpstreamClosed(Some(error)) => return error.to_string(),
            Self::Refused(why) => why,
        };
        text.to_owned()
    }
}

/// Writes the heads of one response.
struct Heads<'h> {
    ctx: &'h mut Ctx,
    keep: bool,
    status: Option<u16>,
}

impl OnHead for Heads<'_> {
    fn head(&mut self, head: &ResponseHead<'_, '_>, keep: bool, out: &mut Buffer) {
        if head.is_interim() {
            heads::write_interim(head, out);
            return;
        }
        has_answered(self.ctx);
        self.keep &= keep;
        self.status = Some(head.status);
        let mut edits = Edits::new(StatusCode::from_u16(head.status).unwrap_or_default());
        reply::decorate(&mut edits, self.ctx);
        heads::write_response(head, &edits, self.keep, out);
    }
}

/// Headers that the request gets, and loses.
fn request_edits(request: &InFlight<'_>, upstream: &Upstream, tls: bool) -> Edits {
    let (ctx, sent) = (&*request.ctx, &request.parts.headers);
    let origin = Origin {
        client_ip: ctx.client_ip,
        peer_is_trusted: ctx.peer_is_trusted,
        tls,
        host: sent.get(header::HOST),
    };
    let mut edits = Edits::default();
    for (name, value) in forwarded_headers(origin, sent).into_headers() {
        edits.set(name.clone(), value);
    }
    for edit in &ctx.policy.edits {
        match edit {
            Edit::Set(name, value) => edits.set(name.clone(), value.clone()),
            Edit::Remove(name) => edits.remove(name),
        }
    }
    let respelled = ctx
        .matched
        .as_ref()
        .and_then(|matched| matched.host.as_ref());
    if let Some(host) = upstream.config.host.as_ref().or(respelled) {
        edits.set(header::HOST, host.clone());
    }
    if let Ok(id) = HeaderValue::from_str(ctx.request_id()) {
        edits.set(request_id::HEADER.clone(), id);
    }
    edits.set(TRACEPARENT.clone(), ctx.trace.context().header());
    edits
}

fn timeouts(ctx: &Ctx, route: &Route) -> Timeouts {
    let write = ctx.snapshot.config.model.server.write_timeout_seconds;
    Timeouts {
        body: route.body_timeout,
        response: if ctx.streaming {
            route.stream_timeout
        } else {
            route.response_timeout
        },
        write: Duration::from_secs(write),
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
async fn linger(stream: &mut ClientStream) {
    let closing = pin!(async {
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    });
    let _ = timeout(reply::LINGER, closing).await;
}
