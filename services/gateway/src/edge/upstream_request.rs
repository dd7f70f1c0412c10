//! Phase 4: the request head for the replica. Headers of the client that are not trusted are
//! replaced by what the gateway knows.

use http::{HeaderName, HeaderValue, Version, header};
use pingora::{Result, http::RequestHeader, proxy::Session};
use quartet_common::request_id;
use quartet_telemetry::TRACEPARENT;

use super::ctx::Ctx;
use crate::{
    policy::{
        Edit,
        headers::{Origin, forwarded_headers, untrusted_headers},
    },
    request::is_alias,
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
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            request.insert_header(name, value)?;
        }
    }
    for edit in &ctx.policy.edits {
        remove_aliases(request, edit.name());
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

/// What the client sent under another spelling must not stand beside, or in for, what was edited.
fn remove_aliases(request: &mut RequestHeader, edited: &HeaderName) {
    let edited = edited.as_str().as_bytes();
    let is_other = |name: &&HeaderName| {
        let name = name.as_str().as_bytes();
        name != edited && is_alias(name, edited)
    };
    let aliases: Vec<HeaderName> = request.headers.keys().filter(is_other).cloned().collect();
    for alias in aliases {
        request.remove_header(&alias);
    }
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
