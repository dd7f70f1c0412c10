//! One request from its head to its line in the log.

use std::{net::IpAddr, pin::Pin, sync::Arc};

use http::{Method, StatusCode, Version, header};
use pingora::protocols::GetSocketDigest as _;
use quartet_common::{problem::Problem, request_id};
use quartet_telemetry::TRACEPARENT;

use super::{
    alarm::Alarm,
    buffer::Buffer,
    closing::linger,
    exchange::PartialRequest,
    heads::{self, HeadEdits},
    request::{RequestHead, RequestView},
    tunnel::{OpenedTunnel, SwitchedUpstream, Tunnel},
};
use crate::{
    edge::{
        attempt,
        client_stream::ClientStream,
        ctx::{Ctx, Peer, ReceivedHead, peer_ip},
        downstream::is_dropped,
        logging, reply,
        request::route,
        request_head::HeadReader,
        socket::local,
    },
    error,
    policy::{Edit, Flow, ResponseHead as _, headers::forwarded_headers},
    reply::GatewayResponse,
    request::{Headers as _, TlsSession, WebSocket},
    routing::{MatchedRoute, Route},
    snapshot::Snapshot,
    state::State,
    tls::is_challenge,
    upstream::Upstream,
};

/// Serves requests of one connection, and keeps what they share.
pub(in crate::edge) struct DirectConnection {
    head: RequestHead,
    connection: Connection,
}

/// What the requests of a connection share beside the head.
pub(super) struct Connection {
    pub(super) state: Arc<State>,
    /// The one in force when the last request began: asking for the current one is a comparison then.
    /// A request takes it and gives it back; clones would be counted in a place that all threads
    /// write to.
    snapshot: Option<Arc<Snapshot>>,
    peer: Option<IpAddr>,
    tls: Option<Arc<TlsSession>>,
    /// Of the listener: requests without TLS are redirected, which the other path does.
    redirects: bool,
    /// An address of the client and its text.
    client: (IpAddr, Box<str>),
    pub(super) alarm: Alarm,
}

/// What becomes of the connection after a head.
pub(in crate::edge) enum Served {
    /// Nothing was done: the request is not for this path.
    Declined,
    /// Another request may follow.
    Next,
    Last,
    /// No request follows, but another protocol.
    Switched(Box<OpenedTunnel>),
}

/// How a request ended.
#[derive(Default)]
pub(super) struct Completion {
    /// Of the response that the client was sent.
    pub(super) status: Option<u16>,
    pub(super) bytes: u64,
    /// Another request may follow on the connection.
    pub(super) keep: bool,
    pub(super) error: Option<String>,
}

/// What came of an attempt that did not fail.
pub(super) enum AttemptOutcome {
    Ended(Completion),
    /// The client gets this in place of what the upstream sent.
    Replaced(Box<GatewayResponse>),
    /// The upstream agreed to another protocol.
    Switched(Box<SwitchedUpstream>),
}

impl AttemptOutcome {
    /// After a whole response, or the head of one that is replaced.
    pub(super) fn of(
        instead: Option<Box<GatewayResponse>>,
        status: Option<u16>,
        bytes: u64,
        keep: bool,
    ) -> Self {
        instead.map_or(
            Self::Ended(Completion {
                status,
                bytes,
                keep,
                error: None,
            }),
            Self::Replaced,
        )
    }
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

impl DirectConnection {
    pub(in crate::edge) fn new(stream: &ClientStream, state: &Arc<State>) -> Self {
        let peer = peer_ip(stream.get_socket_digest().as_deref());
        let client = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        Self {
            head: RequestHead::default(),
            connection: Connection {
                state: Arc::clone(state),
                snapshot: None,
                peer,
                tls: stream.tls(),
                redirects: state.redirects_to_https(|| local(stream.get_socket_digest())),
                client: (client, client.to_string().into()),
                alarm: Alarm::new(),
            },
        }
    }

    /// The snapshot in force.
    pub(in crate::edge) fn snapshot(&mut self) -> &Arc<Snapshot> {
        self.connection.snapshot()
    }

