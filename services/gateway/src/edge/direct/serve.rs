//! One request from its head to its line in the log.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, StatusCode, Version, header};
use pingora::protocols::{GetSocketDigest as _, Ssl as _};
use quartet_common::{problem::Problem, request_id};
use quartet_telemetry::TRACEPARENT;

use super::{
    alarm::Alarm,
    buffer::Buffer,
    closing::linger,
    connect::{Connected, connect},
    exchange::{Client, Exchange, OnHead, Request, Timeouts},
    failed::Failed,
    heads::{self, Edits},
    request::{RequestHead, RequestView},
    response_head::ResponseHead,
    tunnel::{self, Bounds},
};
use crate::{
    edge::{
        client_stream::ClientStream,
        ctx::{Ctx, Received, peer_ip},
        downstream::is_dropped,
        failure, logging, reply,
        request::route,
        request_head::Reader,
        response::has_answered,
    },
    error,
    policy::{
        Edit, Flow, ResponseHead as _,
        headers::{Origin, forwarded_headers},
    },
    reply::Answer,
    request::{Headers as _, WebSocket},
    routing::{Action, Route},
    snapshot::Snapshot,
    state::State,
    upstream::Upstream,
};

/// Serves requests of one connection, and keeps what they share.
pub(in crate::edge) struct Direct {
    head: RequestHead,
    connection: Connection,
}

/// What the requests of a connection share beside the head.
pub(super) struct Connection {
    pub(super) state: Arc<State>,
    /// The one in force when the last request began: asking for the current one is a comparison then.
    snapshot: Arc<Snapshot>,
    peer: Option<IpAddr>,
    tls: bool,
    /// An address of the client and its text.
    client: (IpAddr, Box<str>),
    pub(super) alarm: Alarm,
}

/// How a request ended.
#[derive(Default)]
pub(super) struct Ended {
    /// Of the response that the client was sent.
    pub(super) status: Option<u16>,
    pub(super) bytes: u64,
    /// Another request may follow on the connection.
    pub(super) keep: bool,
    pub(super) error: Option<String>,
}

/// One request.
pub(super) struct InFlight<'r> {
    pub(super) connection: &'r mut Connection,
    pub(super) stream: &'r mut ClientStream,
    pub(super) head: RequestView<'r>,
    pub(super) method: &'r Method,
    pub(super) body_bytes: u64,
    pub(super) ctx: Ctx,
    /// Unless something happens that prevents it.
    pub(super) keep: bool,
}

impl Direct {
    pub(in crate::edge) fn new(stream: &ClientStream, state: &Arc<State>) -> Self {
        let peer = peer_ip(stream.get_socket_digest().as_deref());
        let client = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        Self {
            head: RequestHead::default(),
            connection: Connection {
                state: Arc::clone(state),
                snapshot: state.snapshot(),
                peer,
                tls: stream.get_ssl_digest().is_some(),
                client: (client, client.to_string().into()),
                alarm: Alarm::new(),
            },
        }
    }

    /// The snapshot in force.
    pub(in crate::edge) fn snapshot(&mut self) -> &Arc<Snapshot> {
        let Connection {
            state, snapshot, ..
        } = &mut self.connection;
        state.refresh(snapshot);
        snapshot
    }

