//! `/s/{slug}`: the redirect and its click.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use quartet_common::{problem::Problem, request_id};
use quartet_http::{extract::Path, layers::ClientAddress};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::pages;
use crate::{
    domain::{
        clicks::{Click, Kept},
        redirects::{Answer, Found},
        slugs::Slug,
        visits::{BotReason, Identity, Visit},
    },
    error::{Error, kinds},
    state::AppState,
};

/// What a browser is shown in place of a redirect.
const NOTICE: &str =
    "<!doctype html><html lang=\"en\"><title>This short link has expired</title></html>";

pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(follow_link, probe_link))
}

/// Follow a short link
///
/// Redirects to the link's target. The click is in a log on disk before the answer is sent.
/// Temporary redirects are never cached; permanent ones at most for as long as is configured.
/// A link with a maximum of clicks gives its target to people only: programs and previews get
/// a page that takes no use, and prefetches are refused.
/// Answers HTML to browsers and problems to everybody else.
#[utoipa::path(
    get,
    path = "/s/{slug}",
    operation_id = "follow_link",
    tag = "redirects",
    params(("slug" = String, Path, description = "The link's slug: 3 to 64 letters, digits, dashes and underscores", example = "k7Rp2Wx")),
    responses(
        (status = 200, description = "The link counts its uses, and this request is not a person's: a page without the target", content_type = "text/html", body = String, example = json!(NOTICE)),
        (status = 301, description = "Moved permanently, where the link asks for it", headers(("Location" = String, description = "The target"))),
        (status = 302, description = "The usual redirect", headers(("Location" = String, description = "The target"))),
        (status = 307, description = "Temporary redirect that keeps the method, where the link asks for it", headers(("Location" = String, description = "The target"))),
        (status = 308, description = "Permanent redirect that keeps the method, where the link asks for it", headers(("Location" = String, description = "The target"))),
        (status = 403, description = "No redirect; HTML for browsers", content((String = "text/html", example = json!(NOTICE)))),
        (status = 404, description = "No redirect; HTML for browsers", content((String = "text/html", example = json!(NOTICE)))),
        (status = 410, description = "No redirect; HTML for browsers", content((String = "text/html", example = json!(NOTICE)))),
    ),
    extensions(("x-problem-codes" = json!([
        "click_log_unavailable", "link_disabled", "link_exhausted", "link_expired", "link_not_found",
        "prefetch_refused",
    ]))),
)]
async fn follow_link(
    State(state): State<AppState>,
    method: Method,
    client: ClientAddress,
    headers: HeaderMap,
    Path(slug): Path<String>,
) -> Response {
    let is_head = method == Method::HEAD;
    let answered = answer(&state, &slug, is_head, client, &headers).await;
    answered.unwrap_or_else(|error| Problem::from(error).into_response())
}

/// Look where a short link leads
///
/// Like GET, without a body. Flagged in the statistics and not counted as a person.
#[utoipa::path(
    head,
    path = "/s/{slug}",
    operation_id = "probe_link",
    tag = "redirects",
    params(("slug" = String, Path, description = "The link's slug", example = "k7Rp2Wx")),
    responses(
        (status = 200, description = "The link counts its uses and tells its target to people only"),
        (status = 301, description = "As GET would answer", headers(("Location" = String, description = "The target"))),
        (status = 302, description = "As GET would answer", headers(("Location" = String, description = "The target"))),
        (status = 307, description = "As GET would answer", headers(("Location" = String, description = "The target"))),
        (status = 308, description = "As GET would answer", headers(("Location" = String, description = "The target"))),
    ),
    extensions(("x-problem-codes" = json!([
        "click_log_unavailable", "link_disabled", "link_exhausted", "link_expired", "link_not_found",
        "prefetch_refused",
    ]))),
)]
async fn probe_link(
    state: State<AppState>,
    method: Method,
    client: ClientAddress,
    headers: HeaderMap,
    slug: Path<String>,
) -> Response {
    follow_link(state, method, client, headers, slug).await
}

async fn answer(
    state: &AppState,
    slug: &str,
    is_head: bool,
    client: ClientAddress,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let visits = &state.visits;
    let Ok(slug) = Slug::parse(slug) else {
        return Ok(pages::notice(headers, &kinds::LINK_NOT_FOUND));
    };
    let now = state.clock.now();
    let salt = visits.salts.get(now);
    let identity = salt.as_ref().map(|salt| Identity {
        salt,
        host: &visits.host,
        address: client.0,
    });
    let visit = Visit::read(headers, is_head, identity, visits.country_header.as_ref());
    let found = match visits
        .redirects
        .follow(&slug, visit.bot.is_none(), now)
        .await?
    {
        Answer::Found(found) => found,
        Answer::Unknown => return Ok(pages::notice(headers, &kinds::LINK_NOT_FOUND)),
        Answer::Disabled => return Ok(pages::notice(headers, &kinds::LINK_DISABLED)),
        Answer::Expired => return Ok(pages::notice(headers, &kinds::LINK_EXPIRED)),
        Answer::Exhausted => return Ok(pages::notice(headers, &kinds::LINK_EXHAUSTED)),
        Answer::PeopleOnly if visit.bot == Some(BotReason::Prefetch) => {
            return Ok(pages::notice(headers, &kinds::PREFETCH_REFUSED));
        }
        Answer::PeopleOnly => return Ok(pages::people_only()),
    };
    let click = Click::new(click_id(state, headers, now), found.link_id, visit);
    match visits.log.keep(click).await? {
        Kept::Safe => visits.metrics.clicks_logged.inc(),
        Kept::Lost => visits.metrics.clicks_lost.inc(),
    };
    Ok(redirect(state, found))
}

/// The request's own id where the gateway made it (a version 7 UUID of this minute): a request that the
/// gateway repeats, because a replica died before it answered, is then one click and not two.
fn click_id(state: &AppState, headers: &HeaderMap, now: DateTime<Utc>) -> Uuid {
    headers
        .get(&request_id::HEADER)
        .and_then(|value| Uuid::try_parse(value.to_str().ok()?).ok())
        .filter(|id| is_recent(*id, now))
        .unwrap_or_else(|| state.clock.uuid_v7())
}

fn is_recent(id: Uuid, now: DateTime<Utc>) -> bool {
    let made = (id.get_version_num() == 7)
        .then(|| id.get_timestamp())
        .flatten();
    made.and_then(|made| i64::try_from(made.to_unix().0).ok())
        .is_some_and(|seconds| (now.timestamp() - seconds).abs() <= 60)
}

fn redirect(state: &AppState, found: Found) -> Response {
    let status = StatusCode::from_u16(found.status).unwrap_or(StatusCode::FOUND);
    let is_permanent = matches!(found.status, 301 | 308);
    let cache = if is_permanent {
        let mut seconds = state.config.redirects.permanent_max_age_seconds;
        if let Some(at) = found.expires_at {
            let left = (at - state.clock.now()).num_seconds();
            seconds = seconds.min(u64::try_from(left).unwrap_or(0));
        }
        HeaderValue::try_from(format!("private, max-age={seconds}"))
            .unwrap_or(HeaderValue::from_static("private, no-store"))
    } else {
        HeaderValue::from_static("private, no-store")
    };
    let headers = [
        (header::LOCATION, found.location),
        (header::CACHE_CONTROL, cache),
    ];
    (status, headers).into_response()
}
