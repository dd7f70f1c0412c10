//! Sends the responses of the gateway itself; no other file does.

use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::{Result, http::ResponseHeader, protocols::Stream, proxy::Session};
use quartet_common::{
    problem::Problem,
    request_id::{self, RequestId},
};
use quartet_telemetry::{AccessLine, TRACEPARENT, TraceContext};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    ctx::{Ctx, SentProblem, peer_ip},
    logging::UNMATCHED,
    request_head::RejectedHead,
};
use crate::{
    policy::ResponseHead,
    reply::{Answer, Reply},
    state::State,
};

/// A request body of this size is read before the response, so that the connection can be reused.
const DISCARDED_BYTES: u64 = 64 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for the rest of a request after an early response.
pub(super) const LINGER: Duration = Duration::from_secs(2);

impl ResponseHead for ResponseHeader {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        // Fails only for invalid names, and the type rules these out.
        let _ = self.insert_header(name, value);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        let _ = self.append_header(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }

    fn status(&self) -> StatusCode {
        self.status
    }
}

/// Adds the headers of every response, the upstream's included.
pub(super) fn decorate(response: &mut ResponseHeader, ctx: &Ctx) {
    if let Ok(id) = HeaderValue::from_str(ctx.request_id()) {
        response.set(request_id::HEADER.clone(), id);
    }
    response.set(TRACEPARENT.clone(), ctx.trace.context().header());
    ctx.decorate(response);
}

/// Sends what a policy answered.
pub(super) async fn answer(session: &mut Session, ctx: &mut Ctx, answer: Answer) -> Result<()> {
    match answer {
        Answer::Problem(problem) => self::problem(session, ctx, problem).await,
        Answer::Reply(reply) => send(session, ctx, reply).await,
    }
}

/// Sends a problem, and notes it for the access log.
pub(super) async fn problem(session: &mut Session, ctx: &mut Ctx, problem: Problem) -> Result<()> {
    ctx.problem = Some(SentProblem {
        code: problem.kind.code,
        causes: problem.causes(),
    });
    let path = session.req_header().uri.path();
    let reply = Reply::problem(&problem, ctx.request_id(), path);
    send(session, ctx, reply).await
}

pub(super) async fn send(session: &mut Session, ctx: &mut Ctx, reply: Reply) -> Result<()> {
    // The rest of a request that was too slow is not waited for.
    let timed_out = reply.status == StatusCode::REQUEST_TIMEOUT;
    let request_read = !timed_out && discard_small_body(session).await;
    if !request_read {
        session.set_keepalive(None);
    }
    let mut response = ResponseHeader::build(reply.status, Some(reply.headers.len() + 6))?;
    for (name, value) in reply.headers {
        response.append_header(name, value)?;
    }
    response.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
    decorate(&mut response, ctx);
    let no_body = session.req_header().method == Method::HEAD || reply.body.is_empty();
    session
        .write_response_header(Box::new(response), no_body)
        .await?;
    if !no_body {
        session.write_response_body(Some(reply.body), true).await?;
    }
    if !request_read && !timed_out && !session.is_http2() {
        let _ = timeout(LINGER, discard_body(session)).await;
    }
    Ok(())
}

/// True: the request was read to its end.
async fn discard_small_body(session: &mut Session) -> bool {
    if session.is_http2() || session.is_body_done() {
        return true;
    }
    let headers = &session.req_header().headers;
    let is_small = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .is_some_and(|length| length <= DISCARDED_BYTES);
    // A client that expects 100 Continue has not sent its body.
    if !is_small || headers.contains_key(header::EXPECT) {
        return false;
    }
    let read = timeout(DISCARD_TIMEOUT, discard_body(session)).await;
    read.is_ok() && session.is_body_done()
}

async fn discard_body(session: &mut Session) {
    while let Ok(Some(_)) = session.read_request_body().await {}
}

/// Responds to a head that was rejected, logs it, and closes the connection.
pub(super) async fn reject(stream: &mut Stream, rejected: RejectedHead, state: &State) {
    let started = Instant::now();
    let request_id = RequestId::generate(&state.clock);
    let trace = TraceContext::start();
    let path = rejected.path.as_deref().unwrap_or("-");
    let reply = Reply::problem(&rejected.problem, request_id.as_str(), path);
    let text = render(&reply, &request_id, trace);
    let sent = async {
        stream.write_all(&text).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(stream).await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The client may have disconnected, which changes nothing.
    let _ = timeout(LINGER, sent).await;
    let method = rejected.method.unwrap_or(Method::GET);
    let (status, duration) = (reply.status.as_u16(), started.elapsed());
    let metrics = &state.metrics.http;
    metrics.request_finished(&method, UNMATCHED.into(), status, duration);
    AccessLine {
        method: method.as_str(),
        path,
        status,
        duration,
        request_id: request_id.as_str(),
        trace,
        route: UNMATCHED,
        client: peer_ip(stream),
        bytes: Some(reply.body.len() as u64),
        code: Some(rejected.problem.kind.code),
        ..AccessLine::default()
    }
    .write();
}

fn render(reply: &Reply, request_id: &RequestId, trace: TraceContext) -> Vec<u8> {
    let reason = reply.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", reply.status.as_u16()).into_bytes();
    let mut put = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    };
    for (name, value) in &reply.headers {
        put(name.as_str(), value.as_bytes());
    }
    put("content-length", reply.body.len().to_string().as_bytes());
    put("connection", b"close");
    put(request_id::HEADER.as_str(), request_id.as_str().as_bytes());
    put(TRACEPARENT.as_str(), trace.header().as_bytes());
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&reply.body);
    text
}
