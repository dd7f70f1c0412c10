//! The browsable API documentation. Nothing in it is loaded from elsewhere.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use quartet_common::problem::Problem;
use utoipa_swagger_ui::Config;

use super::Page;
use crate::error;

const ROOT: &str = "/docs";
/// The vendored page styles itself inline and draws its pictures from data addresses.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

static UI: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::new(["/openapi.json"])
        .try_it_out_enabled(true)
        .persist_authorization(false)
        .deep_linking(true)
        .validator_url("none");
    Arc::new(config)
});

pub(super) fn page(path: &str) -> Result<Page, Problem> {
    let Some(file) = path.strip_prefix(ROOT).filter(|rest| !rest.is_empty()) else {
        // The page names its parts relative to itself.
        let mut page = Page::ok(HeaderValue::from_static("text/plain"), Bytes::new())
            .with(header::LOCATION, HeaderValue::from_static("/docs/"));
        page.status = StatusCode::MOVED_PERMANENTLY;
        return Ok(page);
    };
    let file = utoipa_swagger_ui::serve(file.trim_start_matches('/'), Arc::clone(&UI))
        .map_err(|_| error::internal())?
        .ok_or_else(error::no_route)?;
    let content_type = HeaderValue::from_str(&file.content_type).map_err(|_| error::internal())?;
    let mut page = Page::ok(content_type, file.bytes.into_owned())
        .with(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_POLICY),
        )
        .with(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )
        .with(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        )
        .with(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=3600"),
        );
    if file.gzpipped {
        page = page.with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(page)
}
