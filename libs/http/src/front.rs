//! Answers in front of the router, for the one route of a service that is worth it.
//!
//! The layers around the router allocate some sixty times per request. A [`Front`] takes requests that
//! it can answer from memory and leaves everything else to the router, which must answer the same
//! requests in the same way: whether the front has taken one is visible in nothing but its duration.
//!
//! ```text
//! request --> App --> Front::take --> Some: request id, time-out, panics, log line, metrics  [here]
//!                          |
//!                          +-------> None: router with its layers                     [`layers`]
//! ```
//!
//! What the layers promise holds here as well: one log line and one count per request, also when the
//! client leaves; a problem body for failures and panics; the time-out. Other lines that an answer logs
//! have no request id. Where spans are exported, every request passes the router.

use std::{
    future::poll_fn,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    task::Poll,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either},
};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use quartet_common::{
    net::client_ip,
    problem::Problem,
    request_id::{self, RequestId},
};
use quartet_telemetry::{
    AccessLine, TraceContext,
    metrics::{ActiveRequest, RequestSeries},
    panic_message, spans_enabled,
};
use tower::ServiceExt as _;

use crate::layers::{Peer, Stack, panic_problem, render_problem, timed_out};

/// The statuses whose metrics are looked up once, not per request.
const USUAL: [u16; 4] = [301, 302, 307, 308];

/// What a request is answered with.
pub type FrontResponse = BoxFuture<'static, Result<Response, Problem>>;

/// See the head of the module.
pub trait Front: Send + Sync + 'static {
    /// The pattern of the route, as the router knows it.
    fn route(&self) -> &'static str;

    /// The answer to a request without a body, or `None` to leave it to the router. Must not wait;
    /// the answer may.
    fn take(&self, request: &RequestHead<'_>) -> Option<FrontResponse>;
}

/// A request that a [`Front`] may take.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub client: IpAddr,
}

/// All routes of a service, and what is in front of them.
#[derive(Clone)]
pub struct App {
    router: Router,
    front: Option<Arc<FrontStack>>,
}

/// A front with what the layers have.
struct FrontStack {
    stack: Stack,
    front: Arc<dyn Front>,
    route: Arc<str>,
    /// Of GET requests with a usual status.
    series: [OnceLock<RequestSeries>; USUAL.len()],
}

impl From<Router> for App {
    fn from(router: Router) -> Self {
        Self {
            router,
            front: None,
        }
    }
}

impl App {
    #[must_use]
    pub fn with_front(self, front: Arc<dyn Front>, stack: Stack) -> Self {
        let front = FrontStack {
            stack,
            route: front.route().into(),
            front,
            series: Default::default(),
        };
        Self {
            front: Some(Arc::new(front)),
            ..self
        }
    }

