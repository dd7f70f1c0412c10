//! Phase 1: who sent the request. Also the state of a request from phase to phase.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, Method, Version, request::Parts};
use pingora::protocols::SocketDigest;
use quartet_common::{
    net::client_ip,
    request_id::{self, RequestId},
};
use quartet_telemetry::{ServerTrace, metrics::ActiveRequest};
use tokio::time::timeout_at;

use super::try_timeout::TryLease;
use crate::{
    config::model::ClientHeader,
    error,
    policy::{
        Edit, Flow, PolicyContext, ResponseHead,
        headers::{FORWARDED_PREFIX, Origin, ReportedConnection},
    },
    reply::GatewayResponse,
    request::{Headers, RequestFacts, RequestTarget, TlsSession, WebSocket, client_by_forwarded},
    routing::{MatchedRoute, Route},
    session::PageRequest,
    snapshot::Snapshot,
    state::State,
    upstream::{BalanceKey, Lease, Permit, RequestCopy, Upstream},
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

/// The other end of a client's connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) ip: Option<IpAddr>,
    /// `None`: the connection is plain.
    pub(super) tls: Option<Arc<TlsSession>>,
}

/// One request. Created when its head has been read, dropped after `logging`.
pub(super) struct Ctx {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) started: Instant,
    pub(super) request_id: Option<RequestId>,
    pub(super) trace: ServerTrace,
    pub(super) client_ip: IpAddr,
    pub(super) peer_is_trusted: bool,
    /// What a trusted proxy calls the host that the client asked for.
    pub(super) reported_host: Option<String>,
    /// The request is the handshake of a WebSocket.
    pub(super) upgrade: bool,
    /// The response may be silent for as long as the route's `stream_timeout` allows. Never decided
    /// by the client alone: the route has `stream` or `upgrade`.
    pub(super) streaming: bool,
    pub(super) matched: Option<MatchedRoute>,
    pub(super) policy: PolicyContext,
    pub(super) attempts: Attempts,
    /// For the mirror of the route, until it is sent.
    pub(super) copy: Option<Box<RequestCopy>>,
    /// What is sent in place of the upstream's response, on the general path.
    pub(super) instead: Option<Box<GatewayResponse>>,
    /// It was sent whole, so that the client's connection is good for another request.
    pub(super) answered: bool,
    /// The request revalidates a stored response, and no client waits for it.
    pub(super) refreshes: bool,
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

/// Attempts to reach a replica.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) upstream: Option<Arc<Upstream>>,
    /// If replicas are chosen by it.
    pub(super) key: BalanceKey,
    /// Of the last attempt.
    pub(super) current: Option<Lease>,
    /// Its address.
    pub(super) address: Option<SocketAddr>,
    /// The request counts among those in flight of an upstream that bounds them.
    pub(super) permit: Option<Permit>,
    /// The connection of the attempt, if it has a time-out of its own, on the general path.
    pub(super) slot: Option<TryLease>,
    /// Before the next attempt.
    pub(super) pause: Option<Duration>,
    /// Not to be tried again for this request.
    pub(super) tried: Vec<SocketAddr>,
    pub(super) retries: u32,
    /// Interim responses of the last attempt, on the general path.
    pub(super) interim: usize,
    pub(super) started: Option<Instant>,
    /// Until the head of the response.
    pub(super) duration: Option<Duration>,
}

