//! What is remembered of one request from phase to phase.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::header;
use pingora::proxy::Session;
use quartet_common::{
    net::client_ip,
    request_id::{self, RequestId},
};
use quartet_telemetry::metrics::ActiveRequest;

use crate::{
    policy::Notes,
    routing::Route,
    state::{Snapshot, State},
    trace::RequestTrace,
    upstream::{Replica, Upstream},
};

pub(super) struct Ctx {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) started: Instant,
    pub(super) request_id: Option<RequestId>,
    pub(super) trace: RequestTrace,
    pub(super) client: IpAddr,
    pub(super) peer_is_trusted: bool,
    /// WebSocket is asked for.
    pub(super) upgrade: bool,
    /// The answer may go on for as long as it likes.
    pub(super) streaming: bool,
    pub(super) matched: Option<Matched>,
    pub(super) notes: Notes,
    pub(super) attempts: Attempts,
    pub(super) body_bytes: u64,
    /// The problem that was answered with.
    pub(super) problem: Option<Answered>,
    pub(super) active: Option<ActiveRequest>,
}

/// The route, and which of its patterns it was.
pub(super) struct Matched {
    pub(super) route: Arc<Route>,
    pub(super) pattern: Arc<str>,
}

/// Replicas that were asked.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) upstream: Option<Arc<Upstream>>,
    /// The one that is being asked.
    pub(super) current: Option<Arc<Replica>>,
    /// Not to be asked again for this request.
    pub(super) tried: Vec<SocketAddr>,
    pub(super) retries: u32,
    pub(super) began: Option<Instant>,
    pub(super) took: Option<Duration>,
}

/// A problem as the access log shows it.
pub(super) struct Answered {
    pub(super) code: &'static str,
    pub(super) causes: Option<String>,
}

impl Ctx {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            started: Instant::now(),
            request_id: None,
            trace: RequestTrace::default(),
            client: Ipv4Addr::UNSPECIFIED.into(),
            peer_is_trusted: false,
            upgrade: false,
            streaming: false,
            matched: None,
            notes: Notes::default(),
            attempts: Attempts::default(),
            body_bytes: 0,
            problem: None,
            active: None,
        }
    }

    /// Works out who asks, and gives the request its name and place in a trace.
    pub(super) fn identify(&mut self, session: &Session, state: &State) {
        let head = session.req_header();
        let trusted = &self.snapshot.config.trusted_proxies;
        let peer = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip)
            .to_canonical();
        self.peer_is_trusted = trusted.contains(peer);
        self.client = if self.peer_is_trusted {
            client_ip(&head.headers, peer, trusted)
        } else {
            peer
        };
        let sent = head
            .headers
            .get(&request_id::HEADER)
            .filter(|_| self.peer_is_trusted);
        let id = sent
            .and_then(|value| RequestId::parse(value.to_str().ok()?))
            .unwrap_or_else(|| RequestId::generate(&state.clock));
        self.trace = RequestTrace::start(&head.headers, &head.method, id.as_str(), state.traced);
        self.request_id = Some(id);
        self.upgrade = asks_for_websocket(&head.headers);
        self.streaming = self.upgrade || accepts_events(&head.headers);
        self.active = Some(state.metrics.http.request_started(&head.method));
    }

    pub(super) fn request_id(&self) -> &str {
        self.request_id.as_ref().map_or("", RequestId::as_str)
    }

    pub(super) fn route(&self) -> Option<&Arc<Route>> {
        self.matched.as_ref().map(|matched| &matched.route)
    }
}

fn asks_for_websocket(headers: &http::HeaderMap) -> bool {
    headers
        .get_all(header::UPGRADE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

fn accepts_events(headers: &http::HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("text/event-stream"))
}
