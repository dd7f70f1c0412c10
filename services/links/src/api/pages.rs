//! The pages that browsers see instead of a redirect.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quartet_common::problem::{Kind, Problem};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// A page for browsers, a problem for other clients.
pub(super) fn notice(headers: &HeaderMap, why: &'static Kind) -> Response {
    if wants_html(headers) {
        return page(why.status, why.title);
    }
    let mut response = Problem::new(why).into_response();
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// For bots that look at a link with `max_clicks`: no target, and no use is taken.
pub(super) fn people_only() -> Response {
    page(
        StatusCode::OK,
        "This short link limits its clicks. Open it in a browser to follow it.",
    )
}

fn page(status: StatusCode, text: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         <title>{text}</title><style>body{{font:1.2rem system-ui;margin:20vh auto;max-width:30rem;\
         padding:0 1rem;text-align:center;color-scheme:light dark}}</style><h1>{}</h1><p>{text}.</p></html>\n",
        status.as_u16(),
        text = text.trim_end_matches('.'),
    );
    let headers = [
        (header::CACHE_CONTROL, "private, no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::VARY, "accept"),
    ];
    (status, headers, Html(html)).into_response()
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
