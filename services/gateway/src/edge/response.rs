//! Phase 6: the head of the upstream's response.

use http::{StatusCode, header};
use pingora::{Error, ErrorType, Result, http::ResponseHeader, proxy::Session};

use super::{client_stream::ClientStream, ctx::Ctx, downstream, parts, reply};
use crate::upstream::ReplicaOutcome;

/// Marks the replica healthy, and notes how long it took until its final head.
///
/// # Errors
/// When the upstream switches to a protocol that was not asked for: what follows has no meaning.
pub(super) fn head_received(response: &ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !ctx.upgrade {
        let why = "the upstream switched protocols without being asked";
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, why).into_up());
    }
    if !is_interim(response) {
        has_answered(ctx);
    }
    Ok(())
}

/// The replica of this attempt has sent a final head.
pub(super) fn has_answered(ctx: &mut Ctx) {
    if let Some(lease) = &ctx.attempts.current {
        lease.report(ReplicaOutcome::Responded);
    }
    if ctx.attempts.duration.is_none() {
        ctx.attempts.duration = ctx.attempts.started.map(|started| started.elapsed());
    }
}

/// Nothing is added to an interim head: that is said of the final one.
pub(super) fn filter(session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) {
    if is_interim(response) {
        downstream::adapt_interim(response);
        return;
    }
    downstream::adapt(session, response);
    keep_date(session, response);
    parts::edit_response(response, |parts| reply::decorate(parts, ctx));
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