    /// Reads the head of the next request.
    pub(in crate::edge) fn reader<'c, S: Future<Output = ()>>(
        &'c mut self,
        stream: &'c mut ClientStream,
        shutdown: Pin<&'c mut S>,
    ) -> HeadReader<'c, S> {
        HeadReader {
            stream,
            alarm: &mut self.connection.alarm,
            shutdown,
            parsed: &mut self.head,
        }
    }

    pub(in crate::edge) async fn serve(
        &mut self,
        stream: &mut ClientStream,
        head: &[u8],
    ) -> Served {
        let snapshot = self.connection.take_snapshot();
        let Some(matched) = self.select(&snapshot, stream, head) else {
            self.connection.snapshot = Some(snapshot);
            return Served::Declined;
        };
        let view = self.head.view(head);
        let received = received(self.head.method(), &view);
        let mut request = InFlight::new(
            &mut self.connection,
            stream,
            &self.head,
            (view, received),
            (snapshot, matched),
        );
        let ended = match request.respond(received).await {
            AttemptOutcome::Ended(ended) => ended,
            AttemptOutcome::Replaced(answer) => Box::pin(request.answer(*answer)).await,
            AttemptOutcome::Switched(switched) => {
                return Served::Switched(request.into_opened(*switched));
            }
        };
        if request.end(&ended, self.head.close()) {
            Box::pin(linger(stream)).await;
        }
        if ended.keep {
            Served::Next
        } else {
            Served::Last
        }
    }

    /// The connection after a switch. What requests of it shared is dropped.
    pub(in crate::edge) fn into_tunnel(
        self,
        stream: ClientStream,
        opened: Box<OpenedTunnel>,
    ) -> Tunnel {
        let Connection { state, alarm, .. } = self.connection;
        Tunnel::new(stream, alarm, state, opened)
    }

    /// The route, if this path serves the request. Leaves out the fields that no upstream should see.
    fn select(
        &mut self,
        snapshot: &Snapshot,
        stream: &ClientStream,
        head: &[u8],
    ) -> Option<MatchedRoute> {
        let server = &snapshot.config.model.server;
        if !server.direct_path || !self.head.is_common() || self.connection.redirects {
            return None;
        }
        if snapshot.acme.is_some() && is_challenge(self.head.view(head).target()) {
            // It may have to wait for the store.
            return None;
        }
        self.head.drop_fields(head, |name| is_dropped(name, server));
        let view = self.head.view(head);
        let received = received(self.head.method(), &view);
        let has_tls = self.connection.tls.is_some();
        let matched = route(snapshot, received, has_tls).ok()?;
        let opens = !self.head.asks_upgrade() || opens(&matched.route, received);
        let upstream = snapshot.upstream(&matched.route);
        let upstream = upstream.map(|upstream| &**upstream);
        // A body that is compared with a document is seen by the other path.
        let is_checked = matched.route.validate.is_on() && self.head.body_bytes() > 0;
        let fits = !is_checked && !self.needs_stored_body(stream, upstream, view);
        (matched.route.direct && opens && fits).then_some(matched)
    }

    /// Another attempt would need a body that this path does not keep.
    fn needs_stored_body(
        &self,
        stream: &ClientStream,
        upstream: Option<&Upstream>,
        view: RequestView<'_>,
    ) -> bool {
        let received = stream.body_received() as u64;
        // That of a route with several upstreams is not known yet.
        let may_be_idempotent = attempt::is_idempotent(upstream, self.head.method(), &view)
            || (upstream.is_none() && attempt::has_idempotency_key(&view));
        received < self.head.body_bytes() && may_be_idempotent
    }
}

impl Connection {
    /// For a request that no client waits for.
    pub(super) fn without_peer(state: Arc<State>, ctx: &Ctx) -> Self {
        Self {
            state,
            snapshot: None,
            peer: None,
            tls: ctx.policy.tls.clone(),
            redirects: false,
            client: (ctx.client_ip, ctx.client_ip.to_string().into()),
            alarm: Alarm::new(),
        }
    }

    fn snapshot(&mut self) -> &Arc<Snapshot> {
        let known = self.snapshot.get_or_insert_with(|| self.state.snapshot());
        self.state.refresh(known);
        known
    }

    /// The snapshot in force, for one request.
    fn take_snapshot(&mut self) -> Arc<Snapshot> {
        match self.snapshot.take() {
            Some(mut known) => {
                self.state.refresh(&mut known);
                known
            }
            None => self.state.snapshot(),
        }
    }
}

impl Completion {
    /// A policy closes the connection.
    fn aborted() -> Self {
        Self {
            error: Some("a policy closed the connection".to_owned()),
            ..Self::default()
        }
    }

    /// Whether bytes of the client may be unread or under way when the connection is closed: a reset
    /// could then overtake the response. `is_last`: the client said that it sends nothing more.
    fn lingers(&self, is_last: bool, stream: &mut ClientStream) -> bool {
        let slow = self.status == Some(StatusCode::REQUEST_TIMEOUT.as_u16());
        let silent = is_last && stream.has_ended() && stream.ahead().is_empty();
        !self.keep && self.status.is_some() && !slow && !silent
    }
}

fn received<'r>(method: &'r Method, head: &'r RequestView<'r>) -> ReceivedHead<'r> {
    ReceivedHead {
        method,
        version: Version::HTTP_11,
        target: head.target(),
        path: head.path(),
        authority: None,
        headers: head,
    }
}

/// Whether the request opens a WebSocket; any other `Upgrade` is rare.
fn opens(route: &Route, head: ReceivedHead<'_>) -> bool {
    route.upgrade && WebSocket::of(head.method, head.version, head.headers) == WebSocket::Handshake
}

