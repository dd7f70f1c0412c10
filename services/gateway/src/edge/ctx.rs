//! Phase 1: who sent the request. Also the state of a request from phase to phase.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Method, Version, request::Parts};
use pingora::protocols::SocketDigest;
use quartet_common::{
    net::client_ip,
    request_id::{self, RequestId},
};
use quartet_telemetry::{ServerTrace, metrics::ActiveRequest};

use crate::{
    policy::{Flow, PolicyContext, ResponseHead},
    reply::GatewayResponse,
    request::{Headers, RequestFacts, RequestTarget, WebSocket},
    routing::{PathPattern, Route},
    snapshot::Snapshot,
    state::State,
    upstream::{BalanceKey, Lease, Upstream},
};

/// What a trusted proxy may say about a request.
static REPORTED: [HeaderName; 5] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];
/// What says more about a trace than `traceparent`.
static TRACE_DETAILS: [HeaderName; 2] = [
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// The head of a request, whichever parser read it.
#[derive(Clone, Copy)]
pub(super) struct ReceivedHead<'r> {
    pub(super) method: &'r Method,
    pub(super) version: Version,
    /// As sent: for HTTP/1 in any form, for HTTP/2 the `:path`.
    pub(super) target: &'r [u8],
    /// As sent, without query.
    pub(super) path: &'r str,
    /// Of HTTP/2.
    pub(super) authority: Option<&'r str>,
    pub(super) headers: &'r dyn Headers,
}

impl<'r> ReceivedHead<'r> {
    pub(super) fn of(head: &'r Parts, target: &'r [u8]) -> Self {
        Self {
            method: &head.method,
            version: head.version,
            target,
            path: head.uri.path(),
            authority: head.uri.authority().map(http::uri::Authority::as_str),
            headers: &head.headers,
        }
    }
}

/// One request. Created when its head has been read, dropped after `logging`.
pub(super) struct Ctx {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) started: Instant,
    pub(super) request_id: Option<RequestId>,
    pub(super) trace: ServerTrace,
    pub(super) client_ip: IpAddr,
    pub(super) peer_is_trusted: bool,
    /// The request is the handshake of a WebSocket.
    pub(super) upgrade: bool,
    /// The response may be silent for as long as the route's `stream_timeout` allows. Never decided
    /// by the client alone: the route has `stream` or `upgrade`.
    pub(super) streaming: bool,
    pub(super) matched: Option<MatchedRoute>,
    pub(super) policy: PolicyContext,
    pub(super) attempts: Attempts,
    /// What a policy answered to the request body.
    pub(super) refusal: Option<Box<GatewayResponse>>,
    /// When a part of the request body was received last.
    pub(super) body_at: Option<Instant>,
    /// Until the final head of the response.
    pub(super) head_after: Option<Duration>,
    /// The problem that was sent.
    pub(super) problem: Option<SentProblem>,
    pub(super) active: Option<ActiveRequest>,
}

/// The route, which of its patterns matched, and the one spelling of what was matched.
pub(super) struct MatchedRoute {
    pub(super) route: Arc<Route>,
    pub(super) pattern: Arc<PathPattern>,
    /// Path and query to forward. `None`: those of the request are in the one spelling.
    pub(super) target: Option<String>,
    /// The `Host` to forward. `None`: that of the request is in the one spelling.
    pub(super) host: Option<HeaderValue>,
}

impl MatchedRoute {
    /// The path that was matched.
    pub(super) fn path<'m>(&'m self, head: ReceivedHead<'m>) -> &'m str {
        let target = self
            .target
            .as_deref()
            .map(|target| RequestTarget::split(target).path);
        target.unwrap_or(head.path)
    }
}

/// Attempts to reach a replica.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) upstream: Option<Arc<Upstream>>,
    /// Of the user, or the client IP, if replicas are chosen by it.
    pub(super) key: BalanceKey,
    /// Of the last attempt.
    pub(super) current: Option<Lease>,
    /// Not to be tried again for this request.
    pub(super) tried: Vec<SocketAddr>,
    pub(super) retries: u32,
    /// Interim responses of the last attempt, on the general path.
    pub(super) interim: usize,
    pub(super) started: Option<Instant>,
    /// Until the head of the response.
    pub(super) duration: Option<Duration>,
}

