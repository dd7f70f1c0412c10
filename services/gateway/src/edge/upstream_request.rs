//! Phase 4: the request head for the replica. Headers of the client that are not trusted are
//! replaced by what the gateway knows.

use http::{HeaderValue, Version, header};
use pingora::{Result, http::RequestHeader, proxy::Session};
use quartet_common::request_id;
use quartet_telemetry::TRACEPARENT;

use super::ctx::Ctx;
use crate::policy::{
    Edit,
    headers::{Origin, forwarded_headers, untrusted_headers},
};

pub(super) fn filter(session: &Session, request: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let sent = session.req_header();
    for name in untrusted_headers(&sent.headers) {
        request.remove_header(&name);
    }
    let authority = sent
        .uri
        .authority()
        .and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    let host = sent.headers.get(header::HOST).or(authority.as_ref());
    let origin = Origin {
        client: &ctx.client_ip.to_string(),
        peer_is_trusted: ctx.peer_is_trusted,
        tls: session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some()),
        host: host.map(HeaderValue::as_bytes),
    };
    for (name, value) in forwarded_headers(origin, &sent.headers) {
        if let Some(value) = value {
            request.insert_header(name, value)?;
        }
    }
    for edit in &ctx.policy.edits {
        match edit {
            Edit::Set(name, value) => {
                request.insert_header(name, value)?;
            }
            Edit::Remove(name) => {
                request.remove_header(name);
            }
        }
    }
    if let Some(matched) = &ctx.matched {
        if let Some(target) = &matched.target {
            request.set_raw_path(target.as_bytes())?;
        }
        if let Some(host) = &matched.host {
            request.insert_header(header::HOST, host)?;
        }
    }
    if let Some(host) = ctx
        .attempts
        .upstream
        .as_ref()
        .and_then(|u| u.config.host.as_ref())
    {
        request.insert_header(header::HOST, host)?;
    }
    request.insert_header(&request_id::HEADER, ctx.request_id())?;
    request.insert_header(&TRACEPARENT, ctx.trace.context().header())?;
    if sent.version == Version::HTTP_2 {
        join_cookies(request)?;
    }
    Ok(())
}

/// HTTP/2 clients may split cookies over several headers; HTTP/1.1 allows one (RFC 9113, 8.2.3).
fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    let parts: Vec<&[u8]> = request
        .headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        request.insert_header(header::COOKIE, joined)?;
    }
    Ok(())
}
