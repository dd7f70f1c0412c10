//! The layer stack that every route of every axum service stands behind.
//!
//! From the outside in: the rest of an unread body; request id and trace context, one response line, metrics,
//! problem bodies; then panics to problems; then the time-out; then the body limit.

use std::{
    any::Any,
    net::IpAddr,
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
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use opentelemetry::{propagation::Extractor, trace::TraceContextExt};
use quartet_common::{
    clock::Clock,
    config::Server,
    net::{TrustedProxies, client_address},
    problem::{Problem, kinds},
    request_id::{self, RequestId},
};
use quartet_telemetry::{
    REQUEST, RequestContext,
    metrics::{ActiveRequest, Metrics},
};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::drain::drain;

/// The address at the other end of the connection, as [`crate::serve`] sees it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The client's address behind the trusted proxies.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// How long a request body may take to arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyTimeout(pub(crate) Duration);

/// What the stack needs to know.
#[derive(Clone, Debug)]
pub struct Stack {
    clock: Clock,
    metrics: Metrics,
    trusted: TrustedProxies,
    request_timeout: Duration,
    body_timeout: Duration,
}

impl Stack {
    pub fn new(clock: Clock, metrics: Metrics, server: &Server) -> Self {
        Self {
            clock,
            metrics,
            trusted: server.trusted(),
            request_timeout: Duration::from_secs(server.request_timeout_seconds),
            body_timeout: Duration::from_secs(server.body_timeout_seconds),
        }
    }
}

/// Puts the stack around a finished router, and problems where no route fits.
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
        .unwrap_or_else(|_| {
            Problem::not_now(&kinds::TIMED_OUT)
                .detail(format!("no answer within {} s", limit.as_secs()))
                .into_response()
        })
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Problem::internal(std::io::Error::other(format!("panic: {text}"))).into_response()
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
        .map_or(IpAddr::from([127, 0, 0, 1]), |p| p.0);
    let client = client_address(request.headers(), peer, &stack.trusted);
    request.extensions_mut().insert(ClientAddress(client));
    request
        .extensions_mut()
        .insert(BodyTimeout(stack.body_timeout));
    request.extensions_mut().insert(id.clone());
    let (span, context) = (line.span.clone(), Arc::clone(&line.context));
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

/// Gives a problem its body. Every other error response passes unchanged.
fn render_problem(
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

/// Logs and counts a request once: when it is answered, or when the client has gone away.
struct ResponseLine {
    context: Arc<RequestContext>,
    span: Span,
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
        let span = tracing::info_span!(
            target: "quartet",
            "http.server",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            http.request.method = %method,
            http.route = &*route,
            http.response.status_code = field::Empty,
            error.type = field::Empty,
            request_id = id,
        );
        let (trace_id, span_id) = trace_ids(request.headers(), &span);
        Self {
            context: Arc::new(RequestContext::new(id.to_owned(), trace_id, span_id)),
            span,
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
        let status = status.as_u16();
        if let Some(problem) = problem {
            self.span.record("error.type", problem.kind.code);
        }
        self.write(status, "request", problem);
    }

    fn write(&self, status: u16, msg: &str, problem: Option<&Problem>) {
        self.span.record("http.response.status_code", status);
        let took = self.started.elapsed();
        self.metrics
            .request_finished(&self.method, Arc::clone(&self.route), status, took);
        let causes = problem.and_then(Problem::causes);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "quartet",
                    method = %self.method,
                    path = self.path,
                    status,
                    duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3,
                    request_id = self.context.request_id,
                    trace_id = self.context.trace_id,
                    span_id = self.context.span_id,
                    route = &*self.route,
                    caller_id = self.context.caller_id(),
                    code = problem.map(|problem| problem.kind.code),
                    error = causes,
                    "{msg}"
                )
            };
        }
        if status >= 500 {
            line!(error);
        } else {
            line!(info);
        }
    }
}

impl Drop for ResponseLine {
    fn drop(&mut self) {
        if !self.done {
            self.write(499, "request abandoned by the client", None);
        }
    }
}

/// The ids of the current span, continued from `traceparent` where a caller sent one.
fn trace_ids(headers: &HeaderMap, span: &Span) -> (String, String) {
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(headers))
    });
    let remote = parent.span().span_context().clone();
    let _ = span.set_parent(parent);
    let context = span.context();
    let own = context.span().span_context().clone();
    if own.is_valid() {
        (own.trace_id().to_string(), own.span_id().to_string())
    } else if remote.is_valid() {
        (remote.trace_id().to_string(), remote.span_id().to_string())
    } else {
        (
            format!("{:032x}", rand::random::<u128>()),
            format!("{:016x}", rand::random::<u64>()),
        )
    }
}

struct HeaderExtractor<'a>(&'a HeaderMap);

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
