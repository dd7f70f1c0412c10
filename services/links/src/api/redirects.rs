//! `/s/{slug}`: following short links.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quartet_common::{problem::Problem, request_id};
use quartet_http::extract::Path;
use uuid::Uuid;

use super::{pages, signals::Visit};
use crate::{
    domain::{
        Context,
        redirects::{self, Outcome, Redirect},
        values::{short_urls::ShortUrlRef, slugs::Slug},
    },
    problems::{
        CLICK_LOG_UNAVAILABLE, LINK_DISABLED, LINK_EXHAUSTED, LINK_EXPIRED, LINK_NOT_FOUND,
        PREFETCH_REFUSED,
    },
    web::NoticePage,
};

/// Example of the page that browsers see instead of a redirect.
const NOTICE: &str =
    "<!doctype html><html lang=\"en\"><title>This short link has expired</title></html>";

/// Follow a short link
///
/// Redirects to the target URL of the link. The click is written to a log on disk before the
/// response is sent. Temporary redirects are never cached; permanent ones are cached by browsers for
/// at most `redirects.permanent_max_age_seconds`. A slash after the slug changes nothing. A link with `maxClicks` redirects people only:
/// bots and link previews receive a page without the target, which does not count toward the
/// maximum, and prefetches are refused. Errors are HTML for browsers, and problems otherwise.
#[utoipa::path(
    get,
    path = "/s/{slug}",
    operation_id = "follow_link",
    tag = "redirects",
    params(("slug" = String, Path, description = "Slug of the link: 3 to 64 letters, digits, hyphens and underscores", example = "k7Rp2Wx", min_length = 3, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")),
    responses(
        (status = 200, description = "The link has `maxClicks` and the client is a bot: a page without the target", content_type = "text/html", body = String, example = json!(NOTICE)),
        (status = 301, description = "Permanent redirect, for links with redirectStatus 301", headers(("Location" = String, description = "Target URL"))),
        (status = 302, description = "Temporary redirect, the default", headers(("Location" = String, description = "Target URL"))),
        (status = 307, description = "Temporary redirect that keeps the method, for links with redirectStatus 307", headers(("Location" = String, description = "Target URL"))),
        (status = 308, description = "Permanent redirect that keeps the method, for links with redirectStatus 308", headers(("Location" = String, description = "Target URL"))),
        (status = 403, description = "The link does not redirect; HTML for browsers", content((String = "text/html", example = json!(NOTICE)))),
        (status = 404, description = "The link does not redirect; HTML for browsers", content((String = "text/html", example = json!(NOTICE)))),
        (status = 410, description = "The link does not redirect; HTML for browsers", content((String = "text/html", example = json!(NOTICE)))),
    ),
    extensions(("x-problem-codes" = json!([
        CLICK_LOG_UNAVAILABLE.code, LINK_DISABLED.code, LINK_EXHAUSTED.code, LINK_EXPIRED.code,
        LINK_NOT_FOUND.code, PREFETCH_REFUSED.code,
    ]))),
)]
pub(super) async fn follow_link(
    State(ctx): State<Context>,
    visit: Visit,
    Path(slug): Path<String>,
) -> Result<Response, Problem> {
    let headers = &visit.headers;
    let Ok(slug) = Slug::parse(&slug) else {
        return Ok(pages::notice(headers, NoticePage::NotFound));
    };
    let url = short_url(&ctx, headers, slug.as_str());
    let outcome = redirects::follow(&ctx, url, &visit.signals(), request_id(headers)).await?;
    let why = match outcome {
        Outcome::Redirect(redirect) => return Ok(redirect_to(&ctx, redirect)),
        Outcome::NotFound => NoticePage::NotFound,
        Outcome::Disabled => NoticePage::Disabled,
        Outcome::Expired => NoticePage::Expired,
        Outcome::Exhausted => NoticePage::Exhausted,
        Outcome::PeopleOnly => NoticePage::PeopleOnly,
        Outcome::PrefetchRefused => NoticePage::PrefetchRefused,
    };
    Ok(pages::notice(headers, why))
}

/// Look up the target of a short link
///
/// Like GET, without a body. Counted as a bot.
#[utoipa::path(
    head,
    path = "/s/{slug}",
    operation_id = "probe_link",
    tag = "redirects",
    params(("slug" = String, Path, description = "Slug of the link", example = "k7Rp2Wx", min_length = 3, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")),
    responses(
        (status = 200, description = "The link has `maxClicks` and reveals its target to people only"),
        (status = 301, description = "Same as GET", headers(("Location" = String, description = "Target URL"))),
        (status = 302, description = "Same as GET", headers(("Location" = String, description = "Target URL"))),
        (status = 307, description = "Same as GET", headers(("Location" = String, description = "Target URL"))),
        (status = 308, description = "Same as GET", headers(("Location" = String, description = "Target URL"))),
    ),
    extensions(("x-problem-codes" = json!([
        CLICK_LOG_UNAVAILABLE.code, LINK_DISABLED.code, LINK_EXHAUSTED.code, LINK_EXPIRED.code,
        LINK_NOT_FOUND.code, PREFETCH_REFUSED.code,
    ]))),
)]
pub(super) async fn probe_link(
    ctx: State<Context>,
    visit: Visit,
    slug: Path<String>,
) -> Result<Response, Problem> {
    follow_link(ctx, visit, slug).await
}

/// The gateway passes on the `Host` that the client has asked for.
pub(super) fn short_url<'a>(ctx: &Context, headers: &HeaderMap, slug: &'a str) -> ShortUrlRef<'a> {
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let domain = ctx.domains.of(host);
    ShortUrlRef { domain, slug }
}

pub(super) fn request_id(headers: &HeaderMap) -> Option<Uuid> {
    let id = headers.get(&request_id::HEADER)?.to_str().ok()?;
    Uuid::try_parse(id).ok()
}

/// Permanent redirects are cached by the browser alone, and no longer than the link lives.
pub(super) fn redirect_to(ctx: &Context, redirect: Redirect) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    let mut cache = HeaderValue::from_static("private, no-store");
    if matches!(redirect.status, 301 | 308) {
        let mut seconds = ctx.config.redirects.permanent_max_age_seconds;
        if let Some(at) = redirect.expires_at {
            let left = (at - ctx.clock.now()).num_seconds();
            seconds = seconds.min(u64::try_from(left).unwrap_or(0));
        }
        cache = HeaderValue::try_from(format!("private, max-age={seconds}")).unwrap_or(cache);
    }
    // A target is visible ASCII.
    if let Ok(location) = HeaderValue::from_maybe_shared(redirect.target) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}
