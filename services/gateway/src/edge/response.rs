//! Phase 6: the head of the upstream's response.

use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, proxy::Session};

use super::{
    attempt::{self, WITHHELD},
    client_stream,
    ctx::Ctx,
    downstream, parts, reply,
    response_framing::{FramingFields, MAX_HEAD_BYTES, MAX_INTERIM, RefusalReason},
};
use crate::{
    cache::BodyLength,
    policy::{ReceivedResponse, body_length},
    request::Headers,
    state::State,
    upstream::ReplicaOutcome,
};

/// The client gets another response; it is in the state of the request.
pub(super) const REPLACED: ErrorType = ErrorType::Custom("the response is replaced");

/// About as many headers are added, by pingora too.
const ADDED: usize = 8;

/// Marks the replica healthy, and notes how long it took until its final head.
///
/// # Errors
/// When the end of the response is in doubt, or another attempt or another response takes the place of the response.
pub(super) fn head_received(
    session: &Session,
    response: &mut ResponseHeader,
    ctx: &mut Ctx,
    state: &State,
) -> Result<()> {
    let to_head = session.req_header().method == Method::HEAD;
    check(response, to_head, ctx)
        .map_err(|why| Error::explain(ErrorType::InvalidHTTPHeader, why).into_up())?;
    if is_interim(response) {
        return Ok(());
    }
    if ctx
        .attempts
        .slot
        .as_ref()
        .is_some_and(|slot| !slot.answered())
    {
        return Err(Error::new_up(ErrorType::ReadTimedout));
    }
    let status = response.status.as_u16();
    let unanswered = ctx.attempts.interim == 0;
    let has_retry_after = || response.headers.contains_key(header::RETRY_AFTER);
    let repeatable = |ctx: &Ctx| unanswered && attempt::is_repeatable(session, ctx);
    if attempt::after_a_status(ctx, state, status, has_retry_after, repeatable) {
        return Err(Error::new_up(WITHHELD));
    }
    has_answered(ctx, status, Instant::now());
    answer_grpc_web(session, response, ctx);
    if ctx.policy.checks_response() {
        ctx.policy
            .check_response_head(response.status, &response.headers);
    }
    if ctx.policy.has_cache() || ctx.route().is_some_and(|route| route.compression.is_some()) {
        show(session, response, ctx)?;
    }
    Ok(())
}

/// Translates the head of a response of gRPC, of which the end of the body is marked from now on.
fn answer_grpc_web(session: &Session, response: &mut ResponseHeader, ctx: &mut Ctx) {
    let Some(call) = &mut ctx.policy.grpc_web else {
        return;
    };
    let is_grpc = parts::edit_response(response, |parts| call.on_head(&mut parts.headers));
    if is_grpc && !session.is_http2() {
        // The name and the value are valid.
        let _ = response.insert_header(header::TRANSFER_ENCODING, "chunked");
    }
}

/// Compresses the response, and shows it to a cache as the client gets it.
///
/// # Errors
/// `REPLACED`: the client gets another one.
fn show(session: &Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    let request = session.req_header();
    let status = response.status;
    let empty = request.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // The end of a stream of HTTP/2 is always marked.
    let marked = response.version == Version::HTTP_2
        || response.headers.contains_key(header::TRANSFER_ENCODING);
    let mut length = body_length(&response.headers, empty, marked);
    if compress(session, response, ctx) && matches!(length, BodyLength::Known(1..)) {
        // It ends where that of the upstream does, or the response fails.
        length = BodyLength::Marked;
    }
    let received = ReceivedResponse {
        status,
        headers: &response.headers,
        length,
        method: &request.method,
        request: &request.headers,
    };
    ctx.instead = ctx.policy.cache_head(received);
    match ctx.instead {
        Some(_) => Err(Error::new(REPLACED)),
        None => Ok(()),
    }
}