impl Attempts {
    /// An attempt begins.
    pub(super) fn begin(&mut self, lease: Lease, permit: Option<Permit>, now: Instant) {
        self.permit = permit;
        self.address = Some(lease.address);
        self.current = Some(lease);
        self.started = Some(now);
    }
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
            reported_host: None,
            upgrade: false,
            streaming: false,
            matched: None,
            policy: PolicyContext::default(),
            attempts: Attempts::default(),
            copy: None,
            instead: None,
            answered: false,
            refreshes: false,
            refusal: None,
            body_at: None,
            head_after: None,
            problem: None,
            active: None,
        }
    }

    /// That of a request which revalidates what this one was answered with. `policy`: what is to be
    /// forwarded.
    pub(super) fn for_refresh(&self, policy: PolicyContext, state: &State) -> Self {
        let id = RequestId::generate(&state.clock);
        let trace = ServerTrace::start(&http::HeaderMap::new(), &Method::GET, id.as_str());
        Self {
            refreshes: true,
            request_id: Some(id),
            trace,
            client_ip: self.client_ip,
            peer_is_trusted: self.peer_is_trusted,
            reported_host: self.reported_host.clone(),
            matched: self.matched.clone(),
            policy,
            attempts: Attempts {
                upstream: self.attempts.upstream.clone(),
                key: self.attempts.key,
                ..Attempts::default()
            },
            ..Self::new(Arc::clone(&self.snapshot))
        }
    }

    /// Determines the client, and gives the request an id and a place in a trace.
    pub(super) fn identify(&mut self, head: ReceivedHead<'_>, peer: Peer, state: &State) {
        let trusted = &self.snapshot.config.trusted_proxies;
        let address = peer.ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let address = address.to_canonical();
        self.peer_is_trusted = trusted.contains(address);
        self.policy.is_secure = peer.tls.is_some();
        self.policy.tls = peer.tls;
        // An untrusted client must not decide what is recorded, nor under which trace.
        let reported = if self.peer_is_trusted {
            head.headers.only(&REPORTED)
        } else {
            http::HeaderMap::new()
        };
        self.client_ip = if self.peer_is_trusted {
            self.client_behind(head.headers, &reported, address)
        } else {
            address
        };
        let id = reported
            .get(&request_id::HEADER)
            .and_then(|value| RequestId::parse(value.to_str().ok()?))
            .unwrap_or_else(|| RequestId::generate(&state.clock));
        self.trace = ServerTrace::start(&reported, head.method, id.as_str());
        self.request_id = Some(id);
        self.active = Some(state.metrics.http.request_started(head.method));
    }

    /// The client, by the header that the trusted proxies set; the other one may be the client's.
    fn client_behind(
        &mut self,
        sent: &dyn Headers,
        reported: &http::HeaderMap,
        peer: IpAddr,
    ) -> IpAddr {
        let trusted = &self.snapshot.config.trusted_proxies;
        let (client, connection) = match self.snapshot.config.model.server.client_header {
            ClientHeader::XForwardedFor => (
                client_ip(reported, peer, trusted),
                ReportedConnection::by_x_forwarded(sent),
            ),
            ClientHeader::Forwarded => {
                let (client, element) = client_by_forwarded(sent, peer, trusted);
                let bytes = |text: Option<&'_ str>| text.map(str::to_ascii_lowercase);
                let (proto, host) = (bytes(element.proto), bytes(element.host));
                let connection = ReportedConnection::of(
                    proto.as_deref().map(str::as_bytes),
                    host.as_deref().map(str::as_bytes),
                );
                (client, connection)
            }
        };
        if let Some(is_secure) = connection.is_secure {
            self.policy.is_secure = is_secure;
        }
        self.reported_host = connection.host;
        client
    }

    /// What the upstream learns about the client. `host`: of the request.
    pub(super) fn origin<'c>(&'c self, client: &'c str, host: Option<&'c [u8]>) -> Origin<'c> {
        let reported = self.reported_host.as_deref().map(str::as_bytes);
        Origin {
            client,
            is_secure: self.policy.is_secure,
            host: reported.or(host),
            sends_forwarded: self.snapshot.config.model.server.send_forwarded,
        }
    }

    /// Whether the request may be forwarded, and to which upstream. The route has been found.
    pub(super) async fn judge(&mut self, head: ReceivedHead<'_>) -> Flow {
        let Some(matched) = &self.matched else {
            return Flow::Continue;
        };
        let tls = self.policy.tls.clone();
        let facts = RequestFacts {
            method: head.method,
            path: matched.path(head.path),
            target: matched.forwarded().map_or(head.target, str::as_bytes),
            asked: matched.asked(head.target),
            sent_target: head.target,
            host: matched.host(head.authority, head.headers),
            client_ip: self.client_ip,
            is_secure: self.policy.is_secure,
            is_of_trusted_proxy: self.peer_is_trusted,
            tls: tls.as_deref(),
            reported_host: self.reported_host.as_deref(),
            websocket: WebSocket::of(head.method, head.version, head.headers),
            authority: head.authority,
            headers: head.headers,
            captures: &*matched.pattern,
        };
        if let Some(prefix) = matched.removed_prefix() {
            let edit = Edit::Set(FORWARDED_PREFIX.clone(), prefix.clone());
            self.policy.edits.push(edit);
        }
        let chain = self.snapshot.chain(&matched.route);
        let decided = chain.on_request(&facts, &mut self.policy);
        let flow = match matched.route.request_timeout {
            None => decided.await,
            Some(all) => {
                // A policy may wait for a store, an endpoint or another request.
                let decided = timeout_at((self.started + all).into(), decided);
                let flow = Box::pin(decided).await;
                flow.unwrap_or_else(|_| Flow::Reply(error::upstream_timeout().into()))
            }
        };
        let fixed = self.snapshot.upstream(&matched.route).cloned();
        self.attempts.upstream = fixed.or_else(|| self.policy.upstream.take());
        let upstream = self.attempts.upstream.as_ref();
        if let Some(hash_by) = upstream.and_then(|upstream| upstream.hash_by()) {
            let user = self.policy.caller.as_ref().map(|caller| &*caller.sub);
            self.attempts.key = BalanceKey::of_request(hash_by, head.headers, user, self.client_ip);
        }
        self.upgrade = facts.websocket == WebSocket::Handshake;
        self.streaming = matched.route.stream || (matched.route.upgrade && self.upgrade);
        flow
    }

    /// What a page of a login knows of its request. `None`: no route was found.
    pub(super) fn page_request<'p>(
        &'p self,
        head: ReceivedHead<'p>,
        body: &'p [u8],
    ) -> Option<PageRequest<'p>> {
        let matched = self.matched.as_ref()?;
        let asked = matched.asked(head.target);
        let query = std::str::from_utf8(asked).map(RequestTarget::split);
        Some(PageRequest {
            query: query.map_or("", |target| target.query.trim_start_matches('?')),
            body,
            facts: RequestFacts {
                method: head.method,
                path: matched.path(head.path),
                target: asked,
                asked,
                sent_target: head.target,
                host: matched.host(head.authority, head.headers),
                client_ip: self.client_ip,
                is_secure: self.policy.is_secure,
                is_of_trusted_proxy: self.peer_is_trusted,
                tls: self.policy.tls.as_deref(),
                reported_host: self.reported_host.as_deref(),
                websocket: WebSocket::No,
                authority: head.authority,
                headers: head.headers,
                captures: &*matched.pattern,
            },
        })
    }

    /// Adds what the policies of the route say about a final response.
    pub(super) fn decorate(&self, response: &mut dyn ResponseHead) {
        if let Some(route) = self.route() {
            let chain = self.snapshot.chain(route);
            chain.on_response(&self.policy, response);
        } else if let Some(headers) = &self.snapshot.config.security_headers {
            headers.on_response(&self.policy, response);
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

    /// How long a WebSocket may be idle before it gets a ping; `None`: it gets none.
    pub(super) fn ping(&self) -> Option<Duration> {
        self.route()?.ping
    }

    /// When the whole request must have ended.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.started + self.route()?.request_timeout?)
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
