//! The pages of a login, which may need the body of their request.

use bytes::BytesMut;
use pingora::{Error, ErrorType, Result, proxy::Session};
use tokio::time::timeout;

use super::{
    ctx::{Ctx, ReceivedHead},
    reply,
};
use crate::{error, state::State};

/// Of a body; a longer one is none for these pages.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Answers a request for a page of the route's login.
pub(super) async fn serve(session: &mut Session, ctx: &mut Ctx, state: &State) -> Result<()> {
    let index = ctx
        .route()
        .and_then(|route| route.logins.first().map(|login| login.index));
    let login = index.and_then(|index| ctx.snapshot.logins.get(index).cloned());
    let Some(login) = login else {
        return reply::problem(session, ctx, error::no_route(), state).await;
    };
    let Some(body) = read(session, ctx).await? else {
        let problem = error::body_too_large(MAX_BODY_BYTES as u64);
        return reply::problem(session, ctx, problem, state).await;
    };
    let answer = {
        let head = session.req_header();
        let head = ReceivedHead::of(head.as_ref(), head.raw_path());
        match ctx.page_request(head, &body) {
            Some(request) => login.respond(request).await,
            None => error::no_route().into(),
        }
    };
    reply::answer(session, ctx, *answer, state).await
}

/// The whole body. `None`: it is too long.
async fn read(session: &mut Session, ctx: &Ctx) -> Result<Option<BytesMut>> {
    let pause = ctx
        .route()
        .map(|route| route.body_timeout)
        .unwrap_or_default();
    let session = session.as_downstream_mut();
    let mut body = BytesMut::new();
    if session.is_body_empty() {
        return Ok(Some(body));
    }
    loop {
        let part = timeout(pause, session.read_request_body()).await;
        let part = part.map_err(|_| Error::new_down(ErrorType::ReadTimedout))?;
        let Some(part) = part.map_err(Error::into_down)? else {
            return Ok(Some(body));
        };
        if body.len() + part.len() > MAX_BODY_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
}
