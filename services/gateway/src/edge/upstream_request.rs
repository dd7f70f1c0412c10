//! Phase 4: the request head for the replica. Headers of the client that are not trusted are
//! replaced by what the gateway knows.

use http::{HeaderMap, HeaderValue, Version, header};
use pingora::{Result, http::RequestHeader, proxy::Session};
use quartet_common::request_id;
use quartet_telemetry::TRACEPARENT;

use super::{ctx::Ctx, parts};
use crate::{
    policy::headers::{apply_edits, forwarded_headers, untrusted_headers},
    routing::MatchedRoute,
};

/// About as many headers are added.
const ADDED: usize = 8;

pub(super) fn filter(session: &Session, request: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    parts::edit_request(request, |parts| {
        edit(session, parts.version, &mut parts.headers, ctx);
    });
    let matched = ctx.matched.as_ref();
    if let Some(target) = matched.and_then(MatchedRoute::forwarded) {
        request.set_raw_path(target.as_bytes())?;
    }
    Ok(())
}

/// `version`: in which the replica is spoken to.
fn edit(session: &Session, version: Version, headers: &mut HeaderMap, ctx: &Ctx) {
    let sent = session.req_header();
    headers.reserve(ADDED);
    for name in untrusted_headers(&sent.headers) {
        headers.remove(&name);
    }
    for name in ctx.untrusted_trace_fields() {
        headers.remove(name);
    }
    if ctx.upgrade {
        // Of the protocols that the client offers, only this one may be chosen.
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    let authority = sent
        .uri
        .authority()
        .and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    let host = sent.headers.get(header::HOST).or(authority.as_ref());
    let client = ctx.client_ip.to_string();
    let origin = ctx.origin(&client, host.map(HeaderValue::as_bytes));
    for (name, value) in forwarded_headers(origin) {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            headers.insert(name, value);
        }
    }
    for (name, text) in ctx.policy.identity() {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    apply_edits(&ctx.policy.edits, headers);
    let upstream = ctx.attempts.upstream.as_ref();
    let configured = upstream.and_then(|upstream| upstream.config.host.as_ref());
    let respelled = ctx
        .matched
        .as_ref()
        .and_then(|matched| matched.host.as_ref());
    if let Some(host) = configured.or(respelled) {
        headers.insert(header::HOST, host.clone());
    } else if host.is_none()
        && let Some(replica) = &ctx.attempts.current
        && let Ok(host) = HeaderValue::try_from(replica.address.to_string())
    {
        // HTTP/1.0 clients may leave it out; HTTP/1.1, which replicas are spoken to in, demands one.
        headers.insert(header::HOST, host);
    }
    if let Ok(id) = HeaderValue::from_str(ctx.request_id()) {
        headers.insert(&request_id::HEADER, id);
    }
    headers.insert(&TRACEPARENT, ctx.trace.context().header());
    if sent.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    // The length of what is decoded is not known yet. HTTP/2 marks the end of every body.
    if ctx.policy.decodes()
        && headers.remove(header::CONTENT_LENGTH).is_some()
        && version != Version::HTTP_2
    {
        headers.insert(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    }
}

/// HTTP/2 clients may split cookies over several headers; HTTP/1.1 allows one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}
