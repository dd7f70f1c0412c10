//! The status page: one file, which loads nothing but `/status`.

use std::sync::LazyLock;

use axum::response::{IntoResponse as _, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("page.html");

static HEADERS: LazyLock<[(HeaderName, HeaderValue); 6]> = LazyLock::new(|| {
    let policy = policy();
    [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &*policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ]
    .map(|(name, value)| {
        let value = HeaderValue::from_str(value).expect("these are visible ASCII");
        (name, value)
    })
});

pub(super) async fn show() -> Response {
    (HEADERS.clone(), PAGE).into_response()
}

/// The script and the style of the page are named by their hashes, so that nothing else can run.
fn policy() -> String {
    let [script, style] = ["script", "style"].map(|name| {
        let (_, rest) = PAGE.split_once(&format!("<{name}>")).unwrap_or_default();
        let (content, _) = rest.split_once(&format!("</{name}>")).unwrap_or_default();
        STANDARD.encode(Sha256::digest(content))
    });
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}
