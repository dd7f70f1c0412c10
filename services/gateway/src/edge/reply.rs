//! Sends the responses of the gateway itself; no other file does.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header, response::Parts};
use pingora::{
    Error, ErrorType, Result,
    protocols::{GetSocketDigest, Stream, http::date::get_cached_date},
    proxy::Session,
};
use quartet_common::{
    problem::Problem,
    request_id::{self, RequestId},
};
use quartet_telemetry::{AccessLine, TRACEPARENT, TraceContext};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

pub(super) use super::client_stream::LINGER;
use super::{
    client_stream,
    ctx::{Ctx, SentProblem, peer_ip},
    logging::{REFUSED, UNMATCHED},
};
use crate::{
    policy::ResponseHead,
    reply::{FileBody, GatewayResponse, Page, Reply},
    state::State,
};

/// A request body of this size is read before the response, so that the connection can be reused.
pub(super) const DISCARDED_BYTES: u64 = 64 * 1024;
pub(super) const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);
/// What fails if a body ends early.
pub(super) const FILE: &str = "a file could not be read to its end";
/// A response is sent in parts of this size, each within the write time-out.
const PART_BYTES: usize = 64 * 1024;

impl ResponseHead for Parts {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.append(name, value);
    }

    fn set_missing(&mut self, name: &HeaderName, value: &HeaderValue) {
        if !self.headers.contains_key(name) {
            self.headers.insert(name, value.clone());
        }
    }

    fn remove(&mut self, name: &HeaderName) {
        self.headers.remove(name);
    }

    fn status(&self) -> StatusCode {
        self.status
    }
}

/// A head that gets a problem in response, and as much of it as could be read.
pub(super) struct RejectedHead {
    pub(super) problem: Problem,
    pub(super) method: Option<Method>,
    pub(super) path: Option<String>,
}

impl RejectedHead {
    /// Nothing is known of the request.
    pub(super) fn of(problem: Problem) -> Self {
        Self {
            problem,
            method: None,
            path: None,
        }
    }
}

/// Adds the headers of every final response, the upstream's included.
pub(super) fn decorate(response: &mut dyn ResponseHead, ctx: &Ctx) {
    response.set_bytes(&request_id::HEADER, ctx.request_id().as_bytes());
    response.set_bytes(&TRACEPARENT, &ctx.trace.context().text());
    ctx.decorate(response);
}

/// Sends what a policy answered.
pub(super) async fn answer(
    session: &mut Session,
    ctx: &mut Ctx,
    answer: GatewayResponse,
    state: &State,
) -> Result<()> {
    match answer {
        GatewayResponse::Problem(problem) => self::problem(session, ctx, problem, state).await,
        GatewayResponse::Page(page) => {
            let reply = page_reply(ctx, *page);
            send(session, ctx, reply, state).await
        }
        GatewayResponse::Reply(reply) => send(session, ctx, reply, state).await,
    }
}

/// Sends a problem, and notes it for the access log.
pub(super) async fn problem(
    session: &mut Session,
    ctx: &mut Ctx,
    problem: Problem,
    state: &State,
) -> Result<()> {
    let reply = problem_reply(ctx, &problem, session.req_header().uri.path());
    send(session, ctx, reply, state).await
}

/// The reply with a problem, which is noted for the access log.
pub(super) fn problem_reply(ctx: &mut Ctx, problem: &Problem, path: &str) -> Reply {
    note(ctx, problem);
    Reply::problem(problem, ctx.request_id(), path)
}

/// The same for people.
pub(super) fn page_reply(ctx: &mut Ctx, page: Page) -> Reply {
    note(ctx, &page.problem);
    Reply::page(page, ctx.request_id())
}

fn note(ctx: &mut Ctx, problem: &Problem) {
    ctx.problem = Some(SentProblem {
        code: problem.kind.code,
        causes: problem.causes(),
    });
}

/// Sends a response. A client that does not read it in time loses its connection or stream.
pub(super) async fn send(
    session: &mut Session,
    ctx: &mut Ctx,
    mut reply: Reply,
    state: &State,
) -> Result<()> {
    let limit = Duration::from_secs(ctx.snapshot.config.model.server.page_timeout_seconds);
    let length = reply.content_length();
    let file = reply.file.take();
    let is_file = file.is_some();
    let sent = timeout(
        limit,
        transmit(session, ctx, (reply, length, is_file), state),
    )
    .await;
    let unread = sent.unwrap_or_else(|_| {
        session.set_keepalive(None);
        Err(Error::new_down(ErrorType::WriteTimedout))
    })?;
    if let Some(file) = file
        && session.req_header().method != Method::HEAD
    {
        write_file(session, ctx, *file).await?;
    }
    if unread && !session.is_http2() {
        let _ = timeout(LINGER, discard_body(session)).await;
    }
    Ok(())
}

/// Sends the head, and what is in memory. True: the request was not read to its end, and its client may
/// still be sending. `is_file`: a body from a file follows.
async fn transmit(
    session: &mut Session,
    ctx: &mut Ctx,
    (reply, length, is_file): (Reply, Option<u64>, bool),
    state: &State,
) -> Result<bool> {
    // The rest of a request that was too slow is not waited for.
    let timed_out = reply.status == StatusCode::REQUEST_TIMEOUT;
    let request_read = !timed_out && discard_small_body(session).await;
    // The drain may have begun since the request did.
    if !request_read || state.readiness.is_draining() {
        session.set_keepalive(None);
    }
    let (mut response, ()) = http::Response::new(()).into_parts();
    response.status = reply.status;
    response.headers.reserve(reply.headers.len() + 6);
    for (name, value) in reply.headers {
        response.headers.append(name, value);
    }
    if let Some(length) = length {
        response.set(header::CONTENT_LENGTH, length.into());
    }
    client_stream::keep_date(session, &response.headers);
    ctx.head_after = Some(ctx.started.elapsed());
    decorate(&mut response, ctx);
    let is_empty = reply.body.is_empty() && !is_file;
    let no_body = session.req_header().method == Method::HEAD || is_empty;
    session
        .write_response_header(Box::new(response.into()), no_body)
        .await?;
    if !no_body && !is_file {
        write_body(session, reply.body).await?;
    }
    Ok(!request_read && !timed_out)
}