    /// Reads the head of the next request.
    pub(in crate::edge) fn reader<'c, S: Future<Output = ()>>(
        &'c mut self,
        stream: &'c mut ClientStream,
        shutdown: Pin<&'c mut S>,
    ) -> Reader<'c, S> {
        Reader {
            stream,
            alarm: &mut self.connection.alarm,
            shutdown,
            parsed: &mut self.head,
        }
    }

    /// Whether another request may follow. `None`: the request is not for this path.
    pub(in crate::edge) async fn serve(
        &mut self,
        stream: &mut ClientStream,
        head: &[u8],
    ) -> Option<bool> {
        let snapshot = Arc::clone(self.snapshot());
        let server = &snapshot.config.model.server;
        if !server.direct_path || !self.head.is_common() || self.needs_stored_body(stream) {
            return None;
        }
        self.head.drop_fields(head, |name| is_dropped(name, server));
        let connection = &mut self.connection;
        let (view, method) = (self.head.view(head), self.head.method());
        let received = Received {
            method,
            version: Version::HTTP_11,
            target: view.target(),
            path: view.path(),
            authority: None,
            headers: &view,
        };
        let matched = route(&snapshot, received).ok()?;
        if !matched.route.direct || (self.head.asks_upgrade() && !opens(&matched.route, received)) {
            return None;
        }
        connection.state.metrics.direct_requests.inc();
        let mut ctx = Ctx::new(snapshot);
        ctx.identify(received, connection.peer, &connection.state);
        ctx.matched = Some(matched);
        let mut request = InFlight {
            keep: !self.head.close() && !connection.state.readiness.is_draining(),
            connection,
            stream,
            head: view,
            method,
            body_bytes: self.head.body_bytes(),
            ctx,
        };
        let ended = request.respond(received).await;
        request.log(&ended);
        let is_last = self.head.close();
        if ended.lingers(is_last, stream) {
            Box::pin(linger(stream)).await;
        }
        Some(ended.keep)
    }

    /// Another attempt would need a body that this path does not keep.
    fn needs_stored_body(&self, stream: &ClientStream) -> bool {
        let received = stream.body_received() as u64;
        received < self.head.body_bytes() && self.head.method().is_idempotent()
    }
}

impl Ended {
    /// Whether bytes of the client may be unread or under way when the connection is closed: a reset
    /// could then overtake the response. `is_last`: the client said that it sends nothing more.
    fn lingers(&self, is_last: bool, stream: &mut ClientStream) -> bool {
        let slow = self.status == Some(StatusCode::REQUEST_TIMEOUT.as_u16());
        let silent = is_last && stream.has_ended() && stream.ahead().is_empty();
        let tunnel = self.status == Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        !self.keep && self.status.is_some() && !slow && !silent && !tunnel
    }
}

/// Whether the request opens a WebSocket; any other `Upgrade` is rare.
fn opens(route: &Route, head: Received<'_>) -> bool {
    route.upgrade && WebSocket::of(head.method, head.version, head.headers) == WebSocket::Handshake
}

