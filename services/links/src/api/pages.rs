//! What clients get instead of a redirect.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use quartet_common::problem::Problem;
use quartet_web::wants_html;

use crate::web::{NoticePage, page};

/// A page for browsers, a problem for other clients.
pub(super) fn notice(headers: &HeaderMap, notice: NoticePage) -> Response {
    let Some(kind) = notice.kind().filter(|_| !wants_html(headers)) else {
        return page(headers, notice);
    };
    let mut response = Problem::new(kind).into_response();
    let vary = HeaderValue::from_static("accept, accept-language");
    response.headers_mut().insert(header::VARY, vary);
    response
}
