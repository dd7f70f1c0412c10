//! Answers the question of another proxy: who sends a request, and may they?
//!
//! For nginx (`auth_request`), Traefik (`ForwardAuth`) and Caddy (`forward_auth`) in front of other
//! applications. The steps before this one have decided, by the settings of the route, which are the
//! policy: others have had 401 or 403. What an upstream of the route would learn of the
//! caller is in the headers of the answer, for the proxy to copy.
//!
//! The caller is [`PolicyContext::caller`], whichever step has found it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{
    context::{Edit, Flow, PolicyContext},
    headers::apply_edits,
};
use crate::{
    reply::{GatewayResponse, Reply},
    request::{RequestFacts, WebSocket},
};

static USER: HeaderName = HeaderName::from_static("x-user");
/// The method of the request that is asked about: Traefik and Caddy set the first one, and
/// configurations of nginx the other.
static METHODS: [HeaderName; 2] = [
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-original-method"),
];
static KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// 200, with what upstreams would learn of the caller.
pub(super) fn answer(context: &PolicyContext) -> Flow {
    let mut headers = HeaderMap::new();
    for (name, text) in context.identity() {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name.clone(), value);
        }
    }
    let user = context.caller.as_ref();
    if let Some(Ok(value)) = user.map(|user| HeaderValue::try_from(user.sub.as_str())) {
        headers.insert(USER.clone(), value);
    }
    let of_caller = context.edits.iter().filter(|edit| is_answered(edit));
    apply_edits(&of_caller.cloned().collect::<Vec<_>>(), &mut headers);
    let mut reply = Reply::ok(HeaderValue::from_static("text/plain"), Bytes::new());
    reply.headers.clear();
    reply.headers.extend(
        headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let reply = reply.header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Flow::Reply(Box::new(GatewayResponse::Reply(reply)))
}

/// What the access token has, and what it was sent in has not.
fn is_answered(edit: &Edit) -> bool {
    ![header::AUTHORIZATION, header::COOKIE].contains(edit.name())
}

/// The request that is asked about, for the question whether a page of another site may have sent it.
/// Without a trusted proxy that says what it is, it may be one that changes something.
pub(super) fn asked_about<'r>(facts: &RequestFacts<'r>) -> RequestFacts<'r> {
    static READS: Method = Method::GET;
    static CHANGES: Method = Method::POST;
    let mut methods = METHODS.iter().filter_map(|name| {
        let method = facts.headers.first(name)?;
        Some((method, facts.headers.nth(name, 1).is_none()))
    });
    let is_read = |(method, is_alone): (&[u8], bool)| {
        is_alone && matches!(method, b"GET" | b"HEAD" | b"OPTIONS")
    };
    let first = methods.next();
    let reads = first.is_some_and(is_read) && methods.all(is_read);
    // A handshake is a GET, and is not named as what it is.
    let opens = facts.headers.first(&KEY).is_some();
    let is_safe = facts.is_of_trusted_proxy && reads && !opens;
    RequestFacts {
        method: if is_safe { &READS } else { &CHANGES },
        websocket: WebSocket::No,
        ..*facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_map;

    #[test]
    fn only_a_trusted_proxy_can_say_that_a_request_changes_nothing() {
        for (trusted, fields, expected) in [
            (true, &[("x-forwarded-method", "GET")][..], Method::GET),
            (true, &[("x-original-method", "HEAD")], Method::GET),
            (true, &[("x-forwarded-method", "DELETE")], Method::POST),
            (true, &[("x-forwarded-method", "get")], Method::POST),
            (true, &[], Method::POST),
            (false, &[("x-forwarded-method", "GET")], Method::POST),
            (
                true,
                &[("x-forwarded-method", "GET"), ("x-original-method", "POST")],
                Method::POST,
            ),
            (
                true,
                &[("x-forwarded-method", "GET"), ("sec-websocket-key", "x")],
                Method::POST,
            ),
        ] {
            let headers = header_map(fields);
            let facts = RequestFacts {
                is_of_trusted_proxy: trusted,
                ..RequestFacts::of_test(&headers)
            };
            assert_eq!(asked_about(&facts).method, expected, "{trusted} {fields:?}");
        }
    }
}