impl InFlight<'_> {
    fn log(&mut self, ended: &Ended) {
        let done = logging::Done {
            method: self.method,
            path: self.head.path(),
            status: ended.status,
            bytes: ended.bytes,
            error: ended.error.as_deref(),
        };
        logging::record(done, &mut self.ctx, &self.connection.state);
    }

    async fn respond(&mut self, received: Received<'_>) -> Ended {
        match self.ctx.judge(received).await {
            Flow::Continue => {}
            Flow::Reply(answer) => return Box::pin(self.answer(*answer)).await,
        }
        let action = self.ctx.route().map(|route| route.action);
        let Some(Action::Proxy(index)) = action else {
            return Box::pin(self.problem(error::internal())).await;
        };
        let upstream = Arc::clone(&self.ctx.snapshot.upstreams[index]);
        upstream.retry_budget.deposit();
        self.ctx.attempts.upstream = Some(Arc::clone(&upstream));
        let start = self.request_start(&upstream);
        match self.attempt(&upstream, start).await {
            Ok(ended) => ended,
            Err(failed) => Box::pin(self.failed(failed)).await,
        }
    }

    /// Sends what a policy answered.
    async fn answer(&mut self, answer: Answer) -> Ended {
        match answer {
            Answer::Problem(problem) => self.problem(problem).await,
            Answer::Reply(reply) => self.reply(&reply).await,
        }
    }

    pub(super) async fn problem(&mut self, problem: Problem) -> Ended {
        let reply = reply::problem_reply(&mut self.ctx, &problem, self.head.path());
        self.reply(&reply).await
    }

    /// The head for the upstream, and what is here of the body.
    fn request_start(&mut self, upstream: &Upstream) -> Request {
        self.name_client();
        let edits = self.request_edits(upstream);
        let mut start = Buffer::for_head();
        let matched = self.ctx.matched.as_ref();
        let respelled = matched.and_then(|matched| matched.target.as_deref());
        let target = respelled.map_or(self.head.target(), str::as_bytes);
        heads::write_request(self.method, target, self.head, &edits, &mut start);
        heads::end_request(self.ctx.upgrade, &mut start);
        let body = self.stream.take_body();
        start.push(&body);
        Request {
            start,
            left: self.body_bytes - body.len() as u64,
            is_head: *self.method == Method::HEAD,
            is_handshake: self.ctx.upgrade,
        }
    }

    /// Makes the text of the client's address; behind a proxy it may be another one each time.
    fn name_client(&mut self) {
        let ip = self.ctx.client_ip;
        if self.connection.client.0 != ip {
            self.connection.client = (ip, ip.to_string().into());
        }
    }

    /// Headers that the request gets, and loses.
    fn request_edits(&self, upstream: &Upstream) -> Edits {
        let ctx = &self.ctx;
        let host = self.head.first(&header::HOST);
        let origin = Origin {
            client: &self.connection.client.1,
            peer_is_trusted: ctx.peer_is_trusted,
            tls: self.connection.tls,
            host,
        };
        let mut edits = Edits::new(StatusCode::OK);
        for (name, value) in forwarded_headers(origin, &self.head) {
            if let Some(value) = value {
                edits.set_bytes(name, &value);
            }
        }
        for edit in &ctx.policy.edits {
            match edit {
                Edit::Set(name, value) => edits.set_bytes(name, value.as_bytes()),
                Edit::Remove(name) => edits.remove(name),
            }
        }
        let matched = ctx.matched.as_ref();
        let respelled = matched.and_then(|matched| matched.host.as_ref());
        if let Some(host) = upstream.config.host.as_ref().or(respelled) {
            edits.set_bytes(&header::HOST, host.as_bytes());
        }
        edits.set_bytes(&request_id::HEADER, ctx.request_id().as_bytes());
        edits.set_bytes(&TRACEPARENT, &ctx.trace.context().text());
        edits
    }

    /// Tries one replica after the other, as far as that is safe.
    async fn attempt(
        &mut self,
        upstream: &Arc<Upstream>,
        mut start: Request,
    ) -> Result<Ended, Failed> {
        let timeouts = self.timeouts();
        loop {
            let Connected { stream, reused } = self.connect(upstream).await?;
            let client = Client {
                stream: &mut *self.stream,
                alarm: &mut self.connection.alarm,
            };
            let mut exchange = Exchange::new(client, stream, start, timeouts);
            let mut on_head = Heads {
                ctx: &mut self.ctx,
                keep: self.keep,
                status: None,
            };
            let result = exchange.run(&mut on_head).await;
            let (status, keep) = (on_head.status, on_head.keep);
            let bytes = exchange.body_bytes;
            if result.is_ok() && exchange.has_switched() {
                let (client, stream, first) = exchange.into_tunnel();
                client.stream.read_on();
                let bounds = Bounds {
                    silence: timeouts.response,
                    write: timeouts.write,
                    end: reply::LINGER,
                };
                return Ok(Ended {
                    status,
                    bytes: tunnel::run(client, stream, first, bounds).await,
                    ..Ended::default()
                });
            }
            let Err(failure) = result else {
                if let (Some(stream), Some(replica)) =
                    (exchange.into_reusable(), &self.ctx.attempts.current)
                {
                    self.connection
                        .state
                        .pool
                        .put(replica.address, upstream, stream);
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
            return Err(Failed::of(&failure, sent));
        }
    }

    /// A connection to a replica; another replica, if one cannot be reached.
    async fn connect(&mut self, upstream: &Arc<Upstream>) -> Result<Connected, Failed> {
        let Connection { state, alarm, .. } = &mut *self.connection;
        loop {
            let now = Instant::now();
            let attempts = &mut self.ctx.attempts;
            let replica = upstream
                .acquire(attempts.key, &attempts.tried, now)
                .ok_or(Failed::unreachable(None))?;
            let address = replica.address;
            attempts.current = Some(replica);
            attempts.started = Some(now);
            let server = &self.ctx.snapshot.config.model.server;
            match connect(address, upstream, server, &state.pool, alarm).await {
                Ok(connected) => return Ok(connected),
                Err(_) if failure::while_connecting(&mut self.ctx, state) => {}
                Err(error) => return Err(Failed::unreachable(Some(error.to_string()))),
            }
        }
    }

    fn timeouts(&self) -> Timeouts {
        let ctx = &self.ctx;
        let write = ctx.snapshot.config.model.server.write_timeout_seconds;
        let route = ctx.route();
        Timeouts {
            body: route.map_or(reply::LINGER, |route| route.body_timeout),
            response: route.and_then(|route| {
                if ctx.streaming {
                    route.stream_timeout
                } else {
                    route.response_timeout
                }
            }),
            write: Duration::from_secs(write),
        }
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
