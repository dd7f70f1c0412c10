//! Phase 3: parts of the request body pass by and are counted.

use bytes::Bytes;
use pingora::{Error, ErrorType, Result};

use super::ctx::Ctx;

/// The body was longer than the route allows.
pub(super) const TOO_LARGE: ErrorType = ErrorType::HTTPStatus(413);

/// After an upgrade there is no request body any more: those bytes are the tunnel's.
pub(super) fn count_request(part: Option<&Bytes>, ctx: &mut Ctx) -> Result<()> {
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
