//! Copies a request for the mirror of its route while it is sent to its upstream.

use bytes::Bytes;
use pingora::http::RequestHeader;

use super::ctx::Ctx;

/// The head, as this attempt sends it. A copy of an attempt before begins again. Without a body, it is
/// complete.
pub(super) fn head(request: &RequestHeader, is_complete: bool, ctx: &mut Ctx) {
    let Some(mirror) = &ctx.policy.mirror else {
        return;
    };
    // The place of the copy before is free again.
    ctx.copy = None;
    let target = String::from_utf8_lossy(request.raw_path());
    let copy = mirror.copy(&request.method, &target, &request.headers);
    ctx.copy = copy.map(Box::new);
    if ctx.copy.is_none() {
        ctx.policy.mirror = None;
    }
    if is_complete {
        send(ctx);
    }
}

/// A part of the body. With the last one, the copy is sent.
pub(super) fn body(part: Option<&Bytes>, end_of_stream: bool, ctx: &mut Ctx) {
    let (Some(mirror), Some(copy)) = (&ctx.policy.mirror, &mut ctx.copy) else {
        return;
    };
    let part = part.map_or(&[][..], |part| part);
    if !copy.push(part, mirror.max_body_bytes) {
        mirror.skip();
        (ctx.policy.mirror, ctx.copy) = (None, None);
        return;
    }
    if end_of_stream {
        send(ctx);
    }
}

/// Once for a request, however many attempts it takes.
fn send(ctx: &mut Ctx) {
    if let (Some(mirror), Some(copy)) = (ctx.policy.mirror.take(), ctx.copy.take()) {
        mirror.send(*copy);
    }
}
