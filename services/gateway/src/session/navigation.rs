//! What a request without a session gets: people in a browser are sent to the provider; scripts and
//! sockets could do nothing with its pages, and each such redirect would start a flow.

use http::{HeaderName, Method};

use crate::request::{RequestFacts, WebSocket};

static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
static REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// The sender of a request without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Someone who opens a page.
    Page,
    /// Someone who sends a form: after a login, it would have to be sent again.
    Form,
    /// A script, another program, or a WebSocket.
    Program,
}

pub(crate) fn visit(facts: &RequestFacts<'_>) -> Visit {
    let headers = facts.headers;
    let is = |name: &HeaderName, text: &[u8]| headers.first(name) == Some(text);
    let is_prefetch = headers
        .first(&PURPOSE)
        .is_some_and(|value| value.starts_with(b"prefetch"));
    if facts.websocket != WebSocket::No || is_prefetch || is(&REQUESTED_WITH, b"XMLHttpRequest") {
        return Visit::Program;
    }
    let is_navigation = if headers.first(&FETCH_MODE).is_some() {
        let is_shown = ["document", "iframe", "frame"];
        let is_shown = is_shown.iter().any(|kind| is(&FETCH_DEST, kind.as_bytes()));
        is(&FETCH_MODE, b"navigate") && is_shown
    } else {
        headers.accept_html()
    };
    match *facts.method {
        _ if !is_navigation => Visit::Program,
        Method::GET | Method::HEAD => Visit::Page,
        _ => Visit::Form,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_map;

    #[test]
    fn only_people_are_sent_to_the_provider() {
        const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        for (fields, expected) in [
            (&[html][..], Visit::Page),
            (&[NAVIGATE, ("sec-fetch-dest", "document")], Visit::Page),
            (&[NAVIGATE, ("sec-fetch-dest", "iframe")], Visit::Page),
            (
                &[html, NAVIGATE, ("sec-fetch-dest", "image")],
                Visit::Program,
            ),
            (&[html, ("sec-fetch-mode", "cors")], Visit::Program),
            (
                &[html, ("x-requested-with", "XMLHttpRequest")],
                Visit::Program,
            ),
            (
                &[
                    NAVIGATE,
                    ("sec-fetch-dest", "document"),
                    ("sec-purpose", "prefetch;prerender"),
                ],
                Visit::Program,
            ),
            (&[("accept", "*/*")], Visit::Program),
            (&[("accept", "application/json")], Visit::Program),
            (&[], Visit::Program),
        ] {
            let headers = header_map(fields);
            let facts = RequestFacts::of_test(&headers);
            assert_eq!(visit(&facts), expected, "{fields:?}");
            let post = RequestFacts {
                method: &Method::POST,
                ..facts
            };
            let of_post = if expected == Visit::Page {
                Visit::Form
            } else {
                Visit::Program
            };
            assert_eq!(visit(&post), of_post, "{fields:?}");
            let socket = RequestFacts {
                websocket: WebSocket::Handshake,
                ..facts
            };
            assert_eq!(visit(&socket), Visit::Program);
        }
    }
}