/// A problem as the access log shows it.
pub(super) struct SentProblem {
    pub(super) code: &'static str,
    pub(super) causes: Option<String>,
}

impl Ctx {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            started: Instant::now(),
            request_id: None,
            trace: ServerTrace::default(),
            client_ip: Ipv4Addr::UNSPECIFIED.into(),
            peer_is_trusted: false,
            upgrade: false,
            streaming: false,
            matched: None,
            policy: PolicyContext::default(),
            attempts: Attempts::default(),
            refusal: None,
            body_at: None,
            head_after: None,
            problem: None,
            active: None,
        }
    }

    /// Determines the client, and gives the request an id and a place in a trace.
    pub(super) fn identify(&mut self, head: ReceivedHead<'_>, peer: Option<IpAddr>, state: &State) {
        let trusted = &self.snapshot.config.trusted_proxies;
        let peer = peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_canonical();
        self.peer_is_trusted = trusted.contains(peer);
        // An untrusted client must not decide what is recorded, nor under which trace.
        let reported = if self.peer_is_trusted {
            head.headers.only(&REPORTED)
        } else {
            http::HeaderMap::new()
        };
        self.client_ip = client_ip(&reported, peer, trusted);
        let id = reported
            .get(&request_id::HEADER)
            .and_then(|value| RequestId::parse(value.to_str().ok()?))
            .unwrap_or_else(|| RequestId::generate(&state.clock));
        self.trace = ServerTrace::start(&reported, head.method, id.as_str());
        self.request_id = Some(id);
        self.active = Some(state.metrics.http.request_started(head.method));
    }

    /// Whether the request may be forwarded. The route has been found.
    pub(super) async fn judge(&mut self, head: ReceivedHead<'_>) -> Flow {
        let Some(matched) = &self.matched else {
            return Flow::Continue;
        };
        let facts = RequestFacts {
            method: head.method,
            path: matched.path(head),
            client_ip: self.client_ip,
            websocket: WebSocket::of(head.method, head.version, head.headers),
            headers: head.headers,
            captures: &*matched.pattern,
        };
        let chain = self.snapshot.chain(&matched.route);
        let flow = chain.on_request(&facts, &mut self.policy).await;
        if self.snapshot.balances_by_key(&matched.route) {
            self.attempts.key = match &self.policy.caller {
                Some(caller) => BalanceKey::of(&caller.sub),
                None => BalanceKey::of(self.client_ip),
            };
        }
        self.upgrade = facts.websocket == WebSocket::Handshake;
        self.streaming = matched.route.stream || (matched.route.upgrade && self.upgrade);
        flow
    }

    /// Adds what the policies of the route say about a final response.
    pub(super) fn decorate(&self, response: &mut dyn ResponseHead) {
        if let Some(route) = self.route() {
            let chain = self.snapshot.chain(route);
            chain.on_response(&self.policy, response);
        }
    }

    /// How long the upstream may be silent; `None`: without a limit.
    pub(super) fn silence(&self) -> Option<Duration> {
        let route = self.route()?;
        if self.streaming {
            route.stream_timeout
        } else {
            route.response_timeout
        }
    }

    /// Fields about a trace that is not passed on: without its `traceparent`, a `tracestate` has no
    /// meaning (W3C Trace Context, 3.3), and `baggage` is trusted by its readers.
    pub(super) fn untrusted_trace_fields(&self) -> &'static [HeaderName] {
        match (self.peer_is_trusted, self.trace.is_continued()) {
            (false, _) => &TRACE_DETAILS,
            (true, false) => &TRACE_DETAILS[..1],
            (true, true) => &[],
        }
    }

    pub(super) fn request_id(&self) -> &str {
        self.request_id.as_ref().map_or("", RequestId::as_str)
    }

    pub(super) fn route(&self) -> Option<&Arc<Route>> {
        self.matched.as_ref().map(|matched| &matched.route)
    }
}

/// The IP address of the other end of a connection.
pub(super) fn peer_ip(socket: Option<&SocketDigest>) -> Option<IpAddr> {
    Some(socket?.peer_addr()?.as_inet()?.ip().to_canonical())
}