/// Each part has the time that the client has to read it, so that a large file may take as long as it
/// needs, and a client that has stopped does not keep it open.
async fn write_file(session: &mut Session, ctx: &Ctx, mut file: FileBody) -> Result<()> {
    let limit = Duration::from_secs(ctx.snapshot.config.model.server.write_timeout_seconds);
    loop {
        let part = file.part().await;
        let part = part.map_err(|error| Error::because(ErrorType::FileReadError, FILE, error))?;
        let Some(part) = part else { return Ok(()) };
        let written = session.write_response_body(Some(part), file.is_sent());
        let written = timeout(limit, written).await;
        written.unwrap_or_else(|_| Err(Error::new_down(ErrorType::WriteTimedout)))?;
    }
}

/// The parts share the memory of the body, so a client that does not read pins none of its own.
async fn write_body(session: &mut Session, mut body: Bytes) -> Result<()> {
    while !body.is_empty() {
        let part = body.split_to(PART_BYTES.min(body.len()));
        session
            .write_response_body(Some(part), body.is_empty())
            .await?;
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
pub(super) async fn reject<S>(stream: &mut S, rejected: RejectedHead, state: &State)
where
    S: AsyncRead + AsyncWrite + GetSocketDigest + Unpin,
{
    let started = Instant::now();
    let client = peer_ip(stream.get_socket_digest().as_deref());
    let line = Rejection::new(&rejected, state);
    // The client may have disconnected, which changes nothing.
    let _ = timeout(LINGER, send_raw(stream, &line.render(&rejected))).await;
    line.write(&rejected, client, started.elapsed(), state);
}

/// Sends the reason to a client whose connection is over the limit, unless too many of these
/// responses are being sent already.
pub(super) async fn refuse_connection(stream: &mut Stream, rejected: RejectedHead, state: &State) {
    let client = peer_ip(stream.get_socket_digest().as_deref());
    let line = Rejection::new(&rejected, state);
    if let Ok(_permit) = state.refusals.responses.try_acquire() {
        let _ = timeout(LINGER, send_raw(stream, &line.render(&rejected))).await;
    }
    line.write(&rejected, client, Duration::ZERO, state);
}

/// Logs and counts a request that pingora has answered itself.
pub(super) fn log_rejected(rejected: &RejectedHead, client: Option<IpAddr>, state: &State) {
    Rejection::new(rejected, state).write(rejected, client, Duration::ZERO, state);
}

/// Sends the response, and waits for the client to close: with its bytes unread, closing first
/// would be a reset, which could overtake the response.
async fn send_raw<S>(stream: &mut S, text: &[u8]) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(text).await?;
    stream.flush().await?;
    AsyncWriteExt::shutdown(stream).await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The response to a rejected head, and its line in the log.
struct Rejection {
    request_id: RequestId,
    trace: TraceContext,
    reply: Reply,
}

impl Rejection {
    fn new(rejected: &RejectedHead, state: &State) -> Self {
        let request_id = RequestId::generate(&state.clock);
        let path = rejected.path.as_deref().unwrap_or("-");
        let reply = Reply::problem(&rejected.problem, request_id.as_str(), path);
        Self {
            request_id,
            trace: TraceContext::start(),
            reply,
        }
    }

    fn render(&self, rejected: &RejectedHead) -> Vec<u8> {
        let mut text = render_head(&self.reply, &self.request_id, self.trace);
        text.extend_from_slice(self.body(rejected));
        text
    }

    /// What is sent of the body: nothing in response to HEAD (RFC 9110, 9.3.2).
    fn body(&self, rejected: &RejectedHead) -> &[u8] {
        match rejected.method {
            Some(Method::HEAD) => &[],
            _ => &self.reply.body,
        }
    }

    fn write(
        &self,
        rejected: &RejectedHead,
        client: Option<IpAddr>,
        duration: Duration,
        state: &State,
    ) {
        let method = rejected.method.clone().unwrap_or(Method::GET);
        let status = self.reply.status.as_u16();
        let metrics = &state.metrics.http;
        metrics.request_finished(&method, UNMATCHED.into(), status, duration);
        let server = &state.snapshot().config.model.server;
        let limited = REFUSED.contains(&status) || status == 503;
        if limited && !state.refusals.may_log(server.refused_log_lines_per_second) {
            return;
        }
        AccessLine {
            method: method.as_str(),
            path: rejected.path.as_deref().unwrap_or("-"),
            status,
            duration,
            request_id: self.request_id.as_str(),
            trace: self.trace,
            route: UNMATCHED,
            client,
            bytes: Some(self.body(rejected).len() as u64),
            code: Some(rejected.problem.kind.code),
            ..AccessLine::default()
        }
        .write();
    }
}

fn render_head(reply: &Reply, request_id: &RequestId, trace: TraceContext) -> Vec<u8> {
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
    put("date", get_cached_date().as_bytes());
    put("connection", b"close");
    put(request_id::HEADER.as_str(), request_id.as_str().as_bytes());
    put(TRACEPARENT.as_str(), trace.header().as_bytes());
    text.extend_from_slice(b"\r\n");
    text
}
