//! The browsable API documentation, with a login. Nothing in it is loaded from elsewhere.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use quartet_common::problem::Problem;
use utoipa_swagger_ui::Config;

use super::Page;
use crate::error;

const ROOT: &str = "/docs";
/// Scripts come from here only and none is inline, so that nobody else's can read a token. The
/// vendored page draws its pictures from data addresses.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
    style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Our own page around the vendored one: file, media type, content.
const OWN: [(&str, &str, &str); 3] = [
    (
        "index.html",
        "text/html; charset=utf-8",
        include_str!("docs/index.html"),
    ),
    (
        "docs.css",
        "text/css; charset=utf-8",
        include_str!("docs/docs.css"),
    ),
    (
        "docs.js",
        "text/javascript; charset=utf-8",
        include_str!("docs/docs.js"),
    ),
];
/// What the page uses of the vendored files; their own pages are not served.
const VENDORED: [&str; 3] = [
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "favicon-32x32.png",
];

static VENDOR: LazyLock<Arc<Config<'static>>> = LazyLock::new(Arc::default);

pub(super) fn page(path: &str) -> Result<Page, Problem> {
    match path.strip_prefix(ROOT).unwrap_or_default() {
        // The page names its parts relative to itself.
        "" => Ok(moved()),
        "/" => file("index.html"),
        rest => file(rest.trim_start_matches('/')),
    }
}

fn moved() -> Page {
    let mut page = Page::ok(HeaderValue::from_static("text/plain"), Bytes::new())
        .with(header::LOCATION, HeaderValue::from_static("/docs/"));
    page.status = StatusCode::MOVED_PERMANENTLY;
    page
}

fn file(name: &str) -> Result<Page, Problem> {
    if let Some((_, content_type, text)) = OWN.iter().find(|(own, _, _)| *own == name) {
        let page = Page::ok(HeaderValue::from_static(content_type), text.as_bytes());
        // The parts must be of one release.
        return Ok(guarded(page, "no-cache"));
    }
    if !VENDORED.contains(&name) {
        return Err(error::no_route());
    }
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&VENDOR))
        .map_err(|_| error::internal())?
        .ok_or_else(error::internal)?;
    let content_type = HeaderValue::from_str(&file.content_type).map_err(|_| error::internal())?;
    let mut page = guarded(
        Page::ok(content_type, file.bytes.into_owned()),
        "public, max-age=3600",
    );
    if file.gzpipped {
        page = page.with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(page)
}

fn guarded(page: Page, cache: &'static str) -> Page {
    [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, cache),
    ]
    .into_iter()
    .fold(page, |page, (name, value)| {
        page.with(name, HeaderValue::from_static(value))
    })
}
