//! Phase 5: counts the request body as its parts arrive.

use bytes::Bytes;
use pingora::{Error, ErrorType, Result};

use super::ctx::Ctx;

/// The body is larger than the route allows.
pub(super) const TOO_LARGE: ErrorType = ErrorType::HTTPStatus(413);

/// After an upgrade there is no request body: those bytes belong to the tunnel.
pub(super) fn count(part: Option<&Bytes>, ctx: &mut Ctx) -> Result<()> {
    let (Some(part), Some(matched)) = (part, &ctx.matched) else {
        return Ok(());
    };
    if ctx.upgrade {
        return Ok(());
    }
    ctx.body_bytes = ctx.body_bytes.saturating_add(part.len() as u64);
    if ctx.body_bytes > matched.route.body_limit_bytes {
        return Err(Error::new_down(TOO_LARGE));
    }
    Ok(())
}
