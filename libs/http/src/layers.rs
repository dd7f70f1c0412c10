//! The layers around all routes of a service.
//!
//! From the outside in: the rest of an unread body; request id and trace context, one response line, metrics,
//! problem bodies; then panics to problems; then the time-out; then the body limit.

use std::{
    any::Any,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use quartet_common::{
    clock::Clock,
    config::Server,
    net::{TrustedProxies, client_ip},
    problem::{Problem, kinds},
    request_id::{self, RequestId},
};
use quartet_telemetry::{
    AccessLine, REQUEST, RequestContext, ServerTrace,
    metrics::{ActiveRequest, Metrics},
    panic_message,
};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use crate::drain::drain;

/// The IP address of the peer of the connection, set by [`crate::serve`].
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// Where a request comes from that no connection has brought.
    pub(crate) const LOCAL: Self = Self(IpAddr::V4(Ipv4Addr::LOCALHOST));
}

/// The client IP behind the trusted proxies.
#[derive(Clone, Copy, Debug)]
pub struct ClientIp(pub IpAddr);

/// How long a request body may take to arrive, and how large it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) timeout: Duration,
    /// `None`: not known here.
    pub(crate) bytes: Option<usize>,
}

/// The settings of the layers.
#[derive(Clone, Debug)]
pub struct Stack {
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) trusted: TrustedProxies,
    pub(crate) request_timeout: Duration,
    body_limits: BodyLimits,
}

impl Stack {
    pub fn new(clock: Clock, metrics: Metrics, server: &Server) -> Self {
        Self {
            clock,
            metrics,
            trusted: server.trusted(),
            request_timeout: Duration::from_secs(server.request_timeout_seconds),
            body_limits: BodyLimits {
                timeout: Duration::from_secs(server.body_timeout_seconds),
                bytes: Some(server.body_limit_bytes),
            },
        }
    }
}

/// Puts the layers around a finished router, with problems where no route matches.
pub fn standard(router: Router, stack: Stack, server: &Server) -> Router {
    router
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(server.body_limit_bytes))
        .layer(from_fn_with_state(stack.request_timeout, time_out))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(stack, observe))
        .layer(from_fn(drain))
}

async fn no_route() -> Problem {
    Problem::new(&kinds::NO_ROUTE)
}

async fn wrong_method() -> Problem {
    Problem::new(&kinds::METHOD_NOT_ALLOWED)
}

async fn time_out(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| timed_out(limit).into_response())
}

pub(crate) fn timed_out(limit: Duration) -> Problem {
    let detail = format!("no response within {} s", limit.as_secs());
    Problem::not_now(&kinds::TIMED_OUT).detail(detail)
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    panic_problem(panic_message(&*panic)).into_response()
}

pub(crate) fn panic_problem(message: &str) -> Problem {
    Problem::internal(std::io::Error::other(format!("panic: {message}")))
}

async fn observe(State(stack): State<Stack>, mut request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get(&request_id::HEADER)
        .and_then(|value| RequestId::parse(value.to_str().ok()?))
        .unwrap_or_else(|| RequestId::generate(&stack.clock));
    let line = ResponseLine::start(&stack, &request, id.as_str());
    let peer = request
        .extensions()
        .get::<Peer>()
        .map_or(Peer::LOCAL.0, |p| p.0);
    let client = client_ip(request.headers(), peer, &stack.trusted);
    request.extensions_mut().insert(ClientIp(client));
    request.extensions_mut().insert(stack.body_limits);
    request.extensions_mut().insert(id.clone());
    let (span, context) = (line.trace.span(), Arc::clone(&line.context));
    REQUEST
        .scope(context, async {
            let mut response = next.run(request).await;
            let problem = render_problem(&mut response, id.as_str(), &line.path, &line.method);
            if let Ok(value) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(&request_id::HEADER, value);
            }
            line.finish(response.status(), problem.as_ref());
            response
        })
        .instrument(span)
        .await
}

/// Renders the body of a problem. Any other response passes unchanged.
pub(crate) fn render_problem(
    response: &mut Response,
    id: &str,
    path: &str,
    method: &Method,
) -> Option<Problem> {
    let problem = response.extensions_mut().remove::<Problem>()?;
    let body = serde_json::to_vec(&problem.to_body(id, path)).expect("a problem is plain data");
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    *response.body_mut() = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from(body)
    };
    Some(problem)
}

/// Logs and counts a request once: when it is answered, or when the client has disconnected.
struct ResponseLine {
    context: Arc<RequestContext>,
    trace: ServerTrace,
    method: Method,
    path: String,
    route: Arc<str>,
    started: Instant,
    metrics: Metrics,
    _active: ActiveRequest,
    done: bool,
}

impl ResponseLine {
    fn start(stack: &Stack, request: &Request, id: &str) -> Self {
        let method = request.method().clone();
        let route: Arc<str> = request
            .extensions()
            .get::<MatchedPath>()
            .map_or_else(|| "unmatched".into(), |matched| matched.as_str().into());
        let trace = ServerTrace::start(request.headers(), &method, id);
        Self {
            context: Arc::new(RequestContext::new(id.to_owned(), trace.context())),
            trace,
            path: request.uri().path().to_owned(),
            route,
            started: Instant::now(),
            _active: stack.metrics.request_started(&method),
            metrics: stack.metrics.clone(),
            method,
            done: false,
        }
    }

    fn finish(mut self, status: StatusCode, problem: Option<&Problem>) {
        self.done = true;
        self.write(status.as_u16(), "request", problem);
    }

    fn write(&mut self, status: u16, msg: &str, problem: Option<&Problem>) {
        let duration = self.started.elapsed();
        let code = problem.map(|problem| problem.kind.code);
        let caller = self.context.caller();
        let operation = self.context.operation();
        AccessLine {
            msg,
            method: self.method.as_str(),
            path: &self.path,
            status,
            duration,
            request_id: &self.context.request_id,
            trace: self.context.trace,
            route: &self.route,
            caller_id: caller.map(|caller| caller.id.as_str()),
            token_kind: caller.map(|caller| caller.token_kind),
            client_id: caller.and_then(|caller| caller.client_id.as_deref()),
            operation: operation.map(|operation| operation.kind),
            operation_name: operation.and_then(|operation| operation.name()),
            db_statements: Some(self.context.statements()),
            db_duration: Some(self.context.database_time()),
            code,
            error: problem.and_then(Problem::causes).as_deref(),
            ..AccessLine::default()
        }
        .write();
        let route = Arc::clone(&self.route);
        self.metrics
            .request_finished(&self.method, route, status, duration);
        self.trace.finish(&self.method, &self.route, status, code);
    }
}

impl Drop for ResponseLine {
    fn drop(&mut self) {
        if !self.done {
            self.write(499, "request canceled by the client", None);
        }
    }
}