impl<'r> InFlight<'r> {
    /// Not async: what is made here would have a second place in the state of each connection.
    fn new(
        connection: &'r mut Connection,
        stream: &'r mut ClientStream,
        head: &'r RequestHead,
        (view, received): (RequestView<'r>, ReceivedHead<'_>),
        (snapshot, matched): (Arc<Snapshot>, MatchedRoute),
    ) -> Self {
        connection.state.metrics.direct_requests.inc();
        let mut ctx = Ctx::new(snapshot);
        let peer = Peer {
            ip: connection.peer,
            tls: connection.tls.clone(),
        };
        ctx.identify(received, peer, &connection.state);
        ctx.matched = Some(matched);
        Self {
            keep: !head.close() && !connection.state.readiness.is_draining(),
            connection,
            stream,
            head: view,
            method: head.method(),
            body_bytes: head.body_bytes(),
            ctx,
        }
    }
}

impl InFlight<'_> {
    fn log(&mut self, ended: &Completion) {
        let done = logging::CompletedRequest {
            method: self.method,
            path: self.head.path(),
            status: ended.status,
            bytes: ended.bytes,
            error: ended.error.as_deref(),
        };
        logging::record(done, &mut self.ctx, &self.connection.state);
    }

    /// Logs the end. Whether what the client is still sending has to be read.
    fn end(mut self, ended: &Completion, is_last: bool) -> bool {
        self.log(ended);
        self.connection.snapshot = Some(self.ctx.snapshot);
        ended.lingers(is_last, self.stream)
    }

    fn into_opened(self, switched: SwitchedUpstream) -> Box<OpenedTunnel> {
        let (method, path) = (self.method.clone(), self.head.path().into());
        Box::new(OpenedTunnel::new(self.ctx, method, path, switched))
    }

    async fn respond(&mut self, received: ReceivedHead<'_>) -> AttemptOutcome {
        match self.ctx.judge(received).await {
            Flow::Continue => {}
            Flow::Reply(answer) => {
                self.refresh();
                return AttemptOutcome::Ended(Box::pin(self.answer(*answer)).await);
            }
            Flow::Abort => return AttemptOutcome::Ended(Completion::aborted()),
        }
        let Some(upstream) = self.ctx.attempts.upstream.clone() else {
            return AttemptOutcome::Ended(Box::pin(self.problem(error::internal())).await);
        };
        upstream.retry_budget.deposit();
        let start = self.request_start(&upstream);
        match self.attempt(&upstream, start).await {
            Ok(outcome) => outcome,
            Err(failed) => AttemptOutcome::Ended(Box::pin(self.failed(failed)).await),
        }
    }

    /// Sends what a policy answered.
    pub(super) async fn answer(&mut self, answer: GatewayResponse) -> Completion {
        match answer {
            GatewayResponse::Problem(problem) => self.problem(problem).await,
            GatewayResponse::Page(page) => {
                let mut reply = reply::page_reply(&mut self.ctx, *page);
                self.reply(&mut reply).await
            }
            GatewayResponse::Reply(mut reply) => self.reply(&mut reply).await,
        }
    }

    pub(super) async fn problem(&mut self, problem: Problem) -> Completion {
        let mut reply = reply::problem_reply(&mut self.ctx, &problem, self.head.path());
        self.reply(&mut reply).await
    }

    /// The head for the upstream, and what is here of the body.
    pub(super) fn request_start(&mut self, upstream: &Upstream) -> PartialRequest {
        self.name_client();
        let edits = self.request_edits(upstream);
        let mut start = Buffer::for_head();
        let matched = self.ctx.matched.as_ref();
        let forwarded = matched.and_then(MatchedRoute::forwarded);
        let target = forwarded.map_or(self.head.target(), str::as_bytes);
        heads::write_request(self.method, target, self.head, &edits, &mut start);
        heads::end_request(self.ctx.upgrade, &mut start);
        let body = self.stream.take_body();
        start.push(&body);
        PartialRequest {
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
    fn request_edits(&self, upstream: &Upstream) -> HeadEdits {
        let ctx = &self.ctx;
        let host = self.head.first(&header::HOST);
        let origin = ctx.origin(&self.connection.client.1, host);
        let mut edits = HeadEdits::new(StatusCode::OK);
        for name in ctx.untrusted_trace_fields() {
            edits.remove(name);
        }
        for (name, value) in forwarded_headers(origin) {
            if let Some(value) = value {
                edits.set_bytes(name, &value);
            }
        }
        for (name, text) in ctx.policy.identity() {
            edits.set_bytes(name, text.as_bytes());
        }
        for edit in &ctx.policy.edits {
            match edit {
                Edit::Set(name, value) => edits.set_bytes(name, value.as_bytes()),
                Edit::Remove(name) => edits.remove(name),
                Edit::Add(name, value) => edits.append_bytes(name, value.as_bytes()),
                Edit::SetMissing(name, value) => edits.set_missing(name, value),
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
}
