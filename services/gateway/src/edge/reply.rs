//! The only place where answers of our own are built.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::{Result, http::ResponseHeader, protocols::Stream, proxy::Session};
use quartet_common::{
    problem::Problem,
    request_id::{self, RequestId},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    LINGER,
    ctx::{Answered, Ctx},
    front,
    head::Refusal,
};
use crate::{
    observe::Line,
    pages::Page,
    policy::ResponseHead,
    state::State,
    trace::{TRACEPARENT, TraceContext},
};

/// A body of this size is swallowed before the answer, so that the connection lives on.
const SWALLOWED_BYTES: u64 = 64 * 1024;
const SWALLOWED_WITHIN: Duration = Duration::from_millis(500);
const UNMATCHED: &str = "unmatched";

impl ResponseHead for ResponseHeader {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        // Fails only for names that are not valid, and this one is.
        let _ = self.insert_header(name, value);
    }
}

/// Headers that every answer carries, ours and the upstream's.
pub(super) fn decorate(response: &mut ResponseHeader, ctx: &Ctx) {
    if let Ok(id) = HeaderValue::from_str(ctx.request_id()) {
        response.set(request_id::HEADER.clone(), id);
    }
    response.set(TRACEPARENT.clone(), ctx.trace.context.header());
    ctx.snapshot.policies.on_response(&ctx.notes, response);
}

/// Answers with a problem and remembers it for the log.
pub(super) async fn problem(session: &mut Session, ctx: &mut Ctx, problem: Problem) -> Result<()> {
    ctx.problem = Some(Answered {
        code: problem.kind.code,
        causes: problem.causes(),
    });
    let path = session.req_header().uri.path();
    let page = page_of(&problem, ctx.request_id(), path);
    self::page(session, ctx, page).await
}

/// Answers with a whole page.
pub(super) async fn page(session: &mut Session, ctx: &mut Ctx, page: Page) -> Result<()> {
    // A client that was too slow is not waited for again.
    let late = page.status == StatusCode::REQUEST_TIMEOUT;
    let whole = !late && swallow(session).await;
    if !whole {
        session.set_keepalive(None);
    }
    let mut response = ResponseHeader::build(page.status, Some(page.headers.len() + 6))?;
    for (name, value) in page.headers {
        response.append_header(name, value)?;
    }
    response.insert_header(header::CONTENT_LENGTH, page.body.len())?;
    decorate(&mut response, ctx);
    let bodiless = session.req_header().method == Method::HEAD || page.body.is_empty();
    session
        .write_response_header(Box::new(response), bodiless)
        .await?;
    if !bodiless {
        session.write_response_body(Some(page.body), true).await?;
    }
    if !whole && !late {
        linger(session).await;
    }
    Ok(())
}

/// Reads a small body to its end. True: nothing of the request is left.
async fn swallow(session: &mut Session) -> bool {
    if session.is_http2() || session.is_body_done() {
        return true;
    }
    let headers = &session.req_header().headers;
    let small = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .is_some_and(|length| length <= SWALLOWED_BYTES);
    // Who expects 100 Continue has not sent the body yet.
    if !small || headers.contains_key(header::EXPECT) {
        return false;
    }
    let read = async { while let Ok(Some(_)) = session.read_request_body().await {} };
    tokio::time::timeout(SWALLOWED_WITHIN, read).await.is_ok() && session.is_body_done()
}

/// Reads on for a while: a connection that is closed with unread data in it is reset,
/// and a reset may overtake the answer.
async fn linger(session: &mut Session) {
    if session.is_http2() {
        return;
    }
    let read = async { while let Ok(Some(_)) = session.read_request_body().await {} };
    let _ = tokio::time::timeout(LINGER, read).await;
}

fn page_of(problem: &Problem, request_id: &str, path: &str) -> Page {
    let body = serde_json::to_vec(&problem.to_body(request_id, path)).unwrap_or_default();
    let mut headers = vec![
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    headers.extend(
        problem
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Page {
        status: problem.kind.status,
        headers,
        body: Bytes::from(body),
    }
}

/// Answers a head that never became a request, logs it, and ends the connection.
pub(super) async fn refuse(stream: &mut Stream, refusal: Refusal, state: &State) {
    let started = Instant::now();
    let request_id = RequestId::generate(&state.clock);
    let trace = TraceContext::begin();
    let path = refusal.path.as_deref().unwrap_or("-");
    let page = page_of(&refusal.problem, request_id.as_str(), path);
    let status = page.status;
    let bytes = page.body.len();
    let text = render(&page, &request_id, trace);
    let sent = async {
        stream.write_all(&text).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(stream).await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whether the client still listens is its own affair.
    let _ = tokio::time::timeout(LINGER, sent).await;
    let method = refusal.method.unwrap_or(Method::GET);
    state.metrics.http.request_finished(
        &method,
        UNMATCHED.into(),
        status.as_u16(),
        started.elapsed(),
    );
    Line {
        method: &method,
        path,
        status: status.as_u16(),
        took: started.elapsed(),
        request_id: request_id.as_str(),
        trace,
        route: UNMATCHED,
        caller_id: None,
        client: front::peer(stream),
        upstream: None,
        upstream_took: None,
        bytes,
        code: Some(refusal.problem.kind.code),
        error: None,
    }
    .write();
}

fn render(page: &Page, request_id: &RequestId, trace: TraceContext) -> Vec<u8> {
    let reason = page.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", page.status.as_u16()).into_bytes();
    let mut put = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    };
    for (name, value) in &page.headers {
        put(name.as_str(), value.as_bytes());
    }
    put("content-length", page.body.len().to_string().as_bytes());
    put("connection", b"close");
    put(request_id::HEADER.as_str(), request_id.as_str().as_bytes());
    put(TRACEPARENT.as_str(), trace.header().as_bytes());
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&page.body);
    text
}

/// The route's name where there is none.
pub(super) fn unmatched() -> &'static str {
    UNMATCHED
}

/// What the client saw when it did not wait for the answer.
pub(super) const CLIENT_GONE: u16 = 499;

/// For the log: the status that was sent.
pub(super) fn status(session: &Session) -> Option<StatusCode> {
    session.response_written().map(|response| response.status)
}