    /// The same as a router, so that a layer can be put around it. [`crate::serve`] needs none.
    pub fn into_router(self) -> Router {
        let service = tower::service_fn(move |request: Request<Body>| {
            let peer = request.extensions().get::<Peer>().copied();
            let answer = self.call(request, peer.unwrap_or(Peer::LOCAL));
            async { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        Router::new().fallback_service(service)
    }

    pub(crate) fn call<B>(
        &self,
        mut request: Request<B>,
        peer: Peer,
    ) -> impl Future<Output = Response> + Send + use<B>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if let Some(front) = &self.front
            && request.body().is_end_stream()
            && let Some(answer) =
                front.take(request.method(), request.uri(), request.headers(), peer)
        {
            return Either::Left(answer);
        }
        request.extensions_mut().insert(peer);
        let answer = self.router.clone().oneshot(request.map(Body::new));
        Either::Right(answer.map(|Ok(response)| response))
    }
}

impl FrontStack {
    fn take(
        self: &Arc<Self>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        Peer(peer): Peer,
    ) -> Option<BoxFuture<'static, Response>> {
        if spans_enabled() {
            return None;
        }
        let started = Instant::now();
        let request = RequestHead {
            method,
            path: uri.path(),
            headers,
            client: client_ip(headers, peer, &self.stack.trusted),
        };
        let taken = catch_unwind(AssertUnwindSafe(|| self.front.take(&request)));
        let answer = taken.unwrap_or_else(|panic| {
            let problem = panic_problem(panic_message(&*panic));
            Some(async { Err(problem) }.boxed())
        })?;
        let given = headers.get(&request_id::HEADER);
        let given = given.filter(|value| value.to_str().is_ok_and(RequestId::is_valid));
        let line = LoggedRequest {
            request_id: given.cloned().unwrap_or_else(|| self.new_request_id()),
            trace: TraceContext::from_headers(headers),
            method: method.clone(),
            uri: uri.clone(),
            started,
            _active: self.stack.metrics.request_started(method),
            front: Arc::clone(self),
            done: false,
        };
        Some(line.answer(answer).boxed())
    }

    fn new_request_id(&self) -> HeaderValue {
        let id = RequestId::generate(&self.stack.clock);
        HeaderValue::from_str(id.as_str()).expect("a UUID is visible ASCII")
    }

    fn count(&self, method: &Method, status: u16, duration: Duration) {
        let metrics = &self.stack.metrics;
        let usual = USUAL.iter().position(|usual| *usual == status);
        match usual.filter(|_| method == Method::GET) {
            Some(index) => self.series[index]
                .get_or_init(|| metrics.series(method, Arc::clone(&self.route), status))
                .finished(duration),
            None => metrics.request_finished(method, Arc::clone(&self.route), status, duration),
        }
    }
}

/// Logs and counts a request once: when it is answered, or when the client has disconnected.
struct LoggedRequest {
    front: Arc<FrontStack>,
    request_id: HeaderValue,
    trace: TraceContext,
    method: Method,
    uri: Uri,
    started: Instant,
    _active: ActiveRequest,
    done: bool,
}

impl LoggedRequest {
    async fn answer(mut self, answer: FrontResponse) -> Response {
        let limit = self.front.stack.request_timeout;
        let result = match within(limit, AssertUnwindSafe(answer).catch_unwind()).await {
            Some(Ok(result)) => result,
            Some(Err(panic)) => Err(panic_problem(panic_message(&*panic))),
            None => Err(timed_out(limit)),
        };
        let mut response = result.unwrap_or_else(IntoResponse::into_response);
        let id = self.request_id.clone();
        let text = id.to_str().unwrap_or_default();
        let problem = render_problem(&mut response, text, self.uri.path(), &self.method);
        self.done = true;
        self.write(response.status().as_u16(), "request", problem.as_ref());
        response.headers_mut().insert(&request_id::HEADER, id);
        response
    }

    fn write(&self, status: u16, msg: &str, problem: Option<&Problem>) {
        let duration = self.started.elapsed();
        AccessLine {
            msg,
            method: self.method.as_str(),
            path: self.uri.path(),
            status,
            duration,
            request_id: self.request_id.to_str().unwrap_or_default(),
            trace: self.trace,
            route: &self.front.route,
            db_statements: Some(0),
            db_duration: Some(Duration::ZERO),
            code: problem.map(|problem| problem.kind.code),
            error: problem.and_then(Problem::causes).as_deref(),
            ..AccessLine::default()
        }
        .write();
        self.front.count(&self.method, status, duration);
    }
}

impl Drop for LoggedRequest {
    fn drop(&mut self) {
        if !self.done {
            self.write(499, "request canceled by the client", None);
        }
    }
}

/// The output of an answer, or `None` after the limit. Most answers are there after they have yielded
/// once: a timer is set for the others only.
async fn within<A: Future>(limit: Duration, answer: A) -> Option<A::Output> {
    tokio::pin!(answer);
    for _ in 0..2 {
        let polled = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        // Wakes this task whether or not the answer does.
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(limit, answer).await.ok()
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("has_front", &self.front.is_some())
            .finish_non_exhaustive()
    }
}
