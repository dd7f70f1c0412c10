//! What every request demands of its client's connection, and of its own head beyond routing.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use pingora::{http::ResponseHeader, protocols::http::ServerSession, proxy::Session};
use quartet_common::problem::Problem;

use super::{ctx::Ctx, reply, request_head::check_method};
use crate::{config::model::Server, error};

/// pingora refuses a tenth.
const MAX_CONNECTION_NAMES: usize = 9;
/// Headers that a `Connection` header must not take away from the upstream.
const PROTECTED: [&str; 4] = [
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Sets time-outs and the conduct of the connection; drops headers that no upstream should see.
pub(super) fn prepare(session: &mut Session, ctx: &Ctx) {
    let server = &ctx.snapshot.config.model.server;
    session.set_write_timeout(Some(Duration::from_secs(server.write_timeout_seconds)));
    session.set_total_drain_timeout(Some(reply::LINGER));
    // A client that has sent its last byte still reads.
    session.set_abort_on_close(false);
    let version = session.req_header().version;
    if version == http::Version::HTTP_10 {
        // These clients know no interim responses: the first one would be the only one (RFC 9110, 15.2
        // and 10.1.1).
        session.req_header_mut().remove_header(&header::EXPECT);
        if let ServerSession::H1(session) = session.as_downstream_mut() {
            session.set_ignore_info_resp(true);
        }
    }
    if session.req_header().headers.contains_key(header::EXPECT) {
        // Otherwise pingora ends the connection with the interim response.
        session.set_close_on_response_before_downstream_finish(false);
    }
    drop_headers(session, server);
}

/// Removes `Proxy`, which CGI programs take for a setting ("httpoxy"), `X-Forwarded`, and names with
/// underscores, which many servers cannot tell from names with dashes.
fn drop_headers(session: &mut Session, server: &Server) {
    let is_dropped = |name: &HeaderName| is_dropped(name.as_str().as_bytes(), server);
    let headers = &session.req_header().headers;
    if !headers.keys().any(is_dropped) {
        return;
    }
    let dropped: Vec<HeaderName> = headers
        .keys()
        .filter(|&name| is_dropped(name))
        .cloned()
        .collect();
    for name in dropped {
        session.req_header_mut().remove_header(&name);
    }
}

pub(super) fn is_dropped(name: &[u8], server: &Server) -> bool {
    let is = |dropped: &[u8]| name.eq_ignore_ascii_case(dropped);
    is(b"proxy")
        || is(b"x-forwarded")
        || (!server.allow_underscore_headers && memchr::memchr(b'_', name).is_some())
}

/// Rules for a head that the parser of HTTP/1 heads has not applied: it never sees those of HTTP/2.
///
/// # Errors
/// 400, 405 or 431.
pub(super) fn check(session: &Session, ctx: &Ctx) -> Result<(), Problem> {
    let head = session.req_header();
    let server = &ctx.snapshot.config.model.server;
    check_method(head.method.as_str())?;
    if head.headers.len() > server.header_limit_count {
        let (bytes, count) = (server.header_limit_bytes, server.header_limit_count);
        return Err(error::headers_too_large(bytes, count));
    }
    check_length(&head.headers)?;
    check_connection(&head.headers)
}

/// pingora reads the first one, an upstream perhaps another one.
fn check_length(headers: &HeaderMap) -> Result<(), Problem> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match lengths.nth(1) {
        None => Ok(()),
        Some(_) => Err(error::malformed("Content-Length is sent more than once")),
    }
}

fn check_connection(headers: &HeaderMap) -> Result<(), Problem> {
    let mut names = 0;
    for value in headers.get_all(header::CONNECTION) {
        for name in value.as_bytes().split(|&byte| byte == b',') {
            let name = name.trim_ascii();
            names += usize::from(!name.is_empty());
            if PROTECTED
                .iter()
                .any(|protected| name.eq_ignore_ascii_case(protected.as_bytes()))
            {
                return Err(error::malformed(
                    "Connection names a header that every hop needs",
                ));
            }
        }
    }
    if names > MAX_CONNECTION_NAMES {
        return Err(error::malformed("Connection names more than nine headers"));
    }
    Ok(())
}

/// Makes the upstream's final head one of this hop.
pub(super) fn adapt(session: &mut Session, response: &mut ResponseHeader) {
    strip_hop_by_hop(response);
    if response.status == http::StatusCode::NO_CONTENT {
        // Not allowed there (RFC 9110, 8.6), and 0 in one that reaches here.
        response.remove_header(&header::CONTENT_LENGTH);
    }
    let unread = !session.as_downstream_mut().is_body_done();
    if unread && !session.is_http2() {
        // The rest of the request cannot be distinguished from the next one.
        session.set_keepalive(None);
    }
    if !session.is_http2() {
        // The gateway's own, whatever that of the upstream is (RFC 9112, 2.3).
        response.set_version(http::Version::HTTP_11);
    }
    if session.req_header().version == http::Version::HTTP_10 {
        without_chunks(session, response);
    }
    if is_event_stream(response) {
        // Without this, the stream of a client that has gone would stay open until its next event.
        session.set_abort_on_close(true);
    }
}

/// Leaves out of an interim head what concerns the upstream's connection, and lengths: it has no body.
pub(super) fn adapt_interim(response: &mut ResponseHeader) {
    strip_hop_by_hop(response);
    for name in [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        response.remove_header(&name);
    }
}

/// HTTP/1.0 knows no chunks: without a length, the end of the connection is the end of the body.
fn without_chunks(session: &mut Session, response: &mut ResponseHeader) {
    if response.remove_header(&header::TRANSFER_ENCODING).is_some() {
        session.set_keepalive(None);
    }
}

/// Headers between the upstream and the gateway only (RFC 9110, 7.6.1), except those that say where
/// the body ends. A switch is one to WebSocket, in this hop too.
fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let is_switch = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
    if !is_switch && !response.headers.keys().any(is_of_connection) {
        return;
    }
    remove_hop_by_hop(response);
    if is_switch {
        // The only protocol that is asked for. Names and values are valid.
        let _ = response.insert_header(header::CONNECTION, "upgrade");
        let _ = response.insert_header(header::UPGRADE, "websocket");
    }
}

static HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

fn is_of_connection(name: &HeaderName) -> bool {
    *name == header::CONNECTION || HOP_BY_HOP.contains(name)
}

fn remove_hop_by_hop(response: &mut ResponseHeader) {
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING))
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        response.remove_header(name);
    }
}

/// Whether a `Content-Type` is that of events; its case has no meaning.
pub(super) fn is_event_stream_type(value: &[u8]) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let start = value.get(..EVENTS.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
}

fn is_event_stream(response: &ResponseHeader) -> bool {
    let kind = response.headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| is_event_stream_type(kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_one_length_is_accepted() {
        let mut headers = HeaderMap::new();
        for is_accepted in [true, true, false] {
            assert_eq!(check_length(&headers).is_ok(), is_accepted);
            headers.append(header::CONTENT_LENGTH, HeaderValue::from_static("3"));
        }
    }

    #[test]
    fn interim_heads_lose_what_concerns_the_upstreams_connection() {
        let mut head = ResponseHeader::build(103, None).unwrap();
        for (name, value) in [
            ("link", "a"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("upgrade", "x"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
        ] {
            head.append_header(name, value).unwrap();
        }
        adapt_interim(&mut head);
        let names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["link"]);
    }
}