/// Whether the body is encoded from now on. A response that replaces another one is not: it is stored
/// as its clients accept it.
fn compress(session: &Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> bool {
    let Some(settings) = ctx.route().and_then(|route| route.compression.clone()) else {
        return false;
    };
    let request = session.req_header();
    let status = response.status;
    let encoder = parts::edit_response(response, |parts| {
        let asked: (&Method, &dyn Headers) = (&request.method, &request.headers);
        settings.on_head(asked, status, &mut parts.headers)
    });
    let encodes = encoder.is_some();
    ctx.policy.encoder = encoder.map(Box::new);
    if encodes && !session.is_http2() {
        // The name and the value are valid.
        let _ = response.insert_header(header::TRANSFER_ENCODING, "chunked");
    }
    encodes
}

/// Compares a part of the body with the document, before it is encoded; `end`: the last one.
pub(super) fn check_body(part: Option<&Bytes>, end: bool, ctx: &mut Ctx) {
    if !ctx.policy.checks_response() {
        return;
    }
    if let Some(part) = part {
        ctx.policy.check_response_part(part);
    }
    if end {
        ctx.policy.check_response_end();
    }
}

/// Encodes a part of the body; `end`: the last one.
///
/// # Errors
/// When the encoder fails.
pub(super) fn encode(body: &mut Option<Bytes>, end: bool, ctx: &mut Ctx) -> Result<()> {
    if let Some(call) = &ctx.policy.grpc_web {
        *body = body.take().map(|part| call.response_part(part));
    }
    let Some(mut encoder) = ctx.policy.encoder.take() else {
        return Ok(());
    };
    let part = body.take().unwrap_or_default();
    let encoded = if end {
        encoder.finish(&part)
    } else {
        let encoded = encoder.part(&part);
        ctx.policy.encoder = Some(encoder);
        encoded
    };
    let encoded = encoded.map_err(|error| {
        Error::because(
            ErrorType::InternalError,
            "the response cannot be encoded",
            error,
        )
    })?;
    *body = Some(encoded).filter(|encoded| !encoded.is_empty());
    Ok(())
}

/// A part of the body; `end`: the last one.
pub(super) fn body_received(part: Option<&Bytes>, end: bool, ctx: &mut Ctx) {
    if !ctx.policy.has_cache() {
        return;
    }
    if let Some(part) = part {
        ctx.policy.cache_body(part);
    }
    if end {
        ctx.policy.cache_end();
    }
}

/// The rules of the direct path. pingora takes the last coding for the only one, passes on a list of
/// lengths as it is, and leaves both in responses that have no body.
fn check(response: &ResponseHeader, to_head: bool, ctx: &mut Ctx) -> Result<(), RefusalReason> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !ctx.upgrade {
        return Err("the upstream switched protocols without being asked");
    }
    let mut fields = FramingFields::default();
    // As it was sent, except for spaces, the reason and the name of the version.
    let mut bytes = 0;
    for (name, value) in &response.headers {
        bytes += name.as_str().len() + value.len() + ": \r\n".len();
        if bytes > MAX_HEAD_BYTES {
            return Err("the response head is too large");
        }
        fields.note(name.as_str().as_bytes(), value.as_bytes())?;
    }
    let old = response.version < Version::HTTP_11;
    fields.framing(response.status.as_u16(), to_head, old)?;
    if is_interim(response) {
        ctx.attempts.interim += 1;
        if ctx.attempts.interim > MAX_INTERIM {
            return Err("too many interim responses");
        }
    }
    Ok(())
}

/// The replica of this attempt has sent a final head.
pub(super) fn has_answered(ctx: &mut Ctx, status: u16, now: Instant) {
    if let Some(lease) = &ctx.attempts.current {
        lease.report(ReplicaOutcome::of_status(status), now);
    }
    if ctx.attempts.duration.is_none() {
        let started = ctx.attempts.started;
        ctx.attempts.duration = started.map(|started| now.saturating_duration_since(started));
    }
    ctx.head_after = Some(now.saturating_duration_since(ctx.started));
}

/// Nothing is added to an interim head: that is said of the final one.
pub(super) fn filter(session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) {
    if is_interim(response) {
        downstream::adapt_interim(response);
        return;
    }
    downstream::adapt(session, response);
    client_stream::keep_date(session, &response.headers);
    parts::edit_response(response, |parts| {
        parts.headers.reserve(ADDED);
        reply::decorate(parts, ctx);
    });
}

pub(super) fn is_interim(response: &ResponseHeader) -> bool {
    response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
}
