//! Phase 6: the head of the upstream's response.

use std::time::Instant;

use http::{Method, StatusCode, Version, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, proxy::Session};

use super::{
    client_stream::ClientStream,
    ctx::Ctx,
    downstream, parts, reply,
    response_framing::{FramingFields, MAX_INTERIM, RefusalReason},
};
use crate::upstream::ReplicaOutcome;

/// About as many headers are added, by pingora too.
const ADDED: usize = 8;

/// Marks the replica healthy, and notes how long it took until its final head.
///
/// # Errors
/// When the end of the response is in doubt.
pub(super) fn head_received(
    session: &Session,
    response: &ResponseHeader,
    ctx: &mut Ctx,
) -> Result<()> {
    let to_head = session.req_header().method == Method::HEAD;
    check(response, to_head, ctx)
        .map_err(|why| Error::explain(ErrorType::InvalidHTTPHeader, why).into_up())?;
    if !is_interim(response) {
        has_answered(ctx, Instant::now());
    }
    Ok(())
}

/// The rules of the direct path. pingora takes the last coding for the only one, passes on a list of
/// lengths as it is, and leaves both in responses that have no body.
fn check(response: &ResponseHeader, to_head: bool, ctx: &mut Ctx) -> Result<(), RefusalReason> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !ctx.upgrade {
        return Err("the upstream switched protocols without being asked");
    }
    let mut fields = FramingFields::default();
    for (name, value) in &response.headers {
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
pub(super) fn has_answered(ctx: &mut Ctx, now: Instant) {
    if let Some(lease) = &ctx.attempts.current {
        lease.report(ReplicaOutcome::Responded, now);
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
    keep_date(session, response);
    parts::edit_response(response, |parts| {
        parts.headers.reserve(ADDED);
        reply::decorate(parts, ctx);
    });
}

/// pingora would replace it; with HTTP/2 it does not.
fn keep_date(session: &Session, response: &ResponseHeader) {
    let stream = session.stream().map(|stream| (**stream).as_any());
    let stream = stream.and_then(|stream| stream.downcast_ref::<ClientStream>());
    if let (Some(stream), Some(date)) = (stream, response.headers.get(header::DATE)) {
        stream.keep_date(date);
    }
}

pub(super) fn is_interim(response: &ResponseHeader) -> bool {
    response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
}
